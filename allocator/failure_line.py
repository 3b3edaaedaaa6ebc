"""A kernel's line about a failed allocation: what it says, and what follows from it.

``warn_alloc_failed`` and ``warn_alloc`` (``mm/page_alloc.c``), ``slab_out_of_memory``
(``mm/slub.c``, ``mm/slab.c``) and ``dump_header`` (``mm/oom_kill.c``), as Linux 2.6 to 6.x
print them::

    swapper: page allocation failure: order:0, mode:0x20
    ksoftirqd/0: page allocation failure: order:0, mode:0xa20(GFP_ATOMIC), nodemask=(null),...
    SLUB: Unable to allocate memory on node -1, gfp=0xa20(GFP_ATOMIC)
    kworker/0:1 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0

A line says the mask, not the task: whether PF_MEMALLOC was set can only be guessed. With the
``Mem-Info`` that follows it in the log (:class:`ZoneLine`), the watermark test is done again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from allocator.gfp import COMPOSITES, FLAVOURS, decode

KERNELS: Final = ("v3.3", "v3.6", "v4.4", "v6.1")
"""Whose numbers and rules: 3.3 stands for 2.6.32 to 3.5, 3.6 for 3.6 to 4.3, 4.4 for the
numbers of 4.4 and 4.5 (later lines spell the mask), 6.1 for the rules from 4.4 on."""

_V4_4: Final[dict[str, int]] = {
    "__GFP_DMA": 0x01,
    "__GFP_HIGHMEM": 0x02,
    "__GFP_DMA32": 0x04,
    "__GFP_MOVABLE": 0x08,
    "__GFP_RECLAIMABLE": 0x10,
    "__GFP_HIGH": 0x20,
    "__GFP_IO": 0x40,
    "__GFP_FS": 0x80,
    "__GFP_COLD": 0x100,
    "__GFP_NOWARN": 0x200,
    "__GFP_REPEAT": 0x400,
    "__GFP_NOFAIL": 0x800,
    "__GFP_NORETRY": 0x1000,
    "__GFP_MEMALLOC": 0x2000,
    "__GFP_COMP": 0x4000,
    "__GFP_ZERO": 0x8000,
    "__GFP_NOMEMALLOC": 0x10000,
    "__GFP_HARDWALL": 0x20000,
    "__GFP_THISNODE": 0x40000,
    "__GFP_ATOMIC": 0x80000,
    "__GFP_NOACCOUNT": 0x100000,
    "__GFP_NOTRACK": 0x200000,
    "__GFP_DIRECT_RECLAIM": 0x400000,
    "__GFP_OTHER_NODE": 0x800000,
    "__GFP_WRITE": 0x1000000,
    "__GFP_KSWAPD_RECLAIM": 0x2000000,
}
_KSWAPD_RECLAIM_4_4: Final = 0x2000000
_NOT_IN_3_3: Final = 0x2000
"""``__GFP_MEMALLOC`` of 3.6."""

_SPELLED: Final[dict[str, tuple[str, ...]]] = {
    **COMPOSITES["v6.1"],
    "GFP_TEMPORARY": (*COMPOSITES["v6.1"]["GFP_KERNEL"], "__GFP_RECLAIMABLE"),
    "GFP_DMA": ("__GFP_DMA",),
    "GFP_DMA32": ("__GFP_DMA32",),
    "__GFP_RECLAIM": ("__GFP_DIRECT_RECLAIM", "__GFP_KSWAPD_RECLAIM"),
}
"""What kernels that spell masks (from 4.6 on) call several flags at once."""

PAGE: Final = "page"
STALL: Final = "stall"
SLUB: Final = "slub"
SLAB: Final = "slab"
OOM: Final = "oom"

_MASK: Final = r"(?P<mode>0x[0-9a-fA-F]+)(?:\((?P<names>[^)]*)\))?"
_ORDER: Final = r"(?P<order>-?\d+)"
_FORMS: Final[tuple[tuple[str, str], ...]] = (
    (PAGE, rf"(?P<comm>.*): page allocation failure[:.] order:{_ORDER}, mode:{_MASK}"),
    (
        STALL,
        rf"(?P<comm>.*): page allocation stalls for (?P<ms>\d+)ms, order:{_ORDER}, mode:{_MASK}",
    ),
    (SLUB, rf"SLUB: Unable to allocate memory on node (?P<node>-?\d+),? \(?gfp={_MASK}"),
    (SLAB, rf"SLAB: Unable to allocate memory on node (?P<node>-?\d+),? \(?gfp={_MASK}"),
    (
        OOM,
        rf"(?P<comm>.*) invoked oom-killer: gfp_mask={_MASK},(?: nodemask=\S*,)? order={_ORDER}",
    ),
)
_PREFIX: Final = r"^(?:<\d+>)?\s*(?:\S.*? kernel: )?(?:\[\s*\d+\.\d+\])?(?:\[\s*[TC]\d+\])?\s*"

_ZONE: Final = (
    r"(?:Node (?P<nid>\d+) )?(?P<zone>DMA32|DMA|Normal|HighMem|Movable) free:(?P<free>\d+)kB"
    r"(?: boost:(?P<boost>\d+)kB)? min:(?P<min>\d+)kB low:(?P<low>\d+)kB high:(?P<high>\d+)kB"
    r"(?: reserved_highatomic:(?P<highatomic>\d+)KB)?"
)
_CACHE: Final = r"  cache: (?P<cache>.*?), object size: \d+,.* order: (?P<order>\d+)\s*$"
_LOWMEM: Final = r"lowmem_reserve\[\]:(?P<pages>(?: \d+)+)"
_BLOCKS: Final = (
    r"(?:Node (?P<nid>\d+) )?(?P<zone>DMA32|DMA|Normal|HighMem|Movable):(?P<blocks>(?: \d+\*\d+kB"
    r"(?: \([A-Z]+\))?)+)"
)
_BLOCK: Final = r"(\d+)\*(\d+)kB"
_PAGE_KB: Final = 4


class FailureLine:
    """What one line says."""

    __slots__ = (
        "cache",
        "comm",
        "flags",
        "form",
        "kernel",
        "milliseconds",
        "mode",
        "node",
        "order",
        "spelled",
        "unknown",
    )

    def __init__(self, form: str, mode: int, spelled: str, kernel: str) -> None:
        """``spelled`` is the mask as the line spells it, or empty."""
        self.form: str = form
        """PAGE, STALL, SLUB, SLAB or OOM."""
        self.comm: str = ""
        self.cache: str = ""
        """The cache that wanted a slab, if the next line of the log is there."""
        self.order: int = 0
        self.node: int = -1
        self.milliseconds: int = 0
        self.mode: int = mode
        self.spelled: str = spelled
        self.kernel: str = kernel
        self.flags: list[str] = []
        """``__GFP_…`` names."""
        self.unknown: list[str] = []
        """Names and bits that nobody knows here."""

    def has(self, *names: str) -> bool:
        """Whether any of the flags is set."""
        return any(name in self.flags for name in names)

    @property
    def can_sleep(self) -> bool:
        """Whether the caller may wait for reclaim."""
        return self.has("__GFP_WAIT", "__GFP_DIRECT_RECLAIM")

    @property
    def old_rules(self) -> bool:
        """Whether ``__GFP_WAIT`` is one flag yet, and discounts are those of 3.x."""
        return self.kernel in {"v3.3", "v3.6"}

    @property
    def reserve_by_mask(self) -> bool:
        """Whether the mask alone opens the whole reserve."""
        return self.has("__GFP_MEMALLOC") and not self.has("__GFP_NOMEMALLOC")

    @property
    def non_block(self) -> bool:
        """ALLOC_HARDER of 3.x, ALLOC_NON_BLOCK of 6.1: cannot sleep, and may try harder."""
        return not self.can_sleep and not self.has("__GFP_NOMEMALLOC")

    @property
    def harder(self) -> bool:
        """Whether that counts for a discount; from 4.4 on only together with ``__GFP_HIGH``."""
        return self.non_block and (self.old_rules or self.has("__GFP_HIGH"))

    def needed_of(self, mark: int) -> int:
        """What is left of a min watermark for this mask; free pages must exceed it."""
        if self.has("__GFP_HIGH"):
            mark -= mark // 2
        if self.harder:
            mark -= mark // 4
        return mark

    def zone_type(self) -> str:
        """The highest zone that the mask allows (``gfp_zone``)."""
        if self.has("__GFP_DMA"):
            return "DMA"
        if self.has("__GFP_DMA32"):
            return "DMA32"
        if self.has("__GFP_HIGHMEM"):
            return "Movable" if self.has("__GFP_MOVABLE") else "HighMem"
        return "Normal"


class ZoneLine:
    """A zone as ``show_free_areas`` prints it. Pages of 4 KiB."""

    __slots__ = (
        "blocks",
        "boost_pages",
        "free_pages",
        "highatomic_pages",
        "lowmem_reserve",
        "min_pages",
        "node",
        "zone",
    )

    def __init__(self, node: int, zone: str, free_pages: int, min_pages: int) -> None:
        """``min_pages`` is printed with the boost on top, where there is one."""
        self.node: int = node
        self.zone: str = zone
        self.free_pages: int = free_pages
        self.min_pages: int = min_pages
        self.boost_pages: int = 0
        self.highatomic_pages: int = 0
        self.lowmem_reserve: list[int] = []
        self.blocks: list[int] = []
        """Free blocks by order; empty if the log does not say."""


def parse_line(text: str, kernel: str | None = None) -> FailureLine | None:
    """What a line of the log says; None for a line about something else."""
    for form, pattern in _FORMS:
        found = re.search(_PREFIX + pattern, text)
        if found is None:
            continue
        groups = found.groupdict()
        mode = int(groups["mode"], 16)
        spelled = groups["names"] or ""
        line = FailureLine(form, mode, spelled, kernel or _guess(mode, spelled))
        line.comm = groups.get("comm") or ""
        line.order = int(groups.get("order") or 0)
        line.node = int(groups.get("node") or -1)
        line.milliseconds = int(groups.get("ms") or 0)
        _read_mask(line)
        return line
    return None


def _guess(mode: int, spelled: str) -> str:
    """Whose numbers: from 4.6 on masks are spelled, 4.4 moved kswapd's wakeup into them."""
    if spelled:
        return "v6.1"
    if mode & _KSWAPD_RECLAIM_4_4:
        return "v4.4"
    return "v3.6" if mode & _NOT_IN_3_3 else "v3.3"


def _read_mask(line: FailureLine) -> None:
    if line.spelled:
        for word in line.spelled.split("|"):
            name = word.strip()
            if name in _SPELLED:
                line.flags += _SPELLED[name]
            elif name in FLAVOURS["v6.1"] or name in _V4_4:
                line.flags.append(name)
            elif name not in {"none", "0"}:
                line.unknown.append(name)
        return
    bits = _V4_4 if line.kernel == "v4.4" else FLAVOURS[line.kernel]
    rest = line.mode
    for name, bit in bits.items():
        if rest & bit:
            line.flags.append(name)
            rest &= ~bit
    if rest:
        line.unknown.append(hex(rest))


def read_cache(line: FailureLine, following: str) -> None:
    """Take the cache and its smallest order from the line behind one of SLUB's or SLAB's."""
    found = re.search(_CACHE, following)
    if found is not None and line.form in {SLUB, SLAB}:
        line.cache = found.group("cache")
        line.order = int(found.group("order"))


def mask_text(line: FailureLine) -> str:
    """The mask spelled, as the line does or as that kernel would have."""
    if line.spelled:
        return line.spelled
    if line.kernel == "v4.4":
        return "|".join([*line.flags, *line.unknown]) or "0"
    return decode(line.mode, line.kernel)


def parse_zones(lines: Sequence[str]) -> list[ZoneLine]:
    """The zones of a ``Mem-Info`` among these lines, up to the next failure line."""
    zones: list[ZoneLine] = []
    for text in lines:
        found = re.search(_ZONE, text)
        if found is not None:
            zones.append(_zone(found.groupdict()))
            continue
        found = re.search(_LOWMEM, text)
        if found is not None and zones:
            zones[-1].lowmem_reserve = [int(word) for word in found.group("pages").split()]
            continue
        found = re.search(_BLOCKS, text)
        if found is not None:
            groups = found.groupdict()
            for zone in zones:
                if (zone.node, zone.zone) == (int(groups["nid"] or 0), groups["zone"]):
                    zone.blocks = [
                        int(count) for count, _ in re.findall(_BLOCK, str(groups["blocks"]))
                    ]
    return zones


def _zone(groups: dict[str, str | None]) -> ZoneLine:
    zone = ZoneLine(
        int(groups["nid"] or 0),
        str(groups["zone"]),
        int(groups["free"] or 0) // _PAGE_KB,
        int(groups["min"] or 0) // _PAGE_KB,
    )
    zone.boost_pages = int(groups["boost"] or 0) // _PAGE_KB
    zone.highatomic_pages = int(groups["highatomic"] or 0) // _PAGE_KB
    return zone


class ZoneTest:
    """``zone_watermark_ok`` of a zone line for a failure line, at min."""

    __slots__ = ("allowed", "fits", "free_pages", "needed_pages", "reserve_pages", "zone")

    def __init__(self, line: FailureLine, zone: ZoneLine, top: int, index: int) -> None:
        """Places of zone types in order: the highest one that it may use, and this zone's."""
        self.zone: ZoneLine = zone
        self.allowed: bool = index <= top
        mark = zone.min_pages
        if zone.boost_pages and line.order == 0 and line.has("__GFP_ATOMIC"):
            mark -= zone.boost_pages  # zone_watermark_fast looks again without the boost
        self.needed_pages: int = line.needed_of(mark)
        self.reserve_pages: int = zone.lowmem_reserve[top] if top < len(zone.lowmem_reserve) else 0
        self.free_pages: int = zone.free_pages - (1 << line.order) + 1
        if not line.has("__GFP_HIGH") and not line.non_block:
            self.free_pages -= zone.highatomic_pages
        self.fits: bool = not zone.blocks or any(zone.blocks[line.order :])
        """Whether a free block is large enough, as far as the log says."""

    @property
    def enough(self) -> bool:
        """Whether the pages alone would have been enough."""
        return self.free_pages > self.needed_pages + self.reserve_pages


_X86_64: Final = ("DMA", "DMA32", "Normal", "Movable", "Device")
_X86_32: Final = ("DMA", "Normal", "HighMem", "Movable")
_HIGHMEM: Final = ("Normal", "HighMem", "Movable")
_FLAT: Final = ("Normal", "Movable")
_WITH_DMA: Final = ("DMA", "Normal", "Movable")


def zone_tests(line: FailureLine, zones: Sequence[ZoneLine]) -> list[ZoneTest]:
    """Do the watermark test of a failure line again on the zones that the log shows."""
    names = _zone_names(zones)
    seen = {zone.zone for zone in zones}
    top = len(names) - 1
    while top > 0 and not _may_use(line, names[top], seen):
        top -= 1
    return [ZoneTest(line, zone, top, names.index(zone.zone)) for zone in zones]


def _may_use(line: FailureLine, name: str, seen: set[str]) -> bool:
    """Whether a zone type is the highest for this mask (``gfp_zone``) in this machine."""
    if _RANK[name] > _RANK[line.zone_type()]:
        return False
    # 3.x goes by the first zone that has memory, later kernels by the type alone.
    return name in seen or not line.old_rules


_RANK: Final = {"DMA": 0, "DMA32": 1, "Normal": 2, "HighMem": 3, "Movable": 4, "Device": 5}


def _zone_names(zones: Sequence[ZoneLine]) -> Sequence[str]:
    """The machine's zone types: how many ``lowmem_reserve`` has, and which zones are seen."""
    count = max((len(zone.lowmem_reserve) for zone in zones), default=0)
    seen = {zone.zone for zone in zones}
    if "HighMem" in seen:
        return _X86_32 if count == len(_X86_32) or "DMA" in seen else _HIGHMEM
    if count == len(_FLAT):
        return _FLAT
    if count == len(_WITH_DMA) and "DMA32" not in seen:
        return _WITH_DMA
    return _X86_64


def verdict(line: FailureLine) -> list[tuple[str, str]]:
    """What follows from a line, for an operator: (topic, sentence)."""
    return [
        ("asked", _asked(line)),
        ("zones", _zones(line)),
        ("waiting", _waiting(line)),
        ("watermark", _watermark(line)),
        ("reserve", _reserve(line)),
        ("so", _so(line)),
    ]


def _asked(line: FailureLine) -> str:
    if line.form in {SLUB, SLAB}:
        node = "any node" if line.node < 0 else f"node {line.node}"
        cache = line.cache or "the cache named in the next line"
        return f"a slab of order {line.order} or more for {cache}, from {node}"
    pages = 1 << max(line.order, 0)
    size = f"{pages * _PAGE_KB} KiB"
    what = "one page" if pages == 1 else f"a block of {pages} contiguous pages"
    return f"{what} ({size}, order {line.order})"


def _zones(line: FailureLine) -> str:
    if line.has("__GFP_DMA"):
        where = "zone DMA only"
    elif line.has("__GFP_DMA32"):
        where = "zones DMA32 and DMA"
    elif line.has("__GFP_HIGHMEM"):
        where = "any zone"
    else:
        where = "Normal and the zones below it"
    if line.has("__GFP_THISNODE"):
        return f"{where}, of one node"
    return f"{where}; a lower zone must also leave its lowmem reserve"


def _waiting(line: FailureLine) -> str:
    if not line.can_sleep:
        return "may not sleep, so it could neither reclaim nor wait: it takes what is free or fails"
    if line.has("__GFP_NORETRY"):
        return "may sleep, but gives up after one round of reclaim (__GFP_NORETRY)"
    if line.has("__GFP_RETRY_MAYFAIL", "__GFP_REPEAT"):
        return "may sleep; it tries hard and may fail when reclaim gets nowhere"
    if line.order > _COSTLY_ORDER:
        return "may sleep; for more than 8 pages the kernel gives up when reclaim gets nowhere"
    if line.form == OOM:
        return "may sleep: it reclaimed in vain until the OOM killer was called"
    return (
        "may sleep: for so few pages the kernel reclaims and retries, so whoever fails was"
        " reclaiming itself (PF_MEMALLOC), was an OOM victim, or was refused by a cgroup"
    )


_COSTLY_ORDER: Final = 3


def _watermark(line: FailureLine) -> str:
    reasons = []
    if line.has("__GFP_HIGH"):
        reasons.append("half for __GFP_HIGH")
    if line.harder:
        of = " of the rest" if reasons else ""
        reasons.append(f"a quarter{of} for not being able to sleep")
    if not reasons:
        return "low was tried first, then min in full: this mask has no discount"
    return f"low was tried first, then min less {' and '.join(reasons)}: {_share(line)}"


def _share(line: FailureLine) -> str:
    """What is left of min."""
    return _SHARES[line.needed_of(_WHOLE)]


_WHOLE: Final = 1024
_SHARES: Final = {1024: "min", 768: "3/4 of min", 512: "half of min", 384: "3/8 of min"}


def _reserve(line: FailureLine) -> str:
    if line.has("__GFP_NOMEMALLOC"):
        return "closed to it: __GFP_NOMEMALLOC overrides whatever right the task had"
    if line.reserve_by_mask:
        return "open to it by __GFP_MEMALLOC: it could take the last page there was"
    if line.comm.startswith("kswapd"):
        return "open to it: kswapd runs with PF_MEMALLOC; it could take the last page there was"
    return (
        "closed to it, unless its task had PF_MEMALLOC, which the line does not tell: look for"
        " reclaim (try_to_free_pages, shrink_…) in the call trace below it"
    )


def _so(line: FailureLine) -> str:
    whole = line.reserve_by_mask or (
        line.comm.startswith("kswapd") and not line.has("__GFP_NOMEMALLOC")
    )
    if line.form == STALL:
        return f"it was waiting for {line.milliseconds} ms already: reclaim makes no progress"
    if whole:
        if line.order:
            return "no free block was large enough: memory was used up or in pieces"
        return "not one page was free: the reserve was dry"
    text = f"each zone it may use had at most {_share(line)} free, plus its lowmem reserve"
    if line.order:
        text += ", or no free block large enough"
    return text
