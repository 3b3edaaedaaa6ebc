"""The ``machine`` line: memory of each node by zone, cpus, build options.

``40M:DMA32`` is a node of 40 MiB in zone DMA32, ``16M:DMA+24M:DMA32`` one with two
zones; the next such word is the next node.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from allocator.config import MAX_CPUS, ConfigError, MachineConfig
from tracegen.rule_trace.place import Place, Word

MAX_PAGES: Final = 1 << 24
"""Largest machine, 64 GiB: a rule shows on a small one."""
_ZONES: Final = ("DMA", "DMA32", "Normal")
_MEMORY: Final = re.compile(r"(\d{1,9})([KMG]):(\w+)\Z", re.ASCII)
_UNITS: Final[dict[str, int]] = {"K": 10, "M": 20, "G": 30}
_PAGE_SHIFT: Final = 12
_OPTIONS: Final = (
    *("cpus", "cpu_node", "min_free_kbytes"),
    *("numa", "memalloc_socks", "slub_merge", "kmalloc"),
)


def machine_of(words: Sequence[Word], place: Place) -> MachineConfig:
    """Read what stands after ``machine``."""
    nodes: list[tuple[int, int]] = []
    zone_ends = [0, 0, 0]
    options: dict[str, Word] = {}
    for word in words:
        if not word.key:
            nodes.append(_node(word, nodes[-1][1] if nodes else 0, zone_ends, place))
            continue
        if word.key not in _OPTIONS:
            place.fail(f"{word.key!r}, expected one of {', '.join(_OPTIONS)}", word)
        options[word.key] = word
    if not nodes:
        place.fail("no memory, expected a node such as 40M:DMA32", words[0])
    cpus = place.number(options["cpus"], 1) if "cpus" in options else 1
    if cpus > MAX_CPUS:
        place.fail(f"{cpus} cpus, expected 1 to {MAX_CPUS}", options["cpus"])
    low = place.number(options["min_free_kbytes"]) if "min_free_kbytes" in options else 0
    try:
        return MachineConfig(
            cpus=cpus,
            cpu_node=_cpu_node(options.get("cpu_node"), cpus, place),
            nodes=tuple(nodes),
            zone_end_pfn=(zone_ends[0], max(zone_ends[:2]), nodes[-1][1]),
            numa=_is_on(options.get("numa"), place, default=True),
            min_free_kbytes=low,
            memalloc_socks=_is_on(options.get("memalloc_socks"), place, default=True),
            slub_merge=_is_on(options.get("slub_merge"), place, default=False),
            kmalloc=_is_on(options.get("kmalloc"), place, default=True),
        )
    except ConfigError as error:
        place.fail(str(error), words[0])


def _node(word: Word, start: int, zone_ends: list[int], place: Place) -> tuple[int, int]:
    """One node's first and end pfn; ``zone_ends`` follows."""
    at = start
    for part in word.text.split("+"):
        match = _MEMORY.match(part)
        if match is None or match[3] not in _ZONES:
            place.fail(
                f"{part!r}, expected memory and its zone, such as 40M:DMA32;"
                f" zones are {', '.join(_ZONES)}",
                word,
            )
        pages = (int(match[1]) << _UNITS[match[2]]) >> _PAGE_SHIFT
        zone = _ZONES.index(match[3])
        if any(zone_ends[zone + 1 :]):
            place.fail(f"zone {match[3]} comes after a higher one", word)
        if not 0 < pages <= MAX_PAGES - at:
            place.fail(f"{part!r}, expected one page to 64 GiB in all", word)
        at += pages
        zone_ends[zone] = at
    return start, at


def _cpu_node(word: Word | None, cpus: int, place: Place) -> tuple[int, ...]:
    """The node of each cpu: ``cpu_node=0,1``; all on node 0 if it is not said."""
    if word is None:
        return (0,) * cpus
    return tuple(place.number_in(part, word) for part in word.value.split(","))


def _is_on(word: Word | None, place: Place, *, default: bool) -> bool:
    if word is None:
        return default
    if word.value not in {"on", "off"}:
        place.fail(f"{word.text!r}, expected on or off", word)
    return word.value == "on"
