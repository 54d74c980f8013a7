"""Parse what a message measured, when, and which Thing sent it.

A device publishes a JSON object such as ``{"time": "2018-08-31T23:30:00Z", "depth": 6.63}`` on a
topic of its own; the fields to parse can be chosen. A message can also carry the report of a Thing
in another format, such as the answer of a service. Such a message has a method ``reported()`` that
returns the Thing and the same JSON object. Any other message on a topic that starts with ``$`` is
ignored: MQTT reserves those topics for the broker.

The time of a reading is the message's ``time``, in ISO 8601 with a zone or as seconds since 1970
(milliseconds, if the number is too large for seconds). Without ``time``, it is the time of arrival.

Numbers may be written as text, and null means not measured. Anything else (text, true, NaN,
infinity, a time without a zone) is not a reading: :class:`NotAReading` says why.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol

from creeklab.creek.readings.samples import STAGE, TEMPERATURE
from creeklab.creek.readings.units import converter

TIME = "time"

FIELDS = {"depth": (STAGE, "ft"), "temperature": (TEMPERATURE, "degF")}
"""Fields of the tutorial's messages, with the column that each becomes and the unit of the field.
The samples' temperature is that of the water; use another column for a thermometer in a barn."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# As seconds, this is the year 5138; larger numbers are milliseconds, from 1973 on.
_MILLISECONDS = 1e11
# Every program that reads a history can hold these times, even in nanoseconds.
_EARLIEST, _LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class MessageLike(Protocol):
    """A message that arrived; it may also have ``reported()`` (see the top of this file)."""

    @property
    def topic(self) -> str:
        """Topic of the message."""

    @property
    def payload(self) -> bytes:
        """Payload of the message."""

    @property
    def retain(self) -> bool:
        """Whether the broker kept it for new subscribers, so that it may be old."""


class NotAReading(ValueError):
    """A message that should hold a reading, but does not."""


class Observation(NamedTuple):
    """A reading: its Thing, microseconds since 1970 (UTC), and a value or None for each column."""

    thing: str
    time: int
    values: tuple[float | None, ...]


class MessageParser:
    """Parse messages into observations.

    Parameters
    ----------
    thing
        The Thing that sends the messages: its name, or a function that returns the name for a
        topic. None if every message names its Thing with ``reported()``.
    fields
        For each field of a message to parse: its column, and the unit of the field.

    Raises
    ------
    ValueError
        If two fields have the same column, or a unit is unknown or does not fit its column.
    """

    def __init__(
        self,
        thing: str | Callable[[str], str | None] | None = None,
        fields: Mapping[str, tuple[str, str]] = FIELDS,
    ) -> None:
        self.columns = [column for column, _ in fields.values()]
        if not fields or len(set(self.columns)) < len(fields) or TIME in fields:
            raise ValueError(
                f"The fields are {', '.join(map(repr, fields)) or 'none'}. Each needs a column of"
                f" its own, and {TIME!r} is reserved for the time."
            )
        self._thing = thing
        self._fields = [(name, converter(unit, column)) for name, (column, unit) in fields.items()]

    def parse(self, message: MessageLike, arrived: datetime) -> Observation | None:
        """Parse a message; return None if it measured nothing and need not measure anything.

        Raises
        ------
        NotAReading
            If the message should hold a reading, but cannot be read.
        """
        report = _parse_json(getattr(message, "reported", lambda: None))
        if report is not None:
            thing, fields = report
            return self._observation(thing, fields, arrived)
        if message.topic.startswith("$"):
            return None
        fields = _parse_json(lambda: json.loads(message.payload))
        if not isinstance(fields, dict):
            raise NotAReading("it is not a JSON object")
        if not any(name in fields for name, _ in self._fields):
            raise NotAReading(f"it has none of {', '.join(name for name, _ in self._fields)}")
        if message.retain and fields.get(TIME) is None:
            raise NotAReading("it was retained and does not say when it was measured")
        return self._observation(self._sender(message.topic), fields, arrived)

    def _observation(
        self, thing: str, fields: dict[str, Any], arrived: datetime
    ) -> Observation | None:
        values = tuple(
            None if fields.get(name) is None else _number(name, fields[name], convert)
            for name, convert in self._fields
        )
        if all(value is None for value in values):
            return None
        time = arrived if fields.get(TIME) is None else _time(fields[TIME])
        return Observation(thing, (time - _EPOCH) // _MICROSECOND, values)

    def _sender(self, topic: str) -> str:
        thing = self._thing(topic) if callable(self._thing) else self._thing
        if not thing:
            raise NotAReading("its topic does not say which Thing it is from")
        return thing


def _parse_json(parse: Callable[[], Any]) -> Any:
    try:
        return parse()
    except (ValueError, RecursionError) as error:
        raise NotAReading(f"it is not JSON ({error})") from None


def _number(name: str, value: Any, convert: Callable[[float], float]) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise NotAReading(f"its {name} is {json.dumps(value)[:40]}, which is not a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise NotAReading(f"its {name} is {str(value)[:40]!r}, which is not a number") from None
    converted = float(convert(number))
    if not math.isfinite(converted):
        raise NotAReading(f"its {name} is {number}, which no sensor measures")
    return converted


def _time(value: Any) -> datetime:
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError
        else:
            time = _EPOCH + timedelta(seconds=value / (1000 if value > _MILLISECONDS else 1))
    except (ValueError, OverflowError):
        raise NotAReading(f"its time is {str(value)[:40]!r}, which is not a time") from None
    if time.tzinfo is None:
        raise NotAReading(f"its time, {value}, has no zone; append Z if it is UTC")
    if not _EARLIEST <= time < _LATEST:
        raise NotAReading(f"its time, {value}, is not between 1900 and 2200")
    return time
