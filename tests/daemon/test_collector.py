"""The collectors show one reading in the words of the metric table, with bounded labels."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Callable
from functools import cached_property

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as text_string_to_openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from allocator.revision import parse_variant, variant_names
from daemon import metric_table
from daemon.collector import MetricsPage, SubsystemCollector
from daemon.collectors.allocations import AllocationsCollector
from daemon.collectors.caches import CachesCollector
from daemon.collectors.ingest import IngestCollector
from daemon.collectors.samples import LabelBounds, Samples
from daemon.collectors.zones import ZonesCollector
from daemon.engine import Engine
from daemon.metric_table import METRICS
from daemon.reading import Reading
from daemon.service import new_machine
from tests.daemon.fakes import (
    CONFIG,
    HEADER,
    FakeMachine,
    allocations,
    events_batch,
    fake_cache,
    header_batch,
    mark,
    new_engine,
    offer,
)
from tests.daemon.storages import collectors

SLAB = {"source": "a", "variant": "slab-seed"}
NORMAL = {**SLAB, "node": "0", "zone": "Normal"}
SKBUFF = {**SLAB, "cache": "skbuff_head_cache"}


def filled_engine(*sources: str) -> Engine:
    """An engine in which each source has had 40 allocations and a mark."""
    engine = new_engine()
    for name in sources:
        offer(engine, header_batch(name))
        offer(engine, events_batch(2, allocations(40) + mark(1), source=name))
    return engine


PLAIN = "text/plain"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Scraped:
    """The metrics page, scraped once and parsed when it is first looked at."""

    def __init__(self, page: MetricsPage, accept: str = PLAIN) -> None:
        body, self.content_type = page.render(accept)
        self.text = body.decode()

    @cached_property
    def samples(self) -> list[Sample]:
        """Every sample of pfmemd's own."""
        families = text_string_to_metric_families(self.text)
        return [s for f in families for s in f.samples if s.name.startswith("pfmemd_")]

    def get(self, name: str, labels: dict[str, str]) -> float | None:
        """The sample of that name and these very labels; None if it is not there."""
        return next((s.value for s in self.samples if (s.name, s.labels) == (name, labels)), None)

    def value(self, name: str, labels: dict[str, str] | None = None) -> float:
        """The sample of that name and these very labels, which is there."""
        found = self.get(name, labels or {})
        assert found is not None, f"{name}{labels} is not there"
        return found


def page_of(
    read: Callable[[], Reading],
    subsystems: list[SubsystemCollector] | None = None,
    max_values: int = 100,
) -> MetricsPage:
    """The daemon's page of metrics over these readings."""
    chosen = subsystems or collectors()
    return MetricsPage(read, chosen, LabelBounds(max_values), lambda: 3, lambda: 4)


@pytest.fixture(name="scraped", scope="module")
def scraped_fixture() -> Scraped:
    """A scrape of a daemon with one source."""
    return Scraped(page_of(filled_engine("a").read))


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("pfmemd_zone_free_pages", NORMAL, 9959),
        ("pfmemd_zone_min_pages", NORMAL, 100),
        ("pfmemd_zone_reserve_free_pages", NORMAL, 100),
        ("pfmemd_zone_reserve_used_pages", NORMAL, 0),
        ("pfmemd_zone_below_min_allocations_total", NORMAL, 3),
        ("pfmemd_zone_reserve_exhausted_allocations_total", NORMAL, 1),
        ("pfmemd_zone_reserve_drawn_ratio_bucket", {**NORMAL, "le": "0.125"}, 0),
        ("pfmemd_zone_reserve_drawn_ratio_bucket", {**NORMAL, "le": "0.25"}, 2),
        ("pfmemd_zone_reserve_drawn_ratio_bucket", {**NORMAL, "le": "0.875"}, 2),
        ("pfmemd_zone_reserve_drawn_ratio_bucket", {**NORMAL, "le": "1.0"}, 3),
        ("pfmemd_zone_reserve_drawn_ratio_count", NORMAL, 3),
        ("pfmemd_zone_reserve_drawn_ratio_sum", NORMAL, 1.35),
        ("pfmemd_zone_lowmem_reserve_pages", {**NORMAL, "classzone": "Normal"}, 256),
        ("pfmemd_buddy_free_blocks", {**NORMAL, "order": "1"}, 5),
        ("pfmemd_node_slab_unreclaimable_pages", {**SLAB, "node": "0"}, 30),
        ("pfmemd_kswapd_wakeups_total", SLAB, 6),
        (
            "pfmemd_allocations_ok_total",
            {**SLAB, "caller": "plain", "kind": "page", "path": "pcp"},
            41,
        ),
        (
            "pfmemd_allocations_denied_total",
            {**SLAB, "caller": "plain", "kind": "object", "reason": "preserved"},
            7,
        ),
        (
            "pfmemd_allocations_stalled_total",
            {**SLAB, "caller": "pf_memalloc", "kind": "page", "reason": "reclaim"},
            9,
        ),
        (
            "pfmemd_allocations_denied_total",
            {**SLAB, "caller": "memdie", "kind": "page", "reason": "watermark"},
            0,
        ),
        ("pfmemd_pfmemalloc_active", SLAB, 1),
        ("pfmemd_pfmemalloc_activations_total", SLAB, 2),
        ("pfmemd_pfmemalloc_wrong_deactivations_total", SLAB, 1),
        ("pfmemd_pfmemalloc_marks_total", SLAB, 8),
        ("pfmemd_unknown_frees_total", SLAB, 4),
        ("pfmemd_cache_object_size_bytes", SKBUFF, 192),
        ("pfmemd_cache_allocations_ok_total", SKBUFF, 10),
        ("pfmemd_cache_leaks_total", {**SKBUFF, "cause": "node_path"}, 4),
        ("pfmemd_slab_alloc_hits_total", SKBUFF, 5),
        ("pfmemd_slub_alloc_fastpath_total", {**SKBUFF, "variant": "slub-seed"}, 6),
        ("pfmemd_events_applied_total", {"source": "a"}, 41),
        ("pfmemd_batches_applied_total", {"source": "a"}, 2),
        ("pfmemd_source_sequence", {"source": "a"}, 2),
        ("pfmemd_source_last_batch_timestamp_seconds", {"source": "a"}, 1000),
        ("pfmemd_source_phase", {"source": "a", "phase": "return"}, 1),
        ("pfmemd_source_phase", {"source": "a", "phase": "outage"}, 0),
        ("pfmemd_source_marks_total", {"source": "a", "phase": "return"}, 1),
        ("pfmemd_batch_apply_seconds_count", {"source": "a"}, 2),
        ("pfmemd_batch_age_seconds_count", {"source": "a"}, 2),
        ("pfmemd_batch_apply_seconds_bucket", {"source": "a", "le": "+Inf"}, 2),
        ("pfmemd_sources", {}, 1),
        ("pfmemd_sources_limit", {}, 4),
        ("pfmemd_http_connections_refused_total", {}, 3),
        (
            "pfmemd_variant_info",
            {"variant": "slub-seed", "allocator": "slub", "revision": "seed"},
            1,
        ),
        ("pfmemd_collector_success", {"collector": "zones"}, 1),
    ],
)
def test_sample(scraped: Scraped, name: str, labels: dict[str, str], expected: float) -> None:
    """Each number of a reading comes out under its name and labels."""
    assert expected == scraped.value(name, labels)


def test_slab_counters_are_for_slab_only(scraped: Scraped) -> None:
    """A SLUB model has no SLAB counters, and the other way round."""
    slub = {**SKBUFF, "variant": "slub-seed"}

    assert scraped.get("pfmemd_slab_alloc_hits_total", slub) is None
    assert scraped.get("pfmemd_slub_alloc_fastpath_total", SKBUFF) is None


def test_reserve_used_and_free_add_up_below_min() -> None:
    """Below min, what is used of the reserve and what is left are the reserve."""
    reading = filled_engine("a").read()
    reading.sources[0].life.variants[0].stats.zones[0].free_pages = 30
    scraped = Scraped(page_of(lambda: reading))

    assert 30 == scraped.value("pfmemd_zone_reserve_free_pages", NORMAL)
    assert 70 == scraped.value("pfmemd_zone_reserve_used_pages", NORMAL)


def test_every_metric_of_the_table_is_shown_by_one_collector() -> None:
    """The table has no metric that nothing gives, and nothing gives one that is not in it."""
    shown = [spec for collector in collectors() for spec in collector.specs]
    shown += MetricsPage.specs

    assert len(shown) == len({spec.name for spec in shown})
    assert {spec.name for spec in METRICS} == {spec.name for spec in shown}


def test_text_is_valid_and_has_the_types_of_the_table() -> None:
    """The exposition parses, each label set occurs once, and HELP and TYPE are the table's."""
    scraped = Scraped(page_of(filled_engine("a", "b").read))

    by_name = {s.name.removesuffix("_total"): s for s in METRICS}
    families = [
        family
        for family in text_string_to_metric_families(scraped.text)
        if not family.name.startswith("process_")
    ]
    for family in families:
        spec = by_name[family.name]
        assert spec.help == family.documentation
        assert ("gauge" if spec.type == "info" else spec.type) == family.type
        keys = [(s.name, tuple(sorted(s.labels.items()))) for s in family.samples]
        assert len(keys) == len(set(keys))
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(spec.labels)
    assert len(families) == len(METRICS)


def test_openmetrics_is_valid() -> None:
    """The strict parser of OpenMetrics takes what Prometheus is given when it asks for that."""
    scraped = Scraped(page_of(filled_engine("a", "b").read), OPENMETRICS)

    # The parser has no types.
    parsed = text_string_to_openmetrics_families(scraped.text)  # type: ignore[no-untyped-call]
    families = {family.name: family for family in parsed}

    assert scraped.content_type.startswith("application/openmetrics-text")
    for spec in METRICS:
        family = families[spec.name.removesuffix("_total").removesuffix("_info")]
        assert spec.type == family.type
        if spec.unit in {"seconds", "bytes"} and spec.name.endswith(spec.unit):
            assert spec.unit == family.unit


def test_both_formats_hold_the_same_samples() -> None:
    """What is read does not depend on which of the two a scraper asks for."""
    reading = filled_engine("a").read()
    plain = Scraped(page_of(lambda: reading))
    parsed = text_string_to_openmetrics_families(  # type: ignore[no-untyped-call]
        Scraped(page_of(lambda: reading), OPENMETRICS).text
    )

    def keys(samples: list[Sample]) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        return {
            (s.name, tuple(sorted(s.labels.items())))
            for s in samples
            if s.name.startswith("pfmemd_")
        }

    assert keys(plain.samples) == keys([s for family in parsed for s in family.samples])


def test_process_metrics_are_on_the_page(scraped: Scraped) -> None:
    """What the daemon's own process takes of memory is there too."""
    assert "\nprocess_resident_memory_bytes " in scraped.text


def test_promtool_finds_no_fault(scraped: Scraped) -> None:
    """The linter of Prometheus accepts names, types and help texts."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")

    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=scraped.text.encode(),
        capture_output=True,
        check=False,
    )

    assert (0, b"") == (done.returncode, done.stdout + done.stderr)


def test_label_values_are_escaped() -> None:
    """A cache may have any name: quotes, backslashes and line ends do not end the label."""
    name = 'a"b\\c\nd'
    scraped = Scraped(page_of(CachesOf({name: 5})))

    assert 5 == scraped.value("pfmemd_cache_allocations_ok_total", {**SLAB, "cache": name})


class CachesOf:
    """Readings of one source whose caches are given."""

    def __init__(self, caches: dict[str, int]) -> None:
        self.caches = caches

    def __call__(self) -> Reading:
        """The reading."""
        reading = filled_engine("a").read()
        source = reading.sources[0]
        variant = source.life.variants[0]
        variant.stats.caches = [fake_cache(name, n) for name, n in self.caches.items()]
        life = dataclasses.replace(source.life, variants=(variant,))
        return dataclasses.replace(reading, sources=(dataclasses.replace(source, life=life),))


def test_caches_beyond_the_bound_add_up_under_other() -> None:
    """The busiest caches keep their names; the rest is one label value and is counted."""
    read = CachesOf({"a": 5, "b": 50, "c": 7, "d": 3})
    scraped = Scraped(page_of(read, max_values=2))

    names = {"b": 50, "c": 7, metric_table.OTHER: 8}
    for name, expected in names.items():
        labels = {**SLAB, "cache": name}
        assert expected == scraped.value("pfmemd_cache_allocations_ok_total", labels)
    assert 2 == scraped.value("pfmemd_label_values_folded", {"label": "cache"})
    other = {**SLAB, "cache": metric_table.OTHER}
    assert scraped.get("pfmemd_cache_object_size_bytes", other) is None


def test_cache_under_other_stays_there() -> None:
    """A cache that becomes the busiest later does not leave other: counters never go backwards."""
    read = CachesOf({"a": 5, "b": 50})
    page = page_of(read, max_values=1)
    other = {**SLAB, "cache": metric_table.OTHER}
    assert 5 == Scraped(page).value("pfmemd_cache_allocations_ok_total", other)
    read.caches = {"a": 5000, "b": 51}

    assert 5000 == Scraped(page).value("pfmemd_cache_allocations_ok_total", other)


def test_unused_cache_is_not_shown() -> None:
    """A cache shows up with its first use: most machines have many that are never used."""
    engine = filled_engine("a")
    reading = engine.read()
    idle = fake_cache("idle", 0)
    idle.denied = idle.slabs = 0
    reading.sources[0].life.variants[0].stats.caches = [idle]
    scraped = Scraped(page_of(lambda: reading, [CachesCollector()]))

    shown = {s.labels["cache"] for s in scraped.samples if s.labels.get("variant") == "slab-seed"}
    assert set() == shown


def test_sources_beyond_the_bound_add_up_under_other() -> None:
    """Counters of the sources beyond the bound add up; what has no sum is left out."""
    scraped = Scraped(page_of(filled_engine("a", "b", "c").read, max_values=1))

    assert 41 == scraped.value("pfmemd_events_applied_total", {"source": "a"})
    assert 82 == scraped.value("pfmemd_events_applied_total", {"source": "other"})
    assert scraped.get("pfmemd_source_sequence", {"source": "other"}) is None


class BrokenCollector:
    """A collector that fails."""

    name = "broken"
    specs = (metric_table.SOURCES,)

    def collect(self, reading: Reading, bounds: LabelBounds, samples: Samples) -> None:
        """Fail."""
        del reading, bounds, samples
        raise RuntimeError("no")


def test_failing_collector_does_not_break_the_scrape() -> None:
    """The others still show theirs, and the failure is a metric."""
    scraped = Scraped(
        page_of(
            filled_engine("a").read, [BrokenCollector(), AllocationsCollector(), IngestCollector(4)]
        )
    )

    assert 0 == scraped.value("pfmemd_collector_success", {"collector": "broken"})
    assert 1 == scraped.value("pfmemd_collector_success", {"collector": "ingest"})
    assert 1 == scraped.value("pfmemd_pfmemalloc_active", SLAB)


def test_free_pages_and_events_of_one_scrape_belong_together() -> None:
    """All collectors of a scrape show the same moment, though the engine runs on between them."""
    engine = filled_engine("a")
    seq = 2

    class Meanwhile:
        name = "meanwhile"
        specs = ()

        def collect(self, reading: Reading, bounds: LabelBounds, samples: Samples) -> None:
            nonlocal seq
            del reading, bounds, samples
            seq += 1
            offer(engine, events_batch(seq, allocations(7)))

    scraped = Scraped(page_of(engine.read, [ZonesCollector(), Meanwhile(), IngestCollector(4)]))

    free = scraped.value("pfmemd_zone_free_pages", NORMAL)
    events = scraped.value("pfmemd_events_applied_total", {"source": "a"})
    assert FakeMachine.free_at_start == free + events
    assert 41 == events


@pytest.mark.parametrize("name", variant_names())
def test_every_counter_of_the_model_is_a_metric(name: str) -> None:
    """The allocators' own counters and the table agree, but for two that SLAB counts twice.

    The SLAB of 2016 keeps no tagged objects in its arrays: it has nothing to swap or to force.
    """
    variant = parse_variant(name)
    machine = new_machine(CONFIG, variant, HEADER.caches, HEADER.gfp)
    table = (
        metric_table.SLAB_COUNTERS if variant.allocator == "slab" else metric_table.SLUB_COUNTERS
    )
    held_as_gauges = {"active", "allocations"} if variant.allocator == "slab" else set()
    gone = {"swaps", "forced_refills"} if name == "slab-v6.1" else set()

    for cache in machine.stats().caches:
        assert set(cache.counters) - held_as_gauges == set(table) - gone


@pytest.mark.parametrize("name", variant_names())
def test_real_model_fills_every_zone_and_allocation_metric(name: str) -> None:
    """A real machine's reading comes out whole: no zone or allocation metric is without samples."""
    engine = Engine([parse_variant(name)], 4, new_machine)
    offer(engine, header_batch())
    offer(engine, events_batch(2, allocations(40)))
    scraped = Scraped(page_of(engine.read))

    found = {sample.name.removesuffix("_bucket") for sample in scraped.samples}
    for spec in (*ZonesCollector.specs, *AllocationsCollector.specs):
        assert spec.name in found
    ok = [s.value for s in scraped.samples if s.name == "pfmemd_allocations_ok_total"]
    assert 40 == sum(ok)
