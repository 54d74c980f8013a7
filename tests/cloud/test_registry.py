"""The registry and its database file."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.registry import Registry
from creeklab.cloud.registry.policies import MAX_VERSIONS
from creeklab.cloud.registry.policy_attachments import MAX_POLICIES
from creeklab.cloud.registry.records import certificate_variables
from creeklab.cloud.security.ca import CertificateAuthority
from creeklab.cloud.storage.database import Database, DatabaseError, Page
from creeklab.cloud.storage.schema import MIGRATIONS
from tests.cloud.iot_fixture import ALLOW, IDENTITY

DENY = ALLOW.replace("Allow", "Deny")
KEY = ec.generate_private_key(ec.SECP256R1())


def csr(*subject: tuple[x509.ObjectIdentifier, str]) -> str:
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(KEY, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


CSR = csr()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("authority"))


def make_registry(store: Database, ca: CertificateAuthority) -> Registry:
    return Registry(
        store,
        ca,
        IDENTITY,
        "localhost",
        lambda: 1_800_000_000.5,
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Database]:
    store = Database(tmp_path / "account" / "cloud.db")
    yield store
    store.close()


@pytest.fixture
def registry(store: Database, ca: CertificateAuthority) -> Registry:
    return make_registry(store, ca)


def code_of(call: Callable[[], object]) -> str:
    """Return the error code, or ``ok``."""
    try:
        call()
    except ServiceError as error:
        return error.code
    return "ok"


def certificate(registry: Registry, *, active: bool = True) -> tuple[str, str]:
    """Create a certificate; return its id and ARN."""
    made = registry.certificates.issue_from_csr(CSR, active=active)
    return made.id, registry.arn("cert", made.id)


# --- paging ---------------------------------------------------------------------------------------


def all_pages(
    read: Callable[[Page], tuple[list[Any], str | None]], size: int, ascending: bool = True
) -> list[list[Any]]:
    pages, token = [], None
    while True:
        page, token = read(Page(size, token, ascending))
        pages.append(page)
        if token is None:
            return pages


def test_pages_contain_each_item_once_in_order(registry: Registry) -> None:
    names = [f"thing{number:02}" for number in range(10)]
    for name in reversed(names):
        registry.things.create(name, {})
    for size, lengths in ((3, [3, 3, 3, 1]), (5, [5, 5]), (10, [10]), (250, [10])):
        pages = all_pages(registry.things.page, size)
        assert [len(page) for page in pages] == lengths
        assert [thing.name for page in pages for thing in page] == names


def test_an_empty_list_is_one_empty_page(registry: Registry) -> None:
    assert registry.things.page(Page(25)) == ([], None)


def test_certificates_and_policies_are_ordered_by_creation(registry: Registry) -> None:
    ids = [certificate(registry)[0] for _ in range(5)]
    names = ["p", "a", "z", "b", "y"]
    for name in names:
        registry.policies.create(name, ALLOW)
    for ascending, step in ((True, 1), (False, -1)):
        pages = all_pages(registry.certificates.page, 2, ascending)
        assert [found.id for page in pages for found in page] == ids[::step]
        pages = all_pages(registry.policies.page, 2, ascending)
        assert [name for page in pages for name in page] == names[::step]


def test_the_next_page_starts_after_the_last_key_despite_changes(
    registry: Registry,
) -> None:
    for name in "bdfh":
        registry.things.create(name, {})
    first, token = registry.things.page(Page(2))
    registry.things.delete("d")  # where the page ended
    registry.things.create("a", {})
    registry.things.create("e", {})
    second, _ = registry.things.page(Page(10, token))
    assert [thing.name for thing in first + second] == ["b", "d", "e", "f", "h"]


@pytest.mark.parametrize("token", ["", "x", "bm8=", "e30=", "WzFd", "W1tdLCBbXV0=", "é", "W" * 999])
def test_an_invented_token_is_rejected(registry: Registry, token: str) -> None:
    with pytest.raises(ServiceError, match="first page") as caught:
        registry.things.page(Page(1, token))
    assert caught.value.code == "InvalidRequestException"


def test_a_token_is_valid_only_for_its_own_list(registry: Registry) -> None:
    for name in "abc":
        registry.things.create(name, {"color": "red"})
        registry.policies.create(name, ALLOW)
    _, token = registry.things.page(Page(1))
    assert token is not None
    assert code_of(lambda: registry.things.page(Page(2, token))) == "ok"
    others: list[Callable[[], object]] = [
        lambda: registry.policies.page(Page(1, token)),
        lambda: registry.things.page(Page(1, token), "color", "red"),
        lambda: registry.things.page(Page(1, token, ascending=False)),
    ]
    assert [code_of(other) for other in others] == ["InvalidRequestException"] * 3


def test_things_are_found_by_attribute(registry: Registry) -> None:
    registry.things.create("red", {"color": "red", "size": "1"})
    registry.things.create("redder", {"color": "redder"})
    registry.things.create("blue", {"color": "blue", "size": "red"})
    registry.things.create("plain", {})

    def found(*wanted: Any) -> list[str]:
        return [
            thing.name
            for page in all_pages(lambda p: registry.things.page(p, *wanted), 1)
            for thing in page
        ]

    assert found("color") == ["blue", "red", "redder"]
    assert found("color", "red") == ["red"]
    assert found("color", "red", True) == ["red", "redder"]
    assert found("color", "", True) == ["blue", "red", "redder"]
    assert found("size", "red") == ["blue"]
    assert found("shape", "red") == []


# --- things ---------------------------------------------------------------------------------------


def test_creating_a_thing_again_returns_the_same_thing(registry: Registry) -> None:
    first = registry.things.create("Test2", {"site": "plumtree", "empty": ""})
    assert registry.things.create("Test2", {"site": "plumtree"}) == first
    assert first.version == 1
    with pytest.raises(ServiceError, match="Thing Test2 already exists in account") as caught:
        registry.things.create("Test2", {"site": "elsewhere"})
    assert caught.value.members == {
        "resourceId": first.id,
        "resourceArn": "arn:aws:iot:us-east-1:123456789012:thing/Test2",
    }


@pytest.mark.parametrize(
    ("change", "merge", "after"),
    [
        (None, False, {"a": "1", "b": "2"}),
        ({}, False, {}),
        ({"c": "3"}, False, {"c": "3"}),
        ({"c": "3"}, True, {"a": "1", "b": "2", "c": "3"}),
        ({"a": "9"}, True, {"a": "9", "b": "2"}),
        ({"a": ""}, True, {"b": "2"}),
        ({"a": "", "c": "3"}, False, {"c": "3"}),
    ],
)
def test_updating_a_thing(
    registry: Registry, change: dict[str, str] | None, merge: bool, after: dict[str, str]
) -> None:
    registry.things.create("t", {"a": "1", "b": "2"})
    registry.things.update("t", change, merge=merge, expected_version=1)
    thing = registry.things.get("t")
    assert (thing.attributes, thing.version) == (after, 2)


def test_a_thing_has_at_most_three_attributes(registry: Registry) -> None:
    three = {"a": "1", "b": "2", "c": "3"}
    assert code_of(lambda: registry.things.create("u", {**three, "d": "4"})) != "ok"
    registry.things.create("t", three)
    with pytest.raises(ServiceError, match=r"at most 3 attributes.* 4: a, b, c, d"):
        registry.things.update("t", {"d": "4"}, merge=True)
    registry.things.update("t", {"d": "4", "a": ""}, merge=True)
    assert registry.things.get("t").attributes == {"b": "2", "c": "3", "d": "4"}


# --- attachments ----------------------------------------------------------------------------------


def test_an_exclusive_attachment_allows_no_other(registry: Registry) -> None:
    _, arn = certificate(registry)
    for name in ("one", "two"):
        registry.things.create(name, {})
    registry.thing_principals.attach("one", arn, "EXCLUSIVE_THING")
    registry.thing_principals.attach("one", arn)  # already there: nothing changes
    assert registry.thing_principals.of_thing("one", Page(9)) == ([(arn, "EXCLUSIVE_THING")], None)
    refused = "InvalidRequestException"
    for thing, kind in (("two", None), ("two", "EXCLUSIVE_THING"), ("one", "NON_EXCLUSIVE_THING")):
        assert (
            code_of(lambda t=thing, k=kind: registry.thing_principals.attach(t, arn, k)) == refused
        )
    registry.thing_principals.detach("one", arn)
    registry.thing_principals.attach("two", arn)
    assert (
        code_of(lambda: registry.thing_principals.attach("one", arn, "EXCLUSIVE_THING")) == refused
    )
    registry.thing_principals.attach("one", arn)
    both = [("one", "NON_EXCLUSIVE_THING"), ("two", "NON_EXCLUSIVE_THING")]
    assert registry.thing_principals.things_of(arn, Page(9)) == (both, None)
    assert registry.thing_principals.things_of(arn, Page(9), "EXCLUSIVE_THING") == ([], None)


@pytest.mark.parametrize(
    ("principal", "code", "message"),
    [
        ("{id}", "InvalidRequestException", "is not the ARN of a certificate"),
        ("us-east-1:5b1c", "InvalidRequestException", "is not the ARN of a certificate"),
        ("{arn}/", "InvalidRequestException", "The given ARN does not represent a cert"),
        (
            "arn:aws:iot:us-east-1:123456789012:thing/t",
            "InvalidRequestException",
            "The given ARN does not represent a cert",
        ),
        ("{arn}0", "ResourceNotFoundException", "The certificate given in the principal does"),
        (
            "arn:aws:iot:eu-west-1:123456789012:cert/{id}",
            "ResourceNotFoundException",
            "The certificate given in the principal does not exist.",
        ),
    ],
)
def test_principals_that_are_not_of_this_account(
    registry: Registry, principal: str, code: str, message: str
) -> None:
    key, arn = certificate(registry)
    registry.things.create("t", {})
    registry.policies.create("p", ALLOW)
    wrong = principal.format(id=key, arn=arn)
    calls: list[Callable[[], object]] = [
        lambda: registry.policy_attachments.attach("p", wrong),
        lambda: registry.policy_attachments.detach("p", wrong),
        lambda: registry.thing_principals.attach("t", wrong),
        lambda: registry.thing_principals.detach("t", wrong),
        lambda: registry.thing_principals.things_of(wrong, Page(1)),
        lambda: registry.policy_attachments.policies_of(wrong, Page(1)),
    ]
    for call in calls:
        with pytest.raises(ServiceError, match=message) as caught:
            call()
        assert caught.value.code == code


def test_a_certificate_has_at_most_ten_policies(registry: Registry) -> None:
    _, arn = certificate(registry)
    for number in range(MAX_POLICIES + 1):
        registry.policies.create(f"p{number}", ALLOW)
    for number in range(MAX_POLICIES):
        registry.policy_attachments.attach(f"p{number}", arn)
    registry.policy_attachments.attach("p0", arn)  # already there: no eleventh
    with pytest.raises(ServiceError, match="at most 10 policies") as caught:
        registry.policy_attachments.attach(f"p{MAX_POLICIES}", arn)
    assert caught.value.code == "LimitExceededException"


# --- queries of a connection ----------------------------------------------------------------------


def test_policies_of_reflects_each_change_immediately(registry: Registry) -> None:
    key, arn = certificate(registry)

    def effects() -> list[tuple[str, str]]:
        return [(p.name, p.statements[0].effect) for p in registry.policies_of(key)]

    assert effects() == []
    registry.policies.create("z", ALLOW)
    registry.policies.create("a", ALLOW)
    registry.policy_attachments.attach("z", arn)
    registry.policy_attachments.attach("a", arn)
    assert effects() == [("z", "Allow"), ("a", "Allow")]
    registry.policies.create_version("a", DENY, default=False)
    assert effects() == [("z", "Allow"), ("a", "Allow")]
    registry.policies.set_default("a", "2")
    assert effects() == [("z", "Allow"), ("a", "Deny")]
    registry.policy_attachments.detach("z", arn)
    registry.policies.delete("z")
    registry.policies.create("z", DENY)  # the same name, another document
    registry.policy_attachments.attach("z", arn)
    assert effects() == [("a", "Deny"), ("z", "Deny")]
    assert next(p.arn for p in registry.policies_of(key)) == registry.arn("policy", "a")
    assert registry.policies_of("0" * 64) == []


def test_status_of_a_certificate(registry: Registry) -> None:
    key, _ = certificate(registry, active=False)
    assert registry.certificate_status("0" * 64) is None
    assert registry.certificate_status(key) == "INACTIVE"
    registry.certificates.set_status(key, "ACTIVE")
    assert registry.certificate_status(key) == "ACTIVE"
    registry.certificates.set_status(key, "REVOKED")
    assert registry.certificate_status(key) == "REVOKED"
    registry.certificates.delete(key)
    assert registry.certificate_status(key) is None


def test_thing_context_needs_the_exact_name_and_the_attachment(registry: Registry) -> None:
    key, arn = certificate(registry)
    other, _ = certificate(registry)
    registry.things.create("Test2", {"site": "plumtree"})
    registry.thing_principals.attach("Test2", arn)
    prefix = "iot:Connection.Thing."
    assert registry.thing_context("Test2", key) == {
        prefix + "IsAttached": "true",
        prefix + "ThingName": "Test2",
        prefix + "Attributes[site]": "plumtree",
    }
    assert registry.thing_context("Test2", other) == {prefix + "IsAttached": "false"}
    for client_id in ("test2", "Test", "Test2 ", "%", "Test_", ""):
        assert registry.thing_context(client_id, key) == {}


def test_certificate_context(registry: Registry) -> None:
    subject = (
        (NameOID.COUNTRY_NAME, "US"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "Creeks"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "Plumtree Run"),
        (NameOID.COMMON_NAME, "Test2"),
    )
    key = registry.certificates.issue_from_csr(csr(*subject), active=True).id
    # The guide's own example of the backslashes.
    issuer = r"Amazon Web Services O\=Amazon.com Inc. L\=Seattle ST\=Washington C\=US"
    context = registry.certificate_context(key)
    available = context.pop("iot:Certificate.AvailableKeys")
    assert set(available) == {name for name in context if not name.endswith(".List")}
    pem = registry.certificates.get(key).pem.encode()
    serial = context.pop("iot:Certificate.SerialNumber")
    assert serial == str(x509.load_pem_x509_certificate(pem).serial_number)
    assert context == {
        "iot:CertificateId": key,
        "iot:Certificate.Subject.Country": "US",
        "iot:Certificate.Subject.Country.0": "US",
        "iot:Certificate.Subject.Country.List": ("US",),
        "iot:Certificate.Subject.OrganizationalUnit": "Creeks",
        "iot:Certificate.Subject.OrganizationalUnit.0": "Creeks",
        "iot:Certificate.Subject.OrganizationalUnit.1": "Plumtree Run",
        "iot:Certificate.Subject.OrganizationalUnit.List": ("Creeks", "Plumtree Run"),
        "iot:Certificate.Subject.CommonName": "Test2",
        "iot:Certificate.Subject.CommonName.0": "Test2",
        "iot:Certificate.Subject.CommonName.List": ("Test2",),
        "iot:Certificate.Issuer.OrganizationalUnit": issuer,
        "iot:Certificate.Issuer.OrganizationalUnit.0": issuer,
        "iot:Certificate.Issuer.OrganizationalUnit.List": (issuer,),
    }
    assert registry.certificate_context("0" * 64) == {}


def test_alternative_names_of_a_certificate_are_policy_variables() -> None:
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "IoT"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "SmartHome"),
            x509.NameAttribute(NameOID.COMMON_NAME, "LightBulbCert"),
        ]
    )
    names = [
        *(x509.DNSName(f"host{n}.example.com") for n in range(7)),
        x509.IPAddress(ipaddress.ip_address("1.2.3.4")),
        x509.UniformResourceIdentifier("ResourceIdentifier001"),
        x509.RFC822Name("device1@example.com"),
        x509.DirectoryName(name),
    ]
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(0x921285CBB7A5E086)
        .not_valid_before(now)
        .not_valid_after(now)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.IssuerAlternativeName(names[7:8]), critical=False)
        .sign(KEY, hashes.SHA256())
    )
    pem = signed.public_bytes(serialization.Encoding.PEM).decode()
    context = certificate_variables("0" * 64, pem)
    # The values are those of the developer guide, "Using X.509 certificate policy variables".
    subject, issuer = "iot:Certificate.Subject.", "iot:Certificate.Issuer."
    assert context["iot:Certificate.SerialNumber"] == "10525622389124227206"
    assert context[subject + "AlternativeName.DNSName"] == "host0.example.com"
    assert context[subject + "AlternativeName.DNSName.4"] == "host4.example.com"
    assert subject + "AlternativeName.DNSName.5" not in context  # the guide: at most five
    assert context[subject + "AlternativeName.IPAddress"] == "1.2.3.4"
    uri = context[subject + "AlternativeName.UniformResourceIdentifier"]
    assert uri == "ResourceIdentifier001"
    assert context[subject + "AlternativeName.RFC822Name"] == "device1@example.com"
    directory = context[subject + "AlternativeName.DirectoryName"]
    assert directory == "cn=LightBulbCert,ou=SmartHome,o=IoT,c=US"
    assert context[issuer + "AlternativeName.IPAddress"] == "1.2.3.4"
    assert issuer + "AlternativeName.DNSName" not in context


def test_authorization_listeners_are_called_after_the_commit(
    registry: Registry, store: Database, tmp_path: Path
) -> None:
    key, arn = certificate(registry)
    registry.policies.create("p", ALLOW)
    registry.things.create("t", {})
    heard: list[bool] = []
    other = sqlite3.connect(tmp_path / "account" / "cloud.db", isolation_level=None, timeout=0)

    def listen() -> None:
        other.execute("BEGIN IMMEDIATE")  # fails while a transaction is open
        other.execute("ROLLBACK")
        heard.append(True)

    registry.authorization_listeners.append(listen)
    changes: list[Callable[[], object]] = [
        lambda: registry.policy_attachments.attach("p", arn),
        lambda: registry.policies.create_version("p", DENY, default=True),
        lambda: registry.policies.set_default("p", "1"),
        lambda: registry.policies.delete_version("p", "2"),
        lambda: registry.thing_principals.attach("t", arn),
        lambda: registry.things.update("t", {"a": "1"}),
        lambda: registry.thing_principals.detach("t", arn),
        lambda: registry.things.delete("t"),
        lambda: registry.policy_attachments.detach("p", arn),
        lambda: registry.policies.delete("p"),
        lambda: registry.certificates.set_status(key, "INACTIVE"),
        lambda: registry.certificates.delete(key),
        lambda: registry.certificates.issue_from_csr(CSR, active=True),
        lambda: registry.things.create("t", {}),
        lambda: registry.groups.change_membership("t", add=["g"]),
        lambda: registry.policies.create("p", ALLOW),
        lambda: registry.policy_attachments.attach("p", registry.arn("thinggroup", "g")),
        lambda: registry.policy_attachments.detach("p", registry.arn("thinggroup", "g")),
        lambda: registry.groups.change_membership("t", remove=["g"]),
        lambda: registry.groups.delete("g"),
    ]
    make_group(registry, "g")
    assert heard == []  # nobody's rights are any different
    for number, change in enumerate(changes, start=1):
        change()
        assert len(heard) == number
    with pytest.raises(ServiceError):
        registry.things.update("none", {"a": "1"})
    assert len(heard) == len(changes)
    other.close()


def make_group(registry: Registry, name: str) -> None:
    registry.groups.create(name, parent=None, description=None, attributes={}, tags={})


# --- failures and kills ---------------------------------------------------------------------------


def dump(store: Database) -> dict[str, list[tuple[Any, ...]]]:
    tables = [row[0] for row in store.execute("SELECT name FROM sqlite_master WHERE type='table'")]
    return {name: [tuple(row) for row in store.execute(f"SELECT * FROM {name}")] for name in tables}


@pytest.mark.parametrize(
    ("fails", "change"),
    [
        ("INSERT ON policy_versions", lambda r, arn: r.policies.create("new", ALLOW)),
        ("UPDATE ON policies", lambda r, arn: r.policies.create_version("p", DENY, default=False)),
        (
            "UPDATE OF default_version ON policies",
            lambda r, arn: r.policies.create_version("p", DENY, default=True),
        ),
        ("UPDATE ON policies", lambda r, arn: r.policies.delete_version("p", "2")),
        ("DELETE ON policies", lambda r, arn: r.policies.delete("free")),
        ("DELETE ON certificates", lambda r, arn: r.certificates.delete(arn[-64:], force=True)),
        ("DELETE ON things", lambda r, arn: r.things.delete("t")),
        ("INSERT ON tags", lambda r, arn: r.policies.create("new", ALLOW, {"owner": "ann"})),
        ("INSERT ON tags", lambda r, arn: r.thing_types.create("y", {}, {"owner": "ann"})),
        ("DELETE ON policy_attachments", lambda r, arn: r.groups.delete("g")),
    ],
)
def test_a_change_that_fails_halfway_is_rolled_back(
    registry: Registry, store: Database, fails: str, change: Callable[[Registry, str], object]
) -> None:
    _, arn = certificate(registry, active=False)
    registry.policies.create("p", ALLOW)
    registry.policies.create_version("p", DENY, default=False)
    registry.policies.create("free", ALLOW)
    registry.policy_attachments.attach("p", arn)
    registry.things.create("t", {})
    make_group(registry, "g")
    registry.groups.change_membership("t", add=["g"])
    registry.policy_attachments.attach("p", registry.arn("thinggroup", "g"))
    heard: list[None] = []
    registry.authorization_listeners.append(lambda: heard.append(None))
    before = dump(store)
    store.execute(
        f"CREATE TEMP TRIGGER fail BEFORE {fails} BEGIN SELECT RAISE(ABORT, 'out of luck'); END"
    )
    with pytest.raises(sqlite3.IntegrityError, match="out of luck"):
        change(registry, arn)
    assert dump(store) == before
    assert not heard
    store.execute("DROP TRIGGER fail")
    change(registry, arn)
    assert dump(store) != before


CREATOR = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from creeklab.cloud.account import new_account
from creeklab.cloud.registry import Registry
from creeklab.cloud.storage.database import Database
registry = Registry(Database(Path(sys.argv[1])), None, new_account(), "localhost", lambda: 0.0)
number = 0
while True:
    registry.things.create(f"{number}", {})
    print(number, flush=True)
    number += 1
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("acknowledged", [1, 37, 200])
def test_acknowledged_changes_survive_kill_9(tmp_path: Path, acknowledged: int) -> None:
    path = tmp_path / "cloud.db"
    with subprocess.Popen(
        [sys.executable, "-c", CREATOR, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = {int(process.stdout.readline()) for _ in range(acknowledged)}
        process.send_signal(signal.SIGKILL)
        told |= {int(line) for line in process.stdout.read().split()[:-1]}
    assert process.returncode == -signal.SIGKILL
    store = Database(path)
    kept = {int(row["name"]) for row in store.execute("SELECT name FROM things")}
    store.close()
    assert told <= kept
    assert kept == set(range(len(kept)))


def test_no_file_contains_the_private_key_of_a_thing(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "ca")
    store = Database(tmp_path / "cloud.db")
    registry = make_registry(store, authority)
    made, issued = registry.certificates.issue_keys(active=True)
    lines = [line for line in issued.private_key.splitlines() if not line.startswith("---")]
    number = serialization.load_pem_private_key(issued.private_key.encode(), None).private_numbers()
    secrets = [
        lines[3].encode(),
        number.p.to_bytes(128, "big"),
        number.d.to_bytes(256, "big"),
    ]

    def files() -> bytes:
        return b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    assert made.pem.splitlines()[3].encode() in files()  # the search does find what is there
    for secret in secrets:
        assert secret not in files()
    store.close()
    for secret in secrets:
        assert secret not in files()


# --- any sequence of operations -------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c"])


class RegistryMachine(RuleBasedStateMachine):
    """Random operations, compared with a simple model of the developer guide's rules."""

    authority: CertificateAuthority
    folder: Path
    runs = 0

    @initialize()
    def start(self) -> None:
        RegistryMachine.runs += 1
        self.store = Database(self.folder / f"{self.runs}.db")
        self.registry = make_registry(self.store, self.authority)
        self.things: set[str] = set()
        self.status: dict[str, str] = {}
        self.versions: dict[str, list[int]] = {}
        self.default: dict[str, int] = {}
        self.last: dict[str, int] = {}
        self.thing_links: set[tuple[str, str]] = set()
        self.policy_links: set[tuple[str, str]] = set()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()

    def pick(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from([*self.status, "0" * 64]))

    def expect(self, code: str, call: Callable[[], object]) -> bool:
        assert code_of(call) == code
        return code == "ok"

    @rule(name=NAMES)
    def create_thing(self, name: str) -> None:
        self.registry.things.create(name, {})
        self.things.add(name)

    @rule(name=NAMES)
    def delete_thing(self, name: str) -> None:
        attached = any(thing == name for thing, _ in self.thing_links)
        code = "InvalidRequestException" if attached else "ok"
        if self.expect(code, lambda: self.registry.things.delete(name)):
            self.things.discard(name)

    @rule(active=st.booleans())
    def create_certificate(self, active: bool) -> None:
        if len(self.status) < 3:
            key = self.registry.certificates.issue_from_csr(CSR, active=active).id
            self.status[key] = "ACTIVE" if active else "INACTIVE"

    @rule(data=st.data(), status=st.sampled_from(["ACTIVE", "INACTIVE", "REVOKED"]))
    def update_certificate(self, data: st.DataObject, status: str) -> None:
        key = self.pick(data)
        code = "ok" if key in self.status else "ResourceNotFoundException"
        if self.expect(code, lambda: self.registry.certificates.set_status(key, status)):
            self.status[key] = status

    @rule(data=st.data(), force=st.booleans())
    def delete_certificate(self, data: st.DataObject, force: bool) -> None:
        key = self.pick(data)
        links = {link for link in self.policy_links if link[1] == key}
        if key not in self.status:
            code = "ResourceNotFoundException"
        elif self.status[key] == "ACTIVE":
            code = "CertificateStateException"
        elif any(link[1] == key for link in self.thing_links) or (links and not force):
            code = "DeleteConflictException"
        else:
            code = "ok"
        if self.expect(code, lambda: self.registry.certificates.delete(key, force=force)):
            del self.status[key]
            self.policy_links -= links

    @rule(data=st.data(), name=NAMES, attach=st.booleans())
    def link_thing(self, data: st.DataObject, name: str, attach: bool) -> None:
        key = self.pick(data)
        known = name in self.things and key in self.status
        operation = (
            self.registry.thing_principals.attach
            if attach
            else self.registry.thing_principals.detach
        )
        arn = self.registry.arn("cert", key)
        if self.expect(
            "ok" if known else "ResourceNotFoundException", lambda: operation(name, arn)
        ):
            (self.thing_links.add if attach else self.thing_links.discard)((name, key))

    @rule(data=st.data(), name=NAMES, attach=st.booleans())
    def link_policy(self, data: st.DataObject, name: str, attach: bool) -> None:
        key = self.pick(data)
        known = name in self.versions and key in self.status
        operation = (
            self.registry.policy_attachments.attach
            if attach
            else self.registry.policy_attachments.detach
        )
        arn = self.registry.arn("cert", key)
        if self.expect(
            "ok" if known else "ResourceNotFoundException", lambda: operation(name, arn)
        ):
            (self.policy_links.add if attach else self.policy_links.discard)((name, key))

    @rule(name=NAMES)
    def create_policy(self, name: str) -> None:
        code = "ResourceAlreadyExistsException" if name in self.versions else "ok"
        if self.expect(code, lambda: self.registry.policies.create(name, ALLOW)):
            self.versions[name], self.default[name], self.last[name] = [1], 1, 1

    @rule(name=NAMES)
    def delete_policy(self, name: str) -> None:
        if name not in self.versions:
            code = "ResourceNotFoundException"
        elif any(link[0] == name for link in self.policy_links) or len(self.versions[name]) > 1:
            code = "DeleteConflictException"
        else:
            code = "ok"
        if self.expect(code, lambda: self.registry.policies.delete(name)):
            del self.versions[name]

    @rule(name=NAMES, default=st.booleans())
    def create_version(self, name: str, default: bool) -> None:
        if name not in self.versions:
            code = "ResourceNotFoundException"
        elif len(self.versions[name]) == MAX_VERSIONS:
            code = "VersionsLimitExceededException"
        else:
            code = "ok"
        create = self.registry.policies.create_version
        if self.expect(code, lambda: create(name, DENY, default=default)):
            self.last[name] += 1
            self.versions[name].append(self.last[name])
            if default:
                self.default[name] = self.last[name]

    @rule(name=NAMES, number=st.integers(1, 8), delete=st.booleans())
    def choose_version(self, name: str, number: int, delete: bool) -> None:
        if number not in self.versions.get(name, []):
            code = "ResourceNotFoundException"
        elif delete and number == self.default[name]:
            code = "InvalidRequestException"
        else:
            code = "ok"
        registry = self.registry
        operation = registry.policies.delete_version if delete else registry.policies.set_default
        if self.expect(code, lambda: operation(name, str(number))):
            if delete:
                self.versions[name].remove(number)
            else:
                self.default[name] = number

    @rule()
    def restart(self) -> None:
        path = self.folder / f"{self.runs}.db"
        self.store.close()
        self.store = Database(path)
        self.registry = make_registry(self.store, self.authority)

    @invariant()
    def agrees_with_the_model(self) -> None:
        if not hasattr(self, "registry"):
            return
        registry, page = self.registry, Page(250)
        assert {thing.name for thing in registry.things.page(page)[0]} == self.things
        assert {c.id: c.status for c in registry.certificates.page(page)[0]} == self.status
        assert set(registry.policies.page(page)[0]) == set(self.versions)
        for name, numbers in self.versions.items():
            assert [found.version for found in registry.policies.versions(name)] == numbers
            assert registry.policies.get(name).default_version == self.default[name]
            assert self.default[name] in numbers
            targets = {arn[-64:] for arn in registry.policy_attachments.of(name, page)[0]}
            assert targets == {key for policy, key in self.policy_links if policy == name}
        for name in self.things:
            principals = {arn[-64:] for arn, _ in registry.thing_principals.of_thing(name, page)[0]}
            assert principals == {key for thing, key in self.thing_links if thing == name}
        for key in self.status:
            attached = {policy.name for policy in registry.policies_of(key)}
            assert attached == {policy for policy, other in self.policy_links if other == key}
            is_attached = {
                name
                for name in self.things
                if registry.thing_context(name, key).get("iot:Connection.Thing.IsAttached")
                == "true"
            }
            assert is_attached == {thing for thing, other in self.thing_links if other == key}


def test_any_sequence_of_operations_keeps_the_rules(
    ca: CertificateAuthority, tmp_path: Path
) -> None:
    RegistryMachine.authority, RegistryMachine.folder = ca, tmp_path
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        RegistryMachine,
        settings=settings(max_examples=25, stateful_step_count=40, deadline=None),
    )


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_only_the_owner_can_read_the_database_and_its_log(tmp_path: Path) -> None:
    path, before = tmp_path / "new" / "cloud.db", os.umask(0)
    try:
        Database(path).close()
        path.chmod(0o666)
        store = Database(path)
        with store.transaction() as db:
            db.execute("INSERT INTO shadows VALUES ('t', '', '{}', 1, NULL)")
        files = list((tmp_path / "new").iterdir())
        assert len(files) >= 2
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
        store.close()
    finally:
        os.umask(before)


def test_commits_survive_a_power_failure_except_for_the_last(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "cloud.db")) as store:
        assert store.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        # 1 is NORMAL. With OFF (0), a power failure can damage the whole file.
        assert store.execute("PRAGMA synchronous").fetchone()[0] == 1


def test_a_file_of_a_newer_creeklab_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "cloud.db"
    Database(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(DatabaseError, match=r"newer creeklab.*Update creeklab") as caught:
        Database(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["no database", "cut off", "middle"])
def test_the_error_for_a_damaged_file_names_it_and_the_fix(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "cloud.db"
    store = Database(path)
    with store.transaction() as db:
        for number in range(500):
            db.execute("INSERT INTO things VALUES (?, 'id', 1, '{}', NULL)", (f"thing{number}",))
    store.close()
    content = path.read_bytes()
    if damage == "no database":
        path.write_bytes(b"creek" * 1000)
    elif damage == "cut off":
        path.write_bytes(content[: len(content) // 2])
    else:
        start = content.index(b"thing250")
        path.write_bytes(content[: start - 2000] + bytes(4000) + content[start + 2000 :])
    with pytest.raises(DatabaseError, match=r"is damaged .*delete it") as caught:
        Database(path)
    assert str(path) in str(caught.value)


def test_the_error_for_an_unreadable_file_names_it(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(DatabaseError, match="cannot be opened: ") as caught:
        Database(tmp_path / "folder")
    assert str(tmp_path / "folder") in str(caught.value)


def test_an_older_file_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cloud.db"
    store = Database(path)
    with store.transaction() as db:
        db.execute("INSERT INTO things VALUES ('t', 'id', 1, '{}', NULL)")
    store.close()
    more = ("ALTER TABLE things ADD COLUMN site TEXT", "UPDATE things SET site = 'plumtree'")
    monkeypatch.setattr("creeklab.cloud.storage.database.MIGRATIONS", (*MIGRATIONS, more))
    for _ in range(2):  # the second time there is nothing left to do
        store = Database(path)
        assert [row["site"] for row in store.execute("SELECT * FROM things")] == ["plumtree"]
        store.close()


def test_an_account_of_the_first_schema_keeps_everything(
    ca: CertificateAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cloud.db"
    with monkeypatch.context() as then:
        then.setattr("creeklab.cloud.storage.database.MIGRATIONS", MIGRATIONS[:1])
        store = Database(path)
    row = (CSR, "ACTIVE", "generation", 1.0, 2.0, 3.0, 4.0)
    with store.transaction() as db:
        db.execute("INSERT INTO things VALUES ('t', 'id', 7, '{\"site\": \"plumtree\"}')")
        for number, key in enumerate("ab", start=1):
            db.execute(
                "INSERT INTO certificates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (number, key * 64, *row),
            )
            db.execute(
                "INSERT INTO thing_principals VALUES ('t', ?, 'NON_EXCLUSIVE_THING')", (key * 64,)
            )
        for number, name in enumerate("pq", start=1):
            db.execute("INSERT INTO policies VALUES (?, ?, 2, 2, 'g', 1, 2)", (number, name))
            for version, document in ((1, DENY), (2, ALLOW)):
                db.execute(
                    "INSERT INTO policy_versions VALUES (?, ?, ?, 1)", (name, version, document)
                )
        for number, name, key in ((3, "q", "a"), (5, "p", "a"), (9, "p", "b")):
            db.execute("INSERT INTO policy_attachments VALUES (?, ?, ?)", (number, name, key * 64))
        db.execute("INSERT INTO shadows VALUES ('t', '', '{}', 3, NULL)")
        retained = json.dumps({"properties": {"content_type": "a"}, "expires_at": None})
        db.execute("INSERT INTO retained VALUES ('creek', x'00ff', 1, ?, 5.0)", (retained,))
    store.close()

    for _ in range(2):  # and once more, when there is nothing left to do
        store = Database(path)
        registry = make_registry(store, ca)
        thing = registry.things.get("t")
        assert (thing.version, thing.attributes, thing.type) == (7, {"site": "plumtree"}, None)
        arns = [registry.arn("cert", key * 64) for key in "ab"]
        for arn in arns:
            found = registry.certificates.get(arn[-64:])
            assert (found.status, found.created, found.mode) == ("ACTIVE", 1.0, "DEFAULT")
            assert not found.external
        assert [arn for arn, _ in registry.thing_principals.of_thing("t", Page(9))[0]] == arns
        assert registry.policy_attachments.policies_of(arns[0], Page(9)) == (["q", "p"], None)
        assert registry.policy_attachments.of("p", Page(9)) == (arns, None)
        assert [p.statements[0].effect for p in registry.policies_of("a" * 64)] == ["Allow"] * 2
        assert [each.version for each in registry.policies.versions("p")] == [1, 2]
        assert dump(store)["shadows"] == [("t", "", "{}", 3, None)]
        kept = ("creek", b"\x00\xff", 1, '{"content_type":"a"}', 5.0)
        assert dump(store)["retained"][0][:5] == kept
        assert store.execute("PRAGMA foreign_key_check").fetchall() == []
        store.close()


def test_attributes_are_stored_unchanged(registry: Registry) -> None:
    given = {"a": "[x]=#:/@", "B-_.,": "0"}
    registry.things.create("t", given)
    assert registry.things.get("t").attributes == given
    assert json.dumps(registry.things.get("t").attributes) == json.dumps(given)
