"""A machine saved and restored goes on as if nothing had happened."""

from __future__ import annotations

from random import Random

import pytest

from allocator.machine import Machine
from allocator.revision import parse_variant, variant_names
from allocator.snapshot import SnapshotError, restore, save
from tests.allocator.machines import CACHES, RandomStream, random_config


@pytest.mark.parametrize("variant", variant_names())
@pytest.mark.parametrize("seed", range(4))
def test_a_restored_machine_answers_like_the_original(variant: str, seed: int) -> None:
    """Save in mid-stream, restore into a fresh machine, go on: equal digests, sound state."""
    random = Random(seed)
    config = random_config(random)
    stream = RandomStream(random, config, variant)
    machine = Machine(config, parse_variant(variant), CACHES)
    machine.apply(b"".join(stream.step() for _ in range(300)))
    copy = Machine(config, parse_variant(variant), CACHES)

    restore(copy, save(machine))

    assert machine.digest() == copy.digest()
    copy.verify()
    rest = b"".join(stream.step() for _ in range(300)) + stream.free_all()
    machine.apply(rest)
    copy.apply(rest)
    assert machine.digest() == copy.digest()
    assert machine.stats() == copy.stats()
    copy.verify()


def test_damaged_and_foreign_snapshots_are_refused() -> None:
    """Every truncation, a wrong magic, another machine's or code's snapshot: SnapshotError."""
    config = random_config(Random(1))
    variant = parse_variant("slab-seed")
    data = save(Machine(config, variant, CACHES))

    for wrong in (
        b"",
        b"junk" * 20,
        data[:-1],
        data + b"\0",
        data[:20] + b"\1" + data[21:],
        *(data[:length] for length in range(0, len(data), 997)),
    ):
        with pytest.raises(SnapshotError):
            restore(Machine(config, variant, CACHES), wrong)
    with pytest.raises(SnapshotError):
        restore(Machine(config, parse_variant("slub-seed"), CACHES), data)
