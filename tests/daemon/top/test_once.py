"""As text: everything that the screen has, nothing of a terminal."""

from __future__ import annotations

from rich.console import Console

from daemon.live_state import Source, State
from daemon.top.once import MOST_CACHES, report
from daemon.top.rows import Moment
from tests.daemon.soak.states import variant, zone
from tests.daemon.top.test_rows import cache


def text_of(now: State, before: State | None = None, firing: list[str] | None = None) -> str:
    """What is printed of a reading, a second after another."""
    console = Console(width=130, color_system=None, highlight=False)
    with console.capture() as captured:
        earlier = None if before is None else Moment(1.0, before)
        console.print(*report(Moment(2.0, now), earlier, firing or []), sep="\n")
    return captured.get()


def state(events: int) -> State:
    """A daemon after so many events, with a zone whose reserve is gone."""
    caches = [cache(f"cache-{at}", events * at) for at in range(MOST_CACHES + 3)]
    model = variant([zone(48)], denied=3, leaked=2).model_copy(update={"caches": caches})
    life = Source(epoch=1, events=events, phase="outage", variants={"slab-seed": model})
    return State(sources={"host": life, "quiet": Source()})


def test_report_has_models_troubles_and_the_busiest_caches() -> None:
    """Rates are of the two readings; a source that sent nothing is left out."""
    text = text_of(state(300), state(100), ["PfmemallocHang (critical)"])
    lines = [" ".join(line.split()) for line in text.splitlines()]

    assert "alert PfmemallocHang (critical)" == lines[0]
    assert "host 300 events 200/s outage" == lines[1]
    assert "quiet" not in text
    assert any(line.startswith("slab-seed 10% 10% 0 3 0") for line in lines)
    assert "● zone DMA32 of node 0: reserve exhausted, 48 of 480 pages" in lines
    shown = [line.split()[0] for line in lines if line.startswith("cache-")]
    assert [f"cache-{at}" for at in range(MOST_CACHES + 2, 2, -1)] == shown


def test_first_reading_has_no_rates() -> None:
    """Where there is nothing before, nothing is claimed to be fast."""
    assert "host  300 events  0/s  outage" in text_of(state(300))
