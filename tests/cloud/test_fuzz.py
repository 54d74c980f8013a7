"""Malformed packets and documents: a short run of ``python -m tests.hardening fuzz``.

The last test plants defects and expects the run to find each.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from random import Random
from typing import Any

import pytest

from creeklab.cloud.api import device_authorization, dispatcher
from creeklab.cloud.mqtt.broker import Broker
from creeklab.cloud.mqtt.codec import packets, wire
from creeklab.cloud.mqtt.codec.wire import ProtocolError
from creeklab.cloud.mqtt.connection.connection import Connection
from creeklab.cloud.mqtt.listeners import websocket_listener
from creeklab.cloud.mqtt.routing.topic_tree import SubscriptionTree
from creeklab.cloud.policy import wildcards
from creeklab.cloud.shadow import document
from tests.hardening import https_fuzz
from tests.hardening.fuzz import PARTS, fuzz_broker, fuzz_codec, fuzz_policy, fuzz_shadow
from tests.hardening.https_fuzz import fuzz_https, fuzz_websocket, fuzz_workshop
from tests.hardening.in_process_cloud import wait_for
from tests.hardening.report import Report

SEED = 20180831


@pytest.mark.parametrize(
    ("part", "count", "outcomes"),
    [
        ("codec", 1500, {"read", "refused with 0x81", "refused with 0x82", "refused with 0x84"}),
        (
            "broker",
            2500,
            {
                *("taken", "ended without a word", "ended with 0x9B", "ended with 0x94"),
                *("refused with 0x81", "refused with 0x82", "ended with 0x90", "ended with 0x97"),
            },
        ),
        (
            "shadow",
            3000,
            {
                *("updates", "gets", "deletes"),
                *(f"refused with {code}" for code in (400, 404, 409, 413, 415)),
            },
        ),
        ("policy", 2000, {"refused", "allowed", "implicit deny", "explicit deny"}),
        ("wire", 300, {"sent"}),
        (
            "https",
            250,
            {f"answered {status}" for status in (200, 400, 403, 404, 405, 501)}
            | {"cut off", "no answer yet"},
        ),
        ("websocket", 200, {"sent", "not opened"}),
        ("workshop", 120, {f"answered {status}" for status in (200, 400, 403, 404)}),
    ],
)
def test_nothing_is_found(part: str, count: int, outcomes: set[str]) -> None:
    report = Report()
    _, fuzz = PARTS[part]
    fuzz(Random(SEED), count, report)
    assert not report.findings, report.findings[0]
    assert report.total(part) >= count
    assert {outcome for of, outcome in report.counts if of == part} >= outcomes


class FoundError(Exception):
    """The run found what it looked for."""


class FirstFinding(Report):
    """A report that ends the run at the first finding with a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    @contextmanager
    def watching(self, part: str, sent: object) -> Iterator[None]:
        with super().watching(part, sent):
            yield
        if any(self._text in finding for finding in self.findings):
            raise FoundError


def raises(*_: Any, **__: Any) -> Any:
    raise KeyError("a defect")


def nothing(*_: Any, **__: Any) -> Any:
    return None


def unchecked(*_: Any) -> int:
    return 0


def anything(*_: Any) -> bool:
    return True


def without_reason(self: Connection, error: ProtocolError) -> None:
    self._close_now()


def no_cut(self: Connection, error: ProtocolError) -> None:
    pass


@pytest.mark.parametrize(
    ("fuzz", "of", "name", "defect", "said"),
    [
        (fuzz_codec, wire, "topic_name", raises, "a defect"),
        (fuzz_codec, packets, "put_uint16", lambda value: b"\0\1", "AssertionError"),
        (fuzz_broker, Connection, "_acknowledge", raises, "a defect"),
        (fuzz_broker, SubscriptionTree, "remove", nothing, "something is left behind"),
        (fuzz_broker, Broker, "remove_connection", nothing, "something is left behind"),
        (fuzz_broker, Connection, "_on_protocol_error", no_cut, "was not cut off"),
        (fuzz_broker, Connection, "_on_protocol_error", without_reason, "the DISCONNECT is"),
        (fuzz_shadow, document, "_check_content", unchecked, "AssertionError"),
        (fuzz_policy, wildcards.Glob, "matches", raises, "a defect"),
        (fuzz_https, device_authorization, "check_certificate_status", raises, "500: "),
        (fuzz_https, dispatcher, "_error_serializer_for", raises, "a defect"),
        (fuzz_websocket, websocket_listener._Conversation, "_process", raises, "a defect"),
        (fuzz_websocket, Connection, "connection_lost", nothing, "alone: not within"),
        (fuzz_workshop, hmac, "compare_digest", anything, "AssertionError"),
    ],
)
def test_a_defect_is_found(
    monkeypatch: pytest.MonkeyPatch, fuzz: Any, of: Any, name: str, defect: Any, said: str
) -> None:
    monkeypatch.setattr(of, name, defect)
    monkeypatch.setattr(https_fuzz, "wait_for", partial(wait_for, seconds=1))
    report = FirstFinding(said)
    with suppress(FoundError):
        fuzz(Random(SEED), 100 if fuzz.__module__ == https_fuzz.__name__ else 800, report)
    assert any(said in finding for finding in report.findings), report.findings
