"""Checks that a machine makes on itself.

Expensive on purpose: they walk everything and build their own picture of it. Tests
call them after every step, the daemon on demand.
"""

from __future__ import annotations


class InvariantError(Exception):
    """Something that can never be true of a sound model is true."""


def require(condition: bool, what: str) -> None:
    """Raise :class:`InvariantError` saying ``what`` unless the condition holds."""
    if not condition:
        raise InvariantError(what)
