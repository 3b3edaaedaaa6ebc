"""Real text cut up, mixed with what else machines print, and torn.

Whatever happens to it, every event is named, every line that is none is told, and the trace can
be played. A seed makes all of it.
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Final

import pytest

from tests.tracegen.kernel_trace.fakes import DATA, Imported, imported, options, unpacked
from tracegen.samples import TRACE

SEEDS: Final = range(3)
WINDOWS: Final = 12
WINDOW: Final = 300

CONSOLE: Final = (
    "[   30.813454] Out of memory: Killed process 288 (hog) total-vm:123868kB, anon-rss:55484kB",
    "[  242.112233] INFO: task kworker/0:1H:43 blocked for more than 120 seconds.",
    "[  242.112240]       Not tainted 6.1.0-56-amd64 #1 Debian 6.1.192-2",
    "[  242.112300] Call Trace:",
    "[  242.112301]  <TASK>",
    "[  242.112302]  __schedule+0x2f0/0x8d0",
    "[  242.112303]  ? wbt_wait+0x9a/0x110",
    "sysrq: Show Memory",
    "Mem-Info:",
    "active_anon:12 inactive_anon:9371 isolated_anon:0",
    "Node 0 DMA free:1112kB boost:0kB min:112kB low:140kB high:168kB",
    "DMA: 3*4kB (UM) 2*8kB (U) 1*16kB (M) = 44kB",
    "swap_free: Bad swap file entry 3ffffffffffff",
    "\x00\x01\x02\x1b[31mbinary\xff",
)
"""What a console, or a tail of something else, puts between the lines."""

OTHERS: Final = (
    "rpc_task_begin: task:0000000a@00000005 flags=ASYNC|MOVEABLE|DYNAMIC runstate=ACTIVE status=0",
    "nfs_writeback_done: fileid=00:2f:12 fhandle=0xabcdef01 offset=4096 count=4096 res=4096",
    "nfs4_write: error=0 (OK) fileid=00:2f:12 fhandle=0xabcdef01 offset=0 count=4096 res=4096",
    "xs_stream_read_request: peer=[10.0.2.2]:2049 xid=0x5a53c0f7 copied=28 reclen=28 offset=28",
    "tcp_probe: family=AF_INET src=10.0.2.15:800 dest=10.0.2.2:2049 mark=0x0 data_len=0",
    "net_dev_xmit: dev=eth0 skbaddr=00000000c3ff93b2 len=60 rc=0",
    "sock_rcvqueue_full: rmem_alloc=33554432 truesize=2304 sk_rcvbuf=33554432",
    "writeback_start: bdi 0:47: sb_dev 0:0 nr_pages=1024 sync_mode=0 kupdate=0",
    "mm_vmscan_lru_shrink_inactive: nid=0 nr_scanned=32 nr_reclaimed=0 priority=2 flags=RECLAIM",
    "oom_score_adj_update: pid=288 comm=hog oom_score_adj=0",
    "bprint: refill_work: out of buffers",
    "refill_work+0x1a/0x60 [virtio_net]: out of buffers",
    "sched_switch: prev_comm=a b prev_pid=1 prev_prio=120 prev_state=D ==> next_comm=swapper/0",
    "mm_page_alloc_zone_locked: page=00000000 pfn=0x77 order=-1 migratetype=0 percpu_refill=1",
)
"""Events that may be on at the same time."""

COMMS: Final = ("Web Content", "kworker/u16:3+flush-0:47", "a - b: c [x]", "(sd-pam)", "<...>", "7")
FLAGS: Final = ".....", "d..1.", "d.s2.", "..s1.", "d.h1.", "dNH3.", "....."
HEAD: Final = re.compile(r"^ *(.*)-(\d+) +\[(\d+)\] (\S+) +([\d.]+): (.*)$")


class Mixture:
    """One text, and what went into it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.lines: list[str] = []
        self.events = 0
        self.junk = 0
        self.lost = 0
        sources = [unpacked(TRACE), unpacked(DATA / "tracefs-trace.txt.xz")]
        lines = [text for source in sources for text in source.split("\n") if HEAD.match(text)]
        for start in self.random.sample(range(0, len(lines), WINDOW), WINDOWS):
            self._window(lines[start : start + WINDOW])
        self._tear_the_end()

    def _window(self, window: list[str]) -> None:
        renamed: dict[str, str] = {}
        for text in window:
            self._between()
            match = HEAD.match(text)
            assert match is not None
            comm, pid, cpu, flags, stamp, event = match.groups()
            comm = renamed.setdefault(pid, self.random.choice((comm, comm, *COMMS)))
            cpu = f"{(int(cpu) + int(pid)) % 8:03}"
            self._event(f"{comm:>16}-{pid:<7} [{cpu}] {flags} {stamp}: {event}")

    def _between(self) -> None:
        chance = self.random.random()
        if chance < 0.02:
            self.lines.append(self.random.choice(CONSOLE))
            self.junk += 1
        elif chance < 0.08:
            head = f"{self.random.choice(COMMS):>16}-{self.random.randrange(1, 5000)}"
            where = f"[{self.random.randrange(8):03}] {self.random.choice(FLAGS)}"
            self._event(
                f"{head}    {where} 73.8{self.random.randrange(10**5):05}: "
                f"{self.random.choice(OTHERS)}"
            )
        elif chance < 0.082:
            self.lines.append(f"CPU:{self.random.randrange(8)} [LOST 17 EVENTS]")
            self.lost += 1
        elif chance < 0.09:
            self.lines.append(self.random.choice(("", "# comment", " => __alloc_pages")))

    def _event(self, text: str) -> None:
        # Half a line: another cpu's console output tore it in two.
        if self.random.random() < 0.001 and " kfree: " not in text:
            cut = text.index("] ") + self.random.randrange(3, 10)
            self.lines += [text[:cut], "] " + text[cut:]]
            self.junk += 2
        else:
            self.lines.append(text)
            self.events += 1

    def _tear_the_end(self) -> None:
        self.lines.append("            hog0-114     [000] d.s1. 75.9")
        self.junk += 1

    @property
    def text(self) -> bytes:
        """As a file that ends in the middle of a line."""
        return "\n".join(self.lines).encode("latin-1")


def check_trace(made: Imported) -> None:
    """No handle is given twice, or freed when it is not in use."""
    live: set[int] = set()
    given: set[int] = set()
    for row in made.prelude + made.events:
        if row.op in {"PAGE_FREE", "OBJ_FREE"}:
            live.remove(row.handle)
        elif row.handle:
            assert row.handle not in given
            given.add(row.handle)
            live.add(row.handle)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "live"])
def test_mixed_and_torn_text_is_imported(tmp_path: Path, seed: int, *, whole: bool) -> None:
    """Each event lands in one category; unmatched is only what lies between the windows."""
    mixture = Mixture(seed)
    path = tmp_path / "mixture.txt"
    path.write_bytes(mixture.text)
    made = imported(path, options(whole=whole))
    report = made.report

    assert (mixture.events, mixture.junk) == (report.events, report.bad_lines)
    assert mixture.events == sum(report.by_category().values())
    assert mixture.lost == report.lost_markers
    assert report.by_category()["unmatched"] <= mixture.events / 500
    check_trace(made)
