"""``parse_time`` and ``time_to_epoch``: dates in patterns.

AWS formats with Joda-Time and parses with Java's DateTimeFormatter. Both have the same letters for
the fields of a date; they differ in the letters of time zones. Names are English. A pattern with a
letter that is not listed here gives Undefined.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from creeklab.cloud.rules.sql.functions.function import Function
from creeklab.cloud.rules.sql.values import UNDEFINED, Value, to_floor

MAX_PATTERN = 200

_YEAR = "January February March April May June July August September October November December"
_WEEK = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
MONTHS, DAYS = _YEAR.split(), _WEEK.split()
_FIELD = re.compile(r"'(?P<quoted>(?:[^']|'')*)'|(?P<letter>([A-Za-z])\3*)|(?P<other>[^A-Za-z'])")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _UnknownPattern(ValueError):
    """A pattern contains a letter without a meaning here."""


@lru_cache(maxsize=256)
def _fields(pattern: str) -> tuple[tuple[str, str], ...]:
    """Return the parts of a pattern: ``("letters", "yyyy")`` or ``("text", "-")``."""
    if len(pattern) > MAX_PATTERN:
        raise _UnknownPattern
    found, position = [], 0
    while position < len(pattern):
        match = _FIELD.match(pattern, position)
        if match is None:  # a quote that is not closed
            raise _UnknownPattern
        position = match.end()
        if match["letter"]:
            found.append(("letters", match["letter"]))
        elif match["quoted"] is not None:
            found.append(("text", match["quoted"].replace("''", "'") or "'"))
        else:
            found.append(("text", match["other"]))
    return tuple(found)


@lru_cache(maxsize=256)
def _zone(name: str) -> tzinfo:
    """Return a time zone by name, or by its distance to UTC: ``UTC+01:00``, ``-0530``."""
    match = re.fullmatch(r"(?:UTC|GMT|UT)?([+-])(\d\d):?(\d\d)", name)
    if match is not None:
        distance = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return timezone(-distance if match[1] == "-" else distance)
    if name in ("Z", "UTC", "GMT", "UT"):
        return UTC
    return ZoneInfo(name)


# --- formatting (Joda-Time) -----------------------------------------------------------------------


def _offset(time: datetime, separator: str) -> str:
    text = time.strftime("%z")
    return text[:3] + separator + text[3:5]


def _padded(read: Callable[[datetime], int]) -> Callable[[datetime, int], str]:
    return lambda time, width: str(read(time)).zfill(width)


def _year(time: datetime, width: int) -> str:
    return f"{time.year % 100:02}" if width == 2 else str(time.year).zfill(width)


def _month(time: datetime, width: int) -> str:
    name = MONTHS[time.month - 1]
    return str(time.month).zfill(width) if width < 3 else name[:3] if width == 3 else name


def _day_name(time: datetime, width: int) -> str:
    name = DAYS[time.weekday()]
    return name[:3] if width < 4 else name


def _fraction(time: datetime, width: int) -> str:
    return f"{time.microsecond // 1000:03}".ljust(width, "0")[:width]


def _zone_id(time: datetime) -> str:
    return str(getattr(time.tzinfo, "key", time.tzname()))


_FORMAT: dict[str, Callable[[datetime, int], str]] = {
    "G": lambda time, width: "AD",
    "y": _year,
    "Y": _year,
    "M": _month,
    "d": _padded(lambda time: time.day),
    "D": _padded(lambda time: time.timetuple().tm_yday),
    "E": _day_name,
    "e": _padded(lambda time: time.isoweekday()),
    "a": lambda time, width: "AM" if time.hour < 12 else "PM",
    "H": _padded(lambda time: time.hour),
    "k": _padded(lambda time: time.hour or 24),
    "K": _padded(lambda time: time.hour % 12),
    "h": _padded(lambda time: time.hour % 12 or 12),
    "m": _padded(lambda time: time.minute),
    "s": _padded(lambda time: time.second),
    "S": _fraction,
    "z": lambda time, width: time.tzname() or "",
    "Z": lambda time, width: (
        _zone_id(time) if width > 2 else _offset(time, ":" if width == 2 else "")
    ),
}


def _parse_time(pattern: Value, milliseconds: Value, zone: Value = "UTC") -> Value:
    number = to_floor(milliseconds)
    if not isinstance(pattern, str) or not isinstance(zone, str) or number is UNDEFINED:
        return UNDEFINED
    try:
        time = (_EPOCH + timedelta(milliseconds=number)).astimezone(_zone(zone))
        return "".join(
            text if kind == "text" else _FORMAT[text[0]](time, len(text))
            for kind, text in _fields(pattern)
        )
    except (ValueError, KeyError, OverflowError, OSError):
        return UNDEFINED


# --- parsing (java.time.format.DateTimeFormatter) -------------------------------------------------


def _names(names: list[str], width: int) -> str:
    return "|".join(name[:3] if width < 4 else name for name in names)


def _expression(letters: str) -> str:
    """Return the regular expression of a field."""
    letter, width = letters[0], len(letters)
    digits = rf"\d{{{width}}}" if width > 1 else r"\d+"
    if letter in "yu":
        return r"\d{2}" if width == 2 else r"\d{4}"
    if letter in "ML" and width > 2:
        return _names(MONTHS, width)
    if letter in "MLdDHhkKms":
        return digits
    if letter == "S":
        return rf"\d{{{width}}}"
    if letter == "E":
        return _names(DAYS, width)
    if letter == "a":
        return "AM|PM|am|pm"
    if letter == "G":
        return "AD"
    if letter in "Vz":
        return r"[A-Za-z]+(?:/[A-Za-z_]+)*(?:[+-]\d\d:?\d\d)?"
    if letter in "XxZO":
        return r"Z|(?:GMT|UTC)?[+-]\d\d(?::?\d\d)?"
    raise _UnknownPattern


@lru_cache(maxsize=256)
def _reader(pattern: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """Return the regular expression of a pattern, and the letters of its groups."""
    parts, letters = [], []
    for kind, text in _fields(pattern):
        if kind == "text":
            parts.append(re.escape(text))
        else:
            parts.append(f"({_expression(text)})")
            letters.append(text[0])
    return re.compile("".join(parts), re.ASCII), tuple(letters)


def _read(letters: tuple[str, ...], texts: tuple[str, ...]) -> datetime:
    """Return the time that the fields of a text name."""
    found = dict(zip(letters, texts, strict=True))
    year = found.get("y") or found.get("u") or "1970"
    month = found.get("M") or found.get("L") or "1"
    names = [name[:3] for name in MONTHS]
    number = int(month) if month.isdecimal() else names.index(month[:3]) + 1
    hour = int(found.get("H", found.get("k", "0"))) % 24
    if "h" in found or "K" in found:
        hour = int(found.get("h", found.get("K", "0"))) % 12
        hour += 12 * (found.get("a", "AM").upper() == "PM")
    fraction = found.get("S", "0")[:6].ljust(6, "0")
    zone = next((found[letter] for letter in "VzXxZO" if letter in found), "UTC")
    if re.fullmatch(r"(?:GMT|UTC)?[+-]\d\d", zone):
        zone += "00"
    time = datetime(
        int(year) + (2000 if len(year) == 2 else 0),
        number,
        1 if "D" in found else int(found.get("d", "1")),
        hour,
        int(found.get("m", "0")),
        int(found.get("s", "0")),
        int(fraction),
        tzinfo=_zone(zone),
    )
    return time + timedelta(days=int(found["D"]) - 1) if "D" in found else time


def _time_to_epoch(text: Value, pattern: Value) -> Value:
    if not isinstance(text, str) or not isinstance(pattern, str):
        return UNDEFINED
    try:
        expression, letters = _reader(pattern)
        match = expression.fullmatch(text)
        if match is None:
            return UNDEFINED
        return (_read(letters, match.groups()) - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, KeyError, OverflowError, OSError):
        return UNDEFINED


FUNCTIONS = {
    "parse_time": Function(_parse_time, 2, 3, needs_2016=True),
    "time_to_epoch": Function(_time_to_epoch, 2, 2, needs_2016=True),
}
