"""Readings of a daemon, as its /state gives them, made up for the tests here."""

from __future__ import annotations

from daemon.live_state import Results, Source, State, Variant, Zone


def zone(
    free: int = 480, *, lowest: int | None = None, least: int = 480, exhausted: int = 0
) -> Zone:
    """A zone whose min is 480 pages."""
    return Zone(
        node=0,
        zone="DMA32",
        free=free,
        min=least,
        low=600,
        high=720,
        lowest_free=free if lowest is None else lowest,
        below_min_allocations=3 * exhausted,
        exhausted_allocations=exhausted,
    )


def variant(
    zones: list[Zone] | None = None,
    *,
    ok: int = 100,
    denied: int = 0,
    entitled_denied: int = 0,
    leaked: int = 0,
    frees: int = 10,
) -> Variant:
    """A model in which nothing is wrong but what is named."""
    plain = Results(ok=ok, denied=denied - entitled_denied, stalled=0)
    entitled = Results(ok=1, denied=entitled_denied, stalled=0)
    return Variant(
        ok=ok,
        denied=denied,
        stalled=0,
        pfmemalloc_active=False,
        pfmemalloc_activations=2,
        pfmemalloc_deactivations=1,
        by_caller={"plain": plain, "pf_memalloc": entitled},
        denied_by_reason={"watermark": denied} if denied else {},
        stalled_by_reason={},
        page_frees=frees,
        leaks={"fast_path": leaked} if leaked else {},
        zones=zones or [zone()],
        caches=[],
    )


def state(model: Variant, *, epoch: int = 1, source: str = "a", phase: str | None = None) -> State:
    """A daemon with one source and one model."""
    variants = {"slab-seed": model}
    return State(sources={source: Source(epoch=epoch, phase=phase, variants=variants)})
