"""What a rule trace holds, once it is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from allocator.config import MachineConfig
from tracegen.errors import PfmemdError
from tracegen.rule_trace.answer import Answer

RULES: Final[dict[str, str]] = {
    "P1": "PF_MEMALLOC or TIF_MEMDIE gives ALLOC_PFMEMALLOC always, and ALLOC_NO_WATERMARKS"
    " only without __GFP_NOMEMALLOC and outside interrupts",
    "P2": "whoever has ALLOC_PFMEMALLOC may have objects of the reserve",
    "P3": "a page from the slow path is marked if the caller had ALLOC_PFMEMALLOC; the fast"
    " path marks nothing",
    "P4": "freeing a page takes its mark away",
    "A1": "a marked page flags every page of its slab and sets the global pfmemalloc_active",
    "A2": "giving a slab's pages back takes the flag off every one of them",
    "A3": "while the global is set, an object of a flagged slab enters an array tagged",
    "A4": "an array gives a tagged object only to whoever may have it: others get an untagged"
    " one from index 1 up, or un-flag a slab if another was grown for them, or get none",
    "A5": "an array that held objects but gave none is a miss, and forces a refill",
    "A6": "a forced refill grows the cache at once, and gives none if it cannot",
    "A7": "objects of another node enter the alien array tagged as well",
    "A8": "an object that goes back to its slab loses its tag",
    "A9": "whether any reserve slab is left is asked of this cache on this node alone, and the"
    " answer clears the global for all",
    "U1": "a marked page flags the slab built from it",
    "U2": "giving a slab's pages back takes the flag away",
    "U3": "a flagged cpu slab serves only whoever may have objects of the reserve",
    "U4": "for others the cpu slab is put back and another one taken",
    "U5": "the fast path looks at the flag as well, and leaves to the slow path what it may not"
    " give",
}
"""The rules of the patch of February 2012, one sentence each."""

LOOKS: Final = frozenset(
    {"array", "shared", "alien", "slab", "slabs", "cpuslab", "partial", "stats", "leaks"}
)
"""Verbs that only look at the machine."""
COUNTED: Final = frozenset({"leaks"})
"""Looks at what the model counts and no kernel does."""
WHOLE_WORDS: Final = frozenset({"array", "shared", "alien", "slab", "partial"})
"""Looks whose words are a list, or say that there is nothing."""
ALLOCATIONS: Final = frozenset({"alloc", "kmalloc", "page"})


class RuleTraceError(PfmemdError, ValueError):
    """A rule trace that cannot be read or run: where, what, and what was expected."""


@dataclass(slots=True)
class Operation:
    """A verb and its arguments; those that the verb does not have keep their default."""

    verb: str
    handles: tuple[str, ...] = ()
    cache: str = ""
    gfp: str = ""
    ctx: int = 0
    """Bits of ``allocator.events`` CTX_*."""
    cpu: int = 0
    node: int = -1
    of: int = 0
    order: int = 0
    size: int = 0
    align: int = 0
    flags: int = 0
    pfn: int = 0
    kbytes: int = 0
    jiffies: int = 0
    cold: bool = False

    @property
    def is_look(self) -> bool:
        """Whether it changes nothing."""
        return self.verb in LOOKS


@dataclass(slots=True)
class Step:
    """A line that does something or looks at something, and what must come of it."""

    line: int
    text: str
    """The operation as it is written, without expectation and note."""
    operation: Operation
    expected: Answer | None = None
    alternatives: dict[str, Answer] = field(default_factory=dict)
    """What others answer, by variant, revision or allocator."""
    note: str = ""

    @property
    def times(self) -> int:
        """How often it is done: once for each handle."""
        return max(1, len(self.operation.handles))

    def expected_of(self, variant: str, time: int) -> Answer | None:
        """What the trace expects of a variant at one of the times; None if nothing."""
        stated = self.expected
        names = (variant, variant.partition("-")[2], variant.partition("-")[0])
        for name in names:
            if name in self.alternatives:
                stated = self.alternatives[name]
                break
        return None if stated is None else _at_time(stated, time, self.times)


def _at_time(stated: Answer, time: int, times: int) -> Answer:
    """The part of a line about several handles that is about one of them."""
    if times == 1:
        return stated
    fields = {
        key: (value[time],) if len(value) == times else value
        for key, value in stated.fields.items()
    }
    return Answer(stated.words, fields)


@dataclass(slots=True)
class Prose:
    """A comment on a line of its own, or a heading (``mark``)."""

    line: int
    text: str
    heading: bool = False


@dataclass(slots=True)
class Beyond:
    """From here on no kernel has answered these operations: what follows is the model's."""

    line: int
    text: str


@dataclass(slots=True)
class RuleTrace:
    """A whole file."""

    path: Path
    machine: MachineConfig
    variants: tuple[str, ...]
    """Variants of which the trace says what they answer; it is about the first."""
    rules: tuple[str, ...] = ()
    leaks: tuple[str, ...] = ()
    """Ways in which the reserve leaks that the trace shows."""
    recordings: dict[str, str] = field(default_factory=dict)
    """Vector file, without suffixes, by the variants or revisions whose kernel answered it."""
    seen: tuple[tuple[str, int], ...] = ()
    """Vector file and op at which a kernel does the same amid a long stream."""
    summary: list[str] = field(default_factory=list)
    """The comment at the top of the file."""
    body: list[Step | Prose | Beyond] = field(default_factory=list)

    @property
    def steps(self) -> list[Step]:
        """The lines that do or look at something."""
        return [entry for entry in self.body if isinstance(entry, Step)]

    @property
    def operations(self) -> int:
        """How many operations it performs."""
        return sum(step.times for step in self.steps if not step.operation.is_look)

    def recording_of(self, variant: str) -> str | None:
        """The vector file in which that variant's kernel answered these operations."""
        if variant not in self.variants:
            return None
        revision = variant.partition("-")[2]
        return self.recordings.get(variant) or self.recordings.get(revision)
