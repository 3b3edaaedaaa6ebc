"""What ``pfmemd compare`` prints: a table for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Final

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from allocator.leak import LEAK_WAYS
from daemon.came_to import came_to_json, came_to_text
from daemon.compare import Compared, Comparison, Parting, deciding_step
from daemon.event_text import event_json, event_of, event_text
from daemon.summary import Json
from tracegen.info import duration_text

_LOWEST: Final = "lowest_free"
_LABELS: Final = {
    "allocations": "allocations",
    "ok": "  ok",
    "denied": "  denied",
    "stalled": "  stalled",
    _LOWEST: "fewest free pages, of min",
    "pfmemalloc_marks": "reserve allocations",
    "pfmemalloc_pages": "  pages still held",
    "pfmemalloc_slabs": "  slabs of them",
    "pfmemalloc_objects": "    objects in use",
    "preserved_objects": "    objects preserved",
    "pfmemalloc_activations": "pfmemalloc_active to 1",
    "pfmemalloc_deactivations": "  to 0",
    "pfmemalloc_wrong_deactivations": "  to 0 with flagged slabs left",
    "leaks": "reserve objects leaked",
    "slab_pages": "slab pages in use",
    "kswapd_wakeups": "kswapd wake-ups",
}
_PARTS: Final = {
    "denied": "    {}",
    "stalled": "    {}",
    _LOWEST: "  {}",
    "leaks": "  by {}",
}
_WIDE: Final = Console(width=1000, file=io.StringIO())
_MANY: Final = 10
"""Percents are whole from here on."""


def change_percent(value: int, first: int) -> float | None:
    """How much more than the first variant's, in percent; None where there is nothing to relate."""
    return None if first == 0 else (value - first) / first * 100


def _change_text(value: int, first: int) -> str:
    if value == first:
        return ""
    change = change_percent(value, first)
    if change is None:
        return " (new)"
    return f" ({change:+.0f} %)" if abs(change) >= _MANY else f" ({change:+.1f} %)"


# For people.


def print_comparison(comparison: Comparison, console: Console) -> None:
    """A table for each source, then the events at which the variants part."""
    for source in comparison.sources:
        for table in _tables(source, console):
            # In a pipe a line longer than 80 columns is no fault.
            width = console.width if console.is_terminal else _width(table)
            Console(file=console.file, width=width).print(table)
    if comparison.parted is not None:
        for line in _parting_lines(comparison):
            console.print(line, soft_wrap=True, markup=False, highlight=False)


def _tables(source: Compared, console: Console) -> Iterator[Table]:
    """One table, or on a terminal as many as it takes to keep lines whole."""
    variants = list(source.numbers)
    table = _table(source, variants)
    fits = len(variants)
    while fits > 1 and console.is_terminal and _width(table) > console.width:
        fits -= 1
        table = _table(source, variants[:fits])
    for start in range(0, len(variants), fits):
        yield _table(source, variants[start : start + fits])


def _width(table: Table) -> int:
    return Measurement.get(_WIDE, _WIDE.options, table).maximum


def _table(source: Compared, variants: list[str]) -> Table:
    title = f"{source.life.source}: {source.events:,} events"
    if source.epochs > 1:
        title += f" of epoch {source.life.epoch}, the last of {source.epochs}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for variant in variants:
        table.add_column(variant, justify="right", no_wrap=True)
    for key, label in _rows(source):
        table.add_row(label, *(_cell(source, variant, key) for variant in variants))
    return table


def _rows(source: Compared) -> Iterator[tuple[str, str]]:
    """(Key of a number, label), in the order shown; a reason or way without a count has none."""
    numbers = list(source.numbers.values())
    counted = [key for own in numbers for key, count in own.items() if "." in key and count]
    parts = list(dict.fromkeys(counted))
    for key, label in _LABELS.items():
        yield key, label
        for part in parts:
            group, _, name = part.partition(".")
            if group == key:
                yield part, _PARTS[group].format(name.replace(".", " ").replace("node", "node "))


def _cell(source: Compared, variant: str, key: str) -> str:
    own = source.numbers[variant]
    first = next(iter(source.numbers.values()))
    if key == _LOWEST:
        return ""
    if key not in own and key.startswith("leaks."):
        return "-"  # this allocator has no such way
    value = own.get(key, 0)
    text = f"{value:,}"
    if key.startswith(_LOWEST):
        text += f" of {own[key.replace(_LOWEST, 'min')]:,}"
    return text + _change_text(value, first.get(key, 0))


def _parting_lines(comparison: Comparison) -> Iterator[str]:
    shown = len(comparison.partings)
    if not comparison.parted:
        yield "no event parts them"
        return
    part = "event parts" if comparison.parted == 1 else "events part"
    yield f"{comparison.parted:,} {part} them; the first {shown}:"
    width = max(len(variant) for variant in comparison.variants)
    for parting in comparison.partings:
        yield ""
        yield _event_line(parting, many=len(comparison.sources) > 1)
        for variant in comparison.variants:
            yield f"  {variant:<{width}}  {_variant_line(parting, variant)}"


def _event_line(parting: Parting, *, many: bool) -> str:
    event = event_of(parting.record)
    where = f" of {parting.life.source}, epoch {parting.life.epoch}" if many else ""
    when = duration_text(event.ts_ns)
    return f"event {parting.number:,}{where}  {event_text(event, parting.life.header)}  at {when}"


def _variant_line(parting: Parting, variant: str) -> str:
    story = parting.stories[variant]
    text = came_to_text(story)
    rules = parting.parted_by(variant)
    if rules:
        text += f"  [{' '.join(rules)}]"
    step = deciding_step(story)
    if step is not None:
        text += f"  {step.function}: {step.text}"
    return text


# For programs.


def comparison_json(comparison: Comparison) -> Json:
    """Everything, as JSON has it."""
    told: Json = {
        "variants": list(comparison.variants),
        "sources": {
            source.life.source: {
                "epoch": source.life.epoch,
                "epochs": source.epochs,
                "events": source.events,
                "numbers": source.numbers,
                "change_percent": _changes(source),
            }
            for source in comparison.sources
        },
    }
    if comparison.parted is not None:
        told["parting_events"] = comparison.parted
        told["partings"] = [_parting_json(parting) for parting in comparison.partings]
    return told


def _changes(source: Compared) -> Json:
    first = next(iter(source.numbers.values()))
    return {
        variant: {
            key: None if change is None else round(change, 3)
            for key, value in own.items()
            for change in (change_percent(value, first.get(key, 0)),)
        }
        for variant, own in source.numbers.items()
    }


def _parting_json(parting: Parting) -> Json:
    return {
        "source": parting.life.source,
        "epoch": parting.life.epoch,
        "event": parting.number,
        "what": event_json(event_of(parting.record), parting.life.header),
        "variants": {
            variant: {
                **came_to_json(story),
                "rules": story.rules(),
                "parted_by": parting.parted_by(variant),
                "steps": [
                    {"function": step.function, "text": step.text, "rule": step.rule or None}
                    for step in story.steps
                ],
            }
            for variant, story in parting.stories.items()
        },
    }


def comparison_csv(comparison: Comparison) -> str:
    """The numbers, one a line: source, number, variant, value, change in percent."""
    output = io.StringIO()
    rows = csv.writer(output, lineterminator="\n")
    rows.writerow(("source", "number", "variant", "value", "change_percent"))
    for source in comparison.sources:
        changes = _changes(source)
        for variant, own in source.numbers.items():
            for key, value in own.items():
                change = changes[variant][key]
                rows.writerow(
                    (source.life.source, key, variant, value, "" if change is None else change)
                )
    return output.getvalue()


def leak_legend(comparison: Comparison) -> Iterator[str]:
    """A sentence for each way in which any variant leaked."""
    ways = dict.fromkeys(
        key.removeprefix("leaks.")
        for source in comparison.sources
        for own in source.numbers.values()
        for key, count in own.items()
        if key.startswith("leaks.") and count
    )
    for way in ways:
        yield f"{way}: {LEAK_WAYS[way]}"
