"""Settings of the whole account: which registry events are published, and what is logged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.registry.unit_of_work import UnitOfWork

EVENT_TYPES = (
    *("THING", "THING_GROUP", "THING_TYPE", "THING_GROUP_MEMBERSHIP", "THING_GROUP_HIERARCHY"),
    *("THING_TYPE_ASSOCIATION", "JOB", "JOB_EXECUTION", "POLICY", "CERTIFICATE", "CA_CERTIFICATE"),
)


@dataclass(frozen=True, slots=True)
class EventConfigurations:
    """The event types that are published, and when they were first and last set (None: never)."""

    enabled: Mapping[str, bool]
    created: float | None
    modified: float | None


class AccountSettings:
    """The settings of one account."""

    def __init__(self, work: UnitOfWork) -> None:
        self._work = work

    def events(self) -> EventConfigurations:
        """Return which registry events are published; at first, none are."""
        off = dict.fromkeys(EVENT_TYPES, False)
        row = self._row("events")
        if row is None:
            return EventConfigurations(off, None, None)
        return EventConfigurations(off | json.loads(row["value"]), row["created"], row["modified"])

    def set_events(self, enabled: Mapping[str, bool]) -> None:
        """Enable or disable event types; the others stay as they are."""
        self._set("events", {**self.events().enabled, **enabled})

    def logging(self) -> dict[str, Any]:
        """Return the logging options.

        Raises
        ------
        ServiceError
            ``NotConfiguredException`` if they were never set.
        """
        row = self._row("logging")
        if row is None:
            raise ServiceError(
                "NotConfiguredException",
                "Logging is not configured. Set it with set_v2_logging_options.",
            )
        options: dict[str, Any] = json.loads(row["value"])
        return options

    def set_logging(self, options: Mapping[str, Any]) -> None:
        """Set logging options; the others stay as they are."""
        row = self._row("logging")
        self._set("logging", {**(json.loads(row["value"]) if row else {}), **options})

    def _row(self, name: str) -> Any:
        return self._work.database.execute(
            "SELECT * FROM options WHERE name = ?", (name,)
        ).fetchone()

    def _set(self, name: str, value: Mapping[str, Any]) -> None:
        now = self._work.clock()
        with self._work.transaction(affects_authorization=False) as db:
            db.execute(
                "INSERT INTO options (name, value, created, modified) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET value = excluded.value, modified = excluded.modified",
                (name, json.dumps(value), now, now),
            )
