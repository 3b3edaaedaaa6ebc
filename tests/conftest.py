"""What every test runs under: bounded, repeatable property tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# The same examples on every machine, no clock in the verdict, nothing written beside the
# sources. `--hypothesis-profile=search` looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.register_profile(
    "search", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")
