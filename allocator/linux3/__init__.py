"""Linux 3.3 and 3.6: page allocator, SLAB and SLUB, with and without the patch."""
