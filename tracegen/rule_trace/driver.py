"""Lead a machine through the operations of a rule trace."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from allocator import outcome
from allocator.config import CacheSpec, MachineConfig
from allocator.events import CTX_PF_MEMALLOC
from allocator.gfp import encode, translate
from allocator.machine import Machine
from allocator.revision import Variant, parse_variant
from allocator.story import Story
from tracegen.rule_trace.answer import Answer
from tracegen.rule_trace.look import NOTHING, look, state_of
from tracegen.rule_trace.trace import ALLOCATIONS, COUNTED, RuleTrace, RuleTraceError, Step
from tracegen.rule_trace.vocabulary import answer_of, cache_answer, watermarks_answer

MachineFactory = Callable[[MachineConfig, Variant, Sequence[CacheSpec]], Machine]

_RES: Final[dict[str, str]] = {
    outcome.RESULT_OK: "ok",
    outcome.RESULT_DENIED: "null",
    outcome.RESULT_STALLED: "stall",
}
_SKIPPED: Final = Answer(("skipped",))
"""A free of what was denied: there is nothing to free."""


@dataclass(frozen=True, slots=True)
class Told:
    """A step of the model's story: kernel function, what happened, and the rule or empty."""

    function: str
    text: str
    rule: str


class Driver:
    """A machine of one variant, and what it has handed out by handle."""

    def __init__(
        self,
        trace: RuleTrace,
        variant: Variant,
        make: MachineFactory = Machine,
        *,
        tell: bool = False,
    ) -> None:
        """Boot the machine that the trace describes; with ``tell`` it tells stories."""
        self.variant = variant
        self.machine = make(trace.machine, variant, ())
        self._tell = tell
        self._path = trace.path
        self._level = "L3" if variant.allocator == "slub" else "L2"
        self._flavour = parse_variant(trace.variants[0]).revision.gfp_flavour
        self._numbers: dict[str, int] = {}
        self._pages: dict[str, bool] = {}
        """Handles of what lives, and whether it is pages."""
        self._caches: set[str] = set()

    def perform(self, step: Step, handle: str) -> tuple[Answer, list[Told]]:
        """Perform a line for one of its handles: the answer, and the story if it is told."""
        verb = step.operation.verb
        if step.operation.is_look:
            return self._look(step), []
        story = Story()
        if self._tell:
            self.machine.pages.story = story
        if verb in ALLOCATIONS:
            answer = self._allocate(step, handle)
        else:
            answer = self._free(step, handle) if verb == "free" else self._other(step)
        self.machine.pages.story = None
        return answer, [Told(told.function, told.text, told.rule) for told in story.steps]

    def _look(self, step: Step) -> Answer:
        number = self.machine.cache_number(step.operation.cache)
        if number < 0:
            return NOTHING
        if step.operation.verb in COUNTED:
            counted = self.machine.stats().caches[number].leaks
            leaked = {way: (str(count),) for way, count in counted.items() if count}
            return Answer((), leaked) if leaked else NOTHING
        state = json.loads(json.dumps(self.machine.state(self._level)))
        order = self.machine.geometry(number)["order"]
        pages = 1 << order if isinstance(order, int) else 1
        return look(state_of(state, {step.operation.cache: pages}), step.operation)

    def _allocate(self, step: Step, handle: str) -> Answer:
        operation = step.operation
        machine = self.machine
        flavour = self.variant.revision.gfp_flavour
        gfp, memalloc = translate(encode(operation.gfp, self._flavour), self._flavour, flavour)
        ctx = operation.ctx | (CTX_PF_MEMALLOC if memalloc else 0)
        number = len(self._numbers) + 1
        self._numbers[handle] = number
        cpu, node = operation.cpu, operation.node
        match operation.verb:
            case "page":
                code = machine.page_alloc(number, operation.order, gfp, cpu, node, ctx)
            case "kmalloc":
                code = machine.kmalloc(number, operation.size, gfp, cpu, node, ctx)
            case _:
                code = machine.obj_alloc(number, self._cache(step), gfp, cpu, node, ctx)
        result, path = outcome.OUTCOME_NAMES[code]
        answer = machine.answer
        out: dict[str, object] = {"res": _RES[result]}
        if result == outcome.RESULT_OK:
            pages = operation.verb == "page" or (operation.verb == "kmalloc" and answer.large)
            self._pages[handle] = pages
            if pages:
                out |= {"pfn": answer.pfn, "order": answer.order}
                out |= {"nid": answer.nid, "zone": answer.zone}
            else:
                out |= {"slab": answer.slab, "idx": answer.idx}
            if operation.verb == "kmalloc" and not pages:
                out["cache"] = answer.cache
            out["pfm"] = answer.pfm
        out["af"] = answer.af
        return self._told(out, path)

    def _free(self, step: Step, handle: str) -> Answer:
        pages = self._pages.pop(handle, None)
        if pages is None:
            return _SKIPPED
        number, operation = self._numbers[handle], step.operation
        if pages:
            self.machine.page_free(number, operation.cpu, operation.cold)
        else:
            self.machine.obj_free(number, operation.cpu)
        return self._told({"res": "ok"})

    def _other(self, step: Step) -> Answer:
        operation, machine = step.operation, self.machine
        out: dict[str, object] = {"res": "ok"}
        match operation.verb:
            case "cache":
                number = machine.cache_create(
                    operation.cache, operation.size, operation.align, operation.flags
                )
                return cache_answer(machine.geometry(number))
            case "min_free":
                machine.set_min_free_kbytes(operation.kbytes)
                return watermarks_answer(machine.boot())
            case "reap":
                machine.reap(operation.cpu)
            case "shrink":
                out["ret"] = machine.cache_shrink(self._cache(step), operation.cpu)
            case "drain":
                machine.drain_all_pages(operation.cpu)
            case "tick":
                machine.tick(operation.jiffies)
        return self._told(out)

    def _told(self, out: dict[str, object], path: str = "") -> Answer:
        machine = self.machine
        if self.variant.allocator == "slab":
            out["pa"] = int(machine.pfmemalloc_active)
        out |= {"wk": machine.answer.wk, "free": machine.free_by_zone()}
        return answer_of(out, self.variant.revision.name, path)

    def _cache(self, step: Step) -> int:
        number = self.machine.cache_number(step.operation.cache)
        if number < 0:
            name = self.variant.name
            raise RuleTraceError(
                f"{self._path}: line {step.line}: {name} has no cache {step.operation.cache!r}"
            )
        return number
