"""The verdict as JUnit XML, which every CI system reads: a case for each condition and model."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from daemon.soak.conditions import HANG, Condition
from daemon.soak.result import SoakResult


def junit_xml(result: SoakResult, conditions: tuple[Condition, ...]) -> str:
    """The whole file."""
    cases = [
        (condition, model)
        for condition in conditions
        for model in result.models
        if condition.applies_to(model)
    ]
    machines = [
        (condition, machine)
        for condition in conditions
        for machine in result.machines
        if condition.name == HANG
    ]
    suite = Element(
        "testsuite",
        name="pfmemd soak",
        tests=str(len(cases) + len(machines)),
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
    for condition, machine in machines:
        what = condition.breach_of_machine(machine)
        _case(suite, condition, f"simulated.{machine.scenario}", machine.kernel, what)
    for condition, model in cases:
        _case(suite, condition, model.source, model.variant, condition.breach(model))
    indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(suite, encoding="unicode") + "\n"


def _case(
    suite: Element, condition: Condition, source: str, variant: str, what: str | None
) -> None:
    case = SubElement(
        suite, "testcase", classname=f"{source}.{variant}", name=condition.text, time="0"
    )
    if what is not None:
        failure = SubElement(case, "failure", type=condition.name, message=what)
        failure.text = f"{variant} of {source}: {condition.text}: {what}"
