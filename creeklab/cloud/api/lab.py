"""The one door that AWS does not have: what happened, and why something was refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.tape import Tape

Verb = Callable[[dict[str, Any]], dict[str, Any]]


def lab_door(tape: Tape) -> dict[str, Verb]:
    """Return the door's verbs: ``tape`` and ``metrics`` (``after``), ``why`` (``client_id``)."""

    def read_tape(request: dict[str, Any]) -> dict[str, Any]:
        return {"entries": tape.entries(_after(request, "the number of an entry"))}

    def read_metrics(request: dict[str, Any]) -> dict[str, Any]:
        after = _after(request, "the beginning of a minute, in seconds since 1970")
        return {"minutes": tape.metrics.minutes(after), "totals": tape.metrics.totals()}

    def why(request: dict[str, Any]) -> dict[str, Any]:
        return {"entry": tape.last_refusal(request.get("client_id"))}

    return {"tape": read_tape, "metrics": read_metrics, "why": why}


def _after(request: dict[str, Any], what: str) -> int:
    after = request.get("after", 0)
    if not isinstance(after, int):
        raise ServiceError("InvalidRequestException", f"'after' is {what}.")
    return after
