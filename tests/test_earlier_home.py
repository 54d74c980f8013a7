"""A home folder of an earlier creeklab opens unchanged: nothing is lost or re-created.

The folder is written here as that creeklab wrote it, including the text of its SQL schema, with
fresh keys. Do not update it when the code changes: it stands for the folders that people have.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Queue
from typing import Any

import paho.mqtt.client as paho
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from creeklab import Lab, open_lab
from creeklab.cli import main
from creeklab.cloud import supervisor
from creeklab.ledger.cost import Usage

SCHEMA = """
CREATE TABLE things (
    name TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    attributes TEXT NOT NULL  -- a JSON object of strings
    , type TEXT REFERENCES thing_types (name)
) WITHOUT ROWID;
CREATE TABLE certificates (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of creation
    id TEXT NOT NULL UNIQUE,
    pem TEXT NOT NULL,
    status TEXT NOT NULL,
    generation TEXT NOT NULL,
    created REAL NOT NULL,
    modified REAL NOT NULL,
    not_before REAL NOT NULL,
    not_after REAL NOT NULL
    , mode TEXT NOT NULL DEFAULT 'DEFAULT', brought INTEGER NOT NULL DEFAULT 0);
CREATE TABLE thing_principals (
    thing TEXT NOT NULL REFERENCES things (name),
    certificate TEXT NOT NULL REFERENCES certificates (id),
    type TEXT NOT NULL,
    PRIMARY KEY (thing, certificate)
) WITHOUT ROWID;
CREATE INDEX things_of_principal ON thing_principals (certificate, thing);
CREATE TABLE policies (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    default_version INTEGER NOT NULL,
    last_version INTEGER NOT NULL,  -- numbers of deleted versions never come back
    generation TEXT NOT NULL,
    created REAL NOT NULL,
    modified REAL NOT NULL
);
CREATE TABLE policy_versions (
    policy TEXT NOT NULL REFERENCES policies (name) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    document TEXT NOT NULL,
    created REAL NOT NULL,
    PRIMARY KEY (policy, version)
) WITHOUT ROWID;
CREATE TABLE shadows (
    thing TEXT NOT NULL,
    name TEXT NOT NULL,  -- '' is the classic shadow
    document TEXT NOT NULL,
    version INTEGER NOT NULL,
    deleted_at REAL,  -- a deleted shadow stays as a tombstone, for its version
    PRIMARY KEY (thing, name)
) WITHOUT ROWID;
CREATE TABLE retained (
    topic TEXT PRIMARY KEY,
    payload BLOB NOT NULL,
    qos INTEGER NOT NULL,
    properties TEXT NOT NULL,
    modified REAL NOT NULL
    , expires_at REAL);
CREATE TABLE thing_types (
    name TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    properties TEXT NOT NULL,  -- a JSON object, as it was given
    created REAL NOT NULL,
    deprecated REAL  -- when, if it is
) WITHOUT ROWID;
CREATE INDEX things_of_type ON things (type, name) WHERE type IS NOT NULL;
CREATE TABLE thing_groups (
    name TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    parent TEXT REFERENCES thing_groups (name),
    version INTEGER NOT NULL,
    description TEXT,
    attributes TEXT NOT NULL,  -- a JSON object of strings
    created REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX children_of_group ON thing_groups (parent, name) WHERE parent IS NOT NULL;
CREATE TABLE group_members (
    thing TEXT NOT NULL REFERENCES things (name) ON DELETE CASCADE,
    thing_group TEXT NOT NULL REFERENCES thing_groups (name) ON DELETE CASCADE,
    id TEXT NOT NULL,
    PRIMARY KEY (thing, thing_group)
) WITHOUT ROWID;
CREATE INDEX things_of_group ON group_members (thing_group, thing);
CREATE TABLE policy_attachments (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    policy TEXT NOT NULL REFERENCES policies (name),
    certificate TEXT REFERENCES certificates (id),
    thing_group TEXT REFERENCES thing_groups (name) ON DELETE CASCADE,
    UNIQUE (policy, certificate),
    UNIQUE (policy, thing_group),
    CHECK ((certificate IS NULL) <> (thing_group IS NULL))
);
CREATE INDEX policies_of_certificate ON policy_attachments (certificate);
CREATE INDEX policies_of_group ON policy_attachments (thing_group);
CREATE TABLE tags (
    kind TEXT NOT NULL,  -- of the resource, as in its ARN
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (kind, name, key)
) WITHOUT ROWID;
CREATE TRIGGER untag_policy AFTER DELETE ON policies BEGIN
    DELETE FROM tags WHERE kind = 'policy' AND name = OLD.name;
END;
CREATE TRIGGER untag_thinggroup AFTER DELETE ON thing_groups BEGIN
    DELETE FROM tags WHERE kind = 'thinggroup' AND name = OLD.name;
END;
CREATE TRIGGER untag_thingtype AFTER DELETE ON thing_types BEGIN
    DELETE FROM tags WHERE kind = 'thingtype' AND name = OLD.name;
END;
CREATE TABLE options (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL,  -- JSON
    created REAL NOT NULL,
    modified REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE sessions (  -- those that outlive their connections
    number INTEGER PRIMARY KEY,
    client_id TEXT NOT NULL,
    version INTEGER NOT NULL,  -- 4 is MQTT 3.1.1, 5 is MQTT 5
    principal TEXT NOT NULL,
    expiry INTEGER NOT NULL,  -- seconds
    ends_at REAL,  -- NULL while the client is connected
    subscriptions TEXT NOT NULL  -- a JSON list of lists
);
CREATE TABLE messages (  -- that sessions are to get
    number INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL,
    properties TEXT NOT NULL,
    expires_at REAL
);
CREATE TABLE queued (  -- which session is to get which message, in order of position
    session INTEGER NOT NULL,
    position INTEGER NOT NULL,
    message INTEGER NOT NULL,
    retain INTEGER NOT NULL,
    shared TEXT NOT NULL,  -- filter of the shared subscription it came by, or ''
    PRIMARY KEY (session, position)
) WITHOUT ROWID;
PRAGMA user_version = 3;
"""

ACCOUNT = "123456789012"
CREATED = 1_785_000_000.0
POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}],
    }
)
SHADOW = {
    "state": {"reported": {"depth": 1.4}},
    "metadata": {"reported": {"depth": {"timestamp": int(CREATED)}}},
    "version": 7,
}
EVENTS = {"THING": True, "THING_GROUP": False}

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Authority:
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def key_pem(key: Key) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()


def certificate(
    name: x509.NameAttribute[str],
    key: Key,
    signer: Authority | None = None,
    *extensions: x509.ExtensionType,
) -> x509.Certificate:
    """Make an authority's certificate, or one that `signer` signs."""
    subject = x509.Name([name])
    authority = signer is None
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuer = (
        signer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        if signer
        else own
    )
    usage = x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    now = datetime.now(UTC).replace(microsecond=0)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=300))
        .add_extension(own, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False
        )
        .add_extension(
            x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True
        )
        .add_extension(usage, critical=True)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signer.key if signer else key, hashes.SHA256())  # type: ignore[arg-type]


def write(file: Path, text: str) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o600)


def write_authorities(folder: Path) -> Authority:
    """Write the cloud's authorities and server certificate; return the one for devices."""

    def authority(name: x509.NameAttribute[str]) -> Authority:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return Authority(key, certificate(name, key))

    root = authority(x509.NameAttribute(NameOID.COMMON_NAME, "creeklab local root CA"))
    devices = authority(
        x509.NameAttribute(
            NameOID.ORGANIZATIONAL_UNIT_NAME,
            "Amazon Web Services O=Amazon.com Inc. L=Seattle ST=Washington C=US",
        )
    )
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    names += [x509.IPAddress(ipaddress.ip_address(each)) for each in ("127.0.0.1", "::1")]
    key = ec.generate_private_key(ec.SECP256R1())
    server = certificate(
        x509.NameAttribute(NameOID.COMMON_NAME, "localhost"),
        key,
        root,
        x509.SubjectAlternativeName(names),
        x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]),
    )
    write(folder / "root.pem", key_pem(root.key) + pem(root.certificate))
    write(folder / "devices.pem", key_pem(devices.key) + pem(devices.certificate))
    write(folder / "ca.pem", pem(root.certificate))
    write(folder / "server.pem", key_pem(key) + pem(server))
    return devices


def write_keys(folder: Path, devices: Authority) -> str:
    """Write the files of a Thing; return its certificate as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.NameAttribute(NameOID.COMMON_NAME, "AWS IoT Certificate")
    text = pem(certificate(name, key, devices))
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    write(folder / "certificate.pem.crt", text)
    write(folder / "private.pem.key", key_pem(key))
    write(folder / "public.pem.key", public.decode())
    return text


def write_database(file: Path, number: str, text: str) -> None:
    found = x509.load_pem_x509_certificate(text.encode())
    valid = (found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp())
    rows: dict[str, list[tuple[Any, ...]]] = {
        "thing_types": [("gauge", "type-id", "{}", CREATED, None)],
        "things": [("Test2", "thing-id", 3, '{"site": "elkhorn"}', "gauge")],
        "certificates": [
            (1, number, text, "ACTIVE", "a" * 64, CREATED, CREATED, *valid, "DEFAULT", 0)
        ],
        "thing_principals": [("Test2", number, "NON_EXCLUSIVE_THING")],
        "policies": [(1, "Test2Policy", 1, 4, "b" * 64, CREATED, CREATED)],
        "policy_versions": [("Test2Policy", 1, POLICY, CREATED)],
        "policy_attachments": [(1, "Test2Policy", number, None)],
        "thing_groups": [("gauges", "group-id", None, 1, None, "{}", CREATED)],
        "group_members": [("Test2", "gauges", "member-id")],
        "tags": [("thinggroup", "gauges", "creek", "elkhorn")],
        "shadows": [("Test2", "", json.dumps(SHADOW), 7, None)],
        "retained": [("creek/last", b'{"depth": 1.4}', 1, "{}", CREATED, None)],
        "options": [("events", json.dumps(EVENTS), CREATED, CREATED)],
        "sessions": [(1, "Barn", 4, number, 3600, 4e9, '[["creek/depth", 1, false, false, 0]]')],
        "messages": [(1, "creek/depth", b'{"depth": 1.5}', "{}", None)],
        "queued": [(1, 1, 1, 0, "")],
    }
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode = WAL")
    database.executescript(SCHEMA)
    for table, values in rows.items():
        marks = ", ".join("?" * len(values[0]))
        database.executemany(f"INSERT INTO {table} VALUES ({marks})", values)
    database.commit()
    database.close()
    file.chmod(0o600)


def ledger_lines(number: str) -> list[dict[str, Any]]:
    arn = f"arn:aws:iot:us-east-1:{ACCOUNT}:cert/{number}"
    made: list[tuple[str, list[str], str]] = [
        ("thing type", ["gauge"], "type-id"),
        ("Thing", ["Test2"], "thing-id"),
        ("thing group", ["gauges"], "group-id"),
        ("Thing in a group", ["gauges", "Test2"], ""),
        ("certificate", [number], ""),
        ("policy", ["Test2Policy"], ""),
        ("policy version", ["Test2Policy", "1"], ""),
        ("policy of a certificate", ["Test2Policy", arn], ""),
        ("certificate of a Thing", ["Test2", arn], ""),
        ("retained message", ["creek/last"], ""),
        ("shadow", ["Test2", ""], ""),
        ("Thing", ["Test3"], "other-id"),
    ]
    return [
        *(
            {"did": "make", "at": CREATED, "kind": kind, "names": names}
            | ({"id": identity} if identity else {})
            for kind, names, identity in made
        ),
        {"did": "remove", "at": CREATED, "kind": "Thing", "names": ["Test3"]},
        {"did": "use", "at": CREATED, "messages": 7, "minutes": 1, "operations": 9},
    ]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a home as an earlier creeklab left it; its cloud is not running."""
    folder = tmp_path_factory.mktemp("earlier") / "home"
    devices = write_authorities(folder / "cloud" / "ca")
    text = write_keys(folder / "keys" / "Test2", devices)
    found = x509.load_pem_x509_certificate(text.encode())
    number = found.fingerprint(hashes.SHA256()).hex()
    write_database(folder / "cloud" / "cloud.db", number, text)
    account = {
        "account": ACCOUNT,
        "region": "us-east-1",
        "access_key": "AKIA" + secrets.token_hex(8).upper(),
        "secret_key": secrets.token_urlsafe(30),
    }
    write(folder / "cloud" / "account.json", json.dumps(account, indent=2) + "\n")
    lines = [json.dumps(line, separators=(",", ":")) + "\n" for line in ledger_lines(number)]
    write(folder / f"ledger-{ACCOUNT}.jsonl", "".join(lines))
    yield folder
    supervisor.stop(folder)


def files(folder: Path) -> dict[str, bytes]:
    """Return what must not change: authorities, account, keys and what the ledger has."""
    kept = [*folder.glob("cloud/ca/*.pem"), folder / "cloud" / "account.json"]
    kept += folder.glob("keys/*/*")
    return {str(each.relative_to(folder)): each.read_bytes() for each in kept}


@pytest.fixture(scope="module")
def lab(home: Path) -> Lab:
    before = files(home)
    assert len(before) == 8
    lab = open_lab(home=home)
    assert files(home) == before
    assert lab.ledger.cost().usage == Usage(messages=7, minutes=1, operations=9)
    return lab


def test_the_registry(lab: Lab) -> None:
    iot = lab.client("iot")
    thing = iot.describe_thing(thingName="Test2")
    assert (thing["thingId"], thing["version"]) == ("thing-id", 3)
    assert (thing["attributes"], thing["thingTypeName"]) == ({"site": "elkhorn"}, "gauge")
    number = lab.keys.files("Test2").certificate_id
    known = iot.describe_certificate(certificateId=number)["certificateDescription"]
    assert known["status"] == "ACTIVE"
    assert iot.list_thing_principals(thingName="Test2")["principals"] == [known["certificateArn"]]
    attached = iot.list_attached_policies(target=known["certificateArn"])["policies"]
    assert [each["policyName"] for each in attached] == ["Test2Policy"]
    assert iot.get_policy(policyName="Test2Policy")["policyDocument"] == POLICY
    groups = iot.list_thing_groups_for_thing(thingName="Test2")["thingGroups"]
    assert [each["groupName"] for each in groups] == ["gauges"]
    tags = iot.list_tags_for_resource(resourceArn=groups[0]["groupArn"])["tags"]
    assert tags == [{"Key": "creek", "Value": "elkhorn"}]
    events = iot.describe_event_configurations()["eventConfigurations"]
    assert events["THING"] == {"Enabled": True}


def test_the_shadow_and_the_retained_message(lab: Lab) -> None:
    data = lab.client("iot-data")
    shadow = json.load(data.get_thing_shadow(thingName="Test2")["payload"])
    assert {name: shadow[name] for name in SHADOW} == SHADOW
    assert data.get_retained_message(topic="creek/last")["payload"] == b'{"depth": 1.4}'


def test_the_ledger(lab: Lab) -> None:
    assert [one.row()[0] for one in lab.ledger.resources()] == [
        "thing type",
        "Thing",
        "thing group",
        "Thing in a group",
        "certificate",
        "policy",
        "policy of a certificate",
        "certificate of a Thing",
        "retained message",
        "shadow",
    ]
    assert lab.ledger.has("policy version", "Test2Policy", "1")
    assert not lab.ledger.has("Thing", "Test3")


def test_a_device_connects_with_its_old_key(lab: Lab) -> None:
    assert lab.check.certificate("Test2")
    with lab.connect("Test2") as device:
        device.shadow.update(reported={"depth": 1.6})
        assert device.shadow.get()["version"] == 8


def test_a_persistent_session_has_its_subscription_and_its_message(lab: Lab) -> None:
    files = lab.keys.files("Test2")
    received: Queue[tuple[str, bytes]] = Queue()
    present: Queue[bool] = Queue()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="Barn", clean_session=False)
    client.tls_set(str(files.ca), str(files.certificate), str(files.private_key))
    client.on_connect = lambda *given: present.put(given[2].session_present)
    client.on_message = lambda *given: received.put((given[2].topic, given[2].payload))
    client.connect(lab.endpoint, lab.mqtt_port)
    client.loop_start()
    try:
        assert present.get(timeout=10)
        assert received.get(timeout=10) == ("creek/depth", b'{"depth": 1.5}')
    finally:
        client.disconnect()
        client.loop_stop()


def test_a_workshop_is_still_joined(
    lab: Lab, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The workshop's cloud is this lab's own here; the participant's home names it."""
    monkeypatch.setenv("CREEKLAB_HOME", str(home))
    workshop = home / "workshop"
    for name in ("account.json", "ca/ca.pem"):
        write(workshop / "cloud" / name, (home / "cloud" / name).read_text())
    joined = {
        "host": lab.endpoint,
        "mqtt_port": lab.mqtt_port,
        "https_port": lab.https_port,
        "name": "Anna",
        "secret": secrets.token_urlsafe(30),
    }
    write(workshop / "cloud" / "joined.json", json.dumps(joined, indent=2) + "\n")
    there = open_lab()
    assert there.home == workshop
    assert there.client("iot").list_things()["things"][0]["thingName"] == "Test2"
    assert main.show_cloud(main.parse(["cloud", "status"])) == 0
    assert "workshop as Anna" in capsys.readouterr().out
    assert main.leave_workshop(main.parse(["cloud", "leave"])) == 0
    assert open_lab().home == home
