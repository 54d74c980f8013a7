"""What a message says that was measured: a device's own, or what its Device Shadow answers.

========================================= =========================================================
Message                                   What is read from it
========================================= =========================================================
a device's, on a topic of its own         the fields that are asked for; ``time`` is when
``.../shadow/update/accepted``            the same, in ``state.reported``: what was just reported
``.../shadow/update/documents``           the same, in ``current.state.reported``, but only what is
                                          as new as the document: the rest is from an earlier update
any other reserved topic (``$aws/...``)   nothing
========================================= =========================================================

When it was measured: the message's own ``time`` if it has one, in ISO 8601 with a zone or as
seconds since 1970 (milliseconds, if they are so many that they cannot be seconds). Else, from a
shadow, the second at which the service took it. Else the moment at which it arrived.

A shadow's times are whole seconds. If several updates came within one second, a document cannot say
which of them a value is from; ``accepted`` can, so subscribe to that.

Numbers may be written as text; null is what was not measured. All else, text, true, NaN, infinity,
a time without a zone, is no reading: :class:`NoReading` says why.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol

from creeklab.creek.readings.samples import STAGE, TEMPERATURE
from creeklab.creek.readings.units import converter

TIME = "time"

FIELDS = {"depth": (STAGE, "ft"), "temperature": (TEMPERATURE, "degF")}
"""What the tutorial's messages hold, which column of a table of readings each is, and its unit. The
samples' temperature is the water's: for a thermometer in a barn name another column."""

_SHADOW = re.compile(r"\$aws/things/([^/]+)/shadow/(?:name/[^/]+/)?update/(accepted|documents)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Seconds up to the year 5138; what is more are milliseconds, from 1973 on.
_MILLISECONDS = 1e11
# What every program that reads a history can hold, in nanoseconds.
_EARLIEST, _LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class MessageLike(Protocol):
    """A message that arrived; :class:`creeklab.client.inbox.Message` is one."""

    @property
    def topic(self) -> str:
        """The topic it came on."""

    @property
    def payload(self) -> bytes:
        """What it holds."""

    @property
    def retain(self) -> bool:
        """Whether it was kept for new subscribers, and may be old."""


class NotAReading(ValueError):
    """A message on a topic of readings that is none."""


class Observation(NamedTuple):
    """What was measured: which Thing, microseconds since 1970 (UTC), value by column or None."""

    thing: str
    time: int
    values: tuple[float | None, ...]


class MessageParser:
    """Reads messages.

    Parameters
    ----------
    thing
        Whose the messages on topics of their own are: its name, or what gives it for a topic. A
        shadow's topic has it in it.
    fields
        Which fields of a message are read, into which column, and in which unit they are given.

    Raises
    ------
    ValueError
        Two fields are one column, a unit is not known or not one of that column's.
    """

    def __init__(
        self,
        thing: str | Callable[[str], str | None] | None = None,
        fields: Mapping[str, tuple[str, str]] = FIELDS,
    ) -> None:
        self.columns = [column for column, _ in fields.values()]
        if not fields or len(set(self.columns)) < len(fields) or TIME in fields:
            raise ValueError(
                f"Fields are {', '.join(map(repr, fields)) or 'none'}, but each is to be a column"
                f" of its own, and {TIME!r} is the time."
            )
        self._thing = thing
        self._fields = [(name, converter(unit, column)) for name, (column, unit) in fields.items()]

    def read(self, message: MessageLike, arrived: datetime) -> Observation | None:
        """Read one message.

        Parameters
        ----------
        message
            It.
        arrived
            When it came, with a time zone.

        Returns
        -------
        Observation or None
            None if it is not about anything measured, and need not be.

        Raises
        ------
        NoReading
            It is on a topic of readings, and cannot be read.
        """
        if not message.topic.startswith("$aws/"):
            said = _object(message.payload)
            if not any(name in said for name, _ in self._fields):
                raise NotAReading(f"it has none of {', '.join(name for name, _ in self._fields)}")
            if message.retain and said.get(TIME) is None:
                raise NotAReading("it was retained, and does not say when it was measured")
            return self._observation(self._whose(message.topic), said, arrived)
        shadow = _SHADOW.fullmatch(message.topic)
        if shadow is None:
            return None
        said, at = _reported(_object(message.payload), shadow[2])
        return self._observation(shadow[1], said, arrived if at is None else at)

    def _observation(
        self, thing: str, said: dict[str, Any], otherwise: datetime
    ) -> Observation | None:
        values = tuple(
            None if said.get(name) is None else _number(name, said[name], convert)
            for name, convert in self._fields
        )
        if all(value is None for value in values):
            return None
        time = otherwise if said.get(TIME) is None else _time(said[TIME])
        return Observation(thing, (time - _EPOCH) // _MICROSECOND, values)

    def _whose(self, topic: str) -> str:
        thing = self._thing(topic) if callable(self._thing) else self._thing
        if not thing:
            raise NotAReading("its topic does not say which Thing it is from")
        return thing


def _object(payload: bytes) -> dict[str, Any]:
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise NotAReading(f"it is no JSON ({error})") from None
    if not isinstance(said, dict):
        raise NotAReading("it is no JSON object")
    return said


def _reported(document: dict[str, Any], kind: str) -> tuple[dict[str, Any], datetime | None]:
    """Take what was reported with this update, and when the service took it."""
    at = document.get("timestamp")
    if kind == "documents":
        previous, document = _inner(document, "previous"), _inner(document, "current")
        if all(
            _inner(previous, part).get("reported") == _inner(document, part).get("reported")
            for part in ("state", "metadata")
        ):
            return {}, None  # Something else was updated.
    said = _inner(document, "state", "reported")
    stamps = _inner(document, "metadata", "reported")
    if kind == "documents" and at is not None:
        said = {
            name: value
            for name, value in said.items()
            if _inner(stamps, name).get("timestamp", at) == at
        }
    return said, None if at is None else _time(at)


def _inner(document: dict[str, Any], *path: str) -> dict[str, Any]:
    for name in path:
        inner = document.get(name)
        if not isinstance(inner, dict):
            return {}
        document = inner
    return document


def _number(name: str, given: Any, convert: Callable[[float], float]) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        raise NotAReading(f"its {name} is {json.dumps(given)[:40]}, which is no number")
    try:
        number = float(given)
    except (ValueError, OverflowError):
        raise NotAReading(f"its {name} is {str(given)[:40]!r}, which is no number") from None
    if not math.isfinite(number):
        raise NotAReading(f"its {name} is {number}, which nothing measures")
    number = float(convert(number))
    if not math.isfinite(number):
        raise NotAReading(f"its {name} is {given}, which nothing measures")
    return number


def _time(given: Any) -> datetime:
    try:
        if isinstance(given, str):
            time = datetime.fromisoformat(given)
        elif isinstance(given, bool) or not isinstance(given, int | float):
            raise ValueError
        else:
            time = _EPOCH + timedelta(seconds=given / (1000 if given > _MILLISECONDS else 1))
    except (ValueError, OverflowError):
        raise NotAReading(f"its time is {str(given)[:40]!r}, which is none") from None
    if time.tzinfo is None:
        raise NotAReading(f"its time, {given}, has no zone; end it in Z if it is UTC")
    if not _EARLIEST <= time < _LATEST:
        raise NotAReading(f"its time, {given}, is not between 1900 and 2200")
    return time
