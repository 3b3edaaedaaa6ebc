"""What can be wrong with a scenario."""

from __future__ import annotations

from tracegen.errors import PfmemdError


class ScenarioError(PfmemdError):
    """A scenario that is not there, cannot be read, or cannot be."""
