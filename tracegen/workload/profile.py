"""A load that draws its requests from a profile of a real machine.

A profile is made by ``pfmemd trace profile`` (tracegen/likeness/profile.py); those that are built
in are in ``profiles/``, any other is a file. The load is open: what a real program would have done
about a denial is not known, so it goes on.
"""

from __future__ import annotations

import random
import tomllib
from bisect import bisect
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from allocator.config import CacheSpec
from allocator.events import CTX_PF_MEMALLOC, KMALLOC, OBJ_ALLOC, PAGE_ALLOC
from allocator.gfp import encode, translate
from allocator.revision import Revision
from tracegen.quantiles import between, mean_of
from tracegen.workload.engine import SECOND, Engine, Steps, Task
from tracegen.workload.errors import ScenarioError
from tracegen.workload.footprint import Footprint, Want
from tracegen.workload.memory import Memory

_FOLDER: Final = Path(__file__).parent / "profiles"
_OPS: Final = {"PAGE_ALLOC": PAGE_ALLOC, "OBJ_ALLOC": OBJ_ALLOC, "KMALLOC": KMALLOC}
_FOR_EVER: Final = 60 * SECOND
"""How long what was not freed while it was watched is kept: a run of hours must stay level."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One class of requests, and what becomes of what is granted."""

    want: Want
    ctx: int
    freed: float
    lives: tuple[int, ...]
    free_contexts: tuple[int, ...]
    free_weights: tuple[int, ...]


class ProfileData:
    """A profile, read, and made into requests of a revision."""

    def __init__(self, name: str, revision: Revision) -> None:
        path = _FOLDER / f"{name}.toml"
        if not path.is_file():
            path = Path(name)
        try:
            table = tomllib.loads(path.read_text("utf-8"))
            self.gaps: list[int] = table["gaps_ns"]
            self.rates: list[float] = [row["per_second"] for row in table["class"]]
            self.caches = [CacheSpec(0, name, **row) for name, row in table["caches"].items()]
        except OSError as error:
            there = ", ".join(sorted(file.stem for file in _FOLDER.glob("*.toml")))
            raise ScenarioError(
                f"no profile and no file {name!r} ({error.strerror}); built in are {there}"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ScenarioError(f"{name} is no profile: {error}") from error
        self._table = table
        self._flavour = revision.gfp_flavour

    def kinds(self, footprint: Footprint) -> list[Kind]:
        """Every class as a request to the model."""
        return [self._kind(row, footprint) for row in self._table["class"]]

    def _kind(self, row: dict[str, Any], footprint: Footprint) -> Kind:
        mask = encode(row["gfp"], self._table["gfp"])
        gfp, memalloc = translate(mask, self._table["gfp"], self._flavour)
        want = footprint.request(_OPS[row["op"]], row["what"], gfp)
        want.add = CTX_PF_MEMALLOC if memalloc else 0
        return Kind(
            want=want,
            ctx=row["ctx"],
            freed=row["freed"],
            lives=tuple(row["lives_ns"]),
            free_contexts=tuple(context for context, _ in row["frees"]),
            free_weights=tuple(accumulate(weight for _, weight in row["frees"])),
        )


class ProfileLoad:
    """Asks for what a profile says, at ``rate`` times its pace.

    Requests and frees share one sequence of moments, whose distances are the profile's: at
    each moment what is due is freed, or else something is asked for. So frees follow requests as
    closely as they did on the real machine, and never more closely than it could.
    """

    def __init__(
        self,
        engine: Engine,
        memory: Memory,
        data: ProfileData,
        kinds: list[Kind],
        rate: float,
        rng: random.Random,
    ) -> None:
        self._engine = engine
        self._memory = memory
        self._gaps = data.gaps
        self._kinds = kinds
        self._random = rng.random
        self._weights = list(accumulate(data.rates))
        moments_per_second = 2 * self._weights[-1] * rate
        self._stretch = SECOND / moments_per_second / mean_of(data.gaps)
        self._cpus = len(engine.cpu_free_at)
        self._due: list[tuple[int, int, int, int]] = []
        """Time, handle, cpu and context of frees to come: a heap."""
        engine.spawn(Task("profile", 0, kernel=True), self._go_on())

    def _go_on(self) -> Steps:
        due = self._due
        engine = self._engine
        while True:
            if due and due[0][0] <= engine.now:
                _, handle, cpu, ctx = heappop(due)
                self._memory.free(handle, cpu, ctx)
            else:
                self._ask()
            yield round(between(self._gaps, self._random()) * self._stretch)

    def _ask(self) -> None:
        rng = self._random
        weights = self._weights
        kind = self._kinds[bisect(weights, rng() * weights[-1])]
        cpu = int(rng() * self._cpus)
        handle = self._memory.take(kind.want, cpu, kind.ctx)
        if not handle:
            return
        life, ctx = _FOR_EVER, 0
        if kind.lives:
            ctx = kind.free_contexts[bisect(kind.free_weights, rng() * kind.free_weights[-1])]
            if rng() < kind.freed:
                life = between(kind.lives, rng())
        heappush(self._due, (self._engine.now + life, handle, cpu, ctx))
