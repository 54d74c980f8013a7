"""Messages that were written to a file: JSON Lines, ``mosquitto_sub -v``, a rule, or Firehose.

JSON objects follow each other on lines of their own, or without anything between them, as Firehose
writes them. A topic may stand before each (``mosquitto_sub -v``), and a time before that
(``mosquitto_sub -F '%I %t %p'``). The time of a reading is the message's ``time`` or ``timestamp``,
in ISO 8601 or since 1970, and otherwise the time before the topic; a message with neither is an
error. ``depth`` is in feet and ``temperature`` in degrees Fahrenheit, as in the tutorial, unless
the caller names another field and unit.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from creeklab.creek.history.message_parser import FIELDS, MessageParser, NotAReading
from creeklab.creek.readings.building import Choices, finish
from creeklab.creek.readings.files import text_of
from creeklab.creek.readings.formats.format import Format
from creeklab.creek.readings.samples import STAGE

_BEFORE = re.compile(r"\s*(?:(\d{4}-\d\d-\d\dT\S+)\s+)?(?:([^\s{}\[\]\",]+)\s+)?(?=[{\[])")
_UNUSED = datetime(1970, 1, 1, tzinfo=UTC)  # time of arrival; every message here has its own
_SENDERS = ("thing", "thingName", "thing_name", "device", "device_id", "deviceId", "clientId")


@dataclass(frozen=True)
class _Message:
    topic: str
    payload: bytes
    retain: bool = False


def read_messages(path: Path, choices: Choices) -> pd.DataFrame:
    """Read the messages of one Thing.

    Raises
    ------
    ValueError
        If a message cannot be read or does not say when it was measured, or the messages are from
        several Things and none is chosen with ``site``.
    """
    fields = dict(FIELDS)
    if choices.stage is not None:
        name, unit = choices.stage
        fields = {key: to for key, to in FIELDS.items() if to[0] != STAGE}
        fields = {name: (STAGE, unit or "ft"), **fields}
    parser = MessageParser(thing=lambda topic: topic, fields=fields)
    times, values, senders = [], [], []
    for number, (before, topic, content) in enumerate(_objects(path, text_of(path)), 1):
        try:
            observation = _observation(parser, before, topic, content)
        except NotAReading as error:
            raise ValueError(f"{path}: message {number} is not a reading: {error}.") from None
        if observation is not None:
            times.append(observation.time)
            values.append(observation.values)
            senders.append(observation.thing)
    if not times:
        raise ValueError(f"{path} has no message with {' or '.join(fields)}.")
    counted = Counter(senders)
    if choices.site is None and len(counted) > 1:
        raise ValueError(
            f"{path} has messages from {len(counted)} senders ({', '.join(sorted(counted))})."
            f" Choose one, for example --site {min(counted)} (in Python: site={min(counted)!r})."
        )
    if choices.site is not None and choices.site not in counted:
        raise ValueError(f"{path} has no message from {choices.site!r}, only {', '.join(counted)}.")
    site = choices.site or senders[0]
    kept = np.array([sender == site for sender in senders])
    index = pd.DatetimeIndex(np.array(times, dtype="datetime64[us]"), tz="UTC", name="time")
    readings = pd.DataFrame(values, index=index, columns=parser.columns, dtype="float64")[kept]
    return finish(readings, {"site": site, "processing": f"{int(kept.sum())} messages"})


def _objects(path: Path, text: str) -> Iterator[tuple[str | None, str | None, dict[str, Any]]]:
    """Yield each message with the time and the topic before it."""
    decoder, position = json.JSONDecoder(), 0
    length = len(text.rstrip())
    while position < length:
        match = _BEFORE.match(text, position)
        try:
            if match is None:
                raise ValueError("it is not JSON")
            content, position = decoder.raw_decode(text, match.end())
        except ValueError as error:
            line = text.count("\n", 0, position + 1) + 1
            raise ValueError(f"{path} cannot be read from line {line} on: {error}.") from None
        for each in content if isinstance(content, list) else [content]:
            if not isinstance(each, dict):
                raise ValueError(f"{path} contains {str(each)[:40]!r}, which is not an object.")
            yield match[1], match[2], each


def _observation(
    parser: MessageParser, before: str | None, topic: str | None, content: dict[str, Any]
) -> Any:
    shadow = content.get("state")
    if isinstance(shadow, dict) and isinstance(shadow.get("reported"), dict):
        content = {**content, **shadow["reported"]}
    time = content.get("time", content.get("timestamp"))
    if time is None and before is None:
        raise NotAReading(
            "it does not say when it was measured. Record with mosquitto_sub -F '%I %t %p', or add"
            " timestamp() AS time to the rule"
        )
    sender = next((str(content[key]) for key in _SENDERS if content.get(key)), topic)
    payload = json.dumps({**content, "time": before if time is None else time}).encode()
    message = _Message(str(content.get("topic") or sender or "messages"), payload)
    return parser.parse(message, _UNUSED)


FORMAT = Format(
    "messages in JSON",
    lambda head: bool(_BEFORE.match(head)) and "FeatureCollection" not in head,
    read_messages,
)
