"""Log entries about a database that cannot be written: one at the start, one at the end."""

from __future__ import annotations

import logging
import sqlite3

from creeklab.cloud.monitoring.event_log import EventLog
from creeklab.cloud.storage.group_commit import GroupCommit

log = logging.getLogger(__name__)


class StorageFailures:
    """Follows the commits of one account."""

    def __init__(self, event_log: EventLog, commits: GroupCommit) -> None:
        self._event_log = event_log
        self._commits = commits
        self._failing = False
        self._rejected = 0  # messages, since it fails
        self._commits_at_failure = 0

    def record(self, error: sqlite3.Error | None, rejected: int) -> None:
        """Record how a commit ended, and how many messages were rejected if it failed."""
        if error is not None:
            if not self._failing:
                why = (
                    f"The database cannot be written ({error}). Until it can, no message that must "
                    "be stored is acknowledged; in MQTT 5 its PUBACK has reason code 0x80. Free "
                    "space on the disk, and close other programs that have the database open."
                )
                self._event_log.append("storage", refusal={"summary": why})
                log.error(why)
                self._failing = True
                self._rejected = 0
            self._rejected += rejected
            self._commits_at_failure = self._commits.written
        elif self._failing and self._commits.written > self._commits_at_failure:
            why = f"The database can be written again; {self._rejected} messages were rejected."
            self._event_log.append("storage", why=why)
            log.warning(why)
            self._failing = False
