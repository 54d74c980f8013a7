"""Nobody comes in who should not: every wrong certificate and every wrong signature is refused.

Each stranger knocks with each kind of real client, sees what such a client sees at AWS, is
explained by `Lab.why`, and leaves the door as it was: a good Thing comes in right after.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple

import paho.mqtt.client as paho
import pytest
from awscrt import mqtt5
from awscrt.exceptions import AwsCrtError
from awsiot import mqtt5_client_builder, mqtt_connection_builder
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from creeklab import Lab
from creeklab.cloud.mqtt.codec import packets
from creeklab.cloud.security.ca import CertificateAuthority
from tests.conftest import NewThing, make_thing

SECONDS = 10.0
WELCOME = "welcome"
NOT_AUTHORIZED = "CONNACK 135"
HANGUP = "hung up"


# --- what the clients see -------------------------------------------------------------------------


class Pair(NamedTuple):
    """What a client shows: PEM files of a certificate and its key."""

    certificate: Path
    key: Path


Knock = Callable[[Lab, Pair | None, str], str]


def sdk_5(lab: Lab, pair: Pair | None, client_id: str) -> str:
    """Connect with awsiotsdk over MQTT 5; return what came of it."""
    outcomes: Queue[str] = Queue()
    stopped: Future[Any] = Future()

    def on_failure(failure: mqtt5.LifecycleConnectFailureData) -> None:
        packet = failure.connack_packet
        outcomes.put(f"CONNACK {packet.reason_code:d}" if packet else failure.exception.name)

    client = _built(
        mqtt5_client_builder,
        lab,
        pair,
        client_id,
        on_lifecycle_connection_success=lambda _: outcomes.put(WELCOME),
        on_lifecycle_connection_failure=on_failure,
        on_lifecycle_stopped=stopped.set_result,
    )
    client.start()
    outcome = outcomes.get(timeout=SECONDS)
    client.stop()
    stopped.result(SECONDS)
    return outcome


def sdk_311(lab: Lab, pair: Pair | None, client_id: str) -> str:
    """Connect with awsiotsdk over MQTT 3.1.1; return what came of it."""
    connection = _built(mqtt_connection_builder, lab, pair, client_id)
    try:
        connection.connect().result(SECONDS)
    except AwsCrtError as error:
        return str(error.name)
    connection.disconnect().result(SECONDS)
    return WELCOME


def _built(builder: Any, lab: Lab, pair: Pair | None, client_id: str, **options: Any) -> Any:
    options |= {
        "endpoint": lab.endpoint,
        "port": lab.mqtt_port,
        "ca_filepath": str(lab.ca_file),
        "client_id": client_id,
    }
    if pair is None:
        return builder.new_default_builder(**options)
    return builder.mtls_from_path(str(pair.certificate), str(pair.key), **options)


def paho_client(protocol: MQTTProtocolVersion) -> Knock:
    def knock(lab: Lab, pair: Pair | None, client_id: str) -> str:
        outcomes: Queue[str] = Queue()
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=protocol,
            reconnect_on_failure=False,
        )
        client.tls_set(str(lab.ca_file), *(map(str, pair) if pair else ()))
        client.on_connect = lambda _c, _u, _f, reason, _p: outcomes.put(
            f"CONNACK {reason.value}" if reason.is_failure else WELCOME
        )
        client.on_disconnect = lambda *_: outcomes.put(HANGUP)
        client.connect(lab.endpoint, lab.mqtt_port)
        client.loop_start()
        outcome = outcomes.get(timeout=SECONDS)
        client.disconnect()
        client.loop_stop()
        return outcome

    return knock


def plain_tls(version: ssl.TLSVersion) -> Knock:
    """Connect with Python's TLS up to a version, and send an MQTT 3.1.1 CONNECT."""

    def knock(lab: Lab, pair: Pair | None, client_id: str) -> str:
        context = ssl.create_default_context(cafile=lab.ca_file)
        context.maximum_version = version
        if pair is not None:
            context.load_cert_chain(*pair)
        with socket.create_connection((lab.endpoint, lab.mqtt_port), SECONDS) as raw:
            try:
                with context.wrap_socket(raw, server_hostname=lab.endpoint) as connection:
                    assert connection.version() == version.name.replace("v1_", "v1.")
                    connection.sendall(packets.encode(packets.Connect(client_id, 4), 4))
                    answer = connection.recv(4)
            except (ssl.SSLError, ConnectionError):
                return HANGUP
        return WELCOME if answer == packets.encode(packets.Connack(False, 0, {}), 4) else HANGUP

    return knock


class Kind(NamedTuple):
    """A kind of client, and what it sees of each kind of refusal."""

    knock: Knock
    in_the_handshake: str
    before_connack: str
    not_authorized: str


UNEXPECTED = "AWS_ERROR_MQTT_UNEXPECTED_HANGUP"
CLOSED = "AWS_IO_SOCKET_CLOSED"
KINDS = {
    "sdk 5": Kind(sdk_5, CLOSED, UNEXPECTED, NOT_AUTHORIZED),
    "sdk 3.1.1": Kind(sdk_311, CLOSED, UNEXPECTED, UNEXPECTED),
    "paho 5": Kind(paho_client(MQTTProtocolVersion.MQTTv5), HANGUP, HANGUP, NOT_AUTHORIZED),
    "paho 3.1.1": Kind(paho_client(MQTTProtocolVersion.MQTTv311), HANGUP, HANGUP, HANGUP),
    "TLS 1.2": Kind(plain_tls(ssl.TLSVersion.TLSv1_2), HANGUP, HANGUP, HANGUP),
    "TLS 1.3": Kind(plain_tls(ssl.TLSVersion.TLSv1_3), HANGUP, HANGUP, HANGUP),
}


# --- who knocks -----------------------------------------------------------------------------------


class Forger:
    """Makes certificates that the cloud never issued, some with the cloud's own key."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._ca = lab.home / "cloud" / "ca"
        self._folder = folder

    def sign(self, name: str, *, days: tuple[int, int], authority: str = "") -> Pair:
        """Make a certificate valid between two days from now, self-signed without `authority`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = issuer = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, "AWS IoT Certificate")]
        )
        signer: Any = key
        if authority:
            issuer_certificate, signer = self._load(authority)
            issuer = issuer_certificate.subject
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
            .sign(signer, hashes.SHA256())
        )
        return self.write(name, certificate, key)

    def server(self) -> Pair:
        """Return the certificate with which the cloud itself answers."""
        return self.write("server", *self._load("server.pem"))

    def other_cloud(self) -> Pair:
        """Make a certificate as another cloud of this kind makes it."""
        other = CertificateAuthority(self._folder / "other").issue_keys_and_certificate()
        key = serialization.load_pem_private_key(other.private_key.encode(), None)
        return self.write("other", other.certificate, key)

    def write(self, name: str, certificate: x509.Certificate, key: Any) -> Pair:
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        return pair

    def _load(self, name: str) -> tuple[x509.Certificate, Any]:
        text = (self._ca / name).read_bytes()
        key = serialization.load_pem_private_key(text, None)
        return x509.load_pem_x509_certificate(text), key


def pair_of(thing: NewThing) -> Pair:
    return Pair(thing.files.certificate, thing.files.private_key)


def thing_with(lab: Lab, status: str) -> Pair:
    thing = make_thing(lab)
    lab.client("iot").update_certificate(certificateId=thing.certificate_id, newStatus=status)
    return pair_of(thing)


def thing_without_policy(lab: Lab) -> NewThing:
    thing = make_thing(lab)
    lab.client("iot").detach_policy(policyName=thing.policy, target=thing.certificate_arn)
    return thing


def thing_with_deleted_certificate(lab: Lab) -> Pair:
    thing, iot = thing_without_policy(lab), lab.client("iot")
    iot.detach_thing_principal(thingName=thing.name, principal=thing.certificate_arn)
    iot.update_certificate(certificateId=thing.certificate_id, newStatus="INACTIVE")
    iot.delete_certificate(certificateId=thing.certificate_id)
    return pair_of(thing)


OWN_NAME = [{"Effect": "Allow", "Action": "iot:Connect", "Resource": "ARN:client/THING"}]
VALID = (-1, 1)


class Stranger(NamedTuple):
    """How a stranger comes by what it shows, how far it gets, and what is said about it."""

    dress: Callable[[Lab, Forger], Pair | None]
    refused: str
    explanation: str


STRANGERS = {
    "no certificate": Stranger(
        lambda lab, forger: None, "in_the_handshake", "The device sent no certificate."
    ),
    "self-signed": Stranger(
        lambda lab, forger: forger.sign("own", days=VALID),
        "in_the_handshake",
        "was rejected: self-signed certificate",
    ),
    "another cloud's": Stranger(
        lambda lab, forger: forger.other_cloud(),
        "in_the_handshake",
        "was rejected: unable to get local issuer certificate",
    ),
    "the server's own": Stranger(
        lambda lab, forger: forger.server(), "in_the_handshake", "was rejected: "
    ),
    "signed by the server's authority": Stranger(
        lambda lab, forger: forger.sign("root", days=VALID, authority="root.pem"),
        "in_the_handshake",
        "was rejected: ",
    ),
    "expired": Stranger(
        lambda lab, forger: forger.sign("old", days=(-9, -1), authority="devices.pem"),
        "in_the_handshake",
        "was rejected: certificate has expired",
    ),
    "not yet valid": Stranger(
        lambda lab, forger: forger.sign("new", days=(1, 9), authority="devices.pem"),
        "in_the_handshake",
        "was rejected: certificate is not yet valid",
    ),
    "never registered": Stranger(
        lambda lab, forger: forger.sign("unknown", days=VALID, authority="devices.pem"),
        "before_connack",
        "is not in this account's registry",
    ),
    "inactive": Stranger(
        lambda lab, forger: thing_with(lab, "INACTIVE"), "before_connack", "is INACTIVE"
    ),
    "revoked": Stranger(
        lambda lab, forger: thing_with(lab, "REVOKED"), "before_connack", "is REVOKED"
    ),
    "deleted": Stranger(
        lambda lab, forger: thing_with_deleted_certificate(lab),
        "before_connack",
        "is not in this account's registry",
    ),
    "no policy": Stranger(
        lambda lab, forger: pair_of(thing_without_policy(lab)),
        "not_authorized",
        "No policy is attached",
    ),
    "another client ID": Stranger(
        lambda lab, forger: pair_of(make_thing(lab, OWN_NAME)), "not_authorized", "iot:Connect"
    ),
}


def in_the_handshake(name: str) -> bool:
    return STRANGERS[name].refused == "in_the_handshake"


@pytest.fixture(scope="module")
def forger(session_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Forger:
    return Forger(session_lab, tmp_path_factory.mktemp("forged"))


@pytest.fixture(scope="module")
def dressed(session_lab: Lab, forger: Forger) -> dict[str, Pair | None]:
    return {name: stranger.dress(session_lab, forger) for name, stranger in STRANGERS.items()}


@pytest.fixture(scope="module")
def good(session_lab: Lab) -> NewThing:
    return make_thing(session_lab, OWN_NAME)


@pytest.fixture(scope="module")
def dawdlers(session_lab: Lab, good: NewThing) -> Iterator[list[socket.socket]]:
    """Begin a hundred handshakes and finish twenty more, and then say nothing.

    They are used before the last tests, which wait until they are sent away, but not before those
    that look at the last refusal of all.
    """
    context = ssl.create_default_context(cafile=session_lab.ca_file)
    context.load_cert_chain(*pair_of(good))
    name = session_lab.endpoint
    offered = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), offered, server_hostname=name).do_handshake()
    hello = offered.read()
    with contextlib.ExitStack() as stack:

        def connect() -> socket.socket:
            address = name, session_lab.mqtt_port
            return stack.enter_context(socket.create_connection(address, SECONDS))

        connections = []
        for said in (b"", hello[:1], hello[:100], hello) * 25:
            connections.append(connect())
            connections[-1].sendall(said)
        for _ in range(20):
            secured = context.wrap_socket(connect(), server_hostname=name)
            connections.append(stack.enter_context(secured))
        yield connections


class Refusal(NamedTuple):
    """A refusal on the tape."""

    number: int
    kind: str
    summary: str


def last_refusal(lab: Lab, client_id: str | None = None) -> Refusal:
    why = lab.why(client_id)
    if why.entry is None:
        return Refusal(0, "", "")
    return Refusal(why.entry["number"], why.entry["kind"], why.summary)


def explained(lab: Lab, before: Refusal) -> Refusal:
    """Return the refusal since; one in the handshake may be recorded a moment after it is seen."""
    deadline = time.monotonic() + SECONDS
    while (refusal := last_refusal(lab)).number == before.number:
        assert time.monotonic() < deadline, "nothing is said about it"
    return refusal


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stranger", [name for name in STRANGERS if in_the_handshake(name)])
def test_stopped_in_the_handshake(
    lab: Lab, dressed: dict[str, Pair | None], good: NewThing, stranger: str, kind: str
) -> None:
    client = KINDS[kind]
    before = last_refusal(lab)
    assert client.knock(lab, dressed[stranger], stranger) == client.in_the_handshake
    refusal = explained(lab, before)
    assert STRANGERS[stranger].explanation in refusal.summary
    assert refusal.kind == "tls"
    assert client.knock(lab, pair_of(good), good.name) == WELCOME


# --- without TLS, or with too old a TLS, or with half of it ---------------------------------------


class TestNotTls:
    @pytest.mark.parametrize(
        "spoken",
        [packets.encode(packets.Connect("plain", 5), 5), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"],
        ids=["MQTT", "HTTP"],
    )
    def test_bytes(self, lab: Lab, good: NewThing, spoken: bytes) -> None:
        before = last_refusal(lab)
        with socket.create_connection((lab.endpoint, lab.mqtt_port), SECONDS) as connection:
            connection.sendall(spoken)
            assert not heard(connection)
        assert "connected without TLS" in explained(lab, before).summary
        assert sdk_5(lab, pair_of(good), good.name) == WELCOME

    def test_paho(self, lab: Lab) -> None:
        before = last_refusal(lab)
        outcomes: Queue[str] = Queue()
        client = paho.Client(CallbackAPIVersion.VERSION2, "plain", reconnect_on_failure=False)
        client.on_connect = lambda *_: outcomes.put(WELCOME)
        client.on_disconnect = lambda *_: outcomes.put(HANGUP)
        client.connect(lab.endpoint, lab.mqtt_port)
        client.loop_start()
        assert outcomes.get(timeout=SECONDS) == HANGUP
        client.loop_stop()
        assert "connected without TLS" in explained(lab, before).summary


def heard(connection: socket.socket) -> bytes:
    """Return all that comes until the other end closes, but for TLS alerts."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(1000):
            data += piece
    return b"" if data[:1] == b"\x15" else data


@pytest.mark.parametrize("port", ["mqtt_port", "https_port"])
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_old_tls(lab: Lab, good: NewThing, version: str, port: str) -> None:
    before = last_refusal(lab)
    context = ssl.create_default_context(cafile=lab.ca_file)
    context.load_cert_chain(*pair_of(good))
    context.set_ciphers("DEFAULT@SECLEVEL=0")  # without which OpenSSL itself refuses
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    address = lab.endpoint, getattr(lab, port)
    with (
        socket.create_connection(address, SECONDS) as connection,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(connection, server_hostname=lab.endpoint)
    if port == "mqtt_port":
        assert "TLS" in explained(lab, before).summary
    assert plain_tls(ssl.TLSVersion.TLSv1_2)(lab, pair_of(good), good.name) == WELCOME


# --- with a certificate of this cloud -------------------------------------------------------------


@pytest.mark.usefixtures("dawdlers")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stranger", [name for name in STRANGERS if not in_the_handshake(name)])
def test_stopped_at_connect(
    lab: Lab, dressed: dict[str, Pair | None], good: NewThing, stranger: str, kind: str
) -> None:
    client, who = KINDS[kind], STRANGERS[stranger]
    client_id = f"{stranger} by {kind}"
    assert client.knock(lab, dressed[stranger], client_id) == getattr(client, who.refused)
    assert who.explanation in lab.why(client_id).summary
    assert client.knock(lab, pair_of(good), good.name) == WELCOME


class TestNothingOfAStrangerActs:
    """What was sent along with a refused CONNECT, in one piece, is not looked at."""

    @pytest.mark.parametrize("version", [4, 5])
    @pytest.mark.parametrize("client_id", ["its own", "another"])
    def test_publish_and_will(self, lab: Lab, client_id: str, version: int) -> None:
        may_publish = {"Effect": "Allow", "Action": "iot:Publish", "Resource": "*"}
        thing = make_thing(lab, [*OWN_NAME, may_publish])
        if client_id == "its own":
            client_id = thing.name
            lab.client("iot").update_certificate(
                certificateId=thing.certificate_id, newStatus="INACTIVE"
            )
        topic = f"from/{thing.name}"
        will = packets.Will(topic, b"will", 1)
        letter = b"".join(
            packets.encode(packet, version)
            for packet in (
                packets.Connect(client_id, version, will=will),
                packets.Publish(topic, b"letter", 1, packet_id=1),
            )
        )
        context = ssl.create_default_context(cafile=lab.ca_file)
        context.load_cert_chain(*pair_of(thing))
        with lab.connect(make_thing(lab).name) as listener:
            inbox = listener.subscribe(topic)
            with (
                socket.create_connection((lab.endpoint, lab.mqtt_port), SECONDS) as raw,
                context.wrap_socket(raw, server_hostname=lab.endpoint) as connection,
            ):
                connection.sendall(letter)
                heard(connection)
            listener.publish(topic, "the first")
            assert inbox.wait_for(1)[0].payload == b"the first"


# --- those who never finish -----------------------------------------------------------------------


class TestDawdlers:
    """Last, so that they have waited for some time by now."""

    def test_do_not_hold_up_others(
        self, lab: Lab, good: NewThing, dawdlers: list[socket.socket]
    ) -> None:
        fresh = [
            socket.create_connection((lab.endpoint, lab.mqtt_port), SECONDS) for _ in range(50)
        ]
        for kind in KINDS.values():
            assert kind.knock(lab, pair_of(good), good.name) == WELCOME
        lab.client("iot").list_things()
        for connection in fresh:
            connection.close()

    def test_are_sent_away(self, dawdlers: list[socket.socket]) -> None:
        for connection in dawdlers:
            connection.settimeout(20)
            heard(connection)
