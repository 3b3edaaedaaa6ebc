"""Metrics of others that the dashboards and alerts use: node_exporter's, a process's, Prometheus'.

node_exporter shows most of what is about the reserve only when it is asked to: the
kernel counts it, and the default flags leave it out. :data:`NODE_EXPORTER_FLAGS` are all
that is needed beyond the defaults.
"""

from __future__ import annotations

from typing import Final

from daemon.metric_table import MetricSpec, MetricType

VMSTAT_FIELDS: Final = (
    "^(oom_kill|pgpg.*|pswp.*|pg.*fault|allocstall.*|pgscan_direct_throttle"
    "|pgscan_(kswapd|direct)|pgsteal_(kswapd|direct))$"
)
NETSTAT_FIELDS: Final = (
    "^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)"
    "|TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|PFMemallocDrop)"
    "|Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab))$"
)
NODE_EXPORTER_FLAGS: Final = (
    "--collector.zoneinfo",
    "--collector.slabinfo",
    f"--collector.vmstat.fields={VMSTAT_FIELDS}",
    f"--collector.netstat.fields={NETSTAT_FIELDS}",
)
"""What node_exporter has to be started with. ``/proc/slabinfo`` is readable by root only."""

_table: list[MetricSpec] = []

_HOST: Final = ("job", "instance")
_ZONE: Final = (*_HOST, "node", "zone")
_SLAB: Final = (*_HOST, "slab")


def _metric(
    name: str, kind: MetricType, labels: tuple[str, ...], unit: str, text: str, kernel: str = ""
) -> MetricSpec:
    spec = MetricSpec(name, kind, labels, unit, text, kernel)
    _table.append(spec)
    return spec


# --- node_exporter -----------------------------------------------------------------------------

HOST_FREE_PAGES: Final = _metric(
    "node_zoneinfo_nr_free_pages",
    "gauge",
    _ZONE,
    "pages",
    "Free pages of the zone.",
    "/proc/zoneinfo nr_free_pages",
)
HOST_MIN_PAGES: Final = _metric(
    "node_zoneinfo_min_pages",
    "gauge",
    _ZONE,
    "pages",
    "The zone's min watermark: its emergency reserve.",
    "/proc/zoneinfo min",
)
HOST_LOW_PAGES: Final = _metric(
    "node_zoneinfo_low_pages",
    "gauge",
    _ZONE,
    "pages",
    "The zone's low watermark.",
    "/proc/zoneinfo low",
)
HOST_HIGH_PAGES: Final = _metric(
    "node_zoneinfo_high_pages",
    "gauge",
    _ZONE,
    "pages",
    "The zone's high watermark.",
    "/proc/zoneinfo high",
)
HOST_THROTTLED: Final = _metric(
    "node_vmstat_pgscan_direct_throttle",
    "counter",
    _HOST,
    "waits",
    "Direct reclaimers put to sleep because less than half of the reserve was left.",
    "/proc/vmstat pgscan_direct_throttle",
)
HOST_STALLS_NORMAL: Final = _metric(
    "node_vmstat_allocstall_normal",
    "counter",
    _HOST,
    "stalls",
    "Allocations of kernel memory that had to reclaim by themselves.",
    "/proc/vmstat allocstall_normal",
)
HOST_STALLS_MOVABLE: Final = _metric(
    "node_vmstat_allocstall_movable",
    "counter",
    _HOST,
    "stalls",
    "Allocations of user memory that had to reclaim by themselves.",
    "/proc/vmstat allocstall_movable",
)
HOST_SCANNED_KSWAPD: Final = _metric(
    "node_vmstat_pgscan_kswapd",
    "counter",
    _HOST,
    "pages",
    "Pages that kswapd looked at.",
    "/proc/vmstat pgscan_kswapd",
)
HOST_SCANNED_DIRECT: Final = _metric(
    "node_vmstat_pgscan_direct",
    "counter",
    _HOST,
    "pages",
    "Pages that direct reclaimers looked at.",
    "/proc/vmstat pgscan_direct",
)
HOST_SWAPPED_OUT: Final = _metric(
    "node_vmstat_pswpout",
    "counter",
    _HOST,
    "pages",
    "Pages written to swap.",
    "/proc/vmstat pswpout",
)
HOST_SWAPPED_IN: Final = _metric(
    "node_vmstat_pswpin",
    "counter",
    _HOST,
    "pages",
    "Pages read from swap.",
    "/proc/vmstat pswpin",
)
HOST_PFMEMALLOC_DROPS: Final = _metric(
    "node_netstat_TcpExt_PFMemallocDrop",
    "counter",
    _HOST,
    "packets",
    "Packets in reserve memory that were dropped because their socket may not use it.",
    "/proc/net/netstat PFMemallocDrop",
)
HOST_SLAB_ACTIVE: Final = _metric(
    "node_slabinfo_active_objects",
    "gauge",
    _SLAB,
    "objects",
    "Objects of the cache in use.",
    "/proc/slabinfo active_objs",
)
HOST_SLAB_OBJECTS: Final = _metric(
    "node_slabinfo_objects",
    "gauge",
    _SLAB,
    "objects",
    "Objects in the cache's slabs.",
    "/proc/slabinfo num_objs",
)
HOST_SLAB_OBJECT_SIZE: Final = _metric(
    "node_slabinfo_object_size_bytes",
    "gauge",
    _SLAB,
    "bytes",
    "Size of one object of the cache.",
    "/proc/slabinfo objsize",
)

NODE_EXPORTER: Final = tuple(_table)

# --- The daemon's process, and what Prometheus itself knows ------------------------------------

PROCESS_CPU: Final = _metric(
    "process_cpu_seconds_total", "counter", _HOST, "seconds", "Processor time of the process."
)
SCRAPE_DURATION: Final = _metric(
    "scrape_duration_seconds", "gauge", _HOST, "seconds", "How long the scrape took."
)
SCRAPE_SAMPLES: Final = _metric(
    "scrape_samples_scraped", "gauge", _HOST, "samples", "Samples that the scrape gave."
)
UP: Final = _metric("up", "gauge", _HOST, "", "1 if the last scrape of the target succeeded.")
ALERTS: Final = _metric(
    "ALERTS",
    "gauge",
    ("alertname", "alertstate", "severity", "source", "variant", "node", "zone", "instance"),
    "",
    "1 while the alert is pending or firing.",
)

BY_NAME: Final = {spec.name: spec for spec in _table}
