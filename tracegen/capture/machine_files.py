"""Copies of what /proc and /sys say of this machine, as an import reads them with ``--proc``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tracegen.errors import StoppedError

PROC_FILES: Final = (
    "zoneinfo",
    "slabinfo",
    "buddyinfo",
    "pagetypeinfo",
    "meminfo",
    "vmstat",
    "swaps",
    "version",
)
VM_SETTINGS: Final = (
    "min_free_kbytes",
    "lowmem_reserve_ratio",
    "watermark_scale_factor",
    "watermark_boost_factor",
    "swappiness",
)
"""Of /proc/sys/vm: one line each in the copy."""
CACHE_FIELDS: Final = (
    *("object_size", "slab_size", "order", "objs_per_slab", "cpu_partial", "min_partial"),
    *("aliases", "align"),
)
"""Of /sys/kernel/slab/CACHE: one line for all of them in the copy."""


def copy_machine_files(
    folder: Path, proc: Path = Path("/proc"), sys_slab: Path = Path("/sys/kernel/slab")
) -> None:
    """Write the copies into ``folder``; a file that this kernel does not have is left out.

    Raises :class:`StoppedError` for what cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in PROC_FILES:
            _copy(proc / name, folder / name)
        (folder / "proc_sys_vm").write_text("".join(_vm_lines(proc / "sys" / "vm")))
        caches = "".join(_cache_lines(sys_slab))
        if caches:
            (folder / "sys_kernel_slab").write_text(caches)
    except OSError as error:
        raise StoppedError(f"cannot write {error.filename or folder}: {error.strerror}") from error


def _copy(path: Path, target: Path) -> None:
    try:
        data = path.read_bytes()
    except OSError:
        return
    target.write_bytes(data)


def _vm_lines(folder: Path) -> Iterator[str]:
    for name in VM_SETTINGS:
        with contextlib.suppress(OSError):
            yield f"{name}: {' '.join((folder / name).read_text().split())}\n"


def _cache_lines(folder: Path) -> Iterator[str]:
    """A line for each cache, and for each alias of one, which is a link to it."""
    if not folder.is_dir():
        return
    for cache in sorted(folder.iterdir()):
        if cache.is_symlink():
            yield f"alias: {cache.name} -> {cache.readlink().name}\n"
            continue
        fields = []
        for name in CACHE_FIELDS:
            with contextlib.suppress(OSError, IndexError):
                fields.append(f"{name}={(cache / name).read_text().split()[0]}")
        if fields:
            yield f"cache: {cache.name} {' '.join(fields)}\n"
