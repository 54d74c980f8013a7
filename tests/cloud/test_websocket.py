"""MQTT over WebSocket: real clients, frames that cut packets anywhere, and who the account is."""

from __future__ import annotations

import email
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from queue import Queue
from typing import Any

import paho.mqtt.client as paho
import pytest
from awscrt import auth, mqtt, mqtt5
from awsiot import mqtt5_client_builder, mqtt_connection_builder
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from creeklab import Lab, open_lab
from creeklab.client.device import AccountCredentials, Device, RequestRefused
from creeklab.cloud import supervisor
from creeklab.cloud.account import load_account
from creeklab.cloud.mqtt.codec import packets
from creeklab.cloud.mqtt.codec.decoder import Decoder
from creeklab.cloud.mqtt.codec.packets import Disconnect, Pingreq, Pingresp, Publish
from creeklab.cloud.mqtt.connection.connection import Connection
from creeklab.cloud.mqtt.interfaces import Peer
from creeklab.cloud.mqtt.listeners.websocket_listener import MAX_FRAME
from tests.cloud.broker_fixture import BrokerFixture, connect, subscribe
from tests.conftest import NewThing
from tests.hardening.mutate_http import frame

SECONDS = 10.0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
SERVICE = "iotdevicegateway"


def presigned(lab: Lab, service: str = SERVICE, path: str = "/mqtt") -> str:
    """Return path and query of a URL that opens the WebSocket, as a browser or paho needs it."""
    key = load_account(lab.home / "cloud")
    request = AWSRequest("GET", f"https://{lab.endpoint}:{lab.https_port}{path}")
    credentials = Credentials(key.access_key, key.secret_key)
    SigV4QueryAuth(credentials, service, lab.region).add_auth(request)
    return request.url.partition(str(lab.https_port))[2]


# --- unmodified clients, as their documentation has them ------------------------------------------


def credentials_of(lab: Lab) -> auth.AwsCredentialsProvider:
    key = load_account(lab.home / "cloud")
    return auth.AwsCredentialsProvider.new_static(key.access_key, key.secret_key)


def test_the_sdk_over_mqtt_5(lab: Lab) -> None:
    connected: Future[mqtt5.LifecycleConnectSuccessData] = Future()
    stopped: Future[Any] = Future()
    received: Queue[mqtt5.PublishPacket] = Queue()
    client = mqtt5_client_builder.websockets_with_default_aws_signing(
        lab.region,
        credentials_of(lab),
        endpoint=lab.endpoint,
        port=lab.https_port,
        ca_filepath=str(lab.ca_file),
        client_id="sdk-5-over-websocket",
        on_lifecycle_connection_success=connected.set_result,
        on_lifecycle_stopped=stopped.set_result,
        on_publish_received=lambda data: received.put(data.publish_packet),
    )
    client.start()
    settings = connected.result(SECONDS).negotiated_settings
    assert (settings.receive_maximum_from_server, settings.maximum_packet_size_to_server) == (
        100,
        149_504,
    )
    subscription = mqtt5.Subscription("ws/+", mqtt5.QoS.AT_LEAST_ONCE)
    suback = client.subscribe(mqtt5.SubscribePacket([subscription])).result(SECONDS)
    assert suback.reason_codes == [1]
    for size in (0, 1, 125, 126, 65_535, 65_536, 131_072):
        packet = mqtt5.PublishPacket(b"x" * size, mqtt5.QoS.AT_LEAST_ONCE, topic="ws/a")
        assert client.publish(packet).result(SECONDS).puback.reason_code == 0
        assert len(received.get(timeout=SECONDS).payload or b"") == size
    client.stop()
    stopped.result(SECONDS)


def test_the_sdk_over_mqtt_311(lab: Lab) -> None:
    received: Queue[tuple[str, bytes]] = Queue()
    connection = mqtt_connection_builder.websockets_with_default_aws_signing(
        lab.region,
        credentials_of(lab),
        endpoint=lab.endpoint,
        port=lab.https_port,
        ca_filepath=str(lab.ca_file),
        client_id="sdk-311-over-websocket",
    )
    connection.connect().result(SECONDS)
    subscribed, _ = connection.subscribe(
        "ws311/#",
        mqtt.QoS.AT_LEAST_ONCE,
        lambda topic, payload, **_: received.put((topic, payload)),
    )
    assert subscribed.result(SECONDS)["qos"] == 1
    published, _ = connection.publish("ws311/a", b"hello", mqtt.QoS.AT_LEAST_ONCE)
    published.result(SECONDS)
    assert received.get(timeout=SECONDS) == ("ws311/a", b"hello")
    connection.disconnect().result(SECONDS)


@pytest.mark.parametrize("protocol", [MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311])
def test_paho_with_a_presigned_url(lab: Lab, protocol: MQTTProtocolVersion) -> None:
    answers: Queue[int] = Queue()
    received: Queue[tuple[str, bytes]] = Queue()
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        f"paho-ws-{protocol}",
        protocol=protocol,
        transport="websockets",
        reconnect_on_failure=False,
    )
    client.tls_set(str(lab.ca_file))
    client.ws_set_options(path=presigned(lab))
    client.on_connect = lambda _c, _u, _f, reason, _p: answers.put(reason.value)
    client.on_subscribe = lambda _c, _u, _m, reasons, _p: answers.put(reasons[0].value)
    client.on_message = lambda _c, _u, message: received.put((message.topic, message.payload))
    client.connect(lab.endpoint, lab.https_port)
    client.loop_start()
    assert answers.get(timeout=SECONDS) == 0
    topic = f"paho-ws/{protocol}"
    if protocol == MQTTProtocolVersion.MQTTv5:
        client.subscribe(topic, options=SubscribeOptions(qos=1))
    else:
        client.subscribe(topic, qos=1)
    assert answers.get(timeout=SECONDS) == 1
    client.publish(topic, b"x" * 100_000, qos=1).wait_for_publish(SECONDS)
    assert received.get(timeout=SECONDS) == (topic, b"x" * 100_000)
    client.disconnect()
    client.loop_stop()


# --- the account ----------------------------------------------------------------------------------


class TestTheAccount:
    def test_it_hears_and_says_what_no_policy_allows(
        self, lab: Lab, new_thing: Callable[..., NewThing]
    ) -> None:
        thing = new_thing()
        with lab.connect_account() as account, lab.connect(thing.name) as device:
            everything = account.subscribe("#")
            from_account = device.subscribe(f"to/{thing.name}")
            shadow = account.subscribe(f"$aws/things/{thing.name}/shadow/update/accepted")
            account.publish(f"to/{thing.name}", "hello", retain=True)
            assert from_account.wait_for(1)[0].payload == b"hello"
            account.publish(
                f"$aws/things/{thing.name}/shadow/update", {"state": {"desired": {"lamp": "on"}}}
            )
            assert shadow.wait_for(1)[0].json["state"] == {"desired": {"lamp": "on"}}
            assert device.shadow.get()["state"]["desired"] == {"lamp": "on"}
            assert f"to/{thing.name}" in everything.topics
            account.publish(f"to/{thing.name}", b"", retain=True)

    def test_events_name_the_user_who_signed(self, lab: Lab) -> None:
        user = lab.client("sts").get_caller_identity()["UserId"]
        with lab.connect_account() as watcher:
            events = watcher.subscribe("$aws/events/presence/+/newcomer")
            lab.connect_account("newcomer").close()
            came, went = (message.json for message in events.wait_for(2))
        assert (came["principalIdentifier"], went["principalIdentifier"]) == (user, user)
        assert "thingName" not in came
        assert went["disconnectReason"] == "CLIENT_INITIATED_DISCONNECT"
        entry = lab.events(kind="connect", thing="newcomer").iloc[-1]
        assert (entry["principal"], entry["version"]) == (user, "5")
        described = lab.client("iot-data").get_connection(
            clientId="newcomer", includeSocketInformation=True
        )
        assert described["targetPort"] == lab.https_port

    def test_it_is_not_a_thing(self, lab: Lab) -> None:
        with lab.connect_account("nobody") as account:
            assert repr(account) == "Device of the account, client ID 'nobody', connected"
            with pytest.raises(
                RuntimeError,
                match="This device connects as the account, which is not a Thing and has no shadow",
            ):
                _ = account.shadow
        assert repr(account) == "Device of the account, client ID 'nobody', closed"

    def test_each_has_its_own_client_id(self, lab: Lab) -> None:
        with lab.connect_account() as one, lab.connect_account() as other:
            assert one.client_id != other.client_id
            inbox = other.subscribe("each")
            one.publish("each", "here")
            inbox.wait_for(1)

    def test_the_limits_are_those_of_every_connection(self, lab: Lab) -> None:
        with pytest.raises(RequestRefused) as refused:
            lab.connect_account("$account")
        assert refused.value.reason_code == 133
        assert "begins with $" in lab.why("$account").summary
        with lab.connect_account() as account:
            for number in range(50):
                account.subscribe(f"limit/{number}")
            with pytest.raises(RequestRefused) as refused:
                account.subscribe("limit/50")
            assert refused.value.reason_code == 151

    def test_with_a_wrong_key(self, home: Path) -> None:
        lab = open_lab(home=home)
        wrong = AccountCredentials(
            load_account(home / "cloud").access_key, "x" * 40, lab.region, lab.ca_file
        )
        with pytest.raises(RequestRefused, match="WEBSOCKET_UPGRADE_FAILURE"):
            Device(None, wrong, endpoint=lab.endpoint, port=lab.https_port, client_id="forger")
        assert "signature we calculated does not match" in open_lab(home=home).why().summary

    def test_without_a_signature(self, home: Path) -> None:
        lab = open_lab(home=home)
        supervisor.stop(home)
        with pytest.raises(RequestRefused, match="The cloud is not running"):
            lab.connect_account()

    def test_it_lasts_24_hours(self) -> None:
        fixture = BrokerFixture()
        written: list[bytes] = []
        closed: list[bool] = []
        peer = Peer(None, "127.0.0.1", user="AIDA")
        connection = Connection(fixture.broker, peer, written.append, lambda: closed.append(True))
        other = fixture.connected("device", 5, keep_alive=1200)
        connection.receive(packets.encode(connect("browser", 5, keep_alive=1200), 5))
        for _ in range(24 * 6):
            fixture.clock.now += 600
            connection.receive(packets.encode(Pingreq(), 5))
            other.send(Pingreq())
            fixture.broker.tick()
        assert not closed
        fixture.clock.now += 1
        fixture.broker.tick()
        assert closed
        assert isinstance(next(iter(Decoder(version=5).feed(written[-1]))), Disconnect)
        assert "24 hours" in fixture.refusal
        gone = fixture.broker.connectivity.get("browser")
        assert gone is not None
        assert gone.disconnect_reason == "WEBSOCKET_TTL_EXPIRATION"
        assert not other.closed


# --- frames ---------------------------------------------------------------------------------------


CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Browser:
    """A WebSocket that sends and receives frames as a test says."""

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        self._lab, self._stack = lab, stack
        self._decoder = Decoder(version=5)

    def open(
        self,
        target: str = "",
        *,
        protocol: str | None = "mqtt",
        upgrade: bool = True,
        **headers: str,
    ) -> tuple[int, bytes]:
        """Ask for the WebSocket; return the status, and the subprotocol or what is said."""
        lab = self._lab
        context = ssl.create_default_context(cafile=lab.ca_file)
        plain = self._stack.enter_context(
            socket.create_connection((lab.endpoint, lab.https_port), SECONDS)
        )
        self._socket = context.wrap_socket(plain, server_hostname=lab.endpoint)
        self._stack.enter_context(self._socket)
        headers = {"Host": f"{lab.endpoint}:{lab.https_port}", **headers}
        if upgrade:
            headers |= {"Upgrade": "websocket", "Connection": "Upgrade"}
            headers |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": KEY}
        if protocol is not None:
            headers["Sec-WebSocket-Protocol"] = protocol
        lines = [f"GET {target or presigned(lab)} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._bytes = self._socket.makefile("rb")
        self._stack.enter_context(self._bytes)
        status = int(self._bytes.readline().split()[1])
        answer = email.message_from_bytes(b"".join(iter(self._bytes.readline, b"\r\n")))
        if status != 101:
            return status, self._bytes.read(int(answer["Content-Length"]))
        return status, answer["Sec-WebSocket-Protocol"].encode()

    def frame(self, data: bytes, opcode: int = BINARY, last: bool = True) -> None:
        size = len(data)
        head = bytes([opcode | last << 7])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 1 << 16:
            head += b"\xfe" + size.to_bytes(2, "big")
        else:
            head += b"\xff" + size.to_bytes(8, "big")
        self.raw(head + b"\0\0\0\0" + data)  # masked with nothing

    def raw(self, data: bytes) -> None:
        self._socket.sendall(data)

    def send(self, *sent: Any) -> None:
        """Send packets in one frame."""
        self.frame(encoded(*sent))

    def read(self) -> tuple[int, bytes]:
        """Return the next frame."""
        opcode, size = self._bytes.read(2)
        if size > 125:
            size = int.from_bytes(self._bytes.read(2 if size == 126 else 8), "big")
        return opcode & 15, self._bytes.read(size)

    def hear(self, count: int) -> list[Any]:
        """Return the next packets, in whatever frames they come."""
        heard: list[Any] = []
        while len(heard) < count:
            opcode, data = self.read()
            assert opcode == BINARY
            heard += self._decoder.feed(data)
        return heard

    def closed(self) -> int:
        """Wait until the cloud closes; return its close code."""
        opcode, data = self.read()
        assert opcode == CLOSE
        self.frame(data, CLOSE)
        assert not self._bytes.read()
        return int.from_bytes(data[:2], "big")

    def lose_power(self) -> None:
        """Cut the TCP connection."""
        socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


@pytest.fixture
def unopened(lab: Lab) -> Iterator[Browser]:
    with ExitStack() as stack:
        yield Browser(lab, stack)


@pytest.fixture
def browser(unopened: Browser) -> Browser:
    assert unopened.open() == (101, b"mqtt")
    return unopened


def encoded(*sent: Any) -> bytes:
    return b"".join(packets.encode(packet, 5) for packet in sent)


GREETING = (
    connect("frames", 5),
    subscribe("frames/#"),
    Publish("frames/a", b"one", 1, packet_id=1),
    Publish("frames/b", b"two", 0),
    Pingreq(),
)


@pytest.mark.parametrize("size", [1, 2, 7, 1000], ids=lambda size: f"{size} bytes a frame")
def test_packets_and_frames_have_different_boundaries(browser: Browser, size: int) -> None:
    data = encoded(*GREETING)
    for start in range(0, len(data), size):
        browser.frame(data[start : start + size])
    names = sorted(type(packet).__name__ for packet in browser.hear(6))
    assert names == ["Connack", "Pingresp", "Puback", "Publish", "Publish", "Suback"]
    browser.frame(b"")
    browser.send(Pingreq())
    assert browser.hear(1) == [Pingresp()]


def test_a_message_in_fragments_is_one_piece_of_the_stream(browser: Browser) -> None:
    data = encoded(*GREETING)
    browser.frame(data[:10], last=False)
    browser.frame(b"in between", PING)
    browser.frame(data[10:20], CONTINUATION, last=False)
    browser.frame(data[20:], CONTINUATION)
    assert browser.read() == (PONG, b"in between")
    assert len(browser.hear(6)) == 6


class TestTheEnd:
    def test_text_is_refused(self, lab: Lab, browser: Browser) -> None:
        browser.send(connect("texter", 5))
        browser.hear(1)
        browser.frame(b"hello", TEXT)
        [disconnect] = browser.hear(1)
        assert (type(disconnect), disconnect.reason_code) == (Disconnect, 130)
        assert browser.closed() == 1003
        assert "binary frames" in lab.why("texter").summary

    def test_text_before_connect_is_refused(self, lab: Lab, browser: Browser) -> None:
        browser.frame(b"hello", TEXT)
        assert browser.closed() == 1003
        assert "binary frames" in lab.why().summary

    def test_other_bytes_are_rejected(self, browser: Browser) -> None:
        browser.frame(b"GET / HTTP/1.1\r\n\r\n")
        assert browser.closed() == 1000

    def test_nothing_comes_after_it(self, browser: Browser) -> None:
        browser.send(connect("frames", 5))
        browser.hear(1)
        asked = frame(encoded(Pingreq()))
        browser.raw(asked + frame((1000).to_bytes(2, "big"), CLOSE) + asked)
        assert browser.closed() == 1000

    def test_a_message_that_is_too_large(self, lab: Lab, browser: Browser) -> None:
        browser.send(connect("large", 5))
        browser.hear(1)
        browser.frame(b"\0" * (MAX_FRAME + 1))
        assert browser.closed() == 1009
        with lab.connect_account() as account:
            account.publish("after/large", "well")

    def test_a_packet_that_is_too_large(self, browser: Browser) -> None:
        browser.send(connect("large packet", 5))
        browser.hear(1)
        browser.frame(b"\x30\xff\xff\xff\x7f" + b"x" * 1000)
        [disconnect] = browser.hear(1)
        assert disconnect.reason_code == 149
        assert browser.closed() == 1000

    @pytest.mark.parametrize("how", ["DISCONNECT", "close frame", "lost"])
    def test_of_the_client_and_its_will(self, lab: Lab, browser: Browser, how: str) -> None:
        client_id = f"ended by {how}"
        will = packets.Will(f"wills/{how}", b"gone", 1)
        with lab.connect_account() as watcher:
            wills = watcher.subscribe("wills/+")
            ends = watcher.subscribe(f"$aws/events/presence/disconnected/{client_id}")
            browser.send(connect(client_id, 5, will=will))
            browser.hear(1)
            if how == "DISCONNECT":
                browser.send(Disconnect(0, {}))
                assert browser.closed() == 1000
            elif how == "close frame":
                browser.frame((1001).to_bytes(2, "big"), CLOSE)
                assert browser.read()[0] == CLOSE
            else:
                browser.lose_power()
            [end] = ends.wait_for(1)
            asked = how == "DISCONNECT"
            assert end.json["clientInitiatedDisconnect"] is asked
            if not asked:
                assert wills.wait_for(1)[0].payload == b"gone"
            assert len(wills) == (0 if asked else 1)

    def test_by_a_device_that_takes_over_the_client_id(
        self, lab: Lab, browser: Browser, new_thing: Callable[..., NewThing]
    ) -> None:
        thing = new_thing()
        browser.send(connect(thing.name, 5))
        browser.hear(1)
        with lab.connect(thing.name):
            [disconnect] = browser.hear(1)
            assert disconnect.reason_code == 142
            assert browser.closed() == 1000
            assert "AWS keeps the newer one" in lab.why(thing.name).summary

    def test_of_the_cloud(self, home: Path) -> None:
        lab = open_lab(home=home)
        with ExitStack() as stack:
            browser = Browser(lab, stack)
            browser.open()
            browser.send(connect("last", 5))
            browser.hear(1)
            supervisor.stop(home)
            [disconnect] = browser.hear(1)
            assert disconnect.reason_code == 139


MASK = b"\0\0\0\0"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\xc2\x80" + MASK, 1002),  # compressed, which was not agreed on
        (b"\x83\x80" + MASK, 1002),  # of a kind that does not exist
        (b"\x89\xfe\x00\x7e" + MASK + b"x" * 126, 1002),  # a ping that is too long
        (b"\x09\x81" + MASK + b"x", 1002),  # a ping in fragments
        (b"\x80\x81" + MASK + b"x", 1002),  # the end of a message without its beginning
        (b"\x02\x81" + MASK + b"x" + b"\x82\x81" + MASK + b"x", 1002),  # one within another
        (b"\x82\xff\x7f" + b"\xff" * 7 + MASK + bytes(MAX_FRAME + 1), 1009),
        (b"\x88\x81" + MASK + b"x", 1002),  # a close code of one byte
        (b"\x88\x82" + MASK + b"\x03\xed", 1002),  # a close code that is only for one's own use
        (b"\x82\x01x", 1002),  # not masked
    ],
)
def test_invalid_frames(lab: Lab, browser: Browser, frame: bytes, code: int) -> None:
    log = lab.home / "cloud" / "cloud.log"
    before = log.read_text()
    browser.raw(frame)
    assert browser.closed() == code
    with lab.connect_account() as account:
        account.publish("still", "here")
    assert log.read_text() == before


def test_a_client_that_does_not_read_delays_nobody(lab: Lab, browser: Browser) -> None:
    """Messages of QoS 0 for it are dropped meanwhile; it can go on when it reads again."""
    browser.send(connect("sleeper", 5), subscribe("flood", qos=0))
    browser.hear(2)
    payload = b"x" * 100_000
    with lab.connect_account() as account:
        inbox = account.subscribe("flood/end")
        for _ in range(200):
            account.publish_soon("flood", payload, qos=0)
        account.publish("flood/end", "done")
        inbox.wait_for(1, timeout=SECONDS)
        browser.send(Pingreq())
        heard = browser.hear(1)
        while heard[-1] != Pingresp():
            heard += browser.hear(1)
        assert 1 < len(heard) < 201
        account.publish("flood", "again", qos=0)
        [again] = browser.hear(1)
        assert again.payload == b"again"


# --- what opens no WebSocket ----------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [None, "mqttv5", "chat, MQTT"])
def test_another_subprotocol(lab: Lab, unopened: Browser, protocol: str | None) -> None:
    status, said = unopened.open(protocol=protocol)
    assert (status, b"subprotocol 'mqtt'" in said) == (400, True)
    assert "subprotocol 'mqtt'" in lab.why().summary


def test_one_of_several_subprotocols(unopened: Browser) -> None:
    assert unopened.open(protocol="chat, mqtt") == (101, b"mqtt")


def test_the_subprotocol_of_older_clients(unopened: Browser) -> None:
    """The first AWS IoT Device SDK for JavaScript asks for it."""
    assert unopened.open(protocol="mqttv3.1") == (101, b"mqttv3.1")


def test_no_websocket_at_all(unopened: Browser) -> None:
    status, said = unopened.open(upgrade=False)
    assert (status, b"subprotocol 'mqtt'" in said) == (400, True)


def test_an_invalid_key(lab: Lab, unopened: Browser) -> None:
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    status, said = unopened.open(upgrade=False, **headers, **{"Sec-WebSocket-Key": "é" * 24})
    assert (status, b"subprotocol 'mqtt'" in said) == (400, True)


def test_signed_in_the_header(lab: Lab, unopened: Browser) -> None:
    """What a program can do and a browser cannot."""
    key = load_account(lab.home / "cloud")
    request = AWSRequest("GET", f"https://{lab.endpoint}:{lab.https_port}/mqtt")
    SigV4Auth(Credentials(key.access_key, key.secret_key), SERVICE, lab.region).add_auth(request)
    assert unopened.open("/mqtt", **dict(request.headers)) == (101, b"mqtt")
    unopened.send(connect("by header", 5))
    assert unopened.hear(1)[0].reason_code == 0
