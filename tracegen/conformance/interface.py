"""What the runner asks of a machine: its direct interface, one call per op.

:class:`allocator.machine.Machine` has it, and its methods say what they do. The
runner's own tests put other machines in its place.
"""
# ruff: noqa: D102  # allocator.machine documents the methods

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from allocator.config import CacheSpec, MachineConfig
from allocator.revision import Variant


class Answer(Protocol):
    """What the last op came to."""

    pfn: int
    nid: int
    zone: str
    order: int
    slab: int
    idx: int
    cache: str
    pfm: int
    af: int
    wk: int
    large: bool


class DirectMachine(Protocol):
    """A machine that performs one op at a time."""

    @property
    def answer(self) -> Answer: ...
    @property
    def pfmemalloc_active(self) -> bool: ...
    def page_alloc(
        self, handle: int, order: int, gfp: int, cpu: int, node: int, ctx: int, /
    ) -> int: ...
    def page_free(self, handle: int, cpu: int, cold: bool, /) -> None: ...
    def obj_alloc(
        self, handle: int, cache: int, gfp: int, cpu: int, node: int, ctx: int, /
    ) -> int: ...
    def kmalloc(
        self, handle: int, size: int, gfp: int, cpu: int, node: int, ctx: int, /
    ) -> int: ...
    def obj_free(self, handle: int, cpu: int, /) -> None: ...
    def reap(self, cpu: int, /) -> None: ...
    def cache_shrink(self, cache: int, cpu: int, /) -> int: ...
    def drain_all_pages(self, cpu: int, /) -> None: ...
    def tick(self, jiffies: int, /) -> None: ...
    def set_min_free_kbytes(self, kbytes: int, /) -> None: ...
    def cache_create(self, name: str, size: int, align: int, flags: int, /) -> int: ...
    def cache_number(self, name: str, /) -> int: ...
    def boot(self) -> dict[str, object]: ...
    def geometry(self, cache: int, /) -> dict[str, object]: ...
    def free_by_zone(self) -> list[int]: ...
    def state(self, level: str, /) -> dict[str, object]: ...


MachineFactory = Callable[[MachineConfig, Variant, Sequence[CacheSpec]], DirectMachine]
