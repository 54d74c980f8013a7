"""The one door that AWS does not have: what happened, and why something was refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.tape import Tape

Verb = Callable[[dict[str, Any]], dict[str, Any]]


def lab_door(tape: Tape) -> dict[str, Verb]:
    """Return the door's verbs: ``tape`` (``after``) and ``why`` (``client_id``)."""

    def read_tape(request: dict[str, Any]) -> dict[str, Any]:
        after = request.get("after", 0)
        if not isinstance(after, int):
            raise ServiceError("InvalidRequestException", "'after' is the number of an entry.")
        return {"entries": tape.entries(after)}

    def why(request: dict[str, Any]) -> dict[str, Any]:
        return {"entry": tape.last_refusal(request.get("client_id"))}

    return {"tape": read_tape, "why": why}
