"""What the fields of an event say, read once for each distinct text.

Which fields an event has, and how they look, changed with kernels and tools:

* ``page=`` is a pointer, hashed or not, and in what ``perf`` prints the pfn; ``pfn=`` is decimal
  in Linux 5.4 and older, missing where a tool could not compute it
* a null pointer is ``(null)`` behind blanks, ``(nil)``, ``0``, or zeros
* the cache is named at the free in Linux 5.15, not yet in 5.4, and at the allocation in 6.18
* ``call_site=`` is a number in 5.4 and older
"""

from __future__ import annotations

import contextlib
import re
from typing import Final

from tracegen.errors import shown
from tracegen.kernel_trace.gfp_text import GfpText
from tracegen.kernel_trace.kernel_event import (
    KFREE,
    KMALLOC,
    MARK_VICTIM,
    NO_POINTER,
    OBJ_ALLOC,
    OBJ_FREE,
    OUTSIDE,
    PAGE_ALLOC,
    PAGE_FREE,
    PCP_DRAIN,
    PCP_REFILL,
    ROLES,
    Key,
    Shape,
)

MAX_NAMES: Final = 256
"""Event names told apart; what comes after them counts under the last."""
OTHER_NAMES: Final = "(other names)"
MAX_KEYS: Final = 1 << 16
"""Call sites and sizes told apart; what comes after them counts as one place."""
OTHER_SITES: Final = "(other call sites)"

SLAB_FREE_SITES: Final = ("__free_slab", "free_slab", "discard_slab", "__free_memcg_slab")
"""Where SLUB frees the vector that belongs to a slab, just before the slab's page itself
(``memcg_free_slab_cgroups``; it does so for slabs without a vector too)."""
_GENERAL_CACHES: Final = ("kmalloc-", "dma-kmalloc-", "size-")

_FIELD: Final = re.compile(
    r"(?<![\w.])(\w{1,32})[=:](?: *(\(null\)|\(nil\))|(\S*(?: \[\w+\])?))", re.ASCII
)
"""A key and its value. A call site in a module has the module behind it: ``f+0x1/0x2 [ext4]``."""
_NAME: Final = re.compile(r"(?<!\w)name=(.*?)(?: bytes_req=.*| \w+=.*)?$")
"""A cache's name may hold blanks."""
_NUMBER: Final = re.compile(r"-?\d{1,20}\Z|0x[0-9a-f]{1,16}\Z", re.ASCII)
_POINTER: Final = re.compile(r"(?:0x)?([0-9a-f]{1,16})\Z", re.ASCII)
_NULLS: Final = {"(null)", "(nil)"}

MAX_PFN: Final = 1 << 31
"""4 KiB pages of 8 TiB: what the model can have. A null page's pfn was printed as a number
beyond all memory in Linux 3.3."""
MAX_POINTER: Final = (1 << 64) - 1
MAX_BYTES: Final = 1 << 30
_MAX_ORDER: Final = 63
_MAX_PID: Final = 1 << 31
_MAX_NODE: Final = 0x7FFF

_VMEMMAP: Final = 0xFFFFEA0000000000
"""Where x86-64 has its struct pages, unless it is told to put them somewhere random."""
_VMEMMAP_END: Final = 0xFFFFEB0000000000
_STRUCT_PAGE: Final = 64


class FieldError(ValueError):
    """Fields that do not say what they must; the text is what was expected."""


class Shapes:
    """Makes :class:`Shape` objects; each distinct text of fields is read once."""

    def __init__(self, gfp: GfpText) -> None:
        self.gfp = gfp
        self.names: list[str] = []
        """Event names by their number (:attr:`Shape.kind`)."""
        self.keys: list[Key] = []
        self.pfn_from_pointer = 0
        """Events whose pfn was computed from the address of a page."""
        self._kinds: dict[str, int] = {}
        self._keys: dict[tuple[str, int, int, str], Key] = {}

    def kind(self, name: str) -> int:
        """The number under which events of this name are counted."""
        kind = self._kinds.get(name)
        if kind is None:
            if len(self.names) >= MAX_NAMES and name not in ROLES:
                if self.names[-1] == OTHER_NAMES:
                    return len(self.names) - 1
                name = OTHER_NAMES
            kind = self._kinds[name] = len(self.names)
            self.names.append(name)
        return kind

    def read(self, name: str, text: str) -> tuple[Shape, int]:
        """The shape and the address of an event.

        Raises :class:`FieldError` saying what was expected where something is missing.
        """
        role = ROLES.get(name, OUTSIDE)
        shape = Shape(self.kind(name), role)
        address = NO_POINTER
        if role <= PAGE_FREE or role in {MARK_VICTIM, PCP_REFILL, PCP_DRAIN}:
            fields: dict[str, str] = {}
            for key, null, value in _FIELD.findall(text):
                fields.setdefault(key, null or value)
            if role <= KMALLOC:
                address = self._object_allocated(shape, text, fields)
            elif role == PAGE_ALLOC:
                address = self._page_allocated(shape, fields)
            elif role <= KFREE:
                address = self._object_freed(shape, text, fields)
            elif role == PAGE_FREE:
                address = self._page(shape, fields)
            elif role == MARK_VICTIM:
                address = _number(fields, "pid", _MAX_PID)
            else:
                # Without its page it is still what it is: outside of the model.
                with contextlib.suppress(FieldError):
                    address = self._page(shape, fields)
        return shape, address

    def _object_allocated(self, shape: Shape, text: str, fields: dict[str, str]) -> int:
        asked = _number(fields, "bytes_req", MAX_BYTES)
        shape.size = _number(fields, "bytes_alloc", MAX_BYTES)
        shape.node = _node(fields)
        name = _cache_name(text) if shape.role == OBJ_ALLOC else ""
        if name:
            self.gfp.nowait_is_quiet()
        shape.gfp = self.gfp.mask(_text(fields, "gfp_flags"))
        shape.site = _text(fields, "call_site")
        shape.general = shape.role == KMALLOC or name.startswith(_GENERAL_CACHES)
        shape.key = self._key(shape.site, asked, shape.size, name)
        return _pointer(fields, "ptr")

    def _key(self, site: str, asked: int, size: int, name: str) -> Key:
        wanted = (site, asked, size, name)
        key = self._keys.get(wanted)
        if key is None:
            if len(self.keys) >= MAX_KEYS:
                wanted = (OTHER_SITES, 0, 1 << (size - 1).bit_length(), "")
                if wanted in self._keys:
                    return self._keys[wanted]
            key = self._keys[wanted] = Key(len(self.keys), *wanted)
            self.keys.append(key)
        return key

    def _object_freed(self, shape: Shape, text: str, fields: dict[str, str]) -> int:
        shape.site = _text(fields, "call_site")
        if shape.role == OBJ_FREE:
            shape.name = _cache_name(text)
        shape.of_slab = shape.role == KFREE and shape.site.startswith(SLAB_FREE_SITES)
        return _pointer(fields, "ptr")

    def _page_allocated(self, shape: Shape, fields: dict[str, str]) -> int:
        shape.gfp = self.gfp.mask(_text(fields, "gfp_flags"))
        return self._page(shape, fields)

    def _page(self, shape: Shape, fields: dict[str, str]) -> int:
        """The pfn; :data:`NO_POINTER` of a page that could not be had."""
        # mm_pagevec_free, and order-0 pages in some tools' words, have no order.
        shape.order = _number(fields, "order", _MAX_ORDER)
        page = fields.get("page")
        if page is not None and (page in _NULLS or page.strip("0x") == ""):
            return NO_POINTER
        if "pfn" in fields:
            pfn = _number(fields, "pfn", 1 << 64)
            return pfn if pfn < MAX_PFN else NO_POINTER
        if page is None:
            raise FieldError("pfn= or page= among the event's fields")
        pointer = _pointer(fields, "page")
        if not _VMEMMAP <= pointer < _VMEMMAP_END:
            raise FieldError(f"pfn=, or the address of a page as page=, not {shown(page)}")
        self.pfn_from_pointer += 1
        return (pointer - _VMEMMAP) // _STRUCT_PAGE


def _text(fields: dict[str, str], key: str) -> str:
    value = fields.get(key)
    if value is None:
        raise FieldError(f"{key}= among the event's fields")
    return value


def _number(fields: dict[str, str], key: str, limit: int) -> int:
    value = _text(fields, key)
    if _NUMBER.match(value) is None:
        raise FieldError(f"a number as {key}=, not {shown(value)}")
    number = int(value, 16 if value.startswith("0x") else 10)
    if not 0 <= number <= limit:
        raise FieldError(f"a number from 0 to {limit} as {key}=, not {shown(value)}")
    return number


def _node(fields: dict[str, str]) -> int:
    """The node asked for; -1 is any, and what kernels that do not say mean."""
    value = fields.get("node", "-1")
    if value == "-1":
        return -1
    return _number({"node": value}, "node", _MAX_NODE)


def _pointer(fields: dict[str, str], key: str) -> int:
    value = _text(fields, key)
    if value in _NULLS:
        return NO_POINTER
    match = _POINTER.match(value)
    if match is None:
        raise FieldError(f"an address as {key}=, not {shown(value)}")
    return int(match[1], 16)


def _cache_name(text: str) -> str:
    match = _NAME.search(text)
    return match[1] if match is not None else ""
