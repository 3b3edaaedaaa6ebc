"""The header that opens a trace: the machine, its caches, and what the numbers mean.

The schema of version 1 is written out here, apart from the classes that the model
uses, because a format must not change when a class does. Validation is strict (a
bool is no integer, a float is no integer) and names the path of the bad field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from allocator.config import (
    MAX_CPUS,
    MAX_NODES,
    MAX_PFN,
    CacheSpec,
    ConfigError,
    MachineConfig,
)
from allocator.events import Limits
from allocator.gfp import FLAVOURS, known_bits, mobility_bits
from tracegen.errors import HEADER, BatchError, shown
from tracegen.limits import MAX_CACHES, MAX_NAME_LENGTH

MAX_HEADER_BYTES: Final = 256 << 10
"""Bytes of the encoded header map."""
MAX_LABELS: Final = 1024
MAX_RESERVED: Final = 1024
"""Ranges of pages that the page allocator never owns."""
MAX_LABEL_LENGTH: Final = 128
MAX_MADE_LENGTH: Final = 1024

CLOCKS: Final = ("mono", "boot", "local", "global", "unix", "virtual")
"""What ts_ns counts: the kernel's trace clocks of these names, nanoseconds since
1970, or a clock that only exists in a simulation."""

U32_MAX: Final = (1 << 32) - 1
_SHOWN_KEY: Final = 64
"""A key is named in an error up to this length."""


@dataclass(frozen=True, slots=True)
class Made:
    """How a trace came to be: for people, never for the model."""

    tool: str = ""
    version: str = ""
    command: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """What every event of an epoch refers to.

    ``gfp`` is the flavour of the masks, a key of ``allocator.gfp.FLAVOURS``;
    ``clock`` one of :data:`CLOCKS`. A MARK event's arg is an index into ``labels``.
    """

    machine: MachineConfig
    caches: tuple[CacheSpec, ...]
    gfp: str
    clock: str
    labels: tuple[str, ...] = ()
    made: Made = Made()

    def limits(self) -> Limits:
        """What an event under this header may name, for ``check_records``."""
        return Limits(
            self.machine.cpus,
            len(self.machine.nodes),
            [cache.id for cache in self.caches],
            len(self.labels),
            known_bits(self.gfp),
            mobility_bits(self.gfp),
        )

    def to_wire(self) -> dict[str, object]:
        """The header as the msgpack map of the format, every key present."""
        return {
            "machine": asdict(self.machine),
            "caches": [asdict(cache) for cache in self.caches],
            "labels": list(self.labels),
            "gfp": self.gfp,
            "clock": self.clock,
            "made": asdict(self.made),
        }


_Name = Annotated[
    str, Field(min_length=1, max_length=MAX_NAME_LENGTH, pattern=r"^[^\x00-\x1f\x7f]+$")
]
_Label = Annotated[
    str, Field(min_length=1, max_length=MAX_LABEL_LENGTH, pattern=r"^[^\x00-\x1f\x7f]+$")
]
_Text = Annotated[str, Field(max_length=MAX_MADE_LENGTH)]
_U32 = Annotated[int, Field(ge=0, le=U32_MAX)]
_Pfn = Annotated[int, Field(ge=0, le=MAX_PFN)]
_Range = tuple[_Pfn, _Pfn]


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Machine(_Wire):
    cpus: Annotated[int, Field(ge=1, le=MAX_CPUS)]
    cpu_node: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=MAX_NODES)], ...], Field(max_length=MAX_CPUS)
    ]
    nodes: Annotated[tuple[_Range, ...], Field(min_length=1, max_length=MAX_NODES)]
    zone_end_pfn: tuple[_Pfn, _Pfn, _Pfn]
    numa: bool = True
    min_free_kbytes: _U32 = 0
    memalloc_socks: bool = True
    slub_merge: bool = False
    kmalloc: bool = True
    reserved: Annotated[tuple[_Range, ...], Field(max_length=MAX_RESERVED)] = ()


class _Cache(_Wire):
    id: _U32
    name: _Name
    size: _U32
    align: _U32 = 0
    flags: _U32 = 0


class _Made(_Wire):
    tool: _Text = ""
    version: _Text = ""
    command: _Text = ""
    text: _Text = ""


class _Header(_Wire):
    machine: _Machine
    caches: Annotated[tuple[_Cache, ...], Field(max_length=MAX_CACHES)]
    labels: Annotated[tuple[_Label, ...], Field(max_length=MAX_LABELS)] = ()
    gfp: str
    clock: str
    made: _Made = _Made()


def parse_header(wire: object) -> Header:
    """Return the header in a decoded msgpack map.

    Raises :class:`BatchError` (reason ``header``) naming the first bad field by its
    path, such as ``header.machine.cpu_node[3]``, and what was expected there.
    """
    if not isinstance(wire, Mapping):
        raise BatchError(f"header is {shown(wire)}, expected a map", reason=HEADER)
    try:
        checked = _Header.model_validate(wire)
    except ValidationError as error:
        raise _refusal(error) from None
    _expect_one_of("header.gfp", checked.gfp, tuple(FLAVOURS))
    _expect_one_of("header.clock", checked.clock, CLOCKS)
    _refuse_repeated("header.caches", "id", [cache.id for cache in checked.caches])
    _refuse_repeated("header.caches", "name", [cache.name for cache in checked.caches])
    try:
        machine = MachineConfig(**dict(checked.machine))
    except ConfigError as error:
        raise BatchError(f"header.machine: {error}", reason=HEADER) from error
    try:
        caches = tuple(CacheSpec(**dict(cache)) for cache in checked.caches)
    except ConfigError as error:
        raise BatchError(f"header.caches: {error}", reason=HEADER) from error
    return Header(
        machine=machine,
        caches=caches,
        gfp=checked.gfp,
        clock=checked.clock,
        labels=checked.labels,
        made=Made(**dict(checked.made)),
    )


def _refusal(error: ValidationError) -> BatchError:
    first = error.errors(include_url=False)[0]
    path = "header"
    for step in first["loc"]:
        path += f"[{step}]" if isinstance(step, int) else f".{_key(step)}"
    if first["type"] == "extra_forbidden":
        what = f"{path} is no key of the format"
    elif first["type"] == "missing":
        what = f"{path} is missing"
    else:
        expected = first["msg"][0].lower() + first["msg"][1:]
        if first["type"] == "model_type":
            expected = "expected a map"
        what = f"{path} is {shown(first['input'])}: {expected}"
    return BatchError(what, reason=HEADER)


def _key(name: str) -> str:
    """A key as it may stand in an error: those that are no names are quoted, and cut."""
    return name if name.isidentifier() and len(name) <= _SHOWN_KEY else shown(name)


def _expect_one_of(path: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise BatchError(
            f"{path} is {shown(value)}, expected one of {', '.join(allowed)}", reason=HEADER
        )


def _refuse_repeated(path: str, field: str, values: Sequence[int | str]) -> None:
    seen: dict[int | str, int] = {}
    for index, value in enumerate(values):
        if value in seen:
            raise BatchError(
                f"{path}[{index}].{field} is {shown(value)}, as that of"
                f" {path}[{seen[value]}]: expected each once",
                reason=HEADER,
            )
        seen[value] = index
