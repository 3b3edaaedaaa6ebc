"""``/state?caches=N`` lists as many caches as are asked for."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest

from daemon.http import Request, Response
from daemon.service import Service
from daemon.settings import load_settings
from tests.daemon.fakes import Machines, allocations, events_batch, header_batch, offer


def state(**query: str) -> Response:
    """What a daemon with one source of two caches answers."""
    service = Service(load_settings({"variants": ("slab-seed",)}), "1.2.3", Machines())
    offer(service._engine, header_batch())
    offer(service._engine, events_batch(2, allocations(4)))
    return service._state(Request(query, ""))


@pytest.mark.parametrize(("wanted", "expected"), [("0", 0), ("1", 1), ("999", 2)])
def test_so_many_caches_are_listed(wanted: str, expected: int) -> None:
    """The busiest, and no more than there are."""
    answer = json.loads(state(caches=wanted).body)

    assert expected == len(answer["sources"]["a"]["variants"]["slab-seed"]["caches"])


@pytest.mark.parametrize("wanted", ["many", "-1", "1.5", "", "12345678", "٣"])
def test_what_is_no_number_is_refused(wanted: str) -> None:
    """One line says what was expected."""
    answer = state(caches=wanted)

    assert HTTPStatus.BAD_REQUEST == answer.status
    assert b"expected how many of the busiest caches to list" in answer.body
