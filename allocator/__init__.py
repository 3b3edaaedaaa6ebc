"""The kernel model: page allocator, SLAB and SLUB with the PFMEMALLOC reserve.

Pure: no I/O, no clock, no randomness, no threads. The same files run as plain
Python or compiled by mypyc; :data:`COMPILED` says which. This file stays
interpreted so that it can tell.
"""

from allocator import mem_map as _mem_map

COMPILED: bool = not (_mem_map.__file__ or "").endswith(".py")
"""True when the model runs as native code (mypyc)."""

__all__ = ["COMPILED"]
