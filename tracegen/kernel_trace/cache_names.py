"""From which cache an object came: Linux 6.1 says so only when the object is freed.

A place in the kernel allocates from one cache. So the cache of (call site, bytes asked
for, bytes given) is the one that objects of that key were freed to; over the whole run that
the sample is cut from, none of 54 such keys ever had two names. A first reading of a file
learns the keys before the first object is named; a pipe is read once, and learns as it
goes. Without a name, the size says which: an object of SLUB has the exact size of its
cache's slots. The last resort is a cache made up for the size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, TypeAlias

from allocator.config import CacheSpec
from tracegen.header import MAX_CACHES, MAX_NAME_LENGTH

Key: TypeAlias = tuple[str, str, str]
"""Call site, bytes asked for, bytes given; as the trace prints them."""

GENERAL_PREFIXES: Final = ("kmalloc-", "dma-kmalloc-", "size-")
"""The general caches: the model has its own, so they are asked by size."""
GENERAL: Final = -1
"""In place of a cache id: the object came from a general cache."""
_OWN_CACHES: Final = {"kmem_cache", "kmem_cache_node"}
"""Caches in which the allocator keeps itself; the model has its own."""

UNNAMED: Final = "unnamed-{size}"
UNNAMED_SIZES: Final = (
    *(16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768),
    *(1024, 1536, 2048, 3072, 4096, 6144, 8192),
)
"""What a pipe without ``--proc`` has for objects whose name it never learns."""
_LEAST_SIZE: Final = 8

_MAX_KEYS: Final = 1 << 16


class NameSurvey:
    """Collects, over a whole trace, which names the objects of a key were freed under."""

    def __init__(self) -> None:
        self.names: dict[Key, Counter[str]] = {}
        self.keys: dict[Key, int] = {}
        """Keys seen at allocations, with how many."""

    def allocated(self, key: Key) -> None:
        """Note an allocation."""
        if key in self.keys or len(self.keys) < _MAX_KEYS:
            self.keys[key] = self.keys.get(key, 0) + 1

    def freed(self, key: Key, name: str) -> None:
        """Note the free of an object that was allocated under ``key``."""
        names = self.names.get(key)
        if names is None:
            if len(self.names) >= _MAX_KEYS:
                return
            names = self.names[key] = Counter()
        names[name] += 1


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
        if name in _OWN_CACHES or len(self.specs) >= MAX_CACHES:
            return GENERAL
        cache_id = len(self.specs)
        spec = CacheSpec(cache_id, name[:MAX_NAME_LENGTH], max(size, _LEAST_SIZE), align, flags)
        self.specs.append(spec)
        self._by_name[name] = cache_id
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


class CacheNames:
    """Names the cache of each object, and counts by which way.

    ``survey`` is what a first reading of the whole trace found; without it, names are
    learnt from frees as they come.
    """

    def __init__(self, table: CacheTable, survey: NameSurvey | None) -> None:
        self.table = table
        self.by_event = 0
        """Named by the event itself (Linux 6.4 and later)."""
        self.by_free = 0
        """Named by the frees of objects of the same call site and size, which agree."""
        self.by_vote = 0
        """The same, but the frees do not agree: the most frequent name."""
        self.by_size = 0
        """By the size of the object alone."""
        self.confirmed = 0
        """Objects that were freed under the name they were given."""
        self.contradicted = 0
        """Objects that were freed under another."""
        self._named: dict[Key, int] = {}
        self._learning = survey is None
        self._disagreeing: set[Key] = set()
        self._sized: dict[Key, int] = {}
        if survey is not None:
            self._take(survey)

    def _take(self, survey: NameSurvey) -> None:
        for key, names in survey.names.items():
            name = names.most_common(1)[0][0]
            self._named[key] = self.table.add(name, int(key[2]))
            if len(names) > 1:
                self._disagreeing.add(key)
        for key in survey.keys:
            if key not in self._named:
                size = int(key[2])
                known = self.table.of_size(int(key[1]), size)
                if known is None:
                    known = self.table.add(UNNAMED.format(size=size), size)
                self._sized[key] = known

    def of(self, key: Key, name: str | None) -> int:
        """The cache id of an object being allocated, or GENERAL."""
        if name is not None:
            found = self.table.find(name)
            if found is not None:
                self.by_event += 1
                return found
        found = self._named.get(key)
        if found is not None:
            if key in self._disagreeing:
                self.by_vote += 1
            else:
                self.by_free += 1
            return found
        self.by_size += 1
        found = self._sized.get(key)
        if found is None:
            size = int(key[2])
            found = self.table.of_size(int(key[1]), size)
            if found is None:
                found = self.table.fitting(size)
            if len(self._sized) < _MAX_KEYS:
                self._sized[key] = found
        return found

    def freed(self, key: Key, cache_id: int, name: str) -> None:
        """An object named ``cache_id`` when it was allocated is freed under ``name``."""
        true_id = self.table.find(name)
        if true_id is None:
            return
        if true_id == cache_id:
            self.confirmed += 1
        else:
            self.contradicted += 1
        if self._learning and self._named.get(key) != true_id:
            if key in self._named:
                self._disagreeing.add(key)
            if len(self._named) < _MAX_KEYS:
                self._named[key] = true_id
