"""What an Alertmanager says is firing."""

from __future__ import annotations

import json
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

from daemon.settings import split_address

TIMEOUT_SECONDS: Final = 2.0
MAX_BYTES: Final = 4 << 20
_PATH: Final = "/api/v2/alerts?active=true&silenced=false&inhibited=false"
_TOLD: Final = ("source", "variant", "instance", "zone")


def firing(address: str) -> list[str]:
    """One line for each alert, critical ones first; one that says so if nothing answers.

    ``address`` is HOST:PORT.
    """
    host, port = split_address(address)
    connection = HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", _PATH)
        with connection.getresponse() as answer:
            alerts = json.loads(answer.read(MAX_BYTES))
        lines = sorted(_line(alert["labels"]) for alert in alerts)
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return [f"no Alertmanager answers at {address}"]
    finally:
        connection.close()
    return list(dict.fromkeys(line for _, line in lines))


def _line(labels: dict[str, Any]) -> tuple[bool, str]:
    """Whether it is not critical, and the alert in a line."""
    words = [labels["alertname"], *(labels[name] for name in _TOLD if name in labels)]
    return labels.get("severity") != "critical", " ".join(words)
