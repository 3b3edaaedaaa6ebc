"""Copies of the machine's files are what an import reads."""

from __future__ import annotations

from pathlib import Path

from tracegen.capture.machine_files import copy_machine_files
from tracegen.kernel_trace.proc import read_snapshot
from tracegen.samples import PROC


def test_copies_say_the_same_as_the_files(tmp_path: Path) -> None:
    """Zones, caches and the reserve; files that there are not are left out."""
    proc = tmp_path / "proc"
    (proc / "sys" / "vm").mkdir(parents=True)
    (proc / "zoneinfo").write_bytes((PROC / "proc_zoneinfo").read_bytes())
    (proc / "slabinfo").write_bytes((PROC / "proc_slabinfo").read_bytes())
    (proc / "version").write_text("Linux version 6.1.0-56-amd64 (x)\n")
    (proc / "sys" / "vm" / "min_free_kbytes").write_text("2048\n")
    slab = tmp_path / "slab"
    (slab / ":a-0000192").mkdir(parents=True)
    (slab / ":a-0000192" / "align").write_text("8\n")
    (slab / ":a-0000192" / "cpu_partial").write_text("120\n")
    (slab / "dentry").symlink_to(":a-0000192")

    copy_machine_files(tmp_path / "copy", proc, slab)

    snapshot = read_snapshot(tmp_path / "copy")
    sample = read_snapshot(PROC)
    dentry = snapshot.caches.specs[snapshot.caches.find("dentry") or 0]
    assert (sample.machine, sample.zones) == (snapshot.machine, snapshot.zones)
    assert ((6, 1), 8) == (snapshot.kernel, dentry.align)
    assert (tmp_path / "copy" / "sys_kernel_slab").read_text() == (
        "cache: :a-0000192 cpu_partial=120 align=8\nalias: dentry -> :a-0000192\n"
    )
