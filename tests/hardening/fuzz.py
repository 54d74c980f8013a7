"""Send malformed input: packets and documents that are nearly right, by the million.

The parts share the count among them (`mutate.py` generates the input):

- codec: bytes to packets. Any bytes raise `ProtocolError` or nothing else, wherever the stream is
  cut, and every packet that was read can be written and read again.
- broker: conversations with a broker that has shadows and a database, packet by packet without a
  socket. A client that breaks the standard receives the reason code in MQTT 5 and is disconnected;
  every other client is answered. When a client has gone and its session has ended, the broker's
  tables and the database are as they were before. A witness that stays connected is answered
  throughout.
- shadow, policy: documents. The result is a rejection in AWS's form, or what the module promises.
- wire: some of the same conversations over TLS with a real cloud, which logs no error, ends no
  other connection, and has as many open file handles afterward as before.
- https, websocket, workshop: the https_fuzz of the other port (`https_fuzz.py`).

An input that finds something is printed; the seed gives all of them again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import ssl
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from creeklab import Lab, open_lab
from creeklab.cloud import supervisor
from creeklab.cloud.mqtt.codec import decoder, packets
from creeklab.cloud.mqtt.codec.decoder import Decoder
from creeklab.cloud.mqtt.codec.packets import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
)
from creeklab.cloud.mqtt.codec.wire import ProtocolError, Reason
from creeklab.cloud.mqtt.connection.connect_terms import MAX_PACKET
from creeklab.cloud.mqtt.connection.connection import State
from creeklab.cloud.policy import Authorizer, MalformedPolicy, explain, parse
from creeklab.cloud.service import ReservedTopic, topic_handler
from creeklab.cloud.shadow import document as shadow
from creeklab.cloud.shadow import service as shadow_service
from creeklab.cloud.shadow.document import Rejected, Shadow, ShadowLimits
from creeklab.cloud.shadow.shadows import Shadows
from creeklab.cloud.shadow.store import ShadowStore
from creeklab.cloud.shadow.topics import REQUEST_TOPIC, ShadowTopics
from creeklab.cloud.storage.database import Database
from tests.cloud.broker_fixture import BrokerFixture, Client, subscribe
from tests.conftest import NewThing, make_thing
from tests.hardening import mutate
from tests.hardening.https_fuzz import fuzz_https, fuzz_websocket, fuzz_workshop
from tests.hardening.in_process_cloud import wait_for
from tests.hardening.process_usage import open_handles
from tests.hardening.report import Report

# What ends a connection by the standard's word, and AWS's where it has one of its own.
OF_THE_CODEC = {
    Reason.MALFORMED_PACKET,
    Reason.PROTOCOL_ERROR,
    Reason.UNSUPPORTED_PROTOCOL_VERSION,
    Reason.TOPIC_NAME_INVALID,
    Reason.PACKET_TOO_LARGE,
}
OF_SHADOWS = {400, 404, 409, 413, 415}


# --- codec ----------------------------------------------------------------------------------------


def fuzz_codec(random: Random, count: int, report: Report) -> None:
    """Decode spoilt packets."""
    for _ in range(count):
        version = random.choice((4, 5))
        data = packets.encode(mutate.connect(random, version), version)
        other = packets.encode(mutate.packet(random, version), version)
        if random.random() < 0.2:
            data = mutate.spoil(random, data, other)
        else:
            data += mutate.spoil(random, other, data)
        with report.watching("codec", data.hex()):
            report.saw("codec", _decoded(random, data))


def _decoded(random: Random, data: bytes) -> str:
    found, error = _decode(data, len(data) + 1)
    piecemeal, same_error = _decode(data, random.choice((1, 2, 7)) + len(data) // 500)
    assert piecemeal == found, "cut in pieces it is something else"
    assert same_error == error, "cut in pieces it is refused in another way"
    for version, packet in found:
        again = Decoder(version=None if isinstance(packet, Connect) else version)
        if not isinstance(packet, Connect):
            again._readers = decoder._FROM_CLIENT
        assert list(again.feed(packets.encode(packet, version))) == [packet], packet
    if error is None:
        return "read"
    assert error in OF_THE_CODEC, f"reason code 0x{error:02X}"
    return f"refused with 0x{error:02X}"


def _decode(data: bytes, size: int) -> tuple[list[tuple[int, Packet]], int | None]:
    decoder = Decoder(max_packet_size=MAX_PACKET)
    found: list[tuple[int, Packet]] = []
    try:
        for at in range(0, len(data), size):
            for packet in decoder.feed(data[at : at + size]):
                found.append((decoder.version or 0, packet))
    except ProtocolError as error:
        return found, error.reason_code
    return found, None


# --- broker ---------------------------------------------------------------------------------------


class World:
    """A broker with shadows and a database, a witness, and what it is like when nobody is there."""

    def __init__(self, folder: Path, kept: bool) -> None:
        self.store = Database(folder / f"{'kept' if kept else 'shadows'}.db")
        self.fixture = BrokerFixture(self.store if kept else None, retained_max=20)
        self.fixture.authorization.denied |= {
            (action, f"{kind}/creek/denied")
            for action, kind in (
                ("iot:Publish", "topic"),
                ("iot:Receive", "topic"),
                ("iot:Subscribe", "topicfilter"),
                ("iot:RetainPublish", "topic"),
            )
        }
        broker = self.fixture.broker
        clock = self.fixture.clock
        event_log = self.fixture.event_log
        for group, ends in shadow_service.SERVICE.metrics.items():
            event_log.metrics.add_group(group, ends)
        shadows = Shadows(ShadowStore(self.store), broker.publish, event_log, clock, ShadowLimits())
        topics = [ReservedTopic(REQUEST_TOPIC, ShadowTopics(shadows).on_request)]
        broker.add_handler("services", topic_handler(topics))
        self.witness = self.fixture.connected("witness", 5, session_expiry_interval=60)
        self.witness.send(subscribe("witness/#"))
        self._before = self._tables()

    def _tables(self) -> dict[str, Any]:
        broker = self.fixture.broker
        tables: dict[str, Any] = {
            "connections": set(broker.connections),
            "sessions": set(broker._sessions),
            "subscriptions": _filters(broker._tree._root),
            "wills": set(broker._wills),
            "deferred PUBACKs": len(broker._deferred_pubacks),
            "backlog": broker._backlog.bytes,
            "connected": set(broker.connectivity._connected),
        }
        for table in ("sessions", "messages", "queued"):
            [(tables[f"rows of {table}"],)] = self.store.execute(f"SELECT count(*) FROM {table}")
        return tables

    def conversation(self, random: Random, report: Report) -> None:
        """Let one to three clients speak, go, and stay away until their sessions have ended."""
        said: list[str] = []
        with report.watching("broker", said):
            clients = [
                Talker(self.fixture.client(random.choice((4, 5)), certificate=certificate), said)
                for certificate in random.choices(("ab" * 32, "cd" * 32), k=random.choice((1, 2)))
            ]
            for client in clients:
                if random.random() < 0.9:
                    client.say(mutate.connect(random, client.version))
            for _ in range(random.randrange(5, 40)):
                here = [client for client in clients if not client.is_gone]
                if not here:
                    break
                random.choice(here).say_something(random, report)
                if random.random() < 0.05:
                    self._happen(random)
            for client in clients:
                client.leave(random)
            self._forget_them()
        if self.store.execute("SELECT count(*) FROM shadows").fetchone()[0] > 20:
            with self.store.transaction() as db:
                db.execute("DELETE FROM shadows")
        self.fixture.retained.clear()

    def _happen(self, random: Random) -> None:
        """Do what the account does, or time."""
        broker, client_id = self.fixture.broker, random.choice(mutate.CLIENT_IDS)
        choice = random.randrange(5)
        if choice == 0:
            self.fixture.clock.now += random.choice((1, 20, 100))
            self.witness.send(Pingreq())
            broker.tick()
        elif choice == 1:
            broker.disconnect(client_id, random.random() < 0.5, random.random() < 0.5)
        elif choice == 2:
            broker.send_direct(client_id, "creek/depth", b"1.4", {}, lambda: None)
        elif choice == 3:
            broker.publish("creek/depth", b"1.4", 1, random.random() < 0.1, {})
        else:
            broker.invalidate_authorization()

    def _forget_them(self) -> None:
        broker = self.fixture.broker
        self.fixture.clock.now += broker.settings.session_expiry_max + 1
        assert Pingresp() in self.witness.send(Pingreq()), "the witness is not answered"
        broker.tick()
        broker.tick()  # what the end of a session has changed is committed with the next one
        assert not self.witness.closed, "the witness was cut off"
        assert self._tables() == self._before, "something is left behind"


def _filters(node: Any, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found = {path} if node.direct or node.shared else set()
    for level, child in node.children.items():
        found |= _filters(child, (*path, level))
    if path and not found:
        raise AssertionError(f"an empty branch {path} is left in the tree")
    return found


class Talker:
    """A client that says whatever, and knows what the standard makes of it."""

    def __init__(self, client: Client, said: list[str]) -> None:
        self.version = client.version
        self._client = client
        self._said = said
        self._bytes = Decoder(max_packet_size=MAX_PACKET)
        self._accepted = False
        self._over = False

    @property
    def is_gone(self) -> bool:
        return self._client.closed

    def say(self, packet: Packet) -> None:
        self.send(packets.encode(packet, self.version))

    def say_something(self, random: Random, report: Report) -> None:
        data = packets.encode(mutate.packet(random, self.version), self.version)
        if random.random() < 0.1:
            other = packets.encode(mutate.packet(random, self.version), self.version)
            data = mutate.spoil(random, data, other)
        report.saw("broker", self.send(data))

    def send(self, data: bytes) -> str:
        """Send bytes, and see that the answer is one that the standard allows."""
        self._said.append(f"{id(self) % 1000}>{data.hex()}")
        client, connection = self._client, self._client.connection
        self._hear()  # what came in between, because of others
        error: ProtocolError | None = None
        whole: list[Packet] = []
        try:
            for packet in self._bytes.feed(data):
                whole.append(packet)
        except ProtocolError as wrong:
            error = wrong
        connection.receive(data)
        client._broker.commit_and_acknowledge()
        answers = self._hear()
        assert (connection.state is State.CLOSED) == client.closed, "half open"
        if error is not None:
            assert client.closed, "broke the standard and was not cut off"
            self._check_farewell(answers, whole, error)
            return f"refused with 0x{error.reason_code:02X}"
        if client.closed:
            code = getattr(answers[-1], "reason_code", 0) if answers else 0
            return f"ended with 0x{code:02X}" if code else "ended without a word"
        expected = sum(isinstance(each, Pingreq) for each in whole)
        assert sum(isinstance(each, Pingresp) for each in answers) == expected, "a ping is lost"
        return "taken"

    def _check_farewell(
        self, answers: list[Packet], whole: list[Packet], error: ProtocolError
    ) -> None:
        """Ask for the reason code, unless one of the packets before has ended the connection."""
        version = self._bytes.version or 4
        last = answers[-1] if answers else None
        if whole:
            return
        if self._accepted:
            wanted: Packet | None = Disconnect(error.reason_code) if version == 5 else None
        elif version == 5:
            wanted = Connack(False, error.reason_code)
        else:
            unknown = error.reason_code == Reason.UNSUPPORTED_PROTOCOL_VERSION
            wanted = Connack(False, 1) if unknown else None
        assert last == wanted, f"the DISCONNECT is {last}, not {wanted}"

    def _hear(self) -> list[Packet]:
        data, self._client._written = self._client._written, b""
        # A CONNECT that was spoilt may have changed the version of the answers.
        decoder = Decoder(version=self._client.connection.version)
        answers = list(decoder.feed(data))
        assert not decoder._tail, "half a packet came"
        assert not (self._over and answers), "something came after the DISCONNECT"
        for answer in answers:
            assert not self._over, "something came after the DISCONNECT"
            self._over = isinstance(answer, Disconnect)
            if isinstance(answer, Connack):
                self._accepted = answer.reason_code == 0
                self._over = not self._accepted
        return answers

    def leave(self, random: Random) -> None:
        self._hear()
        if random.random() < 0.5:
            self._client.connection.connection_lost("it went away")
        elif random.random() < 0.5:
            self._client.connection.disconnect(Reason.UNSPECIFIED_ERROR)
        else:
            self._client.connection.connection_lost("it went away")


def fuzz_broker(random: Random, count: int, report: Report) -> None:
    """Let spoilt packets meet a broker."""
    with tempfile.TemporaryDirectory() as folder:
        made = 0
        while report.total("broker") < count:
            made += 1
            place = Path(folder, str(made))
            place.mkdir()
            # A broker with a finding must not affect the next conversations.
            worlds = [World(place, kept) for kept in (True, False)]
            found = report.counts["broker", "FOUND"]
            while report.total("broker") < count and report.counts["broker", "FOUND"] == found:
                random.choice(worlds).conversation(random, report)
            for world in worlds:
                world.store.close()


# --- shadow ---------------------------------------------------------------------------------------


def fuzz_shadow(random: Random, count: int, report: Report) -> None:
    """Let spoilt documents meet shadows."""
    current: Shadow | None = None
    last_version = 0
    for number in range(count):
        payload = mutate.document(random, mutate.SHADOW_DOCUMENTS)
        with report.watching("shadow", payload):
            choice = random.random()
            try:
                if choice < 0.8:
                    result = shadow.update(current, payload, number, last_version=last_version)
                    _check_update(current, last_version, result)
                    current = result.shadow
                    outcome = "updates"
                elif choice < 0.9:
                    _as_sent(shadow.get(current, payload, number, label="Test2"))
                    outcome = "gets"
                else:
                    answer = shadow.delete(current, payload, number, label="Test2")
                    _as_sent(answer)
                    current, last_version = None, answer["version"]
                    outcome = "deletes"
            except Rejected as rejected:
                outcome = _refused(rejected, number)
            report.saw("shadow", outcome)


def _refused(rejected: Rejected, now: int) -> str:
    _as_sent(rejected.document(now))
    assert rejected.code in OF_SHADOWS
    return f"refused with {rejected.code}"


def _check_update(current: Shadow | None, last_version: int, result: shadow.Update) -> None:
    found = result.shadow
    assert found.version == (current.version if current else last_version) + 1
    assert Shadow.from_json(found.to_json()) == found
    for message in (result.accepted, result.documents, result.delta or {}):
        _as_sent(message)
    assert found.state.keys() == found.metadata.keys()
    for name, section in found.state.items():
        assert section, "a section is empty"
        _same_tree(section, found.metadata[name])
    size = sum(len(_as_sent(each)) for each in found.state.values())
    assert size <= ShadowLimits().max_bytes + 2


def _same_tree(section: Any, metadata: Any, level: int = 1) -> None:
    """See that the metadata has the section's shape, and nothing in it is null or too deep."""
    if isinstance(section, dict):
        assert set(section) == set(metadata)
        pairs = [(value, metadata[key]) for key, value in section.items()]
    elif isinstance(section, list):
        pairs = list(zip(section, metadata, strict=True))
    else:
        return
    assert level <= ShadowLimits().max_depth, "it is too deep"
    for value, stamp in pairs:
        assert value is not None, "null is kept"
        _same_tree(value, stamp, level + 1)


def _as_sent(document: Any) -> bytes:
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


# --- policy ---------------------------------------------------------------------------------------

ACTIONS = ("iot:Connect", "iot:Publish", "iot:Subscribe", "iot:Receive", "iot:GetThingShadow", "")


def fuzz_policy(random: Random, count: int, report: Report) -> None:
    """Let spoilt documents meet the reading of policies, deciding and explaining."""
    for _ in range(count):
        text = mutate.document(random, mutate.POLICY_DOCUMENTS).decode(errors="replace")
        with report.watching("policy", text):
            try:
                policy = parse(text, name="p", arn=mutate.ARN + "policy/p", number="1")
            except MalformedPolicy as malformed:
                said = str(malformed)
                policy = None
            if policy is None:
                assert said.startswith("Policy document is Malformed: "), said
                report.saw("policy", "refused")
                continue
            context = {
                "iot:ClientId": random.choice(mutate.CLIENT_IDS),
                "aws:SourceIp": random.choice(("127.0.0.1", "::1", "")),
                "iot:ConnectAttributes": random.choice(((), ("LastWill", "PersistentConnect"))),
                "iot:Connection.Thing.ThingName": random.choice(("Test2", "*", "x" * 300)),
            }
            chosen = random.sample(sorted(context), random.choice((0, 1, 2, 3, 4, 4, 4, 4)))
            authorizer = Authorizer([policy], {name: context[name] for name in chosen})
            kind = random.choice(("topic/", "topicfilter/", "client/", ""))
            name = random.choice(mutate.FILTERS if random.random() < 0.5 else mutate.GOOD_TOPICS)
            action, resource = random.choice(ACTIONS), mutate.ARN + kind + name
            decision = authorizer.decide(action, resource)
            explanation = explain(authorizer, action, resource)
            assert explanation.outcome == decision.outcome
            assert explanation.summary
            json.dumps(explanation.as_dict())
            report.saw("policy", decision.outcome.lower().replace("_", " "))


# --- wire -----------------------------------------------------------------------------------------


def fuzz_wire(random: Random, count: int, report: Report) -> None:
    """Have the same conversations over TLS with a cloud of its own."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        try:
            running = supervisor.start_or_attach(home, mqtt_port=0, https_port=0)
            lab = open_lab(home=home)
            thing = make_thing(lab)
            with lab.connect(thing.name) as witness:
                inbox = witness.subscribe("witness/#")
                before = open_handles(running.pid)
                speak_over_tls(random, count, report, lab, thing)
                with report.watching("wire", "afterwards"):
                    witness.publish("witness/here", "yes")
                    inbox.wait_for(1)
                    wait_for(lambda: open_handles(running.pid) <= before, "as few handles")
                    log = (home / "cloud" / "cloud.log").read_text()
                    assert not log, f"the log says: {log[-2000:]}"
        finally:
            supervisor.stop(home)


def speak_over_tls(random: Random, count: int, report: Report, lab: Lab, thing: NewThing) -> None:
    """Make connections and say spoilt things over them, until so many were said."""
    context = ssl.create_default_context(cafile=str(lab.ca_file))
    context.load_cert_chain(thing.files.certificate, thing.files.private_key)
    address = (lab.endpoint, lab.mqtt_port)
    while report.total("wire") < count:
        version = random.choice((4, 5))
        said = []
        if random.random() < 0.95:
            said.append(packets.encode(mutate.connect(random, version, "gauge"), version))
        for _ in range(random.randrange(1, 20)):
            data = packets.encode(mutate.packet(random, version, client_id="gauge"), version)
            other = said[-1] if said else data
            said.append(mutate.spoil(random, data, other) if random.random() < 0.15 else data)
        with (
            report.watching("wire", [each.hex() for each in said]),
            socket.create_connection(address, timeout=10) as raw,
            context.wrap_socket(raw, server_hostname=lab.endpoint) as secured,
        ):
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                for each in said:
                    secured.sendall(each)
            report.saw("wire", "sent", len(said))
            code = _last_code(secured, version)
            report.saw("wire ends", "without a word" if code is None else f"with 0x{code:02X}")


def _last_code(secured: ssl.SSLSocket, version: int) -> int | None:
    """Read what comes for a moment; return the reason code of the DISCONNECT, if one came."""
    decoder, code = Decoder(version=version), None
    secured.settimeout(0.02)
    with contextlib.suppress(OSError, ProtocolError):
        while data := secured.recv(1 << 18):
            for packet in decoder.feed(data):
                if isinstance(packet, Disconnect | Connack) and packet.reason_code:
                    code = packet.reason_code
    return code


# --- all of it ------------------------------------------------------------------------------------

Part = Callable[[Random, int, Report], None]
PARTS: dict[str, tuple[float, Part]] = {
    "codec": (0.34, fuzz_codec),
    "broker": (0.34, fuzz_broker),
    "shadow": (0.14, fuzz_shadow),
    "policy": (0.14, fuzz_policy),
    "wire": (0.01, fuzz_wire),
    "https": (0.015, fuzz_https),
    "websocket": (0.01, fuzz_websocket),
    "workshop": (0.005, fuzz_workshop),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=int, default=1_000_000, help="inputs (default: 1000000)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of all chance")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS], metavar="PART")


def run(options: argparse.Namespace) -> int:
    print(f"{options.count} inputs, seed {options.seed}, process {os.getpid()}", flush=True)
    shares = sum(PARTS[name][0] for name in options.parts)
    report = Report()
    for name in options.parts:
        share, part = PARTS[name]
        began = time.monotonic()
        number = round(options.count * share / shares)
        part(Random(f"{options.seed} {name}"), number, report)
        print(f"{name}: {report.total(name)} in {time.monotonic() - began:.0f} s", flush=True)
    for line in report.lines():
        print(line)
    for finding in report.findings:
        print(f"\nFOUND in {finding}")
    found = sum(number for (_, outcome), number in report.counts.items() if outcome == "FOUND")
    print(f"\n{found} findings")
    return 1 if found else 0
