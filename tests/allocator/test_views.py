"""The views are the kernel's own formats, column for column, and agree with the machine."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

from allocator.config import MachineConfig
from allocator.machine import Machine
from allocator.revision import parse_variant, variant_names
from allocator.slub_allocator import SlubAllocator
from allocator.view_slabs import SlabinfoRow, slab_attributes
from allocator.views import PROC_FILES, slab_text
from tests.allocator.machines import CACHES, RandomStream, random_config

REAL = Path(__file__).parents[1] / "data" / "proc-6.1"
"""Files of a Linux 6.1 machine's /proc: 320 MiB, two cpus, zones DMA and DMA32."""
SAMPLE = Path(__file__).parents[2] / "tracegen" / "samples" / "nbd-swap-proc"
"""More of the same machine's."""
LIKE_REAL = MachineConfig(
    cpus=2, cpu_node=(0, 0), nodes=((0, 81920),), zone_end_pfn=(4096, 1 << 20, 1 << 20)
)
SMALL = MachineConfig(
    cpus=2, cpu_node=(0, 0), nodes=((0, 8192),), zone_end_pfn=(4096, 8192, 8192), numa=False
)


def busy(variant: str, seed: int = 1) -> Machine:
    """A random machine in the middle of a random stream."""
    random = Random(seed)
    config = random_config(random)
    machine = Machine(config, parse_variant(variant), CACHES)
    stream = RandomStream(random, config, variant)
    machine.apply(b"".join(stream.step() for _ in range(500)))
    return machine


def shape(text: str) -> list[str]:
    """Lines without their numbers."""
    return [re.sub(r"\d+", "N", re.sub(r" +", " ", line)).strip() for line in text.splitlines()]


class TestAgainstARealKernel:
    """Held against files that Linux 6.1 printed."""

    def test_zoneinfo_has_the_kernel_s_lines(self) -> None:
        """Every line of every zone, in its order; only ZONE_DEVICE is not modelled."""
        real = (SAMPLE / "proc_zoneinfo").read_text("ascii")
        machine = Machine(LIKE_REAL, parse_variant("slub-v6.1"))

        ours = PROC_FILES["zoneinfo"](machine)

        before_device = shape(real[: real.index("Node 0, zone   Device")])
        with_device = [line.replace("(N, N, N, N, N)", "(N, N, N, N)") for line in before_device]
        assert with_device == shape(ours)

    def test_zoneinfo_computes_thresholds_as_the_kernel_did(self) -> None:
        """The vm stats thresholds follow from cpus and zone size alone."""
        real = (SAMPLE / "proc_zoneinfo").read_text("ascii")
        machine = Machine(LIKE_REAL, parse_variant("slub-v6.1"))
        zones = machine.pages.zones
        zones[0].managed_pages, zones[1].managed_pages = 3840, 64051

        ours = PROC_FILES["zoneinfo"](machine)

        pattern = r"vm stats threshold: (\d+)"
        assert re.findall(pattern, real) == re.findall(pattern, ours)

    def test_buddyinfo_is_the_kernel_s_byte_for_byte(self) -> None:
        """With the real machine's free blocks, the real machine's file."""
        real = (REAL / "buddyinfo").read_text("ascii")
        machine = Machine(LIKE_REAL, parse_variant("slub-v6.1"))
        for zone, line in zip(machine.pages.zones, real.splitlines(), strict=True):
            for order, blocks in enumerate(re.findall(r"\d+", line.split("zone")[1])[-11:]):
                zone.nr_free[order] = int(blocks)

        assert real == PROC_FILES["buddyinfo"](machine)

    def test_pagetypeinfo_has_the_kernel_s_lines(self) -> None:
        """Header, types and zones in the kernel's order and columns."""
        real = (REAL / "pagetypeinfo").read_text("ascii")
        machine = Machine(LIKE_REAL, parse_variant("slub-v6.1"))

        ours = PROC_FILES["pagetypeinfo"](machine)

        assert shape(real) == shape(ours)
        # Columns: the names stand at the same places.
        for line, own in zip(real.splitlines(), ours.splitlines(), strict=True):
            assert re.sub(r" +\d+", "", line) == re.sub(r" +\d+", "", own)
            assert len(line) == len(own) or line.startswith("Page")

    def test_slabinfo_rows_are_the_kernel_s_byte_for_byte(self) -> None:
        """Each of the real machine's caches, written by the view, is the real line."""
        head, columns, *rows = (SAMPLE / "proc_slabinfo").read_text("ascii").splitlines()
        ours = PROC_FILES["slabinfo"](Machine(LIKE_REAL, parse_variant("slub-v6.1")))

        assert [head, columns] == ours.splitlines()[:2]
        for line in rows:
            name, *words = line.replace(":", " ").split()
            numbers = [int(word) for word in words if word.isdigit()]
            row = SlabinfoRow(name, numbers[2], numbers[3], numbers[4].bit_length() - 1)
            row.active_objs, row.num_objs = numbers[:2]
            row.limit, row.batchcount, row.shared = numbers[5:8]
            row.active_slabs, row.num_slabs, row.shared_avail = numbers[8:11]
            assert line + "\n" == row.text()

    def test_slub_geometry_is_what_the_kernel_s_sysfs_said(self) -> None:
        """Sizes, order, objects a slab, partial limits of caches created as on that machine."""
        checked = 0
        for line in (SAMPLE / "sys_kernel_slab").read_text("ascii").splitlines():
            found = re.fullmatch(
                r"cache: (kmalloc-\S+) object_size=(\d+) slab_size=(\d+) order=(\d+)"
                r" objs_per_slab=(\d+) cpu_partial=(\d+) min_partial=(\d+) .* align=(\d+)",
                line,
            )
            if found is None:
                continue
            told = slab_attributes(Machine(LIKE_REAL, parse_variant("slub-v6.1")))
            own = told.get(found[1])
            if own is None:
                continue
            names = (
                *("object_size", "slab_size", "order", "objs_per_slab"),
                *("cpu_partial", "min_partial", "align"),
            )
            assert [f"{value}\n" for value in found.groups()[1:]] == [own[name] for name in names]
            checked += 1
        assert checked > 5


def test_zoneinfo_of_3_3_is_the_old_one() -> None:
    """Linux 3.3's lines: scanned, every statistic in each zone, inactive_ratio."""
    machine = Machine(SMALL, parse_variant("slab-seed"), CACHES)
    machine.page_alloc(1, 0, 0x11, 0, -1, 0)

    text = PROC_FILES["zoneinfo"](machine)

    lines = text.splitlines()
    zone = machine.pages.zones[0]
    start = [f"  pages free     {zone.free_pages}", f"        min      {zone.wmark_min}"]
    assert ["Node 0, zone      DMA", *start] == lines[:3]
    assert 2 == text.count("\n        scanned  0\n")
    assert 2 == text.count("\n  all_unreclaimable: 0\n  start_pfn:         ")
    assert 2 == text.count("\n  inactive_ratio:    1\n")
    assert 2 == text.count("\n    nr_slab_unreclaimable 0\n    nr_page_table_pages 0\n")
    assert "numa_hit" not in text  # CONFIG_NUMA is off
    assert "managed" not in text
    assert "per-node" not in text


@pytest.mark.parametrize("variant", variant_names())
@pytest.mark.parametrize("seed", range(3))
def test_views_agree_with_what_the_machine_counts(variant: str, seed: int) -> None:
    """Free pages, free blocks, slabs and objects: the texts add up to stats()."""
    machine = busy(variant, seed)
    stats = machine.stats()

    zoneinfo = PROC_FILES["zoneinfo"](machine)
    free = [int(pages) for pages in re.findall(r"pages free +(\d+)", zoneinfo)]
    assert [zone.free_pages for zone in stats.zones] == [pages for pages in free if pages][
        : len(stats.zones)
    ]
    buddyinfo = [
        [int(word) for word in line.split()[4:]]
        for line in PROC_FILES["buddyinfo"](machine).splitlines()
    ]
    assert [zone.free_blocks for zone in stats.zones] == buddyinfo
    by_type = re.findall(r"type +\S+ +((?:\d+ *)+)", PROC_FILES["pagetypeinfo"](machine))
    assert sum(map(sum, buddyinfo)) == sum(int(word) for row in by_type for word in row.split())

    rows = {
        line.split()[0]: line.replace(":", " ").split()
        for line in PROC_FILES["slabinfo"](machine).splitlines()[2:]
    }
    for cache in stats.caches:
        row = rows[cache.name]
        assert (cache.objects, cache.slabs) == (int(row[2]), int(row[-2]))
        assert cache.active_objects <= int(row[1]) <= cache.objects
        assert (cache.objects_per_slab, cache.pages_per_slab) == (int(row[4]), int(row[5]))


@pytest.mark.parametrize("variant", [name for name in variant_names() if name.startswith("slub")])
def test_sysfs_agrees_with_slabinfo(variant: str) -> None:
    """objects, total_objects and slabs of each cache are those of /proc/slabinfo."""
    machine = busy(variant)
    rows = {
        line.split()[0]: line.split() for line in PROC_FILES["slabinfo"](machine).splitlines()[2:]
    }

    told = slab_attributes(machine)

    assert set(rows) == set(told)
    for name, attributes in told.items():
        first = [int(attributes[a].split()[0]) for a in ("objects", "total_objects", "slabs")]
        assert [int(rows[name][1]), int(rows[name][2]), int(rows[name][-2])] == first
        if machine.config.numa:
            by_node = re.findall(r" N\d+=(\d+)", attributes["total_objects"])
            assert first[1] == sum(map(int, by_node))
        else:
            assert " N" not in attributes["total_objects"]


def test_cpu_slabs_are_counted_as_each_kernel_counts_them() -> None:
    """3.x adds the partial slabs' objects as counted when they came, 6.1 the slabs' number."""
    texts = {}
    for variant in ("slub-v3.6", "slub-v6.1"):
        machine = Machine(LIKE_REAL, parse_variant(variant), CACHES)
        # Two full slabs; one object of the first comes back: a partial slab of cpu 0.
        count = int(slab_attributes(machine)["cache-700"]["objs_per_slab"]) * 2
        for handle in range(1, count + 2):
            machine.obj_alloc(handle, machine.cache_number("cache-700"), 0xCC0, 0, -1, 0)
        machine.obj_free(1, 0)
        machine.obj_free(2, 0)
        texts[variant] = slab_attributes(machine)["cache-700"]

    assert "2 N0=2\n" == texts["slub-v3.6"]["cpu_slabs"]
    assert "1(1) C0=1(1)\n" == texts["slub-v3.6"]["slabs_cpu_partial"]
    assert "2 N0=2\n" == texts["slub-v6.1"]["cpu_slabs"]
    half = int(texts["slub-v6.1"]["objs_per_slab"]) // 2
    assert f"{half}(1) C0={half}(1)\n" == texts["slub-v6.1"]["slabs_cpu_partial"]
    assert "reserved" in texts["slub-v3.6"]
    assert "reserved" not in texts["slub-v6.1"]


def test_slab_folder_as_text() -> None:
    """One line a file, as grep prints them; one cache or all; nothing with SLAB."""
    machine = busy("slub-seed")

    one = slab_text(machine, "cache-200").splitlines()

    assert "/sys/kernel/slab/cache-200/object_size:200" in one
    assert set(one) < set(slab_text(machine).splitlines())
    assert "" == slab_text(busy("slab-seed"))
    with pytest.raises(KeyError):
        slab_text(machine, "cache-201")


def test_merged_caches_show_under_each_name() -> None:
    """An alias has the cache's files; slabinfo has the cache once, by its first name."""
    config = MachineConfig(
        cpus=1, cpu_node=(0,), nodes=((0, 8192),), zone_end_pfn=(0, 8192, 8192), slub_merge=True
    )
    machine = Machine(config, parse_variant("slub-seed"), ())
    machine.cache_create("first", 200, 0, 0)
    machine.cache_create("second", 200, 0, 0)

    told = slab_attributes(machine)

    assert isinstance(machine.objects, SlubAllocator)
    assert told["first"] == told["second"]
    assert told["first"]["aliases"] != "0\n"
    names = [line.split()[0] for line in PROC_FILES["slabinfo"](machine).splitlines()[2:]]
    assert len(names) == len(set(names))
    assert "second" not in names
