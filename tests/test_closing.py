"""Clients that are disconnected between connect and TLS handshake leave no socket open."""

import gc
import socket
import ssl
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
import urllib3.util.connection
from botocore.config import Config
from botocore.exceptions import HTTPClientError

from creeklab.client.key_files import ThingFiles
from tests.conftest import NewThing
from tests.hardening.packet_client import PacketClient

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows resets in another way")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Return a port that listens but accepts no connection."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


@pytest.fixture
def dies_when_connected(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, int]:
    """Return its address; it resets each connection before the TLS handshake."""

    def dying(connect: Callable[..., socket.socket]) -> Callable[..., socket.socket]:
        def connect_and_die(*args: Any, **options: Any) -> socket.socket:
            found = connect(*args, **options)
            listener.close()
            return found

        return connect_and_die

    address: tuple[str, int] = listener.getsockname()
    for module in (socket, urllib3.util.connection):
        monkeypatch.setattr(module, "create_connection", dying(module.create_connection))
    return address


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    assert not caught, [str(each.message) for each in caught]


def test_wrap_socket(dies_when_connected: tuple[str, int]) -> None:
    raw = socket.create_connection(dies_when_connected)
    with pytest.raises(ConnectionResetError):
        ssl.create_default_context().wrap_socket(raw, server_hostname="localhost")


def test_boto3(dies_when_connected: tuple[str, int]) -> None:
    client = boto3.Session("key", "secret", region_name="us-east-1").client(
        "iot",
        endpoint_url="https://{}:{}".format(*dies_when_connected),
        config=Config(retries={"total_max_attempts": 1}, proxies={}),
    )
    with pytest.raises(HTTPClientError):
        client.list_things()
    client.close()


@pytest.fixture
def files(new_thing: Callable[..., NewThing]) -> ThingFiles:
    return new_thing().files


def test_wire(files: ThingFiles, dies_when_connected: tuple[str, int]) -> None:
    with pytest.raises(ConnectionResetError):
        PacketClient(dies_when_connected, files.ca, files.certificate, files.private_key, "a", 5)
