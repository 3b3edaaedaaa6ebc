"""What is wrong with a model, judged from what ``/state`` says of it.

One judgement for ``pfmemd soak`` and ``pfmemd top``; the alerts of
``dashboards/prometheus/alerts.yml`` ask the same of Prometheus.
"""

from __future__ import annotations

from typing import Final

from daemon.live_state import Variant, Zone

ENTITLED: Final = ("pf_memalloc", "gfp_memalloc", "memdie")
"""Callers that the reserve is for."""
EXHAUSTED: Final = 0.125
"""A zone with less than this part of min is exhausted: below it only the entitled are served."""
THROTTLED: Final = 0.5
"""At this part of a node's min the kernel puts direct reclaimers to sleep
(mm/vmscan.c: pfmemalloc_watermark_ok())."""


def left(zone: Zone) -> float:
    """The part of the zone's reserve that is free now, 0 to 1."""
    return min(1.0, zone.free / zone.min) if zone.min else 1.0


def lowest_left(zone: Zone) -> float:
    """The least that was left since the model started, 0 to 1."""
    return min(1.0, zone.lowest_free / zone.min) if zone.min else 1.0


def worst(variant: Variant) -> Zone | None:
    """The zone whose reserve is drawn deepest now; None if there is none."""
    return min(variant.zones, key=left, default=None)


def left_of(variant: Variant) -> float:
    """The part of the reserve that is free now in the worst zone."""
    return min(map(left, variant.zones), default=1.0)


def least_left(before: Variant | None, now: Variant) -> float:
    """The least that was left in any zone since another reading, as far as is known.

    Between two readings a machine tells only of a point that is its lowest so far;
    ``before`` is None at the first reading of a machine, which tells of all since its start.
    """
    known = {} if before is None else {(z.node, z.zone): z.lowest_free for z in before.zones}
    return min(
        (
            lowest_left(zone)
            if zone.lowest_free < known.get((zone.node, zone.zone), zone.lowest_free + 1)
            else left(zone)
            for zone in now.zones
        ),
        default=1.0,
    )


def exhausted(variant: Variant) -> int:
    """Allocations that left a zone with less than an eighth of its reserve."""
    return sum(zone.exhausted_allocations for zone in variant.zones)


def entitled_denied(variant: Variant) -> int:
    """Allocations by callers that the reserve is for, who were given nothing."""
    return sum(
        results.denied for caller, results in variant.by_caller.items() if caller in ENTITLED
    )


def leaked(variant: Variant) -> int:
    """Objects of the reserve that callers without a right to it were given."""
    return sum(variant.leaks.values())


def frees(variant: Variant) -> int:
    """Pages and objects that were given back."""
    return variant.page_frees + variant.object_frees


def hangs(before: Variant, now: Variant) -> bool:
    """Whether nothing goes forward between two readings of one machine.

    Entitled callers were refused, a zone's reserve is exhausted, and nothing was freed:
    memory is needed that only what is refused would free.
    """
    return (
        entitled_denied(now) > entitled_denied(before)
        and frees(now) == frees(before)
        and left_of(now) < EXHAUSTED
    )
