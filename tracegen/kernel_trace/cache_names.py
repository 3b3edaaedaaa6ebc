"""From which cache an object came: most kernels say so only when it is freed, old ones never.

A place in the kernel allocates from one cache. So the cache of a :class:`Key` (call site, bytes
asked for, bytes given) is the one that objects of that key were freed to; over the whole
run that the sample is cut from, none of 54 such keys ever had two names. When a trace is
read whole before anything is written, every key is learnt before the first is named
(:class:`NamesLater`); a live trace learns as it goes (:class:`NamesNow`). Without a name, the size
says which: an object of SLUB has the exact size of its cache's slots. The last resort is a
cache made up for the size.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from allocator.config import CacheSpec
from allocator.events import KMALLOC, OBJ_ALLOC
from tracegen.kernel_trace.kernel_event import Key
from tracegen.limits import MAX_CACHES, MAX_NAME_LENGTH

GENERAL_PREFIXES: Final = ("kmalloc-", "dma-kmalloc-", "size-")
"""The general caches: the model has its own, so they are asked by size."""
GENERAL: Final = -1
"""In place of a cache id: the object came from a general cache."""
OWN_CACHES: Final = frozenset({"kmem_cache", "kmem_cache_node"})
"""Caches in which the allocator keeps itself; the model has its own."""

UNNAMED: Final = "unnamed-{size}"
UNNAMED_SIZES: Final = (
    *(16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768),
    *(1024, 1536, 2048, 3072, 4096, 6144, 8192),
)
"""What a live trace without ``--proc`` has for objects whose name it never learns."""
_LEAST_SIZE: Final = 8
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f]")
"""What no name of a header may have; a damaged line may."""

OPEN: Final = 0
BY_EVENT: Final = 1
"""Named by the event itself."""
BY_FREE: Final = 2
"""Named by the frees of objects of the key, which agree."""
BY_VOTE: Final = 3
"""The same, but the frees do not agree: the most frequent name."""
BY_SIZE: Final = 4
"""By the size of the object alone."""
WAYS: Final = 5

_MAX_VOTED: Final = 16
"""Names that one key's objects may be seen freed to."""


_GENERAL_SIZE: Final = re.compile(r"-(\d{1,7})([kM]?)(?:\(DMA\))?$")
_UNITS: Final = {"": 0, "k": 10, "M": 20}


def general_size(name: str) -> int:
    """Bytes of the objects of a general cache, as its name has them; 0 for another cache."""
    match = _GENERAL_SIZE.search(name) if name.startswith(GENERAL_PREFIXES) else None
    return int(match[1]) << _UNITS[match[2]] if match is not None else 0


class CacheTable:
    """The caches of the header to be, each with its id."""

    def __init__(self, specs: Iterable[CacheSpec] = ()) -> None:
        self.specs: list[CacheSpec] = []
        self._by_name: dict[str, int] = {}
        self._by_size: dict[int, list[int]] = {}
        self._by_sizes: dict[tuple[int, int], int] = {}
        for spec in specs:
            self.add(spec.name, spec.size, spec.align, spec.flags)

    def add(self, name: str, size: int, align: int = 0, flags: int = 0, asked: int = 0) -> int:
        """The id of the cache called ``name``, made if there is none; GENERAL without one.

        ``asked`` is the object's own size, 0 if it is not known.
        """
        found = self.find(name)
        if found is not None:
            return found
        spelt = _UNPRINTABLE.sub("?", name)[:MAX_NAME_LENGTH]
        if spelt in self._by_name:
            self._by_name[name] = self._by_name[spelt]
            return self._by_name[name]
        if name in OWN_CACHES or len(self.specs) >= MAX_CACHES:
            return GENERAL
        cache_id = len(self.specs)
        spec = CacheSpec(cache_id, spelt, max(size, _LEAST_SIZE), align, flags)
        self.specs.append(spec)
        self._by_name[name] = self._by_name[spelt] = cache_id
        self._by_size.setdefault(size, []).append(cache_id)
        if asked:
            self._by_sizes.setdefault((asked, size), cache_id)
        return cache_id

    def find(self, name: str) -> int | None:
        """The id of the cache called ``name``, GENERAL for a general cache, or None."""
        if name.startswith(GENERAL_PREFIXES):
            return GENERAL
        return self._by_name.get(name)

    def of_size(self, asked: int, size: int) -> int | None:
        """The cache for objects of exactly ``size`` bytes, or None.

        At best one whose own objects are of ``asked`` bytes, else the first made.
        """
        found = self._by_sizes.get((asked, size))
        if found is not None:
            return found
        ids = self._by_size.get(size)
        return ids[0] if ids else None

    def fitting(self, size: int) -> int:
        """The cache of the least size that holds ``size`` bytes, or GENERAL."""
        sizes = [held for held in self._by_size if held >= size]
        return self._by_size[min(sizes)][0] if sizes else GENERAL


class Names:
    """Gives keys their op and arg, and counts by which way."""

    def __init__(self) -> None:
        self.by: list[int] = [0] * WAYS
        """Allocations by how their cache was named."""
        self.confirmed = 0
        """Objects that were freed under the name they were given."""
        self.contradicted = 0
        """Objects that were freed under another."""

    def allocated(self, key: Key) -> None:
        """An object of the key is allocated: its op and arg must be good now."""
        raise NotImplementedError

    def freed(self, key: Key, arg: int, name: str) -> None:
        """An object of the key, allocated under ``arg``, is freed to the cache ``name``."""
        raise NotImplementedError


class NamesLater(Names):
    """While a trace is read whole: every key keeps its own number in place of a cache."""

    def allocated(self, key: Key) -> None:
        """Count it."""
        if key.op == 0:
            key.op = OBJ_ALLOC
            key.arg = key.index
        key.allocs += 1

    def freed(self, key: Key, arg: int, name: str) -> None:  # noqa: ARG002  # a number so far
        """Count the vote."""
        votes = key.votes
        if name in votes or len(votes) < _MAX_VOTED:
            votes[name] = votes.get(name, 0) + 1

    def settle(self, keys: Sequence[Key], table: CacheTable) -> None:
        """Name all keys, adding to the table what it does not have."""
        for key in keys:
            if key.op == OBJ_ALLOC and (key.name or key.votes):
                name = key.name or max(key.votes, key=lambda name: key.votes[name])
                _give(key, table.add(name, key.size))
                key.how = BY_EVENT if key.name else BY_FREE if len(key.votes) == 1 else BY_VOTE
                agreed = key.votes.get(name, 0)
                self.confirmed += agreed
                self.contradicted += sum(key.votes.values()) - agreed
        for key in keys:
            if key.op == OBJ_ALLOC and key.how == OPEN:
                known = table.of_size(key.asked, key.size)
                if known is None:
                    known = table.add(UNNAMED.format(size=key.size), key.size)
                _give(key, known)
                key.how = BY_SIZE
            self.by[key.how] += key.allocs


class NamesNow(Names):
    """While a trace is passed on as it comes: named at once, better when it is freed."""

    def __init__(self, table: CacheTable) -> None:
        super().__init__()
        self._table = table

    def allocated(self, key: Key) -> None:
        """Name the key if it has no name yet."""
        if key.how == OPEN:
            self._name(key)
        self.by[key.how] += 1

    def _name(self, key: Key) -> None:
        if key.name:
            found = self._table.find(key.name)
            if found is not None:
                _give(key, found)
                key.how = BY_EVENT
                return
        found = self._table.of_size(key.asked, key.size)
        _give(key, found if found is not None else self._table.fitting(key.size))
        key.how = BY_SIZE

    def freed(self, key: Key, arg: int, name: str) -> None:
        """Learn the name that the rest of the key's objects will have."""
        found = self._table.find(name)
        if found is None:
            return
        if found == arg or (found == GENERAL and key.op == KMALLOC):
            self.confirmed += 1
        else:
            self.contradicted += 1
        if key.how == BY_EVENT or found == (GENERAL if key.op == KMALLOC else key.arg):
            if key.how == BY_SIZE:
                key.how = BY_FREE
            return
        key.how = BY_FREE if key.how == BY_SIZE else BY_VOTE
        _give(key, found)


def _give(key: Key, cache_id: int) -> None:
    """Let a key's objects come from a cache."""
    if cache_id == GENERAL:
        key.op, key.arg = KMALLOC, key.asked
    else:
        key.op, key.arg = OBJ_ALLOC, cache_id
