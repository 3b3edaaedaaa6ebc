"""Asks a Prometheus over its HTTP API; nothing of it is kept."""

from __future__ import annotations

import json
from typing import Any, Final, TypeAlias
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

TIMEOUT_SECONDS: Final = 10.0

Points: TypeAlias = list[tuple[float, float]]
"""Unix time and value."""


class NoAnswerError(Exception):
    """Prometheus is not there, or does not take the query: says which and why."""


class Prometheus:
    """A Prometheus at a URL."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        # A Prometheus is near; a proxy that the environment names is for what is far.
        self._open = build_opener(ProxyHandler({})).open

    def instant(self, expr: str, at: float) -> list[tuple[dict[str, str], Points]]:
        """The labels and the one value of each series at a time."""
        data = self._ask("query", query=expr, time=str(at))
        return [
            (series["metric"], [(float(series["value"][0]), float(series["value"][1]))])
            for series in data["result"]
        ]

    def range(
        self, expr: str, start: float, end: float, step: float
    ) -> list[tuple[dict[str, str], Points]]:
        """The labels and the values of each series over a time, ``step`` seconds apart."""
        data = self._ask(
            "query_range", query=expr, start=str(start), end=str(end), step=f"{step:.3f}"
        )
        return [
            (series["metric"], [(float(at), float(value)) for at, value in series["values"]])
            for series in data["result"]
        ]

    def label_values(self, label: str, start: float, end: float) -> list[str]:
        """Every value of a label among pfmemd's series of that time."""
        match = '{__name__=~"pfmemd_.+"}'
        data = self._ask(
            f"label/{label}/values", **{"match[]": match, "start": str(start), "end": str(end)}
        )
        return [str(value) for value in data]

    def _ask(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 - whatever that path gives
        url = f"{self._url}/api/v1/{path}?{urlencode(parameters)}"
        try:
            with self._open(url, timeout=TIMEOUT_SECONDS) as response:
                return json.load(response)["data"]
        except (URLError, OSError, ValueError) as error:
            query = parameters.get("query", path)
            raise NoAnswerError(f"{self._url} does not answer {query}: {error}") from None
