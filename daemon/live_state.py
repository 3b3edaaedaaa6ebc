"""What a running daemon says of itself at ``/state``, as the terminal view reads it.

Only the fields that the view shows are named here; others may come and go.
"""

from __future__ import annotations

from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Final

from pydantic import BaseModel, ValidationError

from daemon.settings import split_address
from tracegen.errors import PfmemdError, StoppedError

TIMEOUT_SECONDS: Final = 5.0
MAX_BYTES: Final = 16 << 20
"""A longer answer is no ``/state``."""


class NoDaemonError(StoppedError):
    """Nothing answers at the address."""


class NoStateError(PfmemdError):
    """What answers is no pfmemd, or one of another version."""


class Zone(BaseModel):
    """One zone's free pages against its watermarks."""

    node: int
    zone: str
    free: int
    min: int
    low: int
    high: int
    lowest_free: int
    below_min_allocations: int = 0
    exhausted_allocations: int = 0
    """Allocations that left less than an eighth of min."""


class Cache(BaseModel):
    """One cache's traffic, and what of it is the reserve's."""

    name: str
    allocations: int
    denied: int
    stalled: int
    frees: int = 0
    object_size: int = 0
    slabs: int = 0
    objects: int = 0
    active_objects: int
    pfmemalloc_slabs: int
    pfmemalloc_objects: int = 0
    preserved_objects: int


class Results(BaseModel):
    """What a kind of caller's requests came to."""

    ok: int
    denied: int
    stalled: int


class Variant(Results):
    """One model of a source."""

    pfmemalloc_active: bool
    pfmemalloc_activations: int
    pfmemalloc_deactivations: int
    pfmemalloc_wrong_deactivations: int = 0
    by_caller: dict[str, Results]
    denied_by_reason: dict[str, int]
    stalled_by_reason: dict[str, int]
    page_frees: int = 0
    object_frees: int = 0
    unknown_frees: int = 0
    reused_handles: int = 0
    leaks: dict[str, int]
    """Objects of the reserve that callers without a right to it got, by how."""
    zones: list[Zone]
    caches: list[Cache]
    """The busiest first."""


class Source(BaseModel):
    """One source of events and the models that run on it; none before its first header."""

    epoch: int = 0
    seq: int = 0
    events: int = 0
    phase: str | None = None
    variants: dict[str, Variant] = {}


class State(BaseModel):
    """All of it."""

    version: str = ""
    ready: bool = True
    sources: dict[str, Source]


def read_state(address: str, caches: int | None = None) -> State:
    """Ask the daemon whose HTTP side is at ``HOST:PORT``.

    ``caches`` of each machine are listed, the busiest; None leaves their number to the daemon.

    Raises :class:`NoDaemonError` if nothing answers, :class:`NoStateError` if what
    answers is something else.
    """
    # http.client, because urllib would go by way of a proxy that the environment names.
    host, port = split_address(address)
    connection = HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        # A digest reads the whole model.
        wanted = "/state?digest=0" + (f"&caches={caches}" if caches is not None else "")
        connection.request("GET", wanted)
        with connection.getresponse() as answer:
            body = answer.read(MAX_BYTES)
    except OSError as error:
        raise NoDaemonError(
            f"nothing answers at http://{address}/state: {error.strerror or error}; `pfmemd serve`"
            " tells its address when it starts, --http names it here"
        ) from None
    except HTTPException:
        raise NoStateError(f"what listens at {address} does not speak HTTP") from None
    finally:
        connection.close()
    if answer.status != HTTPStatus.OK:
        raise NoStateError(
            f"http://{address}/state answers {answer.status} {answer.reason}, expected 200"
        )
    try:
        return State.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole answer"
        raise NoStateError(
            f"http://{address}/state is not what this version reads: {where}: {first['msg']}"
        ) from None
