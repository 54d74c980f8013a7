"""Each protocol on each port: what is served there, and how the rest is explained."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import queue
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from awscrt import io, mqtt5

from creeklab.cloud.mqtt.codec.decoder import Decoder
from creeklab.cloud.mqtt.codec.packets import Connack, Connect, Publish, Will, encode
from creeklab.cloud.mqtt.listeners.tls_listener import ALPN
from creeklab.cloud.security.ca import CertificateAuthority
from creeklab.cloud.transport import http_server
from creeklab.cloud.transport.http_response import HttpResponse
from tests.benchmarks import mosquitto
from tests.cloud.broker_fixture import subscribe
from tests.hardening.in_process_cloud import InProcessCloud, start_cloud, wait_for
from tests.hardening.packet_client import PacketClient

SECONDS = 20.0


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcessCloud]:
    with start_cloud(tmp_path_factory.mktemp("ports") / "home") as running:
        yield running


@contextlib.contextmanager
def connected(
    cloud: InProcessCloud, port: int, alpn: str | None = None, certificate: bool = True
) -> Iterator[ssl.SSLSocket]:
    lab, files = cloud.lab, cloud.thing.files
    context = ssl.create_default_context(cafile=str(lab.ca_file))
    if certificate:
        context.load_cert_chain(files.certificate, files.private_key)
    if alpn is not None:
        context.set_alpn_protocols([alpn])
    with (
        socket.create_connection((lab.endpoint, port), timeout=SECONDS) as raw,
        context.wrap_socket(raw, server_hostname=lab.endpoint) as secured,
    ):
        yield secured


def refusals(cloud: InProcessCloud, kind: str) -> list[str]:
    return [
        each["refusal"]["summary"]
        for each in cloud.entries(kind)
        if each.get("refusal") is not None
    ]


def test_mqtt_on_the_https_port_with_alpn(cloud: InProcessCloud) -> None:
    """The default of the AWS IoT Device SDKs on port 443; only the port differs here."""
    lab, files = cloud.lab, cloud.thing.files
    tls = io.TlsContextOptions.create_client_with_mtls_from_path(
        str(files.certificate), str(files.private_key)
    )
    tls.override_default_trust_store_from_path(None, str(lab.ca_file))
    tls.alpn_list = [ALPN]
    ready: queue.Queue[Any] = queue.Queue()
    received: queue.Queue[Any] = queue.Queue()
    client = mqtt5.Client(
        mqtt5.ClientOptions(
            host_name=lab.endpoint,
            port=lab.https_port,
            tls_ctx=io.ClientTlsContext(tls),
            connect_options=mqtt5.ConnectPacket(client_id=cloud.thing.name),
            on_lifecycle_event_connection_success_fn=ready.put,
            on_lifecycle_event_stopped_fn=ready.put,
            on_publish_callback_fn=received.put,
        )
    )
    client.start()
    assert ready.get(timeout=SECONDS).connack_packet.reason_code == 0
    filters = [mqtt5.Subscription("ports/#", mqtt5.QoS.AT_LEAST_ONCE)]
    client.subscribe(mqtt5.SubscribePacket(filters)).result(SECONDS)
    sent = mqtt5.PublishPacket(topic="ports/a", payload=b"x" * 100_000, qos=mqtt5.QoS.AT_LEAST_ONCE)
    assert client.publish(sent).result(SECONDS).puback.reason_code == 0
    assert received.get(timeout=SECONDS).publish_packet.payload == b"x" * 100_000
    client.stop()
    ready.get(timeout=SECONDS)


def test_mqtt_on_the_https_port_without_a_certificate(cloud: InProcessCloud) -> None:
    with connected(cloud, cloud.lab.https_port, ALPN, certificate=False) as secured:
        with contextlib.suppress(OSError):
            secured.sendall(encode(Connect("a", 5), 5))
        assert closed(secured)
    assert "The device sent no certificate" in refusals(cloud, "tls")[-1]


def test_mqtt_on_the_https_port_without_alpn(cloud: InProcessCloud) -> None:
    before = len(refusals(cloud, "call"))
    for version in (4, 5):
        with connected(cloud, cloud.lab.https_port) as secured:
            secured.sendall(encode(Connect(cloud.thing.name, version), version))
            assert secured.recv(100).startswith(b"HTTP/1.1 400")
    found = refusals(cloud, "call")[before:]
    assert len(found) == 2
    assert all("This is MQTT, on the HTTPS port" in each and ALPN in each for each in found)
    assert "This is MQTT, on the HTTPS port" in cloud.lab.why().summary


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_http_on_the_mqtt_port(cloud: InProcessCloud, method: str) -> None:
    lab, files = cloud.lab, cloud.thing.files
    context = ssl.create_default_context(cafile=str(lab.ca_file))
    context.load_cert_chain(files.certificate, files.private_key)
    client = http.client.HTTPSConnection(
        lab.endpoint, lab.mqtt_port, context=context, timeout=SECONDS
    )
    with contextlib.closing(client), contextlib.suppress(OSError, http.client.HTTPException):
        client.request(method, "/topics/creek?qos=1", b"1.4")
        assert not client.getresponse()
    assert "This is HTTP, on the MQTT port" in refusals(cloud, "protocol")[-1]


def closed(secured: ssl.SSLSocket) -> bool:
    with contextlib.suppress(OSError):
        while secured.recv(1000):
            pass
    return True


@pytest.mark.parametrize("level", [0x83, 0x84])
def test_the_level_of_a_bridge(cloud: InProcessCloud, level: int) -> None:
    name = b"MQIsdp" if level == 0x83 else b"MQTT"
    body = len(name).to_bytes(2, "big") + name + bytes((level, 2, 0, 60)) + b"\0\1b"
    with connected(cloud, cloud.lab.mqtt_port) as secured:
        secured.sendall(bytes((0x10, len(body))) + body)
        assert secured.recv(100) == bytes.fromhex("20 02 00 01")
    assert "mosquitto bridge" in refusals(cloud, "protocol")[-1]


def test_a_mosquitto_bridge(cloud: InProcessCloud, tmp_path: Path) -> None:
    """With its default protocol, which it tries with the level 0x84 first."""
    program = mosquitto.program()
    if program is None:
        pytest.skip("mosquitto is not installed")
    lab, files = cloud.lab, cloud.thing.files
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    configuration = tmp_path / "bridge.conf"
    configuration.write_text(
        f"user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n"
        f"connection creek\naddress {lab.endpoint}:{lab.mqtt_port}\n"
        "bridge_protocol_version mqttv311\nbridge_insecure false\ncleansession true\n"
        "clientid bridge\nstart_type automatic\nnotifications false\nrestart_timeout 1\n"
        f"bridge_cafile {lab.ca_file}\nbridge_certfile {files.certificate}\n"
        f"bridge_keyfile {files.private_key}\n"
        "topic bridged/# out 1\ntopic back/# in 1\n"
    )
    with (
        contextlib.closing(cloud.connect("bridge-receiver")) as receiver,
        subprocess.Popen([program, "-c", configuration], stderr=subprocess.DEVNULL) as bridge,
    ):
        receiver.send(subscribe("bridged/#"))
        try:
            wait_for(
                lambda: "bridge" in cloud.call(lambda: list(cloud.services.broker.connections)),
                "the bridge connects",
            )
            with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as local:
                local.sendall(encode(Connect("sensor", 4), 4))
                assert local.recv(100) == bytes.fromhex("20 02 00 00")
                local.sendall(encode(Publish("bridged/depth", b"1.4", 1, packet_id=1), 4))
                message = next(each for each in receiver.packets() if isinstance(each, Publish))
                assert (message.topic, message.payload) == ("bridged/depth", b"1.4")
        finally:
            bridge.terminate()


def test_the_shadow_service_ignores_wills(cloud: InProcessCloud) -> None:
    """Developer guide, "Device Shadow service communications for applications"."""
    lab = cloud.lab
    topic = f"$aws/things/{cloud.thing.name}/shadow/update"
    will = Will(topic, b'{"state": {"reported": {"connected": false}}}', 1)
    with contextlib.closing(cloud.connect("will-receiver")) as receiver:
        receiver.send(subscribe(topic + "/#", topic))
        with connected(cloud, lab.mqtt_port) as secured:
            secured.sendall(encode(Connect(cloud.thing.name, 5, will=will), 5))
            assert isinstance(next(iter(Decoder(version=5).feed(secured.recv(1000)))), Connack)
        message = next(each for each in receiver.packets() if isinstance(each, Publish))
        assert (message.topic, message.payload) == (topic, will.payload)
        receiver.send(Publish(topic, b'{"state": {"reported": {"depth": 1}}}', 1, packet_id=9))
        accepted = (
            each
            for each in receiver.packets()
            if isinstance(each, Publish) and each.topic.endswith("/accepted")
        )
        # The first version of the shadow, so the will made none.
        assert b'"version":1,' in next(accepted).payload
    shadow = lab.client("iot-data").get_thing_shadow(thingName=cloud.thing.name)
    assert b"connected" not in shadow["payload"].read()


@pytest.mark.parametrize("version", [4, 5])
def test_an_unacknowledged_message_is_sent_again(cloud: InProcessCloud, version: int) -> None:
    with contextlib.closing(cloud.connect(f"silent-{version}", version)) as client:
        is_sent_again(cloud, client)


def is_sent_again(cloud: InProcessCloud, client: PacketClient) -> None:
    client.send(subscribe("resend"))
    cloud.lab.client("iot-data").publish(topic="resend", qos=1, payload=b"1.4")
    received = (each for each in client.packets() if isinstance(each, Publish))
    first = next(received)
    broker = cloud.services.broker
    cloud.call(broker.tick)
    cloud.timer.by += 31
    try:
        # Other clients of the module keep alive: their clock stands still for the tick.
        connection = broker.connections[f"silent-{client.version}"]
        cloud.call(lambda: connection.tick(cloud.timer(), False))
    finally:
        cloud.timer.by -= 31
    again = next(received)
    assert (again.payload, again.packet_id, again.dup) == (b"1.4", first.packet_id, False)


def test_half_open_https_connections_are_closed(
    authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One without a handshake, and one with a handshake and no request."""
    monkeypatch.setattr(http_server, "HANDSHAKE_TIMEOUT", 1.0)
    monkeypatch.setattr(http_server, "FIRST_REQUEST_TIMEOUT", 0.2)

    async def scene() -> None:
        async def handle(request: http_server.Request) -> HttpResponse:
            raise AssertionError("no request was sent")

        server = http_server.HttpServer(handle, lambda: HttpResponse(500, {}, b""), unreadable)
        port = await server.start(["127.0.0.1"], 0, authority.https_context())
        trust = ssl.create_default_context(cafile=str(authority.ca_file))
        silent, unused = await asyncio.open_connection("127.0.0.1", port)
        secured, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trust, server_hostname="localhost"
        )
        writer.write(b"GET /")  # the head never ends
        for reader in (secured, silent):
            assert await asyncio.wait_for(reader.read(), SECONDS) == b""
        for each in (writer, unused):
            each.close()
        await server.stop()

    def unreadable(sent: http_server.Unreadable) -> HttpResponse:
        return HttpResponse(400, {}, b"")

    asyncio.run(scene())
