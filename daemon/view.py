"""A machine at any event of a trace, and the kernel's files that tell of it."""

from __future__ import annotations

from pathlib import Path

from allocator.machine import Machine
from allocator.revision import Variant
from allocator.view_slabs import slab_attributes
from allocator.views import PROC_FILES, SLAB_FOLDER, slab_text
from daemon.trace_pass import NoSuchEventError, TracePasses
from tracegen.errors import PfmemdError
from tracegen.trace_file import FileError


class NoViewError(PfmemdError):
    """The machine does not have what was asked for."""


def machine_at(
    trace: TracePasses,
    variant: Variant,
    number: int | None,
    source: str | None,
    epoch: int | None,
) -> Machine:
    """The machine after event ``number``, or after the last; raises NoSuchEventError."""
    machine: Machine | None = None
    for stretch in trace.life_stretches("going there", source, epoch):
        if machine is None:
            machine = stretch.life.boot(variant)
        if number is not None and number < stretch.end:
            machine.apply(stretch.before(number + 1))
            return machine
        machine.apply(stretch.records)
    if machine is None:
        raise NoSuchEventError(f"{trace.name}: there is nothing in it")
    if number is not None and number > machine.events:
        raise NoSuchEventError(
            f"{trace.name}: there is no event {number}, the last is {machine.events}"
        )
    return machine


def slab_view(machine: Machine, cache: str | None) -> str:
    """``/sys/kernel/slab``; raises :class:`NoViewError` with SLAB or for an unknown cache."""
    if not slab_attributes(machine):
        raise NoViewError(f"{machine.variant.name} has no {SLAB_FOLDER}: that is SLUB's")
    try:
        return slab_text(machine, cache)
    except KeyError:
        raise NoViewError(f"{machine.variant.name} has no cache {cache!r}") from None


def write_views(machine: Machine, folder: Path) -> None:
    """Write every view to files below ``folder``; raises FileError."""
    files = {Path("proc") / name: show(machine) for name, show in PROC_FILES.items()}
    for cache, attributes in slab_attributes(machine).items():
        for attribute, value in attributes.items():
            # A cache may be called kmalloc-rcl/64: no part of its name may lead elsewhere.
            safe = cache.replace("/", "!")
            files[Path(SLAB_FOLDER).relative_to("/") / safe / attribute] = value
    try:
        for path, text in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8")
    except OSError as error:
        raise FileError(f"cannot write {error.filename or folder}: {error.strerror}") from error
