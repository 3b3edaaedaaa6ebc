"""A process that holds machines for the daemon: the far end of :mod:`daemon.workers`.

It reads messages from one pipe and writes answers to another, until the first is closed, which
the end of the daemon does, however it comes. Signals are the daemon's affair.

A message begins with the number of a machine and a length. Records of that length are applied
to the machine, and nothing is answered; if there are none, the machine is let go. The number 0
stands before a request, a pickled function of all machines; what it returns or raises is the
answer. So a machine has applied all that was sent before the question.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, TypeAlias

from allocator import snapshot
from allocator.config import CacheSpec, MachineConfig
from allocator.machine import Machine
from allocator.revision import parse_variant

HEAD: Final = struct.Struct("<II")
"""Number of the machine, and bytes that follow; of an answer, 0 and the bytes."""
REQUEST: Final = 0

Machines: TypeAlias = dict[int, Machine]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request came to: a value, or what it raised."""

    value: object = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """A machine failed while it applied records: its state is unknown, the process ends."""

    variant: str
    what: str
    traceback: str


# Requests.


def make(
    number: int,
    variant: str,
    config: dict[str, Any],
    caches: list[dict[str, Any]],
    gfp_flavour: str | None,
    machines: Machines,
) -> None:
    """Boot a machine; raises what ``Machine`` raises. Compiled records do not pickle."""
    specs = [CacheSpec(**spec) for spec in caches]
    machines[number] = Machine(MachineConfig(**config), parse_variant(variant), specs, gfp_flavour)


def ask(number: int, question: Callable[[Machine], object], machines: Machines) -> object:
    """Ask one machine."""
    return question(machines[number])


def restore(image: bytes, machine: Machine) -> None:
    """A question that gives a machine a state; SnapshotError if it does not fit."""
    snapshot.restore(machine, image)


# The loop.


def serve(messages: BinaryIO, answers: int) -> None:
    """Serve until ``messages`` end, or a machine fails."""
    machines: Machines = {}
    while head := messages.read(HEAD.size):
        number, size = HEAD.unpack(head)
        data = messages.read(size)
        if number == REQUEST:
            send(answers, REQUEST, _answer(pickle.loads(data), machines))  # noqa: S301 - the daemon's own
        elif not data:
            del machines[number]
        else:
            try:
                machines[number].apply(data)
            except Exception as error:  # noqa: BLE001 - whatever it is, the daemon is told
                what = f"{type(error).__name__}: {error}"
                fault = Fault(machines[number].variant.name, what, traceback.format_exc())
                send(answers, REQUEST, pickle.dumps(fault))
                return


def send(fd: int, number: int, data: bytes) -> None:
    """Write one message to a pipe, without a copy of it."""
    pieces = [memoryview(HEAD.pack(number, len(data))), memoryview(data)]
    while pieces:
        written = os.writev(fd, pieces)
        while pieces and written >= len(pieces[0]):
            written -= len(pieces.pop(0))
        if pieces:  # a signal came between
            pieces[0] = pieces[0][written:]


def _answer(request: Callable[[Machines], object], machines: Machines) -> bytes:
    try:
        return pickle.dumps(Answer(request(machines)))
    except Exception as error:  # noqa: BLE001 - whoever asked gets it
        try:
            pickled = pickle.dumps(Answer(error=error))
            pickle.loads(pickled)  # noqa: S301 - not every error survives it
        except Exception:  # noqa: BLE001 - the same
            pickled = pickle.dumps(Answer(error=RuntimeError(f"{type(error).__name__}: {error}")))
        return pickled


def main() -> None:
    """Serve the pipes that the arguments name: messages, answers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with os.fdopen(int(sys.argv[1]), "rb") as messages, suppress(BrokenPipeError):
        serve(messages, int(sys.argv[2]))
