"""The language of ``pfmemd replay --filter``: which allocations are played.

``op == kmalloc and bytes > 1024``, ``cache == dentry``, ``gfp & __GFP_MEMALLOC or ctx & softirq``:
Python's own syntax for comparisons, ``and``, ``or``, ``not`` and ``&``, and nothing else of it.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Final, TypeAlias

from allocator.events import (
    CTX_COLD,
    CTX_HARDIRQ,
    CTX_MEMDIE,
    CTX_PF_MEMALLOC,
    CTX_RT,
    CTX_SOFTIRQ,
    KMALLOC,
    OBJ_ALLOC,
    PAGE_ALLOC,
)
from allocator.gfp import COMPOSITES, FLAVOURS, encode
from tracegen.errors import PfmemdError
from tracegen.header import Header

MAX_LENGTH: Final = 1000
OPS: Final = {"page_alloc": PAGE_ALLOC, "obj_alloc": OBJ_ALLOC, "kmalloc": KMALLOC}
CONTEXTS: Final = {
    "pf_memalloc": CTX_PF_MEMALLOC,
    "memdie": CTX_MEMDIE,
    "softirq": CTX_SOFTIRQ,
    "hardirq": CTX_HARDIRQ,
    "rt": CTX_RT,
    "cold": CTX_COLD,
}
FIELDS: Final = ("op", "order", "bytes", "cache", "cpu", "node", "gfp", "ctx")
NONE: Final = -1
"""The order of what is no page, and the size of what is no object."""

Row: TypeAlias = tuple[int, ...]
"""A record's fields in their order: ts_ns, handle, gfp, arg, cpu, node, op, ctx, zero."""
GFP: Final = 2
ARG: Final = 3
CPU: Final = 4
NODE: Final = 5
OP: Final = 6
CTX: Final = 7

Value: TypeAlias = int | str | bool
_Getter: TypeAlias = Callable[[Row], Value]

_COMPARISONS: Final[dict[type[ast.cmpop], Callable[[Value, Value], bool]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class FilterError(PfmemdError):
    """A filter that cannot be understood, or does not suit the trace."""


class EventFilter:
    """One filter, understood; :meth:`bound` makes it good for a trace."""

    def __init__(self, text: str) -> None:
        """Raises :class:`FilterError` for what is no expression."""
        self._text = text
        if len(text) > MAX_LENGTH:
            raise FilterError(f"the filter has {len(text)} characters, expected {MAX_LENGTH}")
        try:
            self._body = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError):
            raise FilterError(
                f"filter {text!r}: expected comparisons such as op == kmalloc and bytes > 1024"
            ) from None

    def bound(self, header: Header) -> Callable[[Row], bool]:
        """Whether an allocation under this header is played.

        Raises :class:`FilterError` for a name that neither the language nor the header has.
        """
        value = _Binding(self._text, header).of(self._body)
        return lambda row: bool(value(row))


class _Binding:
    """Turns the parts of an expression into functions of an event."""

    def __init__(self, text: str, header: Header) -> None:
        self._text = text
        self._flavour = header.gfp
        self._sizes = {cache.id: cache.size for cache in header.caches}
        self._caches = {cache.id: cache.name for cache in header.caches}
        self._op_names = {number: name for name, number in OPS.items()}

    def of(self, node: ast.expr) -> _Getter:  # noqa: PLR0911  # one for each kind of part
        """The function that a part of the expression is."""
        match node:
            case ast.BoolOp(op=op, values=values):
                parts = [self.of(value) for value in values]
                every = isinstance(op, ast.And)
                if every:
                    return lambda row: all(part(row) for part in parts)
                return lambda row: any(part(row) for part in parts)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                part = self.of(operand)
                return lambda row: not part(row)
            case ast.BinOp(left=left, op=ast.BitAnd(), right=right):
                return self._both(left, right)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
                return self._compare(left, op, right)
            case ast.Name(id=name):
                return self._named(name)
            case ast.Constant(value=int() | str() as constant):
                return lambda _row: constant
            case _:
                raise FilterError(
                    f"filter {self._text!r}: {ast.unparse(node)!r}, expected a comparison of one"
                    f" of {', '.join(FIELDS)} with a number or a name"
                )

    def _compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> _Getter:
        one, other = self._side(left, right), self._side(right, left)
        compare = _COMPARISONS[type(op)]

        def holds(row: Row) -> Value:
            try:
                return compare(one(row), other(row))
            except TypeError:
                raise FilterError(
                    f"filter {self._text!r}: {ast.unparse(left)} and {ast.unparse(right)} cannot"
                    " be compared so"
                ) from None

        return holds

    def _side(self, node: ast.expr, beside: ast.expr) -> _Getter:
        """A side of a comparison; beside ``cache`` a bare word is a cache's name."""
        if isinstance(beside, ast.Name) and beside.id == "cache" and isinstance(node, ast.Name):
            name = node.id
            return lambda _row: name
        return self.of(node)

    def _both(self, left: ast.expr, right: ast.expr) -> _Getter:
        one, other = self.of(left), self.of(right)

        def bits(row: Row) -> Value:
            masks = one(row), other(row)
            if not (isinstance(masks[0], int) and isinstance(masks[1], int)):
                raise FilterError(f"filter {self._text!r}: & is for gfp and ctx")
            return masks[0] & masks[1]

        return bits

    def _named(self, name: str) -> _Getter:  # noqa: PLR0911  # one for each field
        match name:
            case "op":
                return lambda row: self._op_names[row[OP]]
            case "order":
                return lambda row: row[ARG] if row[OP] == PAGE_ALLOC else NONE
            case "bytes":
                return self._bytes
            case "cache":
                return lambda row: self._caches[row[ARG]] if row[OP] == OBJ_ALLOC else ""
            case "gfp":
                return lambda row: row[GFP]
            case "cpu":
                return lambda row: row[CPU]
            case "node":
                return lambda row: row[NODE]
            case "ctx":
                return lambda row: row[CTX]
        constant = self._constant(name)
        return lambda _row: constant

    def _bytes(self, row: Row) -> int:
        if row[OP] == KMALLOC:
            return row[ARG]
        return self._sizes[row[ARG]] if row[OP] == OBJ_ALLOC else NONE

    def _constant(self, name: str) -> Value:
        if name in OPS:
            return name
        if name in CONTEXTS:
            return CONTEXTS[name]
        if name in FLAVOURS[self._flavour] or name in COMPOSITES.get(self._flavour, {}):
            return encode(name, self._flavour)
        raise FilterError(
            f"filter {self._text!r}: unknown name {name}, expected one of {', '.join(FIELDS)},"
            f" {', '.join((*OPS, *CONTEXTS))} or a gfp flag of {self._flavour}"
        )
