"""Hold a rule trace against what the kernel's own code answered, without any model.

The operations of the trace must be the first ones of the vector file, argument for
argument; then every answer that the trace states for that kernel must be the recorded
one, and every look must be at a moment at which the file holds the kernel's state.
Names of paths are the model's and are not compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from allocator.gfp import encode, translate
from allocator.revision import REVISIONS, parse_variant
from tracegen.conformance.vector_file import DigestLine, Op, VectorFile
from tracegen.rule_trace.answer import Answer, differences
from tracegen.rule_trace.look import look, state_of
from tracegen.rule_trace.trace import (
    ALLOCATIONS,
    COUNTED,
    WHOLE_WORDS,
    Beyond,
    Operation,
    RuleTrace,
    Step,
)
from tracegen.rule_trace.vocabulary import answer_of, cache_answer, watermarks_answer

_VECTOR_NAMES: Final[dict[str, str]] = {
    "cache": "cache_create",
    "page": "page_alloc",
    "alloc": "obj_alloc",
    "kmalloc": "kmalloc",
    "reap": "reap",
    "shrink": "cache_shrink",
    "drain": "drain",
    "tick": "tick",
    "min_free": "min_free",
}


@dataclass(slots=True)
class Comparison:
    """What came of holding a trace against a recording."""

    confirmed: int = 0
    """Stated answers that are the kernel's."""
    wrong: list[str] = field(default_factory=list)
    """One line for each disagreement."""


def compare(trace: RuleTrace, variant: str, vectors: VectorFile) -> Comparison:
    """Hold what the trace says of ``variant`` against a vector file of that kernel.

    Raises :class:`~tracegen.conformance.vector_file.VectorError` for a file that is damaged.
    """
    return _Comparer(trace, variant, vectors).run()


class _Comparer:
    def __init__(self, trace: RuleTrace, variant: str, vectors: VectorFile) -> None:
        self.trace = trace
        self.variant = variant
        self.vectors = vectors
        self.lines = iter(vectors)
        self.ahead: Op | DigestLine | None = next(self.lines, None)
        self.state: Mapping[str, Any] | None = None
        self.ids: dict[str, int] = {}
        self.orders: dict[str, int] = {}
        self.result = Comparison()
        self.source = parse_variant(trace.variants[0]).revision.gfp_flavour
        self.target = REVISIONS[vectors.header.revision].gfp_flavour

    def run(self) -> Comparison:
        self._machine()
        for entry in self.trace.body:
            if isinstance(entry, Beyond) or self.result.wrong:
                break
            if isinstance(entry, Step):
                self._step(entry)
        return self.result

    def _machine(self) -> None:
        header = self.vectors.header
        if header.revision != parse_variant(self.variant).revision.name:
            self.result.wrong.append(f"{self.vectors.path} is of {header.revision}")
        if header.level != "L1" and header.variant_name != self.variant:
            self.result.wrong.append(f"{self.vectors.path} is of {header.variant_name}")
        # Without objects, or with SLAB, it makes no difference.
        kmalloc = header.config.kmalloc if header.level == "L3" else self.trace.machine.kmalloc
        if replace(header.config, kmalloc=kmalloc) != self.trace.machine:
            self.result.wrong.append(
                f"the machine is {self.trace.machine}, recorded was {header.config}"
            )

    def _step(self, step: Step) -> None:
        if step.operation.is_look:
            self._look(step)
            return
        for time, handle in enumerate(step.operation.handles or ("",)):
            op = self._next()
            unlike = ["the recording has ended"]
            if op is not None:
                unlike = list(self._unlike(step.operation, handle, op))
            if unlike or op is None:
                self.result.wrong += [f"line {step.line}: {what}" for what in unlike]
                return
            if "order" in op.out and op.name == "cache_create":
                self.orders[op.cache] = int(str(op.out["order"]))
            expected = step.expected_of(self.variant, time)
            self._hold(step, expected, _recorded(step.operation.verb, op, self.vectors))

    def _look(self, step: Step) -> None:
        expected = step.expected_of(self.variant, 0)
        if expected is None or step.operation.verb in COUNTED:
            return
        self._state_here()
        if self.state is None:
            self.result.wrong.append(f"line {step.line}: the kernel's state is not recorded here")
            return
        pages = {name: 1 << order for name, order in self.orders.items()}
        self._hold(step, expected, look(state_of(self.state, pages), step.operation))

    def _hold(self, step: Step, expected: Answer | None, got: Answer) -> None:
        if expected is None:
            return
        whole = step.operation.verb in WHOLE_WORDS
        if step.operation.verb in ALLOCATIONS:
            expected = replace(expected, words=expected.words[:1])
        found = list(differences(expected, got, all_words=whole))
        self.result.wrong += [
            f"line {step.line}: {difference.key or 'result'} is stated as {difference.expected},"
            f" the kernel answered {difference.got}"
            for difference in found
        ]
        stated = len(expected.fields) + (1 if expected.words else 0)
        self.result.confirmed += stated - len(found)

    def _next(self) -> Op | None:
        """The next op of the recording; the states before it are over."""
        while isinstance(self.ahead, DigestLine):
            self.ahead = next(self.lines, None)
        op, self.state = self.ahead, None
        self.ahead = next(self.lines, None)
        return op

    def _state_here(self) -> None:
        """Take the state that stands behind the last op, if there is one."""
        while isinstance(self.ahead, DigestLine):
            self.state = self.ahead.state or self.state
            self.ahead = next(self.lines, None)

    def _unlike(self, operation: Operation, handle: str, op: Op) -> Iterator[str]:
        """Yield in what the operation is not the recorded one."""
        name = _VECTOR_NAMES.get(operation.verb)
        if operation.verb == "free":
            name = "page_free" if op.name == "page_free" else "obj_free"
        if name != op.name:
            yield f"{operation.verb!r}, recorded was {op.name} (op {op.n})"
            return
        if operation.verb in ALLOCATIONS:
            self.ids[handle] = op.id
            gfp, _ = translate(encode(operation.gfp, self.source), self.source, self.target)
            if gfp != op.gfp:
                yield f"gfp {operation.gfp} is {gfp:#x}, recorded was {op.gfp:#x} (op {op.n})"
        elif operation.verb == "free" and self.ids.get(handle) != op.id:
            yield f"{handle!r} is not what was freed then (op {op.n}, id {op.id})"
        for key in _COMPARED[operation.verb]:
            own, recorded = getattr(operation, key), getattr(op, key)
            if own != recorded:
                yield f"{key} is {own}, recorded was {recorded} (op {op.n})"


_COMPARED: Final[dict[str, tuple[str, ...]]] = {
    "cache": ("cache", "size", "align", "flags"),
    "page": ("order", "ctx", "cpu", "node"),
    "alloc": ("cache", "ctx", "cpu", "node"),
    "kmalloc": ("size", "ctx", "cpu", "node"),
    "free": ("cpu", "cold"),
    "reap": ("cpu",),
    "shrink": ("cache", "cpu"),
    "drain": ("cpu",),
    "tick": ("jiffies",),
    "min_free": ("kbytes",),
}


def _recorded(verb: str, op: Op, vectors: VectorFile) -> Answer:
    """What the kernel answered, in a rule trace's words."""
    if verb == "cache":
        return cache_answer(op.out)
    if verb == "min_free":
        return watermarks_answer(op.out)
    return answer_of(op.out, vectors.header.revision)
