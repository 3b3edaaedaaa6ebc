"""Spans of time in words, as short as they may be."""

from __future__ import annotations


def span_text(seconds: float) -> str:
    """``0.4 s``, ``45 s``, ``5 min 20 s``, ``8 h 5 min``, ``2 h``."""
    if seconds < 10:  # noqa: PLR2004 - below, tenths tell something
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    if minutes:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{rest} s"
