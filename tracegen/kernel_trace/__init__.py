"""Traces of real kernels: from the text that ftrace prints to a trace of ours.

``text_input`` reads and decompresses, ``lines`` turns a line into an event,
``pairing`` gives the events meaning with the help of ``context`` (who asked),
``gfp_text`` (with which mask), ``cache_names`` (from which cache), ``slab_pages`` and
``undecided`` (which pages the kernel's own slab allocator took); ``proc`` reads the
machine from its /proc files, ``population`` says what was in use before the trace began,
``outbox`` makes batches, ``importer`` drives it all, ``report`` says what was understood,
and ``cli`` is ``pfmemd import``. What is inferred and how is in docs/IMPORT.md.
"""
