"""Writes a complete trace to standard output with nothing but a msgpack library.

Its output is docs/examples/example.pfmt, byte for byte; write_trace.c does the same in C.
"""

import struct
import sys

import msgpack

PAGE_ALLOC, OBJ_ALLOC, OBJ_FREE, MARK = 1, 3, 4, 9
PF_MEMALLOC, SOFTIRQ = 1, 4
ANY_NODE = -1


def batch(seq: int, payload: str, value: object) -> bytes:
    """Return one batch: the envelope and its payload."""
    envelope = {"v": 1, "source": "example", "epoch": 1, "seq": seq, payload: value}
    packed: bytes = msgpack.packb(envelope)
    return packed


header = {
    "machine": {
        "cpus": 2,
        "cpu_node": [0, 0],
        "nodes": [[0, 16384]],
        "zone_end_pfn": [4096, 16384, 16384],
        "min_free_kbytes": 1024,
    },
    "caches": [{"id": 1, "name": "skbuff_head_cache", "size": 232}],
    "labels": ["server stalls"],
    "gfp": "v6.1",
    "clock": "mono",
}
# op, ts_ns, handle, gfp, arg, cpu, node, ctx
events = [
    [OBJ_ALLOC, 73_800_000_000, 7, 0x20A20, 1, 0, ANY_NODE, SOFTIRQ],
    [PAGE_ALLOC, 73_800_000_850, 8, 0xCC0, 0, 1, ANY_NODE, PF_MEMALLOC],
]
# ts_ns, handle, gfp, arg, cpu, node, op, ctx, zero
record = struct.Struct("<QQIIHhBBH")
packed = record.pack(73_800_000_900, 0, 0, 0, 0, ANY_NODE, MARK, 0, 0)
packed += record.pack(73_800_001_200, 7, 0, 0, 0, ANY_NODE, OBJ_FREE, SOFTIRQ, 0)

sys.stdout.buffer.write(batch(1, "header", header))
sys.stdout.buffer.write(batch(2, "events", events))
sys.stdout.buffer.write(batch(3, "packed", packed))
