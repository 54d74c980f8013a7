"""Clients that behave badly, a full disk, a clock that jumps: ``python -m tests.hardening load``
with smaller numbers.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from creeklab.cloud.mqtt.codec import packets
from creeklab.cloud.mqtt.codec.packets import Publish, Suback, Subscribe, Subscription
from creeklab.cloud.mqtt.listeners import tls_listener
from creeklab.cloud.mqtt.routing.topic_tree import MAX_PAYLOAD
from creeklab.cloud.transport import http_server
from tests.hardening import load
from tests.hardening.figures import handles, resident
from tests.hardening.inside import Inside, cloud_inside, wait_for

RETAINED = 1000
needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc")


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Inside]:
    with cloud_inside(tmp_path / "home", [f"retained_max={RETAINED}"]) as inside:
        yield inside


@needs_proc
def test_slow_consumer(inside: Inside) -> None:
    assert len(list(load.slow_consumer(inside, big=150, small=10_300))) == 3


def test_who_never_acknowledges(inside: Inside) -> None:
    assert len(list(load.never_acknowledges(inside, 300))) == 3


@needs_proc
def test_as_many_retained_messages_as_the_setting_allows(inside: Inside) -> None:
    assert len(list(load.retained(inside, RETAINED))) == 2


def test_full_disk(inside: Inside) -> None:
    assert len(list(load.full_pages(inside))) == 3


def test_clock_jumps(inside: Inside) -> None:
    assert len(list(load.clock_jumps(inside))) == 3


def test_the_next_key_is_made_before_anybody_asks_for_it(inside: Inside) -> None:
    ca = inside.rooms.registry.certificates._ca
    for _ in range(2):
        wait_for(lambda: ca.has_spare_key, "a key is made ahead")
        inside.lab.client("iot").create_keys_and_certificate()


@pytest.fixture
def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inside]:
    """A cloud that waits for nothing longer than a second."""
    monkeypatch.setattr(tls_listener, "HANDSHAKE_SECONDS", 1.0)
    monkeypatch.setattr(tls_listener, "CONNECT_SECONDS", 1.0)
    monkeypatch.setattr(tls_listener, "FAREWELL_SECONDS", 1.0)
    monkeypatch.setattr(http_server, "BODY_SECONDS", 1.0)
    monkeypatch.setattr(http_server, "IDLE_SECONDS", 1.0)
    monkeypatch.setattr(http_server, "LINGER_SECONDS", 1.0)
    monkeypatch.setattr(http_server, "FAREWELL_SECONDS", 1.0)
    with cloud_inside(tmp_path / "home") as inside:
        yield inside


@needs_proc
def test_flood_of_connects() -> None:
    assert len(list(load.flood_of_connects(320))) == 2  # it may have 300 file handles


REQUEST = b"POST /things/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"


@needs_proc
@pytest.mark.parametrize(
    "said", [b"", REQUEST, REQUEST + b"\r\n{"], ids=["nothing", "head", "body"]
)
def test_https_waits_for_nobody_forever(hasty: Inside, said: bytes) -> None:
    context = ssl.create_default_context(cafile=str(hasty.lab.ca_file))
    address = hasty.lab.endpoint, hasty.lab.https_port
    with (
        socket.create_connection(address, 30) as raw,
        context.wrap_socket(raw, server_hostname=hasty.lab.endpoint) as secured,
    ):
        secured.sendall(said)
        with contextlib.suppress(ConnectionError):
            while secured.recv(4096):
                pass
    hasty.lab.client("iot").list_things()


@needs_proc
def test_who_is_cut_off_and_reads_nothing_is_gone_soon(hasty: Inside) -> None:
    broker = hasty.rooms.broker
    with contextlib.closing(hasty.wire("deaf")) as deaf:
        load.subscribed(deaf, "load/#", qos=0)
        before = handles()
        for _ in range(100):
            hasty.call(lambda: broker.publish("load/1", load.BIG, 0))
        assert hasty.call(lambda: broker.connections["deaf"].congested)
        assert hasty.call(lambda: broker.disconnect("deaf", True, True))
        wait_for(lambda: handles() < before, "the cloud's end of it is closed", 20)


@needs_proc
def test_a_few_bytes_do_not_fill_the_memory(hasty: Inside) -> None:
    """One TLS record asks for 128 KB 3456 times; it is all answered, and the messages dropped."""
    broker = hasty.rooms.broker
    hasty.call(lambda: broker.publish("a", bytes(MAX_PAYLOAD), 0, retain=True))
    with contextlib.closing(hasty.wire("greedy")) as greedy:
        before = resident()
        asked = packets.encode(Subscribe(7, [Subscription("a", 0)] * 8, {}), 5) * 432
        assert len(asked) < 1 << 14
        greedy._socket.sendall(asked)
        came: list[packets.Packet] = []
        while sum(isinstance(each, Suback) for each in came) < 432:
            came += greedy.take()
        assert 8 <= sum(isinstance(each, Publish) for each in came) < 100
        assert resident() - before < 100e6
        assert load.answers(greedy)
