"""An instance of tracefs is set up as asked, and nothing is left of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tracegen.capture.fakes import EVENTS, FakeInstance, fake_tracefs
from tracegen.capture.instance import (
    Instance,
    Recording,
    TracefsError,
    available,
    find_tracefs,
)

RECORDING = Recording(EVENTS, clock="boot", buffer_kbytes=512)


@pytest.fixture
def tracefs(tmp_path: Path) -> Path:
    """A fake tracefs."""
    return fake_tracefs(tmp_path / "tracing")


def test_an_instance_is_told_what_to_record(tracefs: Path) -> None:
    """Clock, buffer, what happens when it is full, and every event; it does not record yet."""
    with FakeInstance(tracefs, RECORDING) as instance:
        files = ("trace_clock", "buffer_size_kb", "options/overwrite", "tracing_on")
        told = [(instance.folder / file).read_text() for file in files]
        enabled = [(instance.folder / "events" / e / "enable").read_text() for e in EVENTS]

    assert told == ["boot", "512", "0", "0"]
    assert enabled == ["1"] * len(EVENTS)


def test_it_records_between_start_and_stop(tracefs: Path) -> None:
    """``tracing_on`` says so."""
    with FakeInstance(tracefs, RECORDING) as instance:
        switch = instance.folder / "tracing_on"
        instance.start()
        on = switch.read_text()
        instance.stop()

        assert ("1", "0") == (on, switch.read_text())


@pytest.mark.parametrize("failure", [None, KeyboardInterrupt, TracefsError])
def test_everything_is_put_back(tracefs: Path, failure: type[BaseException] | None) -> None:
    """Whatever ends the block: the instance is gone, and the one shared value is as before."""
    shared = tracefs / "saved_cmdlines_size"
    try:
        with FakeInstance(tracefs, RECORDING):
            during = shared.read_text()
            if failure is not None:
                raise failure
    except (KeyboardInterrupt, TracefsError):
        pass

    assert "4096" == during
    assert "128" == shared.read_text().strip()
    assert [] == list((tracefs / "instances").iterdir())


def test_a_kernel_that_remembers_more_names_is_left_alone(tracefs: Path) -> None:
    """The shared value is only ever raised."""
    shared = tracefs / "saved_cmdlines_size"
    shared.write_text("6552\n")
    with FakeInstance(tracefs, RECORDING):
        assert "6552\n" == shared.read_text()


def test_what_cannot_be_set_is_told_and_leaves_nothing(tracefs: Path) -> None:
    """An event that cannot be enabled ends it, and the instance is removed again."""
    recording = Recording((*EVENTS, "kmem/none"))

    with pytest.raises(TracefsError, match=r"cannot write 1 to .*kmem/none/enable: No such file"):
        FakeInstance(tracefs, recording).__enter__()

    assert [] == list((tracefs / "instances").iterdir())


def test_an_instance_of_the_name_is_not_touched(tracefs: Path) -> None:
    """It may be another capture's."""
    (tracefs / "instances" / "pfmemd").mkdir()

    with pytest.raises(TracefsError, match="is there already: another capture runs"):
        FakeInstance(tracefs, RECORDING).__enter__()

    assert (tracefs / "instances" / "pfmemd").is_dir()


def test_a_missing_permission_says_who_may(tracefs: Path) -> None:
    """Tracefs is root's."""

    def refuse(_folder: Path) -> None:
        raise PermissionError

    with pytest.raises(TracefsError, match=r"no permission to make .*: run it as root"):
        Instance(tracefs, "pfmemd", RECORDING, make=refuse).__enter__()


def test_losses_are_counted_by_cpu(tracefs: Path) -> None:
    """Overruns and drops together."""
    with FakeInstance(tracefs, RECORDING) as instance:
        assert {0: 0, 1: 7} == instance.lost()


def test_a_pipe_with_nothing_in_it_is_not_waited_for(tracefs: Path) -> None:
    """Reading gives nothing then."""
    with FakeInstance(tracefs, RECORDING) as instance:
        assert b"" == Instance.read(instance)


def test_events_that_a_kernel_does_not_have_are_told_from_those_it_has(tracefs: Path) -> None:
    """Older and newer kernels have other ones."""
    assert available(tracefs, ("kmem/kfree", "kmem/kmalloc_node")) == (
        ["kmem/kfree"],
        ["kmem/kmalloc_node"],
    )


@pytest.mark.parametrize(
    ("mounts", "place"),
    [
        ("none /sys/kernel/tracing tracefs rw 0 0\n", "/sys/kernel/tracing"),
        (
            "tracefs /d/tracing tracefs rw 0 0\nnone /sys/kernel/tracing tracefs rw 0 0\n",
            "/sys/kernel/tracing",
        ),
        ("proc /proc proc rw 0 0\ntracefs /d/tracing tracefs rw 0 0\n", "/d/tracing"),
    ],
)
def test_tracefs_is_found_where_it_is_mounted(tmp_path: Path, mounts: str, place: str) -> None:
    """The usual place is best."""
    (tmp_path / "mounts").write_text(mounts)

    assert Path(place) == find_tracefs(tmp_path / "mounts")


def test_without_tracefs_the_command_that_mounts_it_is_told(tmp_path: Path) -> None:
    """It is the user's to run."""
    (tmp_path / "mounts").write_text("proc /proc proc rw 0 0\n")

    with pytest.raises(TracefsError, match="mount -t tracefs nodev /sys/kernel/tracing"):
        find_tracefs(tmp_path / "mounts")
