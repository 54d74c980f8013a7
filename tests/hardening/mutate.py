"""Spoils what is right: packets and documents that are nearly what the other end expects.

Noise is refused at the first byte. What finds defects is a valid thing with a little wrong in it,
so everything here begins with one: packets of both versions, drawn from the codec's own table of
properties, and JSON documents. Bytes are flipped, put in, cut out, doubled and exchanged, half of
the time cloud a packet whose length is then made right again, so that the fault lies deeper.
"""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

from creeklab.cloud.mqtt.codec import wire
from creeklab.cloud.mqtt.codec.packets import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
)
from creeklab.cloud.mqtt.codec.wire import PacketType

SHADOW = "$aws/things/Test2/shadow"
TOPICS = (
    *("creek/depth", "creek/temperature", "creek/denied", "creek", "/", "//", "a/b/c/d/e/f/g/h"),
    *(f"{SHADOW}/{verb}" for verb in ("update", "update", "get", "delete", "update/accepted")),
    *(f"{SHADOW}/name/limits/{verb}" for verb in ("update", "get", "delete")),
    *("$aws/rules/rule/creek", "$aws/things/Test2/jobs/get", "$aws/events/x", "$SYS/x", "$aws"),
    *("é/☃", "x" * 256, "x" * 257, "a/b/c/d/e/f/g/h/i", "\x01"),
)
FILTERS = (
    *(*TOPICS, "#", "+", "+/+", "creek/#", "creek/+", "/#", "#/creek", "creek/#/x", "cre+k", ""),
    *("$share/readers/creek/#", "$share/readers/creek/depth", "$share/others/#", "$share/#/x"),
    *("$share//x", "$share/readers", f"{SHADOW}/#", "$aws/#", "$aws/events/presence/+/+", "$aws/+"),
)
GOOD_TOPICS = ("creek/depth", "creek/temperature", *(f"{SHADOW}/{v}" for v in ("update", "get")))
GOOD_FILTERS = ("creek/#", "creek/+", "#", "$share/readers/creek/#", f"{SHADOW}/#", "creek/depth")
CLIENT_IDS = (*("gauge", "keeper") * 10, "é", "a/b", "a+b", "#", "x" * 128, "x" * 129, "$x", "")
TEXTS = ("", "a", "é", "\x01", "￿", "x" * 300, "application/json", "creek/answer")
NUMBERS = (0, 1, 2, 8, 9, 30, 100, 101, 127, 128, 3600, 65535, 65536, 1 << 24, (1 << 32) - 1)
BYTES = (0, 1, 2, 3, 4, 0x7F, 0x80, 0xFE, 0xFF)
PROPERTY_IDS = tuple(range(1, 0x2B))

SHADOW_DOCUMENTS: tuple[Any, ...] = (
    {"state": {"reported": {"depth": 1.4, "temperature": 66.2}}},
    {"state": {"desired": {"interval": 60}, "reported": {"interval": 30}}, "clientToken": "t-1"},
    {"state": {"desired": {"limits": {"low": 0, "high": [1, 2, {"a": "b"}]}}}, "version": 3},
    {"state": {"reported": None}},
    {"state": {"desired": None, "reported": {"a": {"b": {"c": {"d": {"e": 1}}}}}}},
    {"state": None},
    {},
)
ARN = "arn:aws:iot:us-east-1:123456789012:"
POLICY_DOCUMENTS: tuple[Any, ...] = (
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Connect",
                "Effect": "Allow",
                "Action": "iot:Connect",
                "Resource": ARN + "client/${iot:Connection.Thing.ThingName}",
            },
            {
                "Effect": "Allow",
                "Action": ["iot:Publish", "iot:Receive"],
                "Resource": [ARN + "topic/creek/*", ARN + "topic/$aws/things/${iot:ClientId}/*"],
            },
        ],
    },
    {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Deny",
            "Action": "iot:Pub*",
            "Resource": "*",
            "Condition": {
                "StringLikeIfExists": {"iot:ClientId": ["gauge-*", "${*}"]},
                "NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"},
                "ForAnyValue:StringEquals": {"iot:ConnectAttributes": ["LastWill"]},
            },
        },
    },
    {
        "Version": "2008-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "*",
                "Resource": "*",
                "Condition": {
                    "NumericLessThan": {"iot:Number": 5},
                    "Bool": {"iot:Connection.Thing.IsAttached": "true"},
                    "DateGreaterThan": {"aws:CurrentTime": "2020-04-01T00:00:00Z"},
                    "ArnLike": {"iot:Arn": ARN + "thing/*"},
                    "Null": {"iot:ClientId": True},
                },
            }
        ],
    },
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 1.5, 1e308, 10**30, -(10**30), "", "a", "é", "\ud800", "\0"),
    *("*", "?", "${iot:ClientId}", "${", "${*}", "$", "x" * 300, "2012-10-17", "Allow", "Deny"),
    *("iot:*", ARN + "topic/*", "arn:::::", "true", "5", "1e999", "::1/129", "9999-12-31T23:59:59"),
    *("0001-01-01T00:00:00+23:59", "ForAllValues:StringLike", "StringEqualsIfExists"),
    *([], {}, [None], {"a": None}, [[]], {"delta": 1}, {"timestamp": 5}),
)
KEYS = (
    *("state", "desired", "reported", "delta", "metadata", "version", "clientToken", "timestamp"),
    *(
        "Version",
        "Statement",
        "Effect",
        "Action",
        "Resource",
        "NotAction",
        "Condition",
        "Sid",
        "Id",
    ),
    *("StringEquals", "NumericEquals", "IpAddress", "Bool", "Null", "ArnEquals", "DateEquals"),
    *("iot:ClientId", "aws:SourceIp", "", "a", "é", "\ud800", "x" * 300, "constructor"),
)


# --- packets --------------------------------------------------------------------------------------


def packet(random: Random, version: int, *, client_id: str | None = None) -> Packet:
    """Return a packet that a client may send, or now and then one that only a server does."""
    choice = random.random()
    number = random.choice((1, 1, 2, 3, 65535))
    if choice < 0.35:
        qos = random.choice((0, 0, 0, 1, 1, 1, 1, 1, 1, 2))
        return Publish(
            random.choice(TOPICS if random.random() < 0.2 else GOOD_TOPICS),
            payload(random),
            qos,
            random.random() < 0.2,
            qos > 0 and random.random() < 0.2,
            number if qos else 0,
            properties(random, PacketType.PUBLISH, version),
        )
    if choice < 0.5:
        entries = [
            subscription(random, version) for _ in range(random.choice((*(1, 2, 3) * 5, 8, 9)))
        ]
        return Subscribe(number, entries, properties(random, PacketType.SUBSCRIBE, version))
    if choice < 0.6:
        filters = [random.choice(FILTERS) for _ in range(random.choice((1, 1, 2, 9)))]
        return Unsubscribe(number, filters, properties(random, PacketType.UNSUBSCRIBE, version))
    if choice < 0.75:
        code = random.choice((0, 0, 0, 0x10, 0x80, 0x97)) if version == 5 else 0
        return Puback(number, code, properties(random, PacketType.PUBACK, version))
    if choice < 0.85:
        return Pingreq()
    if choice < 0.92:
        code = random.choice((0, 4, 0x81, 0x8E)) if version == 5 else 0
        return Disconnect(code, properties(random, PacketType.DISCONNECT, version))
    if choice < 0.97:
        return connect(random, version, client_id)
    return random.choice(
        (Connack(False), Suback(1, [0]), Unsuback(1, [0]), Pingresp())  # a server's
    )


def connect(random: Random, version: int, client_id: str | None = None) -> Connect:
    """Return a CONNECT; it has a will half of the time."""
    will = None
    if random.random() < 0.5:
        will = Will(
            random.choice(TOPICS if random.random() < 0.2 else GOOD_TOPICS),
            b"x" * 65535 if random.random() < 0.01 else random.choice((b"", b"gone")),
            2 if random.random() < 0.05 else random.randrange(2),
            random.random() < 0.3,
            properties(random, PacketType.WILL, version),
        )
    username, password = random.choice(((None, None), ("a", None), ("a", b"b"), ("", b"")))
    return Connect(
        random.choice(CLIENT_IDS) if client_id is None else client_id,
        version,
        random.random() < 0.5,
        random.choice((0, 1, 30, 60, 65535)),
        username,
        password,
        will,
        properties(random, PacketType.CONNECT, version),
    )


def subscription(random: Random, version: int) -> Subscription:
    """Return a topic filter and options that its version has."""
    topic_filter = random.choice(FILTERS if random.random() < 0.2 else GOOD_FILTERS)
    qos = random.choice((0, 1, 1, 2))
    if version == 4:
        return Subscription(topic_filter, qos)
    return Subscription(
        topic_filter,
        qos,
        random.random() < 0.2 and not topic_filter.startswith("$share/"),
        random.random() < 0.3,
        random.randrange(3),
    )


def payload(random: Random) -> bytes:
    """Return a payload: often a shadow's document, right or spoilt."""
    choice = random.random()
    if choice < 0.5:
        return document(random, SHADOW_DOCUMENTS)
    if choice < 0.51:
        return bytes(random.choice((131_072, 131_073)))
    return random.choice((b"", b"1.4", b"\xff\xfe", b"x" * 1000, b"\0"))


def properties(random: Random, kind: PacketType, version: int) -> dict[str, Any]:
    """Return some of the properties that a packet may have."""
    if version == 4 or random.random() < 0.6:
        return {}
    found: dict[str, Any] = {}
    for name, entry in wire._PROPERTIES_BY_NAME[kind].items():
        # No subscription identifier most of the time: each ends the connection.
        if random.random() < (0.05 if name.startswith("subscription") else 0.3):
            value = _property(random, entry.kind)
            found[name] = [value] * random.randrange(1, 4) if entry.kind.many else value
    return found


def _property(random: Random, kind: Any) -> Any:
    if kind.read is wire.Reader.pair:
        return random.choice(TEXTS), random.choice(TEXTS)
    if kind.read is wire.Reader.binary:
        return random.randbytes(random.choice((0, 1, 200)))
    if kind.read in (wire.Reader.string, wire.Reader.topic):
        return random.choice(TEXTS[1:])
    most = {
        wire.Reader.byte: 255,
        wire.Reader.uint16: 65535,
        wire.Reader.varint: (1 << 28) - 1,
    }.get(kind.read, (1 << 32) - 1)
    allowed = kind.allowed or range(most + 1)
    return random.choice([each for each in NUMBERS if each in allowed])


def spoil(random: Random, data: bytes, other: bytes) -> bytes:
    """Return a packet with something wrong in it; `other` is another one to take parts from."""
    if random.random() < 0.5:
        return spoil_bytes(random, data, other)
    first, body = data[:1], data[_body_at(data) :]
    body = spoil_bytes(random, body, other)
    return first + wire.put_varint(len(body)) + body


def spoil_bytes(random: Random, data: bytes, other: bytes = b"") -> bytes:
    """Return bytes with one to four changes."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        at = random.randrange(len(found) + 1)
        until = min(len(found), at + random.choice((1, 1, 2, 4, 16)))
        kind = random.randrange(9)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << random.randrange(8)
        elif kind == 1 and at < len(found):
            found[at] = random.choice(BYTES)
        elif kind == 2:
            found[at:at] = random.randbytes(random.choice((1, 2, 4, 32)))
        elif kind == 3:
            del found[at:until]
        elif kind == 4:
            found[at:at] = found[at:until]
        elif kind == 5:
            del found[at:]
        elif kind == 6:
            start = random.randrange(len(other) + 1)
            found[at:until] = other[start : start + random.choice((1, 4, 16, 64))]
        elif kind == 7 and at + 1 < len(found):  # a length of two bytes
            length = random.choice((0, 1, len(found), 0x7FFF, 0xFFFF))
            found[at : at + 2] = (length & 0xFFFF).to_bytes(2, "big")
        elif kind == 8 and at < len(found):
            found[at] = random.choice(PROPERTY_IDS)
    return bytes(found)


def _body_at(data: bytes) -> int:
    at = 1
    while data[at] > 0x7F:
        at += 1
    return at + 1


# --- documents ------------------------------------------------------------------------------------


def document(random: Random, samples: tuple[Any, ...]) -> bytes:
    """Return a JSON document as bytes: as it should be, with wrong parts, or with wrong bytes."""
    value = random.choice(samples)
    if random.random() < 0.7:
        value = copy.deepcopy(value)
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            value = _spoil_value(random, value)
    if random.random() < 0.02:
        return _nested(random, value)
    text = json.dumps(value, ensure_ascii=random.random() < 0.7)
    data = text.encode(errors="surrogatepass")
    return spoil_bytes(random, data, data) if random.random() < 0.2 else data


def _spoil_value(random: Random, value: Any) -> Any:
    """Return a tree with one node changed; the tree itself may change, too."""
    holder: dict[str, Any] = {"": value}
    places: list[tuple[Any, Any]] = []
    pending: list[Any] = [holder]
    while pending:
        node = pending.pop()
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                pending.append(node[key])
    node, key = random.choice(places)
    kind = random.randrange(6)
    if kind == 0:
        node[key] = copy.deepcopy(random.choice(VALUES))
    elif kind == 1 and node is not holder:
        del node[key]
    elif kind == 2:
        node[key] = random.choice(([node[key]], {random.choice(KEYS): node[key]}))
    elif kind == 3 and isinstance(node, dict) and node is not holder:
        node[random.choice(KEYS)] = node.pop(key)
    elif kind == 4 and isinstance(node[key], dict):
        node[key][random.choice(KEYS)] = copy.deepcopy(random.choice(VALUES))
    else:
        other, elsewhere = random.choice(places)
        if _size(value) < 2000:
            node[key] = copy.deepcopy(other[elsewhere])
    return holder[""]


def _size(value: Any) -> int:
    return len(repr(value))


def _nested(random: Random, value: Any) -> bytes:
    """Return a document with a very deep part, or a very long number."""
    deep = random.choice(("[", '{"a":')) * random.choice((10, 500, 20_000))
    return random.choice(
        (
            deep.encode(),
            b'{"state":{"desired":{"a":' + b"[" * 1000 + b"]" * 1000 + b"}}}",
            b'{"state":{"desired":{"a":' + b"9" * 5000 + b'}},"version":' + b"9" * 400 + b"}",
            b'{"state":{"desired":{"a":1e400}}}',
            b'{"state":{"desired":{"a":NaN}},"version":-0.0}',
            json.dumps({"state": {"desired": {"a": "x" * 8200}}}).encode(),
            json.dumps({"Statement": value}, indent=1000).encode(),
        )
    )
