"""How alike two traces are: the distances, by hand, and as the command tells them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from allocator.events import (
    CTX_PF_MEMALLOC,
    CTX_SOFTIRQ,
    KMALLOC,
    MARK,
    OBJ_ALLOC,
    OBJ_FREE,
    PAGE_ALLOC,
    PAGE_FREE,
)
from allocator.gfp import encode as gfp_of
from tests.tracegen.fakes import HEADER
from tracegen.batch import RECORD, BatchMaker, encode
from tracegen.cli import main
from tracegen.header import Header
from tracegen.likeness.compare import compare
from tracegen.likeness.gfp_class import gfp_class
from tracegen.likeness.portrait import portray
from tracegen.likeness.profile import keep_mean
from tracegen.likeness.sample import Reservoir, kolmogorov_smirnov, total_variation
from tracegen.likeness.walk import BEGINS, Part
from tracegen.quantiles import mean_of

KERNEL = gfp_of("GFP_KERNEL", "v6.1")
ATOMIC = gfp_of("GFP_ATOMIC", "v6.1")
MEMALLOC = gfp_of("GFP_ATOMIC|__GFP_MEMALLOC", "v6.1")
SECOND = 10**9

Row = tuple[int, int, int, int, int, int]
"""ts_ns, handle, gfp, arg, op, ctx."""


def write(path: Path, rows: list[Row], header: Header = HEADER) -> str:
    """A trace of one source."""
    maker = BatchMaker("a", 1)
    records = b"".join(
        RECORD.pack(ts, handle, gfp, arg, 0, -1, op, ctx, 0)
        for ts, handle, gfp, arg, op, ctx in rows
    )
    path.write_bytes(encode(maker.header(header)) + encode(maker.events(records)))
    return str(path)


def pages(count: int, gfp: int = KERNEL, gap: int = 1000) -> list[Row]:
    """Pages that are taken and, half a gap later, given back."""
    rows: list[Row] = []
    for number in range(count):
        now = number * gap
        rows.append((now, number + 1, gfp, 0, PAGE_ALLOC, 0))
        rows.append((now + gap // 2, number + 1, 0, 0, PAGE_FREE, 0))
    return rows


def run(*arguments: str) -> Result:
    """Run the tracegen command."""
    return CliRunner().invoke(main, list(arguments))


def test_a_trace_is_like_itself(tmp_path: Path) -> None:
    """All distances are 0."""
    portrait = portray(write(tmp_path / "t", pages(50)))

    likeness = compare(portrait, portrait)

    assert (0.0, 0.0, 0.0, 0.0) == (
        likeness.mix,
        likeness.page_lives,
        likeness.object_lives,
        likeness.gaps,
    )


def test_traces_that_have_nothing_in_common_are_one_apart(tmp_path: Path) -> None:
    """But for the frees, which carry no mask."""
    one = portray(write(tmp_path / "1", pages(50)))
    two = portray(write(tmp_path / "2", pages(50, ATOMIC, gap=10**6)))

    likeness = compare(one, two)

    assert (0.5, 0.0, 1.0) == (likeness.mix, likeness.aspects["op"], likeness.aspects["gfp"])
    assert (1.0, 1.0) == (likeness.page_lives, likeness.gaps)


def test_a_right_to_the_reserve_is_one_right_however_it_is_spelt(tmp_path: Path) -> None:
    """A tracer shows __GFP_MEMALLOC and not the task's flag; a generator may have both."""
    plain = portray(write(tmp_path / "1", [(0, 1, MEMALLOC, 100, KMALLOC, CTX_SOFTIRQ)]))
    both = CTX_SOFTIRQ | CTX_PF_MEMALLOC
    twice = portray(write(tmp_path / "2", [(0, 1, MEMALLOC, 120, KMALLOC, both)]))

    assert 0.0 == compare(plain, twice).mix


def test_what_only_sets_up_the_machine_is_not_counted(tmp_path: Path) -> None:
    """An imported trace begins with what was in use before, up to a mark."""
    header = Header(HEADER.machine, HEADER.caches, HEADER.gfp, HEADER.clock, (BEGINS,))
    rows = [*pages(5), (9999, 0, 0, 0, MARK, 0), (10_000, 99, KERNEL, 0, OBJ_ALLOC, 0)]

    portrait = portray(write(tmp_path / "t", rows, header))

    assert {"OBJ_ALLOC|skbuff_head_cache|kernel|task": 1} == dict(portrait.mix)


def test_a_part_is_cut_by_seconds_after_the_first_event(tmp_path: Path) -> None:
    """The end is not in it."""
    trace = write(tmp_path / "t", pages(10, gap=SECOND))

    assert (10, 4, 20) == (
        portray(trace, Part(0, 5)).events,
        portray(trace, Part(8)).events,
        portray(trace).events,
    )


def test_the_mix_tells_op_cache_gfp_class_and_context(tmp_path: Path) -> None:
    """Frees have a context only."""
    rows = [(0, 1, ATOMIC, 7, OBJ_ALLOC, CTX_SOFTIRQ), (5, 1, 0, 0, OBJ_FREE, CTX_SOFTIRQ)]

    mix = portray(write(tmp_path / "t", rows)).mix

    assert {"OBJ_ALLOC|dentry|atomic|softirq": 1, "OBJ_FREE|||softirq": 1} == dict(mix)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GFP_KERNEL|__GFP_ZERO", "kernel"),
        ("GFP_HIGHUSER_MOVABLE|__GFP_COMP", "user+movable"),
        ("GFP_NOIO|__GFP_MEMALLOC", "noio+memalloc"),
        ("GFP_NOFS|__GFP_NOFAIL", "nofs+nofail"),
        ("GFP_ATOMIC|__GFP_NOMEMALLOC|__GFP_NORETRY", "atomic+nomemalloc+noretry"),
        ("GFP_NOWAIT|__GFP_NOWARN", "nowait"),
    ],
)
def test_masks_of_one_class_have_the_same_rights_and_patience(text: str, expected: str) -> None:
    """Flags that change neither are left out."""
    assert expected == gfp_class(gfp_of(text, "v6.1"), "v6.1")


def test_distances_by_hand() -> None:
    """Between nothing and something it is 1."""
    assert 0.25 == total_variation({"a": 3, "b": 1}, {"a": 2, "b": 2})
    assert (0.0, 1.0) == (total_variation({}, {}), total_variation({}, {"a": 1}))
    assert 0.5 == kolmogorov_smirnov([1, 2, 3, 4], [3, 4, 5, 6])
    assert (0.0, 1.0) == (kolmogorov_smirnov([], []), kolmogorov_smirnov([], [1]))


def test_a_reservoir_keeps_a_fair_sample_and_the_count() -> None:
    """The same one every time."""
    one, two = Reservoir(100), Reservoir(100)
    for number in range(10_000):
        one.add(number)
        two.add(number)

    assert (10_000, 100) == (one.count, len(one.values))
    assert one.values == two.values
    assert 3000 < sum(one.values) / 100 < 7000


def test_quantiles_keep_their_mean_without_the_outlier() -> None:
    """One gap of a second among thousands of microseconds must not shorten all the others."""
    quantiles = [1000, 1000, 2000, 4000, 10**9]

    kept = keep_mean(quantiles, mean=3000)

    assert quantiles[:-1] == kept[:-1]
    assert 3000 == pytest.approx(mean_of(kept), rel=0.01)


def test_the_command_tells_the_distances_and_holds_a_limit(tmp_path: Path) -> None:
    """Exit code 1 when the mixes are further apart than was allowed."""
    one = write(tmp_path / "one.pfmt", pages(50))
    two = write(tmp_path / "two.pfmt", pages(50, ATOMIC))

    told = run("trace", "compare", one, two, "--at-most", "0.05")
    alike = run("trace", "compare", one, one, "--at-most", "0.05", "--json")

    assert 1 == told.exit_code
    assert ["mix", "of", "events", "total", "variation", "0.5000"] in [
        line.split() for line in told.stdout.splitlines()
    ]
    assert "50.00%" in told.stdout
    assert 0 == alike.exit_code
    assert 0.0 == json.loads(alike.stdout)["mix"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--part", "1-2"), "'1-2', expected START:END in seconds"),
        (("--part", "5:2"), "'5:2', expected the end after the start"),
        (("--part", "100:"), "the part that was asked for has no events"),
    ],
)
def test_a_part_that_cannot_be_is_refused(
    tmp_path: Path, arguments: tuple[str, str], expected: str
) -> None:
    """One line, exit code 2."""
    trace = write(tmp_path / "t.pfmt", pages(5))

    result = run("trace", "compare", trace, trace, *arguments)

    assert 2 == result.exit_code
    assert expected in result.stderr


def test_a_profile_gives_a_load_that_makes_the_same_mix(tmp_path: Path) -> None:
    """Reduced to rates and lifetimes, and drawn from again."""
    rows: list[Row] = []
    for number in range(4000):
        now = number * 250_000
        rows.append((now, 2 * number + 2, ATOMIC, 7, OBJ_ALLOC, CTX_SOFTIRQ))
        rows.append((now + 100_000, 2 * number + 2, 0, 0, OBJ_FREE, 0))
        if number % 4 == 0:
            rows.append((now + 120_000, 2 * number + 3, KERNEL, 0, PAGE_ALLOC, 0))
            rows.append((now + 200_000, 2 * number + 3, 0, 0, PAGE_FREE, CTX_SOFTIRQ))
    real = write(tmp_path / "real.pfmt", rows)
    profile, made = tmp_path / "p.toml", str(tmp_path / "made.pfmt")
    scenario = tmp_path / "s.toml"
    scenario.write_text(
        'title = "drawn"\nduration_seconds = 1.5\n[machine]\nmemory_mib = 64\n'
        f'[swap]\nsize_mib = 1\n[[load]]\nkind = "profile"\nname = "{profile}"\n'
    )

    assert 0 == run("trace", "profile", real, "-o", str(profile)).exit_code
    generated = run(
        *("generate", str(scenario), "--variant", "slub-v6.1", "-o", made),
        *("--set", "network.rx_ring=1"),
    )
    assert 0 == generated.exit_code, generated.stderr
    likeness = json.loads(
        run("trace", "compare", real, made, "--generated-part", "0.5:", "--json").stdout
    )

    assert likeness["mix"] < 0.05
    assert likeness["aspects"]["cache"] < 0.01
