"""A machine in the kernel's own words: the files of /proc and /sys that tools read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from allocator.machine import Machine
from allocator.view_pages import buddyinfo, pagetypeinfo, zoneinfo
from allocator.view_slabs import slab_attributes, slabinfo

PROC_FILES: Final[dict[str, Callable[[Machine], str]]] = {
    "slabinfo": slabinfo,
    "zoneinfo": zoneinfo,
    "buddyinfo": buddyinfo,
    "pagetypeinfo": pagetypeinfo,
}
"""Name in ``/proc`` to what writes it."""

SLAB_FOLDER: Final = "/sys/kernel/slab"


def slab_text(machine: Machine, cache: str | None = None) -> str:
    """``/sys/kernel/slab`` as ``grep -r . /sys/kernel/slab`` prints it; one cache or all.

    Raises KeyError for a cache that is not there. Empty with SLAB.
    """
    told = slab_attributes(machine)
    names = sorted(told) if cache is None else [cache]
    return "".join(
        f"{SLAB_FOLDER}/{name}/{attribute}:{value}"
        for name in names
        for attribute, value in sorted(told[name].items())
    )
