"""The verdict as JUnit XML, which every CI system reads: a case for each condition and model."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from daemon.soak.conditions import Condition
from daemon.soak.result import SoakResult


def junit_xml(result: SoakResult, conditions: tuple[Condition, ...]) -> str:
    """The whole file."""
    cases = [
        (condition, model)
        for condition in conditions
        for model in result.models
        if condition.applies_to(model)
    ]
    suite = Element(
        "testsuite",
        name="pfmemd soak",
        tests=str(len(cases)),
        failures=str(len(result.breaches)),
        errors="0",
        skipped="0",
        time=f"{result.seconds:.3f}",
        timestamp=result.started,
    )
    properties = SubElement(suite, "properties")
    for name, value in (
        ("version", result.version),
        ("traces", " ".join(result.traces)),
        ("plays", str(result.plays)),
        ("events", str(result.events)),
    ):
        SubElement(properties, "property", name=name, value=value)
    for condition, model in cases:
        case = SubElement(
            suite,
            "testcase",
            classname=f"{model.source}.{model.variant}",
            name=condition.text,
            time="0",
        )
        what = condition.breach(model)
        if what is not None:
            failure = SubElement(case, "failure", type=condition.name, message=what)
            failure.text = f"{model.variant} of {model.source}: {condition.text}: {what}"
    indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(suite, encoding="unicode") + "\n"
