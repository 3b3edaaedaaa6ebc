"""``pfmemd run``: a trace through the models without a daemon, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from allocator.revision import Variant
from daemon.engine import Engine
from daemon.feed import TraceFeed
from daemon.health import Health
from daemon.intake import Intake
from daemon.reading import Reading
from daemon.sources import MachineFactory
from daemon.stop_signal import StopSignal
from daemon.summary import RESULTS, Json, summarize
from tracegen.errors import StoppedError
from tracegen.limits import BatchLimits
from tracegen.trace_file import MAX_TRACE_SOURCES

_HEADLINES: Final = (
    ("allocations", "allocations"),
    ("  ok", "ok"),
    ("  denied", "denied"),
    ("  stalled", "stalled"),
)
_TAIL: Final = (
    ("pfmemalloc_active", "pfmemalloc_active"),
    ("  flips to 1", "pfmemalloc_activations"),
    ("  flips to 0", "pfmemalloc_deactivations"),
    ("pfmemalloc pages live", "pfmemalloc_pages"),
    ("pfmemalloc slabs", "pfmemalloc_slabs"),
    ("  objects in use", "pfmemalloc_objects"),
    ("  objects preserved", "preserved_objects"),
    ("kswapd wake-ups", "kswapd_wakeups"),
    ("live handles", "live_handles"),
    ("frees of denied things", "denied_frees"),
    ("frees of unknown things", "unknown_frees"),
    ("handles used twice", "reused_handles"),
)


def run_trace(path: str, variants: Sequence[Variant], machine_factory: MachineFactory) -> Reading:
    """Run the trace at ``path`` (``-`` is standard input) through ``variants``.

    Raises :class:`BatchError` or UnreadableError for a trace that is bad, and
    StoppedError when it is interrupted.
    """
    engine = Engine(variants, MAX_TRACE_SOURCES, machine_factory)
    health = Health()
    with StopSignal() as stop:
        intake = Intake(engine, None, health)
        if not TraceFeed(path, BatchLimits(), intake, health, stop).run():
            raise StoppedError("interrupted before the end of the trace")
    return engine.read(digest=True)


def results_of(reading: Reading) -> Json:
    """Per source and variant, what ``--json`` prints."""
    return {
        source.name: {
            "epoch": source.life.epoch,
            "epochs": source.epochs,
            "events": source.life.events,
            "variants": {
                variant.variant: {"digest": variant.digest, **summarize(variant.stats)}
                for variant in source.life.variants
            },
        }
        for source in reading.sources
    }


def print_results(results: Json, console: Console) -> None:
    """One table per source: a column for each variant, a row for each number."""
    for name, source in results.items():
        variants: Json = source["variants"]
        title = f"{name}: {source['events']:,} events"
        if source["epochs"] > 1:
            title += f" of epoch {source['epoch']}, the last of {source['epochs']}"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("")
        for variant in variants:
            table.add_column(variant, justify="right")
        summaries = list(variants.values())
        for label, values in _rows(summaries):
            table.add_row(label, *values)
        console.print(table)
        for variant, summary in variants.items():
            console.print(f"digest {variant}: {summary['digest']}", soft_wrap=True)


def _rows(summaries: list[Json]) -> Iterator[tuple[str, list[str]]]:
    for label, key in _HEADLINES:
        yield label, [_number(summary[key]) for summary in summaries]
        yield from _by_name(summaries, f"{key}_by_reason", "    ")
    yield "by caller: ok / denied / stalled", [""] * len(summaries)
    callers = dict.fromkeys(caller for summary in summaries for caller in summary["by_caller"])
    for caller in callers:
        yield (
            f"  {caller}",
            [_results(summary["by_caller"].get(caller)) for summary in summaries],
        )
    yield "lowest free pages / min", [""] * len(summaries)
    for index, zone in enumerate(summaries[0]["zones"]):
        yield (
            f"  node {zone['node']} {zone['zone']}",
            [
                f"{s['zones'][index]['lowest_free']:,} / {s['zones'][index]['min']:,}"
                for s in summaries
            ],
        )
    for label, key in _TAIL:
        yield label, [_number(summary[key]) for summary in summaries]
    yield "reserve objects leaked", [_number(sum(s["leaks"].values())) for s in summaries]
    yield from _by_name(summaries, "leaks", "  by ")


def _by_name(summaries: list[Json], key: str, prefix: str) -> Iterator[tuple[str, list[str]]]:
    """A row for each name of which any of the summaries counts at least one under ``key``."""
    names = dict.fromkeys(name for summary in summaries for name in summary.get(key, ()))
    for name in names:
        if not any(summary[key].get(name) for summary in summaries):
            continue
        yield f"{prefix}{name}", [_number(summary[key].get(name, 0)) for summary in summaries]


def _number(value: int | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}"


def _results(counts: Json | None) -> str:
    if counts is None:
        return "-"
    return " / ".join(f"{counts[result]:,}" for result in RESULTS)
