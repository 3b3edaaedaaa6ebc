"""``pfmemd capture --dry-run``: the same as a script, for people who would rather see it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from tracegen.capture.instance import COMMS, SAVED_CMDLINES, Recording
from tracegen.capture.machine_files import CACHE_FIELDS, PROC_FILES, VM_SETTINGS


def script(
    tracefs: Path, name: str, recording: Recording, seconds: float | None, import_command: str
) -> str:
    """A script for sh that does by hand what ``pfmemd capture`` does.

    It leaves the text in ``trace.txt`` and copies of the machine's files in ``before`` and
    ``after``, all in the folder that it is run in. ``import_command`` is what to do next.
    """
    return "\n".join(_lines(tracefs, name, recording, seconds, import_command))


def _lines(
    tracefs: Path, name: str, recording: Recording, seconds: float | None, import_command: str
) -> Iterator[str]:
    yield "#!/bin/sh"
    yield "# A kernel allocation trace, as root; Ctrl-C ends it."
    yield "set -eu"
    yield f"T={shlex.quote(str(tracefs))}"
    yield f"I=$T/instances/{shlex.quote(name)}"
    yield ""
    yield from _copying()
    yield ""
    yield "# An instance of our own: nobody else's tracing is disturbed, and it is gone afterwards."
    yield 'mkdir "$I"'
    yield f'COMMS=$(cat "$T/{SAVED_CMDLINES}")'
    yield "give_back() {"
    yield '    echo 0 > "$I/tracing_on"'
    yield '    grep -H -E "overrun|dropped" "$I"/per_cpu/cpu*/stats || true'
    yield f'    echo "$COMMS" > "$T/{SAVED_CMDLINES}"'
    yield '    rmdir "$I"'
    yield "}"
    yield "trap give_back EXIT"
    yield "READER="
    yield "trap 'kill $READER' INT TERM HUP  # ends the reading, not this script"
    yield ""
    yield f'[ "$COMMS" -ge {COMMS} ] || echo {COMMS} > "$T/{SAVED_CMDLINES}"'
    for setting in recording.settings():
        why = f"  # {setting.why}" if setting.why else ""
        yield f'echo {shlex.quote(setting.value)} > "$I/{setting.file}"{why}'
    yield ""
    yield "copy_machine_files before"
    yield 'echo 1 > "$I/tracing_on"'
    yield 'cat "$I/trace_pipe" > trace.txt &'
    yield "READER=$!"
    if seconds is not None:
        yield f"sleep {seconds:g} && kill $READER || true"
    yield "wait $READER || true"
    yield 'echo 0 > "$I/tracing_on"'
    yield 'cat "$I/trace" >> trace.txt  # what was not read yet'
    yield "copy_machine_files after"
    yield f"# Then: {import_command}"


def _copying() -> Iterator[str]:
    """A function of the shell for what :func:`copy_machine_files` does."""
    yield "copy_machine_files() {"
    yield '    mkdir -p "$1"'
    yield f"    for f in {' '.join(PROC_FILES)}; do"
    yield '        cat "/proc/$f" > "$1/$f" || true'
    yield "    done"
    yield f"    for f in {' '.join(VM_SETTINGS)}; do"
    yield '        echo "$f: $(cat "/proc/sys/vm/$f" || true)"'
    yield '    done > "$1/proc_sys_vm"'
    yield "    for c in /sys/kernel/slab/*; do"
    yield '        if [ -L "$c" ]; then'
    yield '            TARGET=$(readlink "$c")'
    yield '            echo "alias: ${c##*/} -> ${TARGET##*/}"'
    yield "        else"
    yield '            printf "cache: %s" "${c##*/}"'
    yield f"            for f in {' '.join(CACHE_FIELDS)}; do"
    yield '                read -r VALUE REST < "$c/$f" && printf " %s=%s" "$f" "$VALUE"'
    yield "            done"
    yield "            echo"
    yield "        fi"
    yield '    done > "$1/sys_kernel_slab"'
    yield "}"
