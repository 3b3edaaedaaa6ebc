"""What runs: the build and its variants."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from allocator import COMPILED
from allocator.revision import parse_variant
from daemon import metric_table as m
from daemon.collectors.samples import LabelBounds, Samples
from daemon.reading import Reading


class BuildCollector:
    """Infos that do not change while the daemon runs."""

    name = "build"
    specs = (m.BUILD_INFO, m.VARIANT_INFO)

    def __init__(self, version: str, variants: Sequence[str]) -> None:
        self._version = version
        self._variants = [parse_variant(name) for name in variants]

    def collect(self, reading: Reading, bounds: LabelBounds, samples: Samples) -> None:
        """Add the infos."""
        del reading, bounds
        compiled = "yes" if COMPILED else "no"
        samples.put(m.BUILD_INFO, (self._version, platform.python_version(), compiled))
        for variant in self._variants:
            samples.put(m.VARIANT_INFO, (variant.name, variant.allocator, variant.revision.name))
