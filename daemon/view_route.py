"""The views over HTTP: /proc and /sys of every machine of a running daemon.

``/proc/SOURCE/VARIANT/slabinfo`` and so on, ``/sys/SOURCE/VARIANT/kernel/slab[/CACHE]``. A
machine is read between two batches, under the engine's lock, as /metrics is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from http import HTTPStatus
from typing import Final

from allocator.machine import Machine
from allocator.views import PROC_FILES
from daemon.engine import Engine
from daemon.http import Request, Response, Route
from daemon.sources import ModelledMachine
from daemon.view import NoViewError, slab_view
from daemon.workers import RemoteMachine

PROC: Final = "/proc/"
SYS: Final = "/sys/"
_SLAB: Final = "kernel/slab"


def view_routes(engine: Engine) -> dict[str, Route]:
    """The two routes, each for everything below it."""
    views = _Views(engine)
    return {PROC: views.proc, SYS: views.sys}


class _Views:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def proc(self, request: Request) -> Response:
        source, variant, name = _split(request.rest)
        show = PROC_FILES.get(name)
        if show is None:
            return self._nothing(PROC, request.rest)
        return self._answer(PROC, request.rest, source, variant, show)

    def sys(self, request: Request) -> Response:
        source, variant, name = _split(request.rest)
        name = name.rstrip("/")
        cache = name.removeprefix(_SLAB).removeprefix("/") or None
        if name != _SLAB and not name.startswith(_SLAB + "/"):
            return self._nothing(SYS, request.rest)
        return self._answer(SYS, request.rest, source, variant, partial(slab_view, cache=cache))

    def _answer(
        self,
        start: str,
        rest: str,
        source: str,
        variant: str,
        show: Callable[[Machine], str],
    ) -> Response:
        def question(machine: ModelledMachine) -> str:
            if isinstance(machine, RemoteMachine):
                return machine.ask(show)
            if not isinstance(machine, Machine):
                raise NoViewError(f"no views of a {type(machine).__name__}")
            return show(machine)

        try:
            text = self._engine.ask(source, variant, question)
        except NoViewError as error:
            return Response(f"{error}\n".encode(), status=HTTPStatus.NOT_FOUND)
        return self._nothing(start, rest) if text is None else Response(text.encode())

    def _nothing(self, start: str, rest: str) -> Response:
        """List what there is: as the answer to a folder's name, or as a complaint."""
        below = [path for path in self._paths(start) if path.startswith(start + rest)]
        if below and (not rest or rest.endswith("/")):
            return Response("".join(f"{path}\n" for path in below).encode())
        text = f"nothing at {start}{rest}; there is {start} with a list\n"
        return Response(text.encode(), status=HTTPStatus.NOT_FOUND)

    def _paths(self, start: str) -> Iterator[str]:
        for source, variant in self._engine.machines():
            if start == PROC:
                yield from (f"{PROC}{source}/{variant}/{name}" for name in PROC_FILES)
            elif variant.startswith("slub"):
                yield f"{SYS}{source}/{variant}/{_SLAB}"


def _split(rest: str) -> tuple[str, str, str]:
    """Source, variant, and the name below them."""
    source, _, below = rest.partition("/")
    variant, _, name = below.partition("/")
    return source, variant, name
