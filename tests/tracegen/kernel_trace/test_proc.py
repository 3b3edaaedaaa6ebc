"""The machine of a trace, from its /proc files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from allocator.object_allocator import SLAB_RECLAIM_ACCOUNT
from tracegen.kernel_trace.proc import CacheUse, ProcError, machine_of_size, read_snapshot
from tracegen.samples import PROC


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the sample's files, to be spoilt."""
    return Path(shutil.copytree(PROC, tmp_path / "proc"))


def test_zones_and_cpus_are_those_of_zoneinfo() -> None:
    """What the page allocator never owned is reserved, so that it owns what it owned."""
    snapshot = read_snapshot(PROC)
    machine = snapshot.machine

    assert (2, 2048) == (machine.cpus, machine.min_free_kbytes)
    assert ((1, 81882),) == machine.nodes
    assert (4096, 1 << 20, 1 << 20) == machine.zone_end_pfn
    assert ((1, 256), (4096, 17831)) == machine.reserved
    dma, dma32 = snapshot.zones
    assert (0, 0, 1, 4096, 3840, 3808) == (
        *(dma.node, dma.zone, dma.first_pfn, dma.end_pfn),
        *(dma.managed, dma.free),
    )
    assert (0, 1, 4096, 81882, 64051, 4408) == (
        *(dma32.node, dma32.zone, dma32.first_pfn, dma32.end_pfn),
        *(dma32.managed, dma32.free),
    )
    assert () == snapshot.notes


def test_caches_are_those_of_slabinfo_with_the_geometry_of_sysfs() -> None:
    """Sizes are those of the slots; aliases are looked up; general caches are the model's own."""
    snapshot = read_snapshot(PROC)
    caches = {spec.name: spec for spec in snapshot.caches.specs}

    assert (256, 64, 0) == (
        *(caches["skbuff_head_cache"].size, caches["skbuff_head_cache"].align),
        caches["skbuff_head_cache"].flags,
    )
    assert (104, 8, SLAB_RECLAIM_ACCOUNT) == (
        *(caches["buffer_head"].size, caches["buffer_head"].align),
        caches["buffer_head"].flags,
    )
    assert not [name for name in caches if "kmalloc" in name or name.startswith("kmem_cache")]
    assert CacheUse(192, 28056, 28056, 1336, 21, 1, 120) == snapshot.uses["dentry"]
    # kmalloc-64, kmalloc-cg-64 and kmalloc-rcl-64 together.
    assert 40576 + 64 + 128 == snapshot.general[64].active
    assert ({0}, {3}) == (snapshot.orders()[256], snapshot.orders()[2048])
    assert not snapshot.of_slab


def test_the_files_may_be_named_as_in_proc(folder: Path) -> None:
    """``--proc /proc`` works on the machine itself."""
    (folder / "proc_zoneinfo").rename(folder / "zoneinfo")
    (folder / "proc_slabinfo").rename(folder / "slabinfo")
    (folder / "proc_sys_vm").unlink()
    (folder / "sys" / "vm").mkdir(parents=True)
    (folder / "sys" / "vm" / "min_free_kbytes").write_text("4096\n")

    snapshot = read_snapshot(folder)

    assert 4096 == snapshot.machine.min_free_kbytes
    assert 28056 == snapshot.uses["dentry"].active


def test_what_is_missing_is_done_without_and_told(folder: Path) -> None:
    """Only zoneinfo is needed: the sum of its watermarks is the reserve."""
    for name in ("proc_slabinfo", "proc_sys_vm", "sys_kernel_slab"):
        (folder / name).unlink()

    snapshot = read_snapshot(folder)

    assert (28 + 483) * 4 == snapshot.machine.min_free_kbytes
    assert [] == snapshot.caches.specs
    assert 2 == len(snapshot.notes)


def test_pages_between_zones_are_reserved(folder: Path) -> None:
    """A machine with memory above 4 GiB has a hole below them."""
    text = (folder / "proc_zoneinfo").read_text()
    normal = text.index("Node 0, zone   Normal")
    movable = text.index("Node 0, zone  Movable")
    (folder / "proc_zoneinfo").write_text(
        text[:normal]
        + "Node 0, zone   Normal\n  pages free     1000\n        min      10\n"
        + "        spanned  2048\n        managed  2000\n  start_pfn:           1048576\n"
        + text[movable:]
    )

    snapshot = read_snapshot(folder)

    assert ((1, 1048576 + 2048),) == snapshot.machine.nodes
    assert [3840, 64051, 2000] == [zone.managed for zone in snapshot.zones]
    assert (4096, 1048576 - 64051) == snapshot.machine.reserved[1]
    assert (1048576, 1048576 + 48) == snapshot.machine.reserved[2]


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("proc_zoneinfo", "Node", "Knot", "describes no zone with pages"),
        ("proc_zoneinfo", "spanned", "spun", r"line 1: zone DMA of node 0 has no spanned"),
        ("proc_zoneinfo", "start_pfn", "begin", r"line 1: zone DMA of node 0 has no start_pfn"),
        ("proc_zoneinfo", "zone    DMA32", "zone HighMem", r"line \d+: zone HighMem of node 0"),
        ("proc_zoneinfo", "managed  3840", "managed  5000", r"no more than the 4095"),
        ("proc_slabinfo", "slabinfo - version: 2.1", "hello", "begins with 'hello'"),
        ("proc_slabinfo", "dentry             28056", "dentry many", r"line \d+: 'dentry many"),
        ("proc_sys_vm", "min_free_kbytes", "min_free", "has no min_free_kbytes"),
    ],
)
def test_a_file_that_says_what_cannot_be_is_named(
    folder: Path, name: str, old: str, new: str, message: str
) -> None:
    """The file, the line where there is one, and what was expected."""
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))

    with pytest.raises(ProcError, match=rf"{name}.*{message}"):
        read_snapshot(folder)


def test_a_folder_without_zoneinfo_is_no_snapshot(tmp_path: Path) -> None:
    """It is the one file that cannot be missing."""
    with pytest.raises(ProcError, match="has no proc_zoneinfo or zoneinfo"):
        read_snapshot(tmp_path)


def test_a_machine_of_a_size_has_the_zones_of_x86() -> None:
    """DMA below 16 MiB, DMA32 below 4 GiB, Normal above; nothing is known of their use."""
    machine, zones = machine_of_size((1 << 20) + 512, 4, 0)

    assert (4, ((0, (1 << 20) + 512),)) == (machine.cpus, machine.nodes)
    assert [(0, 4096), (4096, 1 << 20), (1 << 20, (1 << 20) + 512)] == [
        (zone.first_pfn, zone.end_pfn) for zone in zones
    ]
    assert {None} == {zone.free for zone in zones}
