"""Linux 6.1: ``mm/page_alloc.c``, ``mm/slab.c``, ``mm/slub.c`` of the long-term branch."""
