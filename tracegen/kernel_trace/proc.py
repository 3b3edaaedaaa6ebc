"""The machine a trace was taken on, from its /proc and /sys files.

``zoneinfo`` gives zones, pages and cpus, ``slabinfo`` the caches and what is in them,
``sys_kernel_slab`` (one line a cache, see docs/IMPORT.md, or a copy of /sys/kernel/slab) their
alignment, ``min_free_kbytes`` the reserve and ``version`` the kernel. A folder may hold copies
under the names ``proc_zoneinfo``, ``proc_slabinfo``, ``proc_sys_vm``, or be /proc itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from allocator.config import ConfigError, MachineConfig
from allocator.object_allocator import SLAB_RECLAIM_ACCOUNT
from tracegen.errors import PfmemdError, shown
from tracegen.kernel_trace.cache_names import GENERAL_PREFIXES, CacheTable
from tracegen.kernel_trace.older import ZoneUse

ZONE_INDEX: Final = {"DMA": 0, "DMA32": 1, "Normal": 2}
"""Zones of the model; Movable and Device are left out when they are empty."""

MAX_FILE_BYTES: Final = 16 << 20
_PIECE: Final = 64 << 10

_DMA_END: Final = 1 << 12
_DMA32_END: Final = 1 << 20
_PAGES_PER_KBYTE_SHIFT: Final = 2
"""4 KiB pages."""

_ZONE: Final = re.compile(r"Node (\d+), zone +(\w+)")
_CPU: Final = re.compile(r"\s+cpu: (\d+)")
_PCP: Final = re.compile(r"\s+count: +(\d+)")
_COUNT: Final = re.compile(
    r"\s+(?:pages )?(free|boost|min|spanned|managed|present|start_pfn):?\s+(\d+)$"
)
_SLABINFO: Final = re.compile(
    r"(\S.*?) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)"
    r" : tunables +(\d+)(?:.* : slabdata +\d+ +(\d+))?"
)
_MIN_FREE: Final = re.compile(r"(?:min_free_kbytes[:=]\s*)?(\d+)$")
_SYS_CACHE: Final = re.compile(r"cache: (\S.*?) (\w+=.*)")
_SYS_ALIAS: Final = re.compile(r"alias: (\S.*) -> (\S+)")
_FIELD: Final = re.compile(r"(\w+)=(\d+)")
_VERSION: Final = re.compile(r"(?:Linux )?(?:version |\S+ )?(\d+)\.(\d+)")
_PROC: Final = Path("/proc")
_SYS_SLAB: Final = Path("/sys/kernel/slab")
_SYS_FIELDS: Final = ("object_size", "align", "reclaim_account", "cpu_partial")
_CPU_PARTIAL: Final = ((4096, 6), (1024, 24), (256, 52), (0, 120))
"""``set_cpu_partial`` of 6.1's ``mm/slub.c``: from which size on how many."""


@dataclass(frozen=True, slots=True)
class _Geometry:
    """What sysfs says of a cache; 0 where it does not."""

    align: int = 0
    flags: int = 0
    object_size: int = 0
    cpu_partial: int = 0


class ProcError(PfmemdError):
    """A /proc file that is missing or says what cannot be."""


@dataclass(slots=True)
class _Zone:
    """One zone of zoneinfo while it is being read."""

    node: int
    name: str
    line: int
    counts: dict[str, int] = field(default_factory=dict)
    pcp: int = 0
    """Pages on the per-cpu lists."""


@dataclass(frozen=True, slots=True)
class CacheUse:
    """What is in one cache: objects handed out, slots for objects, slabs and their size."""

    size: int
    active: int
    slots: int
    slabs: int
    per_slab: int
    pages_per_slab: int
    cpu_partial: int
    """Free slots that a cpu may hold back in partial slabs (SLUB)."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the files say of a machine at one moment."""

    machine: MachineConfig
    zones: tuple[ZoneUse, ...]
    caches: CacheTable
    uses: Mapping[str, CacheUse]
    """What is in each cache, the general ones left out."""
    general: Mapping[int, CacheUse]
    """What is in the general caches, by size of their objects; those of one size as one."""
    of_slab: bool
    """The kernel was built with SLAB, not SLUB."""
    kernel: tuple[int, int]
    """(major, minor), (0, 0) if nothing says so."""
    notes: tuple[str, ...] = ()

    def orders(self) -> dict[int, set[int]]:
        """The orders of slabs with objects of a size."""
        found: dict[int, set[int]] = {}
        for use in (*self.uses.values(), *self.general.values()):
            found.setdefault(use.size, set()).add(use.pages_per_slab.bit_length() - 1)
        return found


def read_snapshot(folder: Path) -> Snapshot:
    """Read the files of a folder.

    Raises :class:`ProcError` naming the file, and the line where there is one.
    """
    zoneinfo = _find(folder, "proc_zoneinfo", "zoneinfo")
    if zoneinfo is None:
        raise ProcError(f"{folder} has no proc_zoneinfo or zoneinfo, expected one of them")
    zones, cpus = _read_zones(zoneinfo)
    notes: list[str] = []
    min_free = _read_min_free(folder)
    if min_free is None:
        mins = sum(zone.counts["min"] - zone.counts.get("boost", 0) for zone in zones)
        min_free = mins << _PAGES_PER_KBYTE_SHIFT
        notes.append(f"{folder} does not say min_free_kbytes: taken from zoneinfo's min")
    machine, uses = _machine(zoneinfo, zones, cpus, min_free)
    nodes = len(machine.nodes)
    if nodes > 1:
        notes.append(f"zoneinfo does not say which cpu is on which of {nodes} nodes: dealt evenly")
    caches = CacheTable()
    cache_uses: dict[str, CacheUse] = {}
    general: dict[int, CacheUse] = {}
    of_slab = False
    slabinfo = _find(folder, "proc_slabinfo", "slabinfo")
    if slabinfo is None:
        notes.append(f"{folder} has no slabinfo: caches are those that the trace names")
    else:
        of_slab = _read_caches(slabinfo, _read_geometry(folder), caches, cache_uses, general)
    return Snapshot(
        machine, uses, caches, cache_uses, general, of_slab, _read_version(folder), tuple(notes)
    )


def _find(folder: Path, *names: str) -> Path | None:
    for name in names:
        path = folder / name
        if path.is_file():
            return path
    return None


def _lines(path: Path) -> list[str]:
    data = b""
    try:
        with path.open("rb") as file:
            # In pieces: a file of /proc/sys allocates as much as it is asked for.
            while len(data) <= MAX_FILE_BYTES and (piece := file.read(_PIECE)):
                data += piece
    except OSError as error:
        raise ProcError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ProcError(f"{path} has more than {MAX_FILE_BYTES} bytes, expected a /proc file")
    return data.decode("utf-8", "replace").splitlines()


def _read_zones(path: Path) -> tuple[list[_Zone], int]:
    zones: list[_Zone] = []
    cpus: set[int] = set()
    for number, line in enumerate(_lines(path), start=1):
        if match := _ZONE.match(line):
            zones.append(_Zone(int(match[1]), match[2], number))
        elif match := _CPU.match(line):
            cpus.add(int(match[1]))
        elif zones and (match := _PCP.match(line)):
            zones[-1].pcp += int(match[1])
        elif zones and (match := _COUNT.match(line)):
            zones[-1].counts.setdefault(match[1], int(match[2]))
    used = [zone for zone in zones if _holds_pages(path, zone)]
    if not used:
        raise ProcError(f"{path} describes no zone with pages, expected /proc/zoneinfo")
    return used, max(cpus, default=0) + 1


def _holds_pages(path: Path, zone: _Zone) -> bool:
    """Check a zone of zoneinfo; tell whether there is anything in it."""
    where = f"{path}, line {zone.line}: zone {zone.name} of node {zone.node}"
    for wanted in ("free", "min", "spanned"):
        if wanted not in zone.counts:
            raise ProcError(f"{where} has no {wanted}, expected the format of /proc/zoneinfo")
    # Before Linux 3.8 zoneinfo had no managed.
    if zone.counts.setdefault("managed", zone.counts.get("present", 0)) == 0:
        return False
    if zone.name not in ZONE_INDEX:
        raise ProcError(f"{where} holds pages, expected only {', '.join(ZONE_INDEX)} to")
    if "start_pfn" not in zone.counts:
        raise ProcError(f"{where} has no start_pfn, expected the format of /proc/zoneinfo")
    return True


def _read_min_free(folder: Path) -> int | None:
    path = _find(folder, "proc_sys_vm", "min_free_kbytes", "sys/vm/min_free_kbytes")
    if path is None:
        return None
    for line in _lines(path):
        if match := _MIN_FREE.match(line.strip()):
            return int(match[1])
    raise ProcError(f"{path} has no min_free_kbytes, expected a number of kilobytes")


def _machine(
    path: Path, zones: list[_Zone], cpus: int, min_free: int
) -> tuple[MachineConfig, tuple[ZoneUse, ...]]:
    """Zones as the model cuts them, with the pages that the allocator never owned reserved."""
    ids = sorted({zone.node for zone in zones})
    ranges = []
    for node in ids:
        own = [zone.counts for zone in zones if zone.node == node]
        ranges.append(
            (min(z["start_pfn"] for z in own), max(z["start_pfn"] + z["spanned"] for z in own))
        )
    end = max(last for _, last in ranges)
    ends = (_DMA_END, _DMA32_END, max(end, _DMA32_END))
    reserved: list[tuple[int, int]] = []
    uses: list[ZoneUse] = []
    for zone in zones:
        counts = zone.counts
        index = ZONE_INDEX[zone.name]
        node = ids.index(zone.node)
        low = max(ranges[node][0], ends[index - 1] if index else 0)
        high = min(ranges[node][1], ends[index])
        kept = high - low - counts["managed"]
        if high <= low or kept < 0:
            raise ProcError(
                f"{path}, line {zone.line}: zone {zone.name} of node {zone.node} has"
                f" {counts['managed']} managed pages from pfn {counts['start_pfn']}, expected no"
                f" more than the {max(high - low, 0)} that x86-64 has room for there"
            )
        if kept:
            # Which pages these are is not known; the kernel's image and its early tables,
            # which they mostly are, lie low.
            reserved.append((low, low + kept))
        uses.append(ZoneUse(node, index, low, high, counts["managed"], counts["free"], zone.pcp))
    try:
        machine = MachineConfig(
            cpus=cpus,
            cpu_node=tuple(cpu * len(ids) // cpus for cpu in range(cpus)),
            nodes=tuple(ranges),
            zone_end_pfn=ends,
            min_free_kbytes=min_free,
            reserved=tuple(reserved),
        )
    except ConfigError as error:
        raise ProcError(f"{path}: {error}") from error
    return machine, tuple(uses)


def _read_version(folder: Path) -> tuple[int, int]:
    """(major, minor) of the kernel, from /proc/version or what ``uname -a`` printed."""
    path = _find(folder, "proc_version", "version", "uname")
    for line in _lines(path) if path is not None else ():
        if match := _VERSION.search(line):
            return int(match[1]), int(match[2])
    return 0, 0


def _read_geometry(folder: Path) -> dict[str, _Geometry]:
    """Alignment, SLAB_* flags and the object's own size by name, aliases resolved."""
    path = _find(folder, "sys_kernel_slab")
    if path is not None:
        return _read_listed_geometry(path)
    for place in (folder / "sys_kernel_slab", folder / "sys" / "kernel" / "slab"):
        if place.is_dir():
            return _read_sysfs_geometry(place)
    if folder.resolve() == _PROC and _SYS_SLAB.is_dir():
        return _read_sysfs_geometry(_SYS_SLAB)
    return {}


def _read_listed_geometry(path: Path) -> dict[str, _Geometry]:
    found: dict[str, _Geometry] = {}
    aliases: list[tuple[str, str]] = []
    for line in _lines(path):
        if match := _SYS_CACHE.match(line):
            fields = {key: int(value) for key, value in _FIELD.findall(match[2])}
            # create_unique_id: the letter before the dash says what may not be merged.
            kind = match[1][1:].partition("-")[0] if match[1].startswith(":") else ""
            flags = SLAB_RECLAIM_ACCOUNT if "a" in kind else 0
            found[match[1]] = _geometry(fields, flags)
        elif match := _SYS_ALIAS.match(line):
            aliases.append((match[1], match[2]))
    for name, target in aliases:
        if target in found:
            found[name] = found[target]
    return found


def _geometry(fields: Mapping[str, int], flags: int) -> _Geometry:
    return _Geometry(
        fields.get("align", 0), flags, fields.get("object_size", 0), fields.get("cpu_partial", 0)
    )


def _read_sysfs_geometry(folder: Path) -> dict[str, _Geometry]:
    """The same from /sys/kernel/slab, where an alias is a link."""
    found: dict[str, _Geometry] = {}
    for cache in sorted(folder.iterdir()):
        values = {}
        for name in _SYS_FIELDS:
            try:
                values[name] = int((cache / name).read_text().split()[0])
            except (OSError, ValueError, IndexError):
                continue
        flags = SLAB_RECLAIM_ACCOUNT if values.get("reclaim_account") else 0
        found[cache.name] = _geometry(values, flags)
    return found


def _read_caches(
    path: Path,
    geometry: Mapping[str, _Geometry],
    caches: CacheTable,
    uses: dict[str, CacheUse],
    general: dict[int, CacheUse],
) -> bool:
    """Read slabinfo; tell whether it is SLAB's, whose caches have tunables."""
    lines = _lines(path)
    if not lines or not lines[0].startswith("slabinfo"):
        raise ProcError(
            f"{path} begins with {shown(lines[0] if lines else '')}, expected /proc/slabinfo"
        )
    of_slab = False
    for number, line in enumerate(lines[1:], start=2):
        if line.startswith("#"):
            continue
        match = _SLABINFO.match(line)
        if match is None:
            raise ProcError(
                f"{path}, line {number}: {shown(line)}, expected"
                " NAME ACTIVE OBJECTS SIZE PER_SLAB PAGES : tunables ..."
            )
        name = match[1]
        active, slots, size, per_slab, pages, tunable = (int(match[n]) for n in range(2, 8))
        of_slab = of_slab or tunable > 0
        shape = geometry.get(name, _Geometry())
        partial = shape.cpu_partial or next(n for least, n in _CPU_PARTIAL if size >= least)
        use = CacheUse(size, active, slots, int(match[8] or 0), per_slab, pages, partial)
        if name.startswith(GENERAL_PREFIXES):
            general[size] = _together(general.get(size), use)
            continue
        try:
            caches.add(name, size, shape.align, shape.flags, shape.object_size)
        except ConfigError as error:
            raise ProcError(f"{path}, line {number}: {error}") from error
        uses[name] = use
    return of_slab


def _together(one: CacheUse | None, other: CacheUse) -> CacheUse:
    if one is None:
        return other
    return CacheUse(
        other.size,
        one.active + other.active,
        one.slots + other.slots,
        one.slabs + other.slabs,
        max(one.per_slab, other.per_slab),
        max(one.pages_per_slab, other.pages_per_slab),
        max(one.cpu_partial, other.cpu_partial),
    )


def machine_of_size(
    pages: int, cpus: int, min_free_kbytes: int
) -> tuple[MachineConfig, tuple[ZoneUse, ...]]:
    """A machine of one node with so many 4 KiB pages, nothing known of their use."""
    ends = (_DMA_END, _DMA32_END, max(pages, _DMA32_END))
    machine = MachineConfig(
        cpus=cpus,
        cpu_node=(0,) * cpus,
        nodes=((0, pages),),
        zone_end_pfn=ends,
        min_free_kbytes=min_free_kbytes,
    )
    return machine, tuple(_zones_of(pages, ends))


def _zones_of(pages: int, ends: Iterable[int]) -> Iterable[ZoneUse]:
    low = 0
    for index, end in enumerate(ends):
        high = min(pages, end)
        if low < high:
            yield ZoneUse(0, index, low, high, high - low, None)
        low = high
