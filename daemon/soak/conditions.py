"""What makes a soak fail: ``reserve-exhausted``, ``leak``, ``hang``, ``denied>100`` and so on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from allocator.revision import VariantError, parse_variant
from daemon.soak.result import MachineResult, ModelResult
from tracegen.errors import PfmemdError

_PATTERN: Final = re.compile(
    r"(?:(?P<variant>[a-z]+-[\w.]+):)?(?P<name>[a-z-]+)(?:(?P<sign>[<>])(?P<number>\d+(?:\.\d+)?)%?)?\Z"
)

COUNTED: Final = {
    "reserve-exhausted": "exhausted_allocations",
    "denied": "denied",
    "stalled": "stalled",
    "entitled-denied": "entitled_denied",
    "leak": "leaked",
    "hang": "hangs",
    "wrong-flip": "wrong_deactivations",
    "trace-errors": "trace_errors",
}
"""Condition to the number of :class:`ModelResult` that must not exceed its bound, 0 if none."""

RESERVE: Final = "reserve"
HANG: Final = "hang"
EXPLANATION: Final = (
    "reserve-exhausted (an allocation left less than an eighth of min), reserve<P% (less than so"
    " much was left), leak, hang, denied, stalled, entitled-denied, wrong-flip, trace-errors; each"
    " but reserve may have >N behind it; VARIANT: before one asks it of that model only"
)
DEFAULT: Final = "reserve-exhausted,hang"


class ConditionError(PfmemdError):
    """A condition that is none."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One threshold."""

    text: str
    """As it was given."""
    name: str
    bound: float
    variant: str | None

    def applies_to(self, model: ModelResult) -> bool:
        """Whether it is asked of this model."""
        return self.variant in {None, model.variant}

    def breach_of_machine(self, machine: MachineResult) -> str | None:
        """What a simulated machine crosses: it may hang, and is its kernel's variant."""
        if self.name != HANG or self.variant not in {None, machine.kernel.partition(":")[0]}:
            return None
        if not machine.hung:
            return None
        return (
            f"the simulated machine hung within {machine.seconds:.1f} s;"
            f" {machine.command} tells who waits for what"
        )

    def breach(self, model: ModelResult) -> str | None:
        """What crosses the threshold, in words; None if nothing does."""
        if self.name == RESERVE:
            percent = 100 * model.lowest_left
            if percent >= self.bound:
                return None
            return f"{percent:.1f} % of the reserve left in {model.lowest_zone}"
        value = getattr(model, COUNTED[self.name])
        if value <= self.bound:
            return None
        if self.name == "reserve-exhausted":
            return (
                f"{value:,} allocations left less than an eighth of min; the fewest free pages"
                f" were {model.lowest_free:,} of {model.lowest_min:,} in {model.lowest_zone}"
            )
        return f"{value:,}"


def parse_conditions(text: str) -> tuple[Condition, ...]:
    """The conditions of a comma-separated list; raises :class:`ConditionError`."""
    return tuple(_parse(part.strip()) for part in text.split(",") if part.strip())


def _parse(text: str) -> Condition:
    found = _PATTERN.match(text)
    if found is None:
        raise ConditionError(f"{text!r} is no condition; there are: {EXPLANATION}")
    name, sign, number = found["name"], found["sign"], found["number"]
    if found["variant"] is not None:
        try:
            parse_variant(found["variant"])
        except VariantError as error:
            raise ConditionError(f"{text!r}: {error}") from None
    if name == RESERVE:
        if sign != "<":
            raise ConditionError(f"{text!r}: expected reserve<P%, P from 0 to 100")
    elif name not in COUNTED:
        raise ConditionError(f"{text!r}: there is no {name}; there are: {EXPLANATION}")
    elif sign == "<":
        raise ConditionError(f"{text!r}: expected {name} or {name}>N")
    return Condition(text, name, float(number or 0), found["variant"])
