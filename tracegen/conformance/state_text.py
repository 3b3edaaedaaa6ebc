"""Zones and caches as a kernel engineer reads them: lists, arrays, slabs, watermarks.

Takes the digest states of the vectors, of 3.x and of 6.1, which say the same
things with a few different keys; what a state does not have is not shown. Pages
are pfns, objects ``slab:index``, and every list runs from head to tail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NotRequired, TypedDict, cast

from tracegen.conformance.difference import zone_label

MAX_SHOWN: Final = 20
"""Members of a list that are shown; the rest is counted."""

_GEOMETRY: Final = (
    *("size", "objs", "order", "limit", "batch", "shared", "off_slab", "mgmt_cache"),
    *("objfreelist", "min_partial", "cpu_partial", "alias_of"),
)
"""What a cache was created as, of either allocator."""

_TYPES_3: Final = ("unmovable", "reclaimable", "movable", "reserve")
_TYPES_6: Final = ("unmovable", "movable", "reclaimable", "highatomic")
_PCP_TYPES_6: Final = 3
_PCP_LISTS_6: Final = 12
"""Linux 6.1: orders 0 to 3 by three types."""


class PcpState(TypedDict):
    """A cpu's list of pages of one zone."""

    count: int
    lists: list[list[int]]
    free_factor: NotRequired[int]


class ZoneState(TypedDict):
    """A zone in a digest state."""

    nid: int
    zone: str
    free: int
    nr_free: list[int]
    free_lists: dict[str, list[int]]
    pcp: list[PcpState]
    block_types: str
    slab_pages: NotRequired[list[int]]
    boost: NotRequired[int]
    boosted_flag: NotRequired[int]
    highatomic: NotRequired[int]


class ZoneBoot(TypedDict):
    """A zone in the boot keys: what its watermarks are."""

    nid: int
    zone: str
    wmark: dict[str, int]
    lowmem_reserve: list[int]
    pcp_high: int
    pcp_batch: int


def zones(
    state: dict[str, object], boot: dict[str, object], wanted: Sequence[str]
) -> Iterator[str]:
    """Lines about the zones whose label is wanted; see :func:`difference.zone_label`."""
    booted = {
        zone_label(zone["nid"], zone["zone"]): zone
        for zone in cast(list[ZoneBoot], boot.get("zones", []))
    }
    for zone in cast(list[ZoneState], state["zones"]):
        label = zone_label(zone["nid"], zone["zone"])
        if label in wanted:
            yield from _zone(label, zone, booted.get(label))


def _zone(label: str, zone: ZoneState, boot: ZoneBoot | None) -> Iterator[str]:
    marks = ""
    if boot is not None:
        wmark = boot["wmark"]
        marks = f", min {wmark['min']} low {wmark['low']} high {wmark['high']}"
        marks += f", lowmem_reserve {boot['lowmem_reserve']}"
    yield f"{label}: free {zone['free']}{marks}"
    if "boost" in zone:
        yield (
            f"  boost {zone['boost']}, boosted_flag {zone.get('boosted_flag')},"
            f" highatomic {zone.get('highatomic')}"
        )
    counts = " ".join(f"{order}:{count}" for order, count in enumerate(zone["nr_free"]) if count)
    yield f"  nr_free by order  {counts or 'none'}"
    types = _TYPES_6 if "boost" in zone else _TYPES_3
    for (order, kind), pages in sorted(_by_order(zone["free_lists"]).items()):
        yield f"  free order {order:>2} {types[kind]:<11} {clip(pages)}"
    batch = f" (high {boot['pcp_high']}, batch {boot['pcp_batch']})" if boot is not None else ""
    for cpu, pcp in enumerate(zone["pcp"]):
        factor = f", free_factor {pcp['free_factor']}" if "free_factor" in pcp else ""
        yield f"  pcp cpu {cpu}: count {pcp['count']}{factor}{batch}"
        for index, pages in enumerate(pcp["lists"]):
            if pages:
                yield f"    {_pcp_list(index, len(pcp['lists'])):<20} {clip(pages)}"
    if "slab_pages" in zone:
        yield f"  slab pages reclaimable, unreclaimable: {zone['slab_pages']}"
    yield f"  block types {zone['block_types']}"


def _by_order(free_lists: dict[str, list[int]]) -> dict[tuple[int, int], list[int]]:
    """Free lists by (order, migratetype); a state's keys are ``order/migratetype``."""
    parts = {key: key.split("/") for key in free_lists}
    return {(int(parts[key][0]), int(parts[key][1])): free_lists[key] for key in free_lists}


def _pcp_list(index: int, lists: int) -> str:
    if lists != _PCP_LISTS_6:
        return _TYPES_3[index]
    return f"order {index // _PCP_TYPES_6} {_TYPES_6[index % _PCP_TYPES_6]}"


class SlabCpu(TypedDict):
    """A cpu's ``array_cache``."""

    avail: int
    touched: int
    entries: list[list[int]]
    tagged: NotRequired[int]


class SlabNode(TypedDict):
    """A node's three slab lists, its shared array and its alien arrays."""

    full: list[list[object]]
    partial: list[list[object]]
    free: list[list[object]]
    free_objects: int
    free_touched: int
    shared_touched: int
    shared: list[list[int]]
    alien: NotRequired[list[list[list[int]]]]


class SlubCpu(TypedDict):
    """A cpu's ``kmem_cache_cpu``."""

    slab: list[object] | None
    freelist: list[int]
    partial: list[list[object]]


class SlubNode(TypedDict):
    """A node's partial list."""

    nr_partial: int
    partial: list[list[object]]


def caches(
    state: dict[str, object], geometry: dict[str, dict[str, object]], wanted: Sequence[str]
) -> Iterator[str]:
    """Lines about the named caches."""
    present: set[str] = set()
    for cache in cast(list[dict[str, object]], state.get("caches", [])):
        name = str(cache["name"])
        if name not in wanted:
            continue
        present.add(name)
        yield f"cache {name}{_geometry(geometry.get(name, {}))}"
        cpus = cast(list[dict[str, object]], cache["cpus"])
        if cpus and "avail" in cpus[0]:
            yield from _slab_cpus(cast(list[SlabCpu], cpus))
            yield from _slab_nodes(cast(list[SlabNode], cache["nodes"]))
        else:
            yield from _slub_cpus(cast(list[SlubCpu], cpus))
            yield from _slub_nodes(cast(list[SlubNode], cache["nodes"]))
        stats = cast(dict[str, int], cache.get("stats", {}))
        counted = ", ".join(f"{key} {value}" for key, value in stats.items() if value)
        yield f"  stats: {counted or 'all 0'}"
    for name in wanted:
        if name not in present:
            yield f"cache {name}{_geometry(geometry.get(name, {}))}: not in the state"


def _geometry(answer: dict[str, object]) -> str:
    stated = [f"{key} {answer[key]}" for key in _GEOMETRY if answer.get(key) is not None]
    return f" ({', '.join(stated)})" if stated else ""


def _slab_cpus(cpus: list[SlabCpu]) -> Iterator[str]:
    for cpu, array in enumerate(cpus):
        tagged = f", tagged {array['tagged']}" if "tagged" in array else ""
        yield (
            f"  cpu {cpu}: avail {array['avail']}{tagged}, touched {array['touched']}"
            f"  {objects(array['entries'])}"
        )


def _slab_nodes(nodes: list[SlabNode]) -> Iterator[str]:
    for nid, node in enumerate(nodes):
        yield (
            f"  node {nid}: free_objects {node['free_objects']},"
            f" free_touched {node['free_touched']}, shared_touched {node['shared_touched']}"
        )
        for kind, slabs in (
            ("full", node["full"]),
            ("partial", node["partial"]),
            ("free", node["free"]),
        ):
            for number, slab in enumerate(slabs):
                if number == MAX_SHOWN:
                    yield f"    {kind:<8} … {len(slabs) - number} more"
                    break
                yield f"    {kind:<8} {_slab(slab)}"
        if node["shared"]:
            yield f"    shared   {objects(node['shared'])}"
        for other, entries in enumerate(node.get("alien", [])):
            if entries:
                yield f"    alien {other}  {objects(entries)}"


def _slab(slab: list[object]) -> str:
    text = f"{slab[0]}  inuse {slab[1]}"
    if slab[2]:
        text += f"  pfmemalloc {slab[2]:#b}" if isinstance(slab[2], int) else ""
    if len(slab) > len(("slab", "inuse", "mask")):
        text += f"  free {clip(cast(list[int], slab[3]))}"
    return text


def _slub_cpus(cpus: list[SlubCpu]) -> Iterator[str]:
    for cpu, current in enumerate(cpus):
        if current["slab"] is None:
            yield f"  cpu {cpu}: no slab"
        else:
            yield f"  cpu {cpu}: {_page(current['slab'])}"
            yield f"    freelist {clip(current['freelist'])}"
        for page in current["partial"]:
            yield f"    partial  {_page(page)}"


def _slub_nodes(nodes: list[SlubNode]) -> Iterator[str]:
    for nid, node in enumerate(nodes):
        yield f"  node {nid}: nr_partial {node['nr_partial']}"
        for number, page in enumerate(node["partial"]):
            if number == MAX_SHOWN:
                yield f"    partial  … {len(node['partial']) - number} more"
                break
            yield f"    partial  {_page(page)}"


def _page(page: list[object]) -> str:
    slab, inuse, total, frozen, flag, chain = page
    text = f"{slab}  inuse {inuse}/{total}"
    text += "  frozen" if frozen else ""
    text += "  pfmemalloc" if flag else ""
    return f"{text}  free {clip(cast(list[int], chain))}"


def clip(members: Sequence[object]) -> str:
    """The first members of a list, and how many more there are."""
    if not members:
        return "none"
    shown = " ".join(str(member) for member in members[:MAX_SHOWN])
    rest = len(members) - MAX_SHOWN
    return f"{shown} … {rest} more" if rest > 0 else shown


def objects(entries: Sequence[Sequence[int]]) -> str:
    """Array entries as ``slab:index``, with a ``*`` where the pfmemalloc tag is set."""
    return clip([f"{entry[0]}:{entry[1]}{'*' if any(entry[2:]) else ''}" for entry in entries])
