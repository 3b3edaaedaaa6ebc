"""A simulated machine that swaps over the network: what it asks of the allocator, how it fares.

``engine`` has time, tasks and waiting; ``memory`` asks the model; ``vm``, ``reclaim``, ``swap``,
``nbd``, ``nfs``, ``tcp`` and ``network`` are the parts of a kernel that make and feel memory
pressure; ``loads`` are the programs that run on it. A ``scenario`` says which and how large, and
``simulation`` puts one machine together. docs/WORKLOADS.md describes what is simulated and what
is not.
"""
