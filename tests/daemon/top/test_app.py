"""The screen shows what the daemon says, and the keys do what the footer promises."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

from textual.pilot import Pilot
from textual.widgets import DataTable, Input, Static

from daemon.live_state import NoDaemonError, Source, State, Variant
from daemon.top.app import NOTHING_YET, TopApp
from tests.daemon.soak.states import variant, zone
from tests.daemon.top.test_rows import cache

SIZE = (130, 40)


class Daemon:
    """Answers with states; each reading is a second after the one before."""

    def __init__(self, *, sources: int = 1, models: int = 2) -> None:
        self.events = 0
        self.lost = False
        self.empty = False
        self._sources = sources
        self._models = models

    def __call__(self) -> State:
        """The next reading."""
        if self.lost:
            raise NoDaemonError("nothing answers at http://here/state")
        self.events += 100
        if self.empty:
            return State(sources={"quiet": Source()})
        names = ["slab-seed", "slub-seed"][: self._models]
        return State(
            sources={
                f"host-{number}": Source(
                    epoch=1,
                    events=self.events,
                    phase="outage",
                    variants={name: self._model(at) for at, name in enumerate(names)},
                )
                for number in range(self._sources)
            }
        )

    def _model(self, at: int) -> Variant:
        caches = [
            cache("dentry", self.events),
            cache("skbuff_head_cache", 3 * self.events, active=20),
            cache("bio", 2 * self.events, active=1),
        ]
        model = variant([zone(48 if at == 0 else 480)], denied=self.events // 100)
        return model.model_copy(update={"caches": caches})


def on_screen(
    daemon: Daemon,
    steps: Callable[[TopApp, Pilot[None]], Awaitable[None]],
    alerts: Callable[[], list[str]] | None = None,
) -> None:
    """Run the app without a terminal, read twice, and take the steps."""

    async def run() -> None:
        ticks = count()
        app = TopApp(
            daemon, alerts, address="here", interval=3600, clock=lambda: float(next(ticks))
        )
        async with app.run_test(size=SIZE) as pilot:
            await settle(app, pilot)
            app.refresh_reading()
            await settle(app, pilot)
            await steps(app, pilot)

    asyncio.run(run())


async def settle(app: TopApp, pilot: Pilot[None]) -> None:
    """Wait until the reading that was asked for is drawn."""
    await app.workers.wait_for_complete()
    await pilot.pause()


def text(app: TopApp, name: str) -> str:
    """What a part of the screen says, without its colours."""
    return app.query_one(name, Static).render().__str__()


def cells(app: TopApp, name: str, column: int) -> list[str]:
    """A column of a table."""
    table: DataTable[object] = app.query_one(name, DataTable)
    return [str(table.get_row_at(row)[column]) for row in range(table.row_count)]


def test_models_and_caches_are_shown() -> None:
    """Every model, and the caches of the one that is chosen, the busiest first."""

    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        del pilot
        assert ["▶ slab-seed", "  slub-seed"] == cells(app, "#variants", 0)
        assert ["10%", "100%"] == cells(app, "#variants", 1)
        assert ["skbuff_head_cache", "bio", "dentry"] == cells(app, "#caches", 0)
        assert ["300", "200", "100"] == cells(app, "#caches", 7)
        assert "host-0 (1 of 1)  slab-seed  200 events  100/s  outage" in text(app, "#head")
        assert "reserve exhausted, 48 of 480 pages" in text(app, "#troubles")

    on_screen(Daemon(), steps)


def test_v_shows_the_next_model() -> None:
    """And after the last one the first again."""

    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        await pilot.press("v")
        assert ["  slab-seed", "▶ slub-seed"] == cells(app, "#variants", 0)
        assert "nothing is wrong" in text(app, "#troubles")
        await pilot.press("tab")
        assert ["▶ slab-seed", "  slub-seed"] == cells(app, "#variants", 0)

    on_screen(Daemon(), steps)


def test_s_shows_the_next_source() -> None:
    """Each source has models of its own."""

    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        await pilot.press("s")
        assert "host-1 (2 of 2)" in text(app, "#head")

    on_screen(Daemon(sources=2), steps)


def test_caches_are_sorted_by_keys() -> None:
    """> takes the column to the right, < to the left, r turns the order round."""

    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        await pilot.press("r")
        assert ["dentry", "bio", "skbuff_head_cache"] == cells(app, "#caches", 0)
        for _ in range(3):
            await pilot.press("<")
        assert ["skbuff_head_cache", "dentry", "bio"] == cells(app, "#caches", 0)
        for _ in range(4):
            await pilot.press("<")
        assert ["bio", "dentry", "skbuff_head_cache"] == cells(app, "#caches", 0)
        await pilot.press(">")
        assert ["bio", "dentry", "skbuff_head_cache"] == cells(app, "#caches", 0)

    on_screen(Daemon(), steps)


def test_slash_filters_and_escape_shows_all() -> None:
    """While a name is typed only the caches that have it are shown; keys are letters then."""

    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        await pilot.press("slash", "s", "k", "b")
        assert "skb" == app.query_one("#filter", Input).value
        assert ["skbuff_head_cache"] == cells(app, "#caches", 0)
        await pilot.press("enter")
        assert app.query_one("#caches").has_focus
        await pilot.press("escape")
        assert 3 == len(cells(app, "#caches", 0))

    on_screen(Daemon(), steps)


def test_space_pauses() -> None:
    """The screen says so and asks no more, until the next one."""

    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        await pilot.press("space")
        app.refresh_reading()
        await settle(app, pilot)
        assert "200 events" in text(app, "#head")
        assert "paused" in text(app, "#head")
        await pilot.press("space")
        app.refresh_reading()
        await settle(app, pilot)
        assert "300 events" in text(app, "#head")

    on_screen(Daemon(), steps)


def test_lost_daemon_is_told_and_the_last_reading_stays() -> None:
    """A daemon that is restarted comes back by itself."""
    daemon = Daemon()

    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        daemon.lost = True
        app.refresh_reading()
        await settle(app, pilot)
        assert "nothing answers at http://here/state" in text(app, "#head")
        assert 3 == len(cells(app, "#caches", 0))
        daemon.lost = False
        app.refresh_reading()
        await settle(app, pilot)
        assert "nothing answers" not in text(app, "#head")

    on_screen(daemon, steps)


def test_empty_daemon_says_what_to_do() -> None:
    """Before the first header there is nothing to show."""
    daemon = Daemon()
    daemon.empty = True

    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        assert text(app, "#zones") == NOTHING_YET
        await pilot.press("v", "s", "r")

    on_screen(daemon, steps)


def test_alerts_stand_above_the_rest() -> None:
    """What an Alertmanager says is firing comes first."""

    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        del pilot
        first, *_ = text(app, "#troubles").splitlines()
        assert "alert PfmemallocReserveExhausted host-0" == first

    on_screen(Daemon(), steps, lambda: ["PfmemallocReserveExhausted host-0"])
