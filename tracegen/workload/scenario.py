"""Scenarios: a machine, a server, and what runs on it.

One class for each table of a scenario file. What a key means, its unit and where the kernel has
it stands beneath it; docs/WORKLOADS.md is made from these texts (``pfmemd scenarios --keys``).
:mod:`tracegen.workload.scenario_file` reads the files.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from allocator.config import MAX_CPUS, PAGE_SIZE, MachineConfig
from tracegen.workload.errors import ScenarioError
from tracegen.workload.source_lines import SourceLines

_PAGES_OF_A_MIB = 256
_PAGEBLOCK = 1024
_MAX_MIB = 1 << 20
_Seconds = Annotated[float, Field(ge=0, le=1e9)]
_Rate = Annotated[float, Field(gt=0, le=1e7)]
_Milliseconds = Annotated[float, Field(ge=0, le=1e6)]


class Table(BaseModel):
    """A table of a scenario file: nothing but its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class MachineTable(Table):
    """``[machine]``: memory and cpus."""

    memory_mib: Annotated[int, Field(ge=8, le=_MAX_MIB)]
    """MiB of memory, before ``scale``"""
    cpus: Annotated[int, Field(ge=1, le=MAX_CPUS)] = 2
    """cpus; interrupts come to the first, kswapd and the swap device's thread run on the last"""
    min_free_kbytes: Annotated[int, Field(ge=0, le=1 << 30)] = 0
    """KiB of the reserve; 0 is the kernel's own size for ``memory_mib`` (init_per_zone_wmark_min(),
    mm/page_alloc.c)"""
    dma_mib: Annotated[int, Field(ge=0, le=16, multiple_of=4)] = 0
    """MiB of zone DMA; 0 is a machine without one"""
    numa: bool = True
    """built with CONFIG_NUMA (one node): it changes what SLAB does on a refusal"""
    file_cache_mib: Annotated[int, Field(ge=0, le=_MAX_MIB)] = 0
    """MiB of clean page cache at the start, before ``scale``"""
    scale: Annotated[int, Field(ge=1, le=1024)] = 1
    """memory, page cache and swap are so many times smaller; the reserve and all that shares it
    (tasks, requests, socket, card) stay as they are"""


class SwapTable(Table):
    """``[swap]``: the device."""

    transport: Literal["nbd", "nfs"] = "nbd"
    """over a network block device (drivers/block/nbd.c) or in a file on NFS (fs/nfs/direct.c)"""
    size_mib: Annotated[int, Field(ge=1, le=_MAX_MIB)]
    """MiB of swap, before ``scale``"""
    queue_requests: Annotated[int, Field(ge=4, le=65536)] = 128
    """NBD: requests of a direction before the next caller sleeps (BLKDEV_MAX_RQ,
    include/linux/blkdev.h; nr_requests of the queue)"""
    request_pages: Annotated[int, Field(ge=1, le=1024)] = 32
    """NBD: neighbouring pages of one request at most (BLK_DEF_MAX_SECTORS and
    blk_queue_max_hw_sectors() of the driver)"""
    readahead_pages: Annotated[int, Field(ge=1, le=256)] = 8
    """pages that a fault reads together (page_cluster 3, swapin_readahead(), mm/swap_state.c)"""
    rpc_slots: Annotated[int, Field(ge=2, le=65536)] = 16
    """NFS: calls under way (RPC_DEF_SLOT_TABLE, include/linux/sunrpc/xprt.h)"""
    send_buffer_kib: Annotated[int, Field(ge=8, le=1 << 20)] = 1024
    """KiB unacknowledged before the sender sleeps (sk_sndbuf, sk_stream_wait_memory(),
    net/core/stream.c)"""


class NetworkTable(Table):
    """``[network]``: the card and what TCP makes of it."""

    rx_ring: Annotated[int, Field(ge=1, le=65536)] = 256
    """receive buffers of the card (E1000_DEFAULT_RXD, drivers/net/ethernet/intel/e1000/e1000.h)"""
    scatter_gather: bool = True
    """the card can gather (NETIF_F_SG): data is sent from pages; without it from the heads of skbs,
    objects of the slab allocator (tcp_sendmsg(), net/ipv4/tcp.c)"""
    pages_of_an_skb: Annotated[int, Field(ge=1, le=16)] = 16
    """pages of data that one skb carries at most (MAX_SKB_FRAGS, include/linux/skbuff.h)"""
    pieces_per_ack: Annotated[int, Field(ge=1, le=64)] = 1
    """pieces of data that the server acknowledges with one packet"""


class ServerChange(Table):
    """``[[server.change]]``: from a moment on the server, or the way to it, is like this."""

    at_seconds: _Seconds
    """when, in simulated seconds; the changes of a file ascend"""
    label: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """the annotation that the trace carries; otherwise the change in words"""
    up: bool | None = None
    """false: nothing reaches the server and nothing comes back"""
    round_trip_ms: _Milliseconds | None = None
    """as in [server]"""
    service_ms: _Milliseconds | None = None
    """as in [server]"""
    bandwidth_mbit: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """as in [server]"""
    loss: Annotated[float, Field(ge=0, lt=1)] | None = None
    """as in [server]"""


class ServerTable(Table):
    """``[server]``: the other end, and the way to it."""

    round_trip_ms: _Milliseconds = 0.2
    """milliseconds there and back, without queueing"""
    service_ms: _Milliseconds = 0.1
    """milliseconds that the server takes for a request"""
    bandwidth_mbit: Annotated[float, Field(gt=0, le=1e6)] = 1000.0
    """Mbit/s in each direction"""
    loss: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """share of frames that get lost; TCP sends them again (TCP_RTO_MIN, include/net/tcp.h)"""
    stall_every_seconds: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """the server stops every so often; 0 is never"""
    stall_seconds: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """and for so long"""
    change: tuple[ServerChange, ...] = ()
    """[[server.change]], below"""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        times = [change.at_seconds for change in self.change]
        if times != sorted(times):
            raise ValueError("the at_seconds of its changes must ascend")
        return self


class LoadTable(Table):
    """What every ``[[load]]`` has: when it starts and when it stops."""

    start_seconds: _Seconds = 0.0
    """when it starts, in simulated seconds"""
    stop_seconds: _Seconds | None = None
    """when it stops; otherwise never"""

    @model_validator(mode="after")
    def _stops_after_start(self) -> Self:
        if self.stop_seconds is not None and self.stop_seconds <= self.start_seconds:
            raise ValueError("stop_seconds must be later than start_seconds")
        return self


class Mappers(LoadTable):
    """``mappers``: processes that go through anonymous mappings page by page."""

    kind: Literal["mappers"]
    per_cpu: Annotated[int, Field(ge=1, le=1024)] = 8
    """processes for each cpu"""
    memory_ratio: Annotated[float, Field(gt=0, le=1000)] = 4.0
    """all mappings together, in times of memory"""
    passes: Annotated[int, Field(ge=0, le=10**9)] = 0
    """how often each goes through its mapping; 0 is for ever"""
    writes: bool = True
    """it writes; a reader writes only once, or it would read the zero page"""
    slice_pages: Annotated[int, Field(ge=1, le=4096)] = 16
    """pages that one goes on for before the next has its turn"""
    random_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """share of touches that go back to any page before"""
    page_us: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """microseconds of work for a page"""
    pause_ms: _Milliseconds = 0.0
    """milliseconds of rest after a slice"""


class Sparse(LoadTable):
    """``sparse``: a process with a sparse mapping: mostly a hot part, now and then anywhere."""

    kind: Literal["sparse"]
    memory_ratio: Annotated[float, Field(gt=0, le=1000)] = 2.0
    """the mapping, in times of memory"""
    hot_ratio: Annotated[float, Field(gt=0, le=1000)] = 0.7
    """its hot part, in times of memory"""
    touches_per_second: _Rate = 20000.0
    """pages touched in a second"""
    stray_share: Annotated[float, Field(ge=0, le=1)] = 0.02
    """share of touches that go anywhere"""
    burst_pages: Annotated[int, Field(ge=1, le=4096)] = 32
    """pages touched without a rest"""


class UdpFlood(LoadTable):
    """``udp_flood``: datagrams in bursts, for a program that reads its socket now and then."""

    kind: Literal["udp_flood"]
    packets_per_second: _Rate
    """datagrams in a second"""
    burst_packets: Annotated[int, Field(ge=1, le=100000)] = 64
    """datagrams that come together"""
    packet_bytes: Annotated[int, Field(ge=1, le=1472)] = 1400
    """bytes of data of each"""
    receive_buffer_kib: Annotated[int, Field(ge=4, le=1 << 20)] = 208
    """KiB that wait in the socket at most (rmem_default, net/core/sock.c)"""
    drain_ms: Annotated[float, Field(gt=0, le=1e6)] = 10.0
    """milliseconds between two looks of the program"""
    buffer_pages: Annotated[int, Field(ge=1, le=1 << 16)] = 16
    """pages of the program's own buffer, which may have been swapped out"""


class TcpApp(LoadTable):
    """``tcp_app``: a program that sends over a socket of its own."""

    kind: Literal["tcp_app"]
    sends_per_second: _Rate
    """sends in a second"""
    round_trip_ms: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """milliseconds until each is acknowledged"""


class FsWalk(LoadTable):
    """``fs_walk``: a walk through directory trees, whose dentries and inodes stay."""

    kind: Literal["fs_walk"]
    lookups_per_second: _Rate
    """names looked up in a second"""
    reads_per_lookup: Annotated[float, Field(ge=0, le=100)] = 0.2
    """blocks read for each"""
    burst: Annotated[int, Field(ge=1, le=10000)] = 50
    """lookups without a rest"""


class ForkStorm(LoadTable):
    """``fork_storm``: processes started one after another, each with memory of its own."""

    kind: Literal["fork_storm"]
    forks_per_second: _Rate
    """processes started in a second"""
    life_ms: Annotated[float, Field(gt=0, le=1e7)] = 2000.0
    """milliseconds that each lives"""
    pages_each: Annotated[int, Field(ge=1, le=1 << 20)] = 256
    """pages that each writes"""


class Daemons(LoadTable):
    """``daemons``: what wakes up now and then on an idle machine."""

    kind: Literal["daemons"]
    wakeups_per_second: _Rate = 20.0
    """wake-ups in a second, at irregular times"""


class Objects(LoadTable):
    """``objects``: objects of one cache, a stand-in for any other user of memory."""

    kind: Literal["objects"]
    cache: Annotated[str, Field(min_length=1, max_length=64)]
    """the cache's name, of a [[cache]] or of the kernel's own (footprints/)"""
    per_second: _Rate
    """objects in a second"""
    life_ms: Annotated[float, Field(gt=0, le=1e7)] = 100.0
    """milliseconds that each is used, on average"""
    gfp: Annotated[str, Field(min_length=1, max_length=200)] = "GFP_KERNEL"
    """the mask that they are asked for with, in the kernel's own names"""


class Profile(LoadTable):
    """``profile``: requests drawn from what was measured on a real machine."""

    kind: Literal["profile"]
    name: Annotated[str, Field(min_length=1, max_length=4096)]
    """a built-in profile, or a file made by ``pfmemd trace profile``"""
    rate: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """times the profile's own pace"""


Load: TypeAlias = Annotated[
    Mappers | Sparse | UdpFlood | TcpApp | FsWalk | ForkStorm | Daemons | Objects | Profile,
    Field(discriminator="kind"),
]


class CacheTable(Table):
    """``[[cache]]``: a cache beside the kernel's own, for loads of kind ``objects``."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    """its name"""
    size: Annotated[int, Field(ge=8, le=1 << 22)]
    """bytes of an object (kmem_cache_create())"""
    align: Annotated[int, Field(ge=0, le=4096)] = 0
    """bytes to align it to: 0 or a power of two"""
    reclaimable: bool = False
    """SLAB_RECLAIM_ACCOUNT"""

    @model_validator(mode="after")
    def _align_is_a_power_of_two(self) -> Self:
        if self.align & (self.align - 1):
            raise ValueError(f"align {self.align} is no power of two")
        return self


class Scenario(Table):
    """A whole scenario file."""

    title: Annotated[str, Field(min_length=1, max_length=200)]
    """one line for lists"""
    description: Annotated[str, Field(max_length=4000)] = ""
    """what it is about"""
    duration_seconds: Annotated[float, Field(gt=0, le=1e9)]
    """simulated seconds, unless all loads with an end are through before"""
    warm_up_seconds: _Seconds = 0.0
    """seconds in which nobody pauses; a mark in the trace says when they are over"""
    hung_seconds: Annotated[float, Field(gt=0, le=1e6)] = 120.0
    """seconds without a sign of life that count as a hang (sysctl hung_task_timeout_secs,
    kernel/hung_task.c)"""
    machine: MachineTable
    swap: SwapTable
    network: NetworkTable = NetworkTable()
    server: ServerTable = ServerTable()
    cache: Annotated[tuple[CacheTable, ...], Field(max_length=64)] = ()
    load: Annotated[tuple[Load, ...], Field(min_length=1, max_length=64)]
    _source: SourceLines = PrivateAttr(default=SourceLines("scenario", ""))

    def came_from(self, source: SourceLines) -> Self:
        """Remember the text, so that :meth:`blame` can name a line of it."""
        self._source = source
        return self

    def blame(self, path: tuple[int | str, ...], reason: str) -> ScenarioError:
        """The error that says what is wrong with the key at ``path``, and where that stands."""
        return self._source.blame(path, reason)

    @property
    def memory_pages(self) -> int:
        """Pages of memory, scaled, in whole pageblocks."""
        pages = self.machine.memory_mib * _PAGES_OF_A_MIB // self.machine.scale
        return max(_PAGEBLOCK, pages // _PAGEBLOCK * _PAGEBLOCK)

    @property
    def min_free_kbytes(self) -> int:
        """The reserve, in KiB; by default that of the machine at its full size."""
        machine = self.machine
        return machine.min_free_kbytes or default_min_free_kbytes(machine.memory_mib)

    @property
    def reserve_pages(self) -> int:
        """The reserve, in pages."""
        return self.min_free_kbytes * 1024 // PAGE_SIZE

    @property
    def swap_pages(self) -> int:
        """Slots of swap, scaled."""
        return max(1, self.swap.size_mib * _PAGES_OF_A_MIB // self.machine.scale)

    def machine_config(self, *, memalloc_socks: bool) -> MachineConfig:
        """The model's machine: one node; zone DMA only if the scenario has one.

        Raises :class:`allocator.config.ConfigError` for a machine that cannot be.
        """
        machine = self.machine
        pages = self.memory_pages
        dma = machine.dma_mib * _PAGES_OF_A_MIB
        return MachineConfig(
            cpus=machine.cpus,
            cpu_node=(0,) * machine.cpus,
            nodes=((0, pages),),
            zone_end_pfn=(dma, max(dma, min(pages, 1 << 20)), max(dma, pages)),
            numa=machine.numa,
            min_free_kbytes=self.min_free_kbytes,
            memalloc_socks=memalloc_socks,
        )


def default_min_free_kbytes(memory_mib: int) -> int:
    """``init_per_zone_wmark_min`` in short: the square root of 16 times the kilobytes."""
    kbytes = int((memory_mib * 1024 * 16) ** 0.5)
    return min(max(kbytes, 128), 65536)
