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
from tests.hardening.in_process_cloud import InProcessCloud, start_cloud, wait_for
from tests.hardening.process_usage import open_handles

RETAINED = 1000
needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc")


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[InProcessCloud]:
    with start_cloud(tmp_path / "home", [f"retained_max={RETAINED}"]) as cloud:
        yield cloud


@needs_proc
def test_slow_consumer(cloud: InProcessCloud) -> None:
    assert len(list(load.slow_consumer(cloud, big=150, small=10_300))) == 3


def test_a_client_that_never_acknowledges(cloud: InProcessCloud) -> None:
    assert len(list(load.never_acknowledges(cloud, 300))) == 3


@needs_proc
def test_the_maximum_number_of_retained_messages(cloud: InProcessCloud) -> None:
    assert len(list(load.retained(cloud, RETAINED))) == 2


def test_full_disk(cloud: InProcessCloud) -> None:
    assert len(list(load.full_pages(cloud))) == 3


def test_clock_jumps(cloud: InProcessCloud) -> None:
    assert len(list(load.clock_jumps(cloud))) == 3


def test_the_next_key_is_made_ahead(cloud: InProcessCloud) -> None:
    ca = cloud.services.registry.certificates._ca
    for _ in range(2):
        wait_for(lambda: ca.has_spare_key, "a key is made ahead")
        cloud.lab.client("iot").create_keys_and_certificate()


@pytest.fixture
def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcessCloud]:
    """A cloud that waits for nothing longer than a second."""
    monkeypatch.setattr(tls_listener, "HANDSHAKE_TIMEOUT", 1.0)
    monkeypatch.setattr(tls_listener, "CONNECT_TIMEOUT", 1.0)
    monkeypatch.setattr(tls_listener, "CLOSE_TIMEOUT", 1.0)
    monkeypatch.setattr(http_server, "BODY_TIMEOUT", 1.0)
    monkeypatch.setattr(http_server, "IDLE_TIMEOUT", 1.0)
    monkeypatch.setattr(http_server, "DRAIN_TIMEOUT", 1.0)
    monkeypatch.setattr(http_server, "CLOSE_TIMEOUT", 1.0)
    with start_cloud(tmp_path / "home") as cloud:
        yield cloud


@needs_proc
def test_half_open_https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "HANDSHAKE_TIMEOUT", 1.5)
    monkeypatch.setattr(http_server, "FIRST_REQUEST_TIMEOUT", 1.5)
    with start_cloud(tmp_path / "home") as cloud:
        assert len(list(load.half_open_https(cloud, 1, 40))) == 1


@needs_proc
def test_flood_of_connects() -> None:
    assert len(list(load.flood_of_connects(320))) == 2  # it may have 300 file handles


REQUEST = b"POST /things/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"


@needs_proc
@pytest.mark.parametrize(
    "said", [b"", REQUEST, REQUEST + b"\r\n{"], ids=["nothing", "head", "body"]
)
def test_https_waits_for_nobody_forever(hasty: InProcessCloud, said: bytes) -> None:
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
def test_a_client_that_reads_nothing_is_closed_soon(hasty: InProcessCloud) -> None:
    broker = hasty.services.broker
    with contextlib.closing(hasty.connect("deaf")) as deaf:
        load.subscribed(deaf, "load/#", qos=0)
        before = open_handles()
        for _ in range(100):
            hasty.call(lambda: broker.publish("load/1", load.BIG, 0))
        assert hasty.call(lambda: broker.connections["deaf"].congested)
        assert hasty.call(lambda: broker.disconnect("deaf", True, True))
        wait_for(lambda: open_handles() < before, "the cloud's end of it is closed", 20)


@needs_proc
def test_a_few_bytes_do_not_queue_gigabytes(hasty: InProcessCloud) -> None:
    """One TLS record asks for 128 KB 3456 times: all is answered, but few messages are queued."""
    broker = hasty.services.broker
    hasty.call(lambda: broker.publish("a", bytes(MAX_PAYLOAD), 0, retain=True))
    with contextlib.closing(hasty.connect("greedy")) as greedy:
        asked = packets.encode(Subscribe(7, [Subscription("a", 0)] * 8, {}), 5) * 432
        assert len(asked) < 1 << 14
        greedy._socket.sendall(asked)
        came: list[packets.Packet] = []
        while sum(isinstance(each, Suback) for each in came) < 432:
            came += greedy.take()
        assert 8 <= sum(isinstance(each, Publish) for each in came) < 100
        assert load.answers(greedy)
