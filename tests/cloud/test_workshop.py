"""A workshop: one cloud with many accounts, and each participant sees only their own.

The instructor's cloud listens on a second loopback address, as it would on an address of the
network; each participant has a home folder, as on a machine of their own.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any
from unittest.mock import Mock

import boto3
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from creeklab import Lab, open_lab
from creeklab.bootstrap import REPOSITORY_ROOT
from creeklab.cli import main
from creeklab.client.device import AccountCredentials, Device, RequestRefused
from creeklab.client.key_files import KeyFiles
from creeklab.cloud import supervisor
from creeklab.cloud.account import ACCOUNT_ID, AccountIdentity, load_account
from creeklab.cloud.accounts import account_services, workshop
from creeklab.cloud.accounts.workshop import JOIN_FILE, MAX_NAME
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.local_cloud import LocalCloud
from creeklab.cloud.mqtt.codec import packets
from creeklab.cloud.mqtt.codec.decoder import Decoder
from creeklab.cloud.mqtt.connection.connection import Connection
from creeklab.cloud.mqtt.interfaces import Peer
from creeklab.cloud.settings import Settings
from creeklab.cloud.storage.database import DatabaseError
from creeklab.cloud.supervisor import CloudError, RunningCloud, WorkshopMembership
from creeklab.home import workshop_folder
from creeklab.targets import workshop_client
from creeklab.targets.admin_client import AdminRequestRefused, call_admin
from creeklab.targets.workshop_client import join, leave
from tests.cloud.broker_fixture import connect
from tests.conftest import make_thing

SECONDS = 10.0
HOST = "127.0.0.2"  # Linux has all of 127/8 as its own
FAST = Config(proxies={}, retries={"total_max_attempts": 1})


def has(host: str) -> bool:
    try:
        with socket.socket() as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


pytestmark = pytest.mark.skipif(not has(HOST), reason="This machine has one loopback address.")


@contextmanager
def workshop_cloud(home: Path, host: str = HOST) -> Iterator[Path]:
    """Run an instructor's cloud; yield its join file."""
    supervisor.start_or_attach(home, mqtt_port=0, https_port=0, host=host)
    try:
        yield home / "cloud" / JOIN_FILE
    finally:
        supervisor.stop(home)


@pytest.fixture(scope="module")
def instructor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("instructor")
    with workshop_cloud(home):
        yield home


@pytest.fixture
def file(instructor: Path) -> Path:
    return instructor / "cloud" / JOIN_FILE


def key_of(lab: Lab) -> AccountIdentity:
    return load_account(lab.home / "cloud")


def url_of(lab: Lab) -> str:
    return f"https://{lab.endpoint}:{lab.https_port}"


def lab_of(base: Path, file: Path, name: str) -> Lab:
    join(base, file, name)
    return open_lab(home=workshop_folder(base))


@pytest.fixture
def anna(tmp_path: Path, file: Path, request: pytest.FixtureRequest) -> Lab:
    return lab_of(tmp_path / "anna", file, f"Anna {abs(hash(request.node.nodeid))}")


@pytest.fixture
def ben(tmp_path: Path, file: Path, request: pytest.FixtureRequest) -> Lab:
    return lab_of(tmp_path / "ben", file, f"Ben {abs(hash(request.node.nodeid))}")


# --- fifty ----------------------------------------------------------------------------------------


def issued(iot: Any) -> tuple[dict[str, Any], str]:
    """Create a certificate from a CSR, which is faster than creating an RSA key."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256())
    pem = request.public_bytes(serialization.Encoding.PEM).decode()
    answer = iot.create_certificate_from_csr(certificateSigningRequest=pem, setAsActive=True)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return answer, private.decode()


class Someone:
    """A participant with plain boto3 clients and a device called Test2."""

    def __init__(self, base: Path, file: Path, number: int) -> None:
        self.number = number
        found = join(base, file, f"participant {number}")
        home = workshop_folder(base)
        self.account = load_account(home / "cloud")
        self._found = found
        self._ca = supervisor.ca_path(home)
        self.keys = KeyFiles(home / "keys", self._ca)

    def connect_clients(self, session: boto3.Session) -> None:
        self.iot, self.data = (
            session.client(
                service,
                region_name=self.account.region,
                endpoint_url=f"https://{self._found.host}:{self._found.https_port}",
                verify=str(self._ca),
                aws_access_key_id=self.account.access_key,
                aws_secret_access_key=self.account.secret_key,
                config=FAST,
            )
            for service in ("iot", "iot-data")
        )

    def make_test2(self) -> None:
        arn = f"arn:aws:iot:{self.account.region}:{self.account.account}"
        thing = self.iot.create_thing(thingName="Test2")
        assert thing["thingArn"] == f"{arn}:thing/Test2"
        answer, private_key = issued(self.iot)
        self.keys.save("Test2", answer, private_key=private_key)
        self.iot.attach_thing_principal(thingName="Test2", principal=answer["certificateArn"])
        statement = {"Effect": "Allow", "Action": "iot:*", "Resource": f"{arn}:*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.iot.create_policy(policyName="Test2-policy", policyDocument=document)
        self.iot.attach_policy(policyName="Test2-policy", target=answer["certificateArn"])
        state = {"state": {"reported": {"number": self.number}}}
        self.data.update_thing_shadow(thingName="Test2", payload=json.dumps(state))

    def see_what_is_there(self) -> None:
        things = self.iot.list_things()["things"]
        assert [thing["thingName"] for thing in things] == ["Test2"]
        assert len(self.iot.list_certificates()["certificates"]) == 1
        shadow = json.loads(self.data.get_thing_shadow(thingName="Test2")["payload"].read())
        assert (shadow["state"]["reported"]["number"], shadow["version"]) == (self.number, 1)

    def connect(self) -> Device:
        found = self._found
        return Device(
            "Test2",
            self.keys.files("Test2"),
            endpoint=found.host,
            port=found.mqtt_port,
            client_id="Test2",
        )


def test_fifty_participants_each_have_their_own_test2(tmp_path: Path) -> None:
    with workshop_cloud(tmp_path / "instructor") as file, ThreadPoolExecutor(4) as pool:
        session, one_at_a_time = boto3.Session(), Lock()

        def arrive(number: int) -> Someone:
            # Concurrently, as in a classroom: while one account is written, the others continue.
            person = Someone(tmp_path / f"home-{number}", file, number)
            with one_at_a_time:  # as boto3 wants it
                person.connect_clients(session)
            person.make_test2()
            return person

        people = list(pool.map(arrive, range(50)))
        list(pool.map(Someone.see_what_is_there, people))
        with ExitStack() as stack:
            connected = people[:10]
            devices = [stack.enter_context(person.connect()) for person in connected]
            inboxes = [device.subscribe("creek/#") for device in devices]
            for person, device in zip(connected, devices, strict=True):
                device.publish("creek/depth", {"number": person.number})
            for person, inbox in zip(connected, inboxes, strict=True):
                [message] = inbox.wait_for(1)
                assert message.json == {"number": person.number}
            for person, device in zip(connected, devices, strict=True):
                assert device.shadow.get()["state"]["reported"] == {"number": person.number}
            # Everyone received every message, and no client ID was taken over.
            for device, inbox in zip(devices, inboxes, strict=True):
                device.publish("creek/end", "")
                assert [message.topic for message in inbox.wait_for(2)] == [
                    "creek/depth",
                    "creek/end",
                ]
        owner = open_lab(home=tmp_path / "instructor")
        assert owner.client("iot").list_things()["things"] == []
        told = owner.admin("participants", {})["participants"]
        assert {(row["name"], row["things"]) for row in told} == {
            (f"participant {n}", 1) for n in range(50)
        }


# --- isolation ------------------------------------------------------------------------------------


class TestApart:
    def test_topics_and_client_ids(self, anna: Lab, ben: Lab) -> None:
        names = [make_thing(lab).name for lab in (anna, ben)]
        with (
            anna.connect(names[0], client_id="same") as hers,
            ben.connect(names[1], client_id="same") as his,
            ben.connect_account() as account,
        ):
            inboxes = [who.subscribe("#") for who in (his, account)]
            hers.publish("secret", "hers", retain=True)
            his.publish("plain", "his")
            for inbox in inboxes:
                inbox.wait_for(1)
                topics = [topic for topic in inbox.topics if not topic.startswith("$aws/")]
                assert topics == ["plain"]
            assert "open" not in repr(hers)
            retained = ben.client("iot-data").list_retained_messages()["retainedTopics"]
            assert retained == []

    def test_a_certificate_is_valid_only_in_its_own_account(self, anna: Lab, ben: Lab) -> None:
        """Connect with your own files, under the name of another participant's Thing."""
        only_its_name = {"Effect": "Allow", "Action": "iot:*", "Resource": "ARN:client/THING"}
        thing = make_thing(anna, [only_its_name])
        other = make_thing(ben)
        iot = ben.client("iot")
        for call in (
            lambda: iot.attach_policy(policyName=other.policy, target=thing.certificate_arn),
            lambda: iot.attach_thing_principal(
                thingName=other.name, principal=thing.certificate_arn
            ),
            lambda: iot.describe_certificate(certificateId=thing.certificate_id),
            lambda: iot.update_certificate(certificateId=thing.certificate_id, newStatus="ACTIVE"),
        ):
            with pytest.raises(ClientError):
                call()
        with pytest.raises(RequestRefused) as refused:
            anna.connect(thing.name, client_id=other.name)
        assert refused.value.reason_code == 135
        assert anna.why(other.name).entry is not None
        assert ben.why(other.name).entry is None

    @pytest.mark.parametrize(
        "operation", ["register_certificate", "register_certificate_without_ca"]
    )
    def test_a_certificate_cannot_be_registered_in_two_accounts(
        self, anna: Lab, ben: Lab, operation: str
    ) -> None:
        thing = make_thing(anna)
        with pytest.raises(ClientError) as refused:
            getattr(ben.client("iot"), operation)(
                certificatePem=thing.files.certificate.read_text()
            )
        assert refused.value.response["Error"]["Code"] == "CertificateConflictException"
        with anna.connect(thing.name) as device:
            device.publish("still", "hers")

    def test_an_access_key_opens_one_account(self, anna: Lab, ben: Lab) -> None:
        thing = make_thing(anna)
        for call in (
            lambda: ben.client("iot").describe_thing(thingName=thing.name),
            lambda: ben.client("iot").get_policy(policyName=thing.policy),
            lambda: ben.client("iot-data").get_thing_shadow(thingName=thing.name),
        ):
            with pytest.raises(ClientError) as refused:
                call()
            assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"
        numbers = {lab.client("sts").get_caller_identity()["Account"] for lab in (anna, ben)}
        assert numbers == {anna.account, ben.account}
        assert len(numbers) == 2
        hers, his = key_of(anna), key_of(ben)
        mixed = AccountIdentity(ben.account, ben.region, his.access_key, hers.secret_key)
        with pytest.raises(AdminRequestRefused, match="does not match"):
            call_admin(url_of(ben), ben.ca_file, mixed, "why", {})

    def test_event_logs(self, anna: Lab, ben: Lab, instructor: Path) -> None:
        thing = make_thing(anna)
        with anna.connect(thing.name) as device:
            device.publish("hers/alone", "x")
        assert len(anna.events(topic="hers/alone", kind="publish")) == 1
        for lab in (ben, open_lab(home=instructor)):
            assert len(lab.events(topic="hers/alone")) == 0
            assert len(lab.events(thing=thing.name)) == 0

    def test_admin_endpoints(self, anna: Lab, file: Path) -> None:
        """Check which endpoints the owner can call, and which the join key can."""
        for endpoint in ("participants", "join"):
            with pytest.raises(AdminRequestRefused, match="no admin endpoint"):
                anna.admin(endpoint, {"name": "x", "secret": "x" * 30})
        told = json.loads(file.read_text())
        key = AccountIdentity("", "us-east-1", told["access_key"], told["secret_key"])
        for endpoint in ("events", "why", "metrics", "participants", "reset"):
            with pytest.raises(AdminRequestRefused, match="no admin endpoint"):
                call_admin(url_of(anna), anna.ca_file, key, endpoint, {})
        for service, operation in (
            ("iot", "list_things"),
            ("sts", "get_caller_identity"),
            ("iot-data", "list_retained_messages"),
        ):
            client = anna.session.client(
                service,
                aws_access_key_id=key.access_key,
                aws_secret_access_key=key.secret_key,
                config=FAST,
            )
            with pytest.raises(ClientError) as refused:
                getattr(client, operation)()
            assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        with pytest.raises(RequestRefused):
            Device(
                None,
                AccountCredentials(key.access_key, key.secret_key, anna.region, anna.ca_file),
                endpoint=anna.endpoint,
                port=anna.https_port,
                client_id="who has the join key",
            )

    def test_reset_empties_only_the_callers_account(self, anna: Lab, ben: Lab) -> None:
        hers, his = make_thing(anna), make_thing(ben)
        key = key_of(anna)
        with ben.connect(his.name) as device:
            inbox = device.subscribe("on")
            anna.reset()
            device.publish("on", "and on")
            inbox.wait_for(1)
        assert key_of(open_lab(home=anna.home)) == key
        assert anna.client("iot").list_things()["things"] == []
        with pytest.raises(FileNotFoundError):
            anna.connect(hers.name)
        assert len(ben.client("iot").list_things()["things"]) == 1
        again = make_thing(anna)
        with anna.connect(again.name) as device:
            device.publish("as", "new")


# --- joining --------------------------------------------------------------------------------------


def test_which_account_logs_an_unknown_certificate(tmp_path: Path) -> None:
    with workshop_cloud(tmp_path / "instructor") as file:
        lab = lab_of(tmp_path / "anna", file, "Anna")
        thing = make_thing(lab)
        lab.client("iot").update_certificate(
            certificateId=thing.certificate_id, newStatus="INACTIVE"
        )
        for gone in ("policy", "thing_principal"):
            call = getattr(lab.client("iot"), f"detach_{gone}")
            if gone == "policy":
                call(policyName=thing.policy, target=thing.certificate_arn)
            else:
                call(thingName=thing.name, principal=thing.certificate_arn)
        lab.client("iot").delete_certificate(certificateId=thing.certificate_id)
        # Only Anna has signed requests from this address so far.
        with pytest.raises(RequestRefused):
            lab.connect(thing.name)
        assert "is not in this account's registry" in lab.why(thing.name).summary
        # The instructor uses the same address: now it could be either of them.
        owner = open_lab(home=tmp_path / "instructor")
        assert owner.why(thing.name).entry is None
        with pytest.raises(RequestRefused):
            lab.connect(thing.name, client_id="again")
        assert lab.why("again").entry is None
        assert "is not in this account's registry" in owner.why("again").summary


class TestJoining:
    def test_joining_again_from_the_same_home(self, tmp_path: Path, file: Path) -> None:
        lab = lab_of(tmp_path / "home", file, "Cleo")
        thing = make_thing(lab)
        again = lab_of(tmp_path / "home", file, "Cleo")
        assert again.account == lab.account
        with again.connect(thing.name) as device:
            device.publish("still", "here")

    @pytest.mark.parametrize("name", ["Dora", "DORA"])
    def test_a_taken_name(self, tmp_path: Path, file: Path, name: str) -> None:
        taken = f"Dora of {tmp_path.name}"
        join(tmp_path / "first", file, taken)
        with pytest.raises(CloudError, match=f"The name '{taken}' is taken in this workshop"):
            join(tmp_path / "second", file, taken.replace("Dora", name))
        assert not workshop_folder(tmp_path / "second").joinpath("cloud", "joined.json").exists()

    @pytest.mark.parametrize("name", ["", " ", "x" * (MAX_NAME + 1), "a\nb", " Eve", "\x1b[2J"])
    def test_an_invalid_name(self, tmp_path: Path, file: Path, name: str) -> None:
        with pytest.raises(CloudError, match=r"You have not joined the workshop\. A name has 1 to"):
            join(tmp_path, file, name)

    @pytest.mark.parametrize(
        "question",
        [{}, {"name": "F"}, {"name": "F", "secret": "short"}, {"name": 1, "secret": "x" * 30}],
    )
    def test_an_invalid_request(self, tmp_path: Path, file: Path, question: dict[str, Any]) -> None:
        told = json.loads(file.read_text())
        ca = tmp_path / "ca.pem"
        ca.write_text(told["ca"])
        key = AccountIdentity("", "us-east-1", told["access_key"], told["secret_key"])
        with pytest.raises(AdminRequestRefused) as refused:
            call_admin(f"https://{told['host']}:{told['https_port']}", ca, key, "join", question)
        assert refused.value.code == "InvalidRequestException"

    def test_joining_under_another_name_requires_leaving(self, tmp_path: Path, file: Path) -> None:
        base = tmp_path / "home"
        first = lab_of(base, file, "Gil")
        thing = make_thing(first)
        with pytest.raises(CloudError, match="You have already joined as Gil"):
            join(base, file, "Gila")
        assert leave(base) == "Gil"
        second = lab_of(base, file, "Gila")
        assert second.account != first.account
        # The keys of the other account are kept, separate from those of this one.
        assert second.keys.things() == []
        old = base / f"workshop.was-{first.account}"
        assert KeyFiles(old / "keys", first.ca_file).things() == [thing.name]

    def test_leaving_and_returning(
        self, tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        base = tmp_path / "home"
        monkeypatch.setenv("CREEKLAB_HOME", str(base))
        try:
            own = open_lab()
            make_thing(own)
            join(base, file, "Hal")
            there = open_lab()
            assert (there.endpoint, there.account) != (own.endpoint, own.account)
            assert there.keys.things() == []
            assert leave(base) == "Hal"
            assert leave(base) is None
            back = open_lab()
            assert (back.endpoint, back.account) == (own.endpoint, own.account)
            assert back.keys.things() == own.keys.things()
            join(base, file, "Hal")
            assert open_lab().account == there.account
        finally:
            supervisor.stop(base)

    def test_files_of_a_workshop_are_private(self, tmp_path: Path, instructor: Path) -> None:
        join(tmp_path, instructor / "cloud" / JOIN_FILE, "Ida")
        for folder in (instructor, tmp_path / "workshop"):
            for path in folder.rglob("*"):
                mode = stat.S_IMODE(path.stat().st_mode)
                assert mode & 0o077 == 0, (path, oct(mode))
        told = [path.read_text() for path in (instructor / "cloud" / "accounts").rglob("*.json")]
        secret = supervisor.workshop_membership(workshop_folder(tmp_path))
        assert secret is not None
        assert not any(secret.secret in text for text in told)

    @pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"host": 1}', "\xff"])
    def test_an_invalid_join_file(self, tmp_path: Path, content: str | None) -> None:
        file = tmp_path / "file.json"
        if content is not None:
            file.write_bytes(content.encode("latin-1"))
        with pytest.raises(CloudError, match=r"Cannot read the file|is not a join file"):
            join(tmp_path / "home", file, "Jo")

    def test_a_home_in_a_git_work_tree(self, tmp_path: Path, file: Path) -> None:
        (tmp_path / ".git").mkdir()
        with pytest.raises(ValueError, match="git work tree"):
            join(tmp_path, file, "Kim")

    def test_an_outdated_join_file(self, tmp_path: Path, file: Path) -> None:
        told = json.loads(file.read_text())
        told["secret_key"] = "x" * 40
        wrong = tmp_path / "wrong.json"
        wrong.write_text(json.dumps(told))
        with pytest.raises(CloudError, match="rejected the join key"):
            join(tmp_path / "home", wrong, "Lu")
        told["access_key"] = "AKIA" + "X" * 16
        wrong.write_text(json.dumps(told))
        with pytest.raises(CloudError, match="rejected the join key"):
            join(tmp_path / "home", wrong, "Lu")

    def test_another_cloud_at_the_same_address(
        self, tmp_path: Path, file: Path, session_lab: Lab
    ) -> None:
        told = json.loads(file.read_text())
        told["ca"] = session_lab.ca_file.read_text()
        wrong = tmp_path / "wrong.json"
        wrong.write_text(json.dumps(told))
        with pytest.raises(CloudError, match="has a different certificate"):
            join(tmp_path / "home", wrong, "Mo")

    def test_an_unreachable_cloud(self, tmp_path: Path, file: Path) -> None:
        told = json.loads(file.read_text())
        with socket.create_server((HOST, 0)) as holder:
            told["https_port"] = holder.getsockname()[1]
        wrong = tmp_path / "wrong.json"
        wrong.write_text(json.dumps(told))
        with pytest.raises(CloudError, match="cannot be reached"):
            join(tmp_path / "home", wrong, "Nic")


# --- restarts of the cloud ------------------------------------------------------------------------


def test_it_stops_and_starts_again(tmp_path: Path) -> None:
    home, base = tmp_path / "instructor", tmp_path / "home"
    with workshop_cloud(home) as file:
        old = file.read_text()
        lab = lab_of(base, file, "Oda")
        thing = make_thing(lab)
        lab.client("iot-data").publish(topic="kept", retain=True, payload=b"x")
    with pytest.raises(CloudError, match=rf"{HOST}:[0-9]+ cannot be reached"):
        open_lab(home=lab.home)
    with pytest.raises(CloudError, match="Open the lab again"):
        lab.why()
    assert supervisor.status(lab.home) is None
    # Started without a host name, only this machine can connect, and no one can join.
    supervisor.start_or_attach(home)
    try:
        with pytest.raises(CloudError, match="cannot be reached"):
            open_lab(home=lab.home)
    finally:
        supervisor.stop(home)
    file.unlink()
    supervisor.start_or_attach(home, host=HOST)
    try:
        with open_lab(home=lab.home).connect(thing.name) as device:
            inbox = device.subscribe("kept")
            assert inbox.wait_for(1)[0].retain
        # The old join key was deleted with its file; participants stay.
        (tmp_path / "old.json").write_text(old)
        with pytest.raises(CloudError, match="rejected the join key"):
            join(tmp_path / "late", tmp_path / "old.json", "Pia")
        assert lab_of(base, file, "Oda").account == lab.account
        # The owner's reset empties only the owner's account.
        supervisor.reset(home)
        running = supervisor.status(home)
        assert running is not None
        assert running.host == HOST
        assert len(lab.client("iot").list_things()["things"]) == 1
    finally:
        supervisor.stop(home)


def test_participants_survive_a_kill(tmp_path: Path) -> None:
    home = tmp_path / "instructor"
    with workshop_cloud(home) as file:
        lab = lab_of(tmp_path / "home", file, "Sam")
        thing = make_thing(lab)
        running = supervisor.status(home)
        assert running is not None
        os.kill(running.pid, signal.SIGKILL)
        psutil.Process(running.pid).wait(SECONDS)
        supervisor.start_or_attach(home, host=HOST)
        with open_lab(home=lab.home).connect(thing.name) as device:
            device.publish("still", "here")


def test_the_number_of_participants_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workshop, "MAX_PARTICIPANTS", 2)
    app = LocalCloud(tmp_path, Settings(), host="127.0.0.1")
    app._workshop.open(1, 2, "")
    told = json.loads((tmp_path / JOIN_FILE).read_text())
    join_endpoint = app.accounts.by_access_key(told["access_key"]).admin_endpoint("join", "::1")
    assert join_endpoint is not None
    numbers = {join_endpoint({"name": name, "secret": name * 30})["account"] for name in "aba"}
    assert len(numbers) == 2
    with pytest.raises(ServiceError, match="This workshop is full"):
        join_endpoint({"name": "c", "secret": "c" * 30})
    for account in app.accounts:
        account.close()


def test_joins_per_minute_and_address_are_limited(tmp_path: Path) -> None:
    now = 1_800_000_000.0  # the first second of a minute
    small = Instructor(tmp_path, Settings(joins_per_minute=3), lambda: now)
    try:
        for name in "abc":
            small.join(name)
        for _ in range(2):
            with pytest.raises(
                ServiceError, match=r"At most 3 people .*\(127\.0\.0\.1\)"
            ) as caught:
                small.join("d")
            assert caught.value.code == "ThrottlingException"
        small.join("e", "192.0.2.7")
        now += 59
        with pytest.raises(ServiceError, match="joins_per_minute"):
            small.join("d")
        now += 1
        small.join("d")
        assert set(small.things()) == set("abcde")
    finally:
        small.close()
    unlimited = Instructor(tmp_path, Settings(joins_per_minute=0), lambda: now)
    try:
        for _ in range(70):
            unlimited.join("a")
    finally:
        unlimited.close()


def test_a_participant_is_removed(small: Instructor) -> None:
    key, other = small.join("Anna"), small.join("Ben")
    folder = small.file("Anna", "")
    remove = small.accounts.owner.admin_endpoints["remove_participant"]
    with pytest.raises(ServiceError, match="No participant is named 'Carl'"):
        remove({"name": "Carl"})
    assert remove({"name": "ANNA"}) == {"name": "Anna", "account": key["account"]}
    assert not folder.exists()
    assert set(small.things()) == {"Ben"}
    assert key["access_key"] not in small.accounts.secrets
    assert small.join("Ben") == other
    assert small.join("Anna")["account"] != key["account"]  # the name is free again


def test_an_account_that_cannot_be_deleted_is_named(
    small: Instructor, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small.file("Anna", "")

    def fail(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(workshop.shutil, "rmtree", fail)
        with pytest.raises(
            ServiceError, match=r"cannot be deleted \(Permission denied\)"
        ) as caught:
            small.accounts.owner.admin_endpoints["remove_participant"]({"name": "Anna"})
    assert str(folder) in str(caught.value)
    assert small.things() == {}


@pytest.mark.parametrize(
    "change",
    [
        {"account": "../../../etc"},
        {"account": "12345678901"},
        {"account": 123456789012},
        {"region": "us-east-1/.."},
        {"secret_key": ["x"]},
        {"access_key": ""},
        {"more": "x"},
    ],
)
def test_an_account_from_the_cloud_is_checked(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    account = {
        "account": "123456789012",
        "region": "us-east-1",
        "access_key": "AKIA" + "A" * 16,
        "secret_key": "s" * 40,
    }
    monkeypatch.setattr(workshop_client, "call_admin", lambda *_: {**account, **change})
    with pytest.raises(CloudError, match="sent an invalid account"):
        join(tmp_path, file, "Eve")
    assert not supervisor.membership_file(workshop_folder(tmp_path)).exists()
    assert [path.name for path in tmp_path.iterdir()] == ["workshop"]


# --- a broken account does not affect the others --------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="It has no such limit.")
def test_a_low_limit_of_open_files(tmp_path: Path) -> None:
    """Participants are served, one too many is rejected, and the cloud stops cleanly."""
    home = tmp_path / "instructor"
    home.mkdir(mode=0o700)
    command = [sys.executable, "-m", "creeklab.cloud", "--home", str(home), "--host", HOST]
    command += ["--mqtt-port", "0", "--https-port", "0"]
    log, crashes = home / "cloud" / "cloud.log", tmp_path / "stderr"
    limited = ["/bin/sh", "-c", 'ulimit -n 110 && exec "$@"', "sh", *command]
    with crashes.open("wb") as errors, ExitStack() as stack:
        cloud = stack.enter_context(
            subprocess.Popen(limited, stdout=subprocess.PIPE, stderr=errors, cwd=REPOSITORY_ROOT)
        )
        stack.callback(cloud.kill)
        assert cloud.stdout is not None
        cloud.stdout.readline()
        file = home / "cloud" / JOIN_FILE
        labs = [lab_of(tmp_path / name, file, name) for name in "abc"]
        with pytest.raises(CloudError, match="This workshop is full: it has 3 participants"):
            join(tmp_path / "d", file, "d")
        assert "Start the cloud after 'ulimit -n 4096' to make room for 100" in log.read_text()

        thing = make_thing(labs[0])
        device = stack.enter_context(labs[0].connect(thing.name))
        idle: list[socket.socket] = []
        while "New connections fail" not in log.read_text():
            assert len(idle) < 500
            idle.append(stack.enter_context(socket.socket()))
            idle[-1].settimeout(SECONDS)
            with suppress(OSError):
                idle[-1].connect((HOST, labs[0].mqtt_port))
            time.sleep(0.02)
        inbox = device.subscribe("still/here")
        device.publish("still/here", "yes")
        inbox.wait_for(1)
        cloud.terminate()
        assert cloud.wait(SECONDS) == 0
        assert "Traceback" not in log.read_text()
        assert crashes.read_text() == ""


DEFAULTS = Settings()


class Instructor:
    """A cloud without ports, and requests to join it."""

    def __init__(
        self, folder: Path, settings: Settings = DEFAULTS, clock: Callable[[], float] = time.time
    ) -> None:
        self.folder = folder
        self.app = LocalCloud(folder, settings, clock=clock, host="127.0.0.1")
        self.app._workshop.open(1, 2, "")
        self.accounts = self.app.accounts

    def join(self, name: str, address: str = "127.0.0.1") -> dict[str, Any]:
        told = json.loads((self.folder / JOIN_FILE).read_text())
        endpoint = self.accounts.by_access_key(told["access_key"]).admin_endpoint("join", address)
        assert endpoint is not None
        return endpoint({"name": name, "secret": name * 30})

    def account(self, name: str) -> Any:
        return self.accounts.by_id(self.join(name)["account"])

    def file(self, name: str, file: str) -> Path:
        return self.folder / "accounts" / self.join(name)["account"] / file

    def things(self) -> dict[str, int | None]:
        told = self.accounts.owner.admin_endpoints["participants"]({})["participants"]
        return {row["name"]: row["things"] for row in told}

    def close(self) -> None:
        for account in self.accounts:
            account.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Instructor]:
    instructor = Instructor(tmp_path)
    yield instructor
    instructor.close()


@contextmanager
def full_disk() -> Iterator[None]:
    def no_store(*_: object) -> None:
        raise DatabaseError("The disk is full.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(account_services, "Database", no_store)
        yield


def asks_everybody(instructor: Instructor) -> None:
    """Make calls that ask every account."""
    assert instructor.accounts.by_certificate("ab" * 32, "127.0.0.1") is instructor.accounts.owner
    for account in instructor.accounts:
        assert not account.registry.certificates.elsewhere("ab" * 32)


def test_a_reset_that_fails(small: Instructor, caplog: pytest.LogCaptureFixture) -> None:
    key = small.join("a")
    small.join("b")
    with full_disk():
        with pytest.raises(ServiceError, match="join again when that is fixed"):
            small.account("a").admin_endpoints["reset"]({})
        assert "The disk is full." in caplog.text
        asks_everybody(small)
        assert small.things() == {"a": None, "b": 0}
        assert key["access_key"] not in small.accounts.secrets
        with pytest.raises(ServiceError, match="join again when that is fixed"):
            small.join("a")
    assert small.join("a") == key
    assert small.things() == {"a": 0, "b": 0}
    assert small.account("a").admin_endpoints["reset"]({}) == {}


def test_a_database_that_cannot_be_read(small: Instructor) -> None:
    for name in "ab":
        small.join(name)
    small.account("a").database.close()
    asks_everybody(small)
    assert small.things() == {"a": None, "b": 0}


def test_a_join_that_fails_leaves_nothing(
    small: Instructor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full_disk(), pytest.raises(ServiceError, match="join again when that is fixed"):
        small.join("a")
    with monkeypatch.context() as patch:
        patch.setattr(workshop, "write_private", Mock(side_effect=OSError(28, "No space left")))
        with pytest.raises(ServiceError, match="join again when that is fixed"):
            small.join("a")
    assert (list((small.folder / "accounts").iterdir()), small.things()) == ([], {})
    assert len(list(small.accounts)) == 1
    key = small.join("a")
    small.close()
    again = Instructor(small.folder)
    assert again.join("a") == key
    again.close()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("participant.json", "{"),
        ("participant.json", "[]"),
        ("participant.json", '{"name": 1, "account": "1", "secret": "", "joined": 0}'),
        ("account.json", "{"),
        ("cloud.db", "This is no database. " * 100),
    ],
)
def test_a_damaged_account_is_skipped(
    small: Instructor, caplog: pytest.LogCaptureFixture, file: str, text: str
) -> None:
    keys = {name: small.join(name) for name in "ab"}
    damaged = small.file("a", file)
    small.close()
    damaged.write_text(text)
    again = Instructor(small.folder)
    assert "was skipped" in caplog.text
    assert str(damaged.parent) in caplog.text
    assert again.join("b") == keys["b"]
    asks_everybody(again)
    if file != "participant.json":
        # The name stays taken, and after the repair it is the same account.
        with pytest.raises(ServiceError, match="join again when that is fixed"):
            again.join("a")
        damaged.unlink()
        assert again.join("a")["account"] == keys["a"]["account"]
    again.close()


@pytest.mark.parametrize("version", [4, 5])
def test_a_connection_to_an_account_that_was_just_reset(small: Instructor, version: int) -> None:
    small.join("a")
    account = small.account("a")
    heard = bytearray()
    closed: list[bool] = []
    peer = Peer(None, "127.0.0.1", user="user")
    late = Connection(account.broker, peer, heard.extend, lambda: closed.append(True))
    account.admin_endpoints["reset"]({})
    late.receive(packets.encode(connect("late", version), version))
    # MQTT 3.1.1 connections are closed without a packet, as on every denial.
    answer = [packets.Connack(False, 0x88, {})] if version == 5 else []
    assert list(Decoder(version=version).feed(bytes(heard))) == answer
    assert closed
    assert account.broker.connections == {}


def test_a_lost_access_key_is_replaced_in_the_same_account(small: Instructor) -> None:
    key = small.join("a")
    lost = small.file("a", "account.json")
    small.close()
    lost.unlink()
    again = Instructor(small.folder)
    new = again.join("a")
    assert (new["account"], new["access_key"] == key["access_key"]) == (key["account"], False)
    assert again.accounts.owner.identity.account == ACCOUNT_ID
    again.close()


def test_an_access_key_of_another_account_is_rejected(small: Instructor) -> None:
    small.join("a")
    file = small.file("a", "account.json")
    small.close()
    file.write_text((small.folder / "account.json").read_text())
    again = Instructor(small.folder)
    assert again.accounts.owner.identity.account == ACCOUNT_ID
    assert again.things() == {"a": None}
    again.close()


def test_why_explains_a_device_from_before_the_reset(tmp_path: Path) -> None:
    with workshop_cloud(tmp_path / "instructor") as file:
        lab = lab_of(tmp_path / "anna", file, "Anna")
        thing = make_thing(lab)
        files = {
            path: path.read_bytes() for path in (thing.files.certificate, thing.files.private_key)
        }
        lab.reset()
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o600)
        with pytest.raises(RequestRefused):
            lab.connect(thing.name)
        assert "not in this account's registry" in lab.why().summary
        log = (tmp_path / "instructor" / "cloud" / "cloud.log").read_text()
        assert "Traceback" not in log


def test_without_a_host_name_only_this_machine_can_connect(home: Path) -> None:
    running = supervisor.start_or_attach(home, mqtt_port=0, https_port=0)
    assert running.host == ""
    assert not (home / "cloud" / JOIN_FILE).exists()
    for port in (running.mqtt_port, running.https_port):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, port), timeout=5)
    assert open_lab(home=home).admin("participants", {}) == {"participants": []}


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("no-such-host.invalid", "The host name 'no-such-host.invalid' is unknown"),
        ("192.0.2.1", r"No address of '192.0.2.1' belongs to this machine \(192.0.2.1\)"),
        ("a b", "The host name 'a b' is unknown"),
        ("0.0.0.0", "'0.0.0.0' stands for all addresses of a machine"),
        ("::", "'::' stands for all addresses of a machine"),
    ],
)
def test_a_host_name_without_an_own_address(home: Path, host: str, why: str) -> None:
    with pytest.raises(CloudError, match=why):
        supervisor.start_or_attach(home, host=host)


def test_a_host_name_that_is_loopback_here_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian and Ubuntu map the machine's own name to a loopback address."""
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, 1, 6, "", ("127.0.1.1", 0))]
    )
    with pytest.raises(ValueError, match=r"'instructor' has the address 127\.0\.1\.1, "):
        LocalCloud(tmp_path, Settings(), host="instructor")


def test_a_host_name_with_several_addresses(home: Path, tmp_path: Path) -> None:
    with workshop_cloud(home, "localhost") as file:
        lab = lab_of(tmp_path / "home", file, "Quin")
        assert lab.endpoint == "localhost"
        assert lab.client("iot").describe_endpoint()["endpointAddress"] == "localhost"
        with lab.connect_account() as account:
            account.publish("a", "b")


# --- on the command line --------------------------------------------------------------------------


class Shell:
    """The commands, in one home folder."""

    def __init__(
        self, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._base, self._monkeypatch, self._capsys = base, monkeypatch, capsys

    def __call__(self, line: str) -> tuple[int, str]:
        self._monkeypatch.setenv("CREEKLAB_HOME", str(self._base))
        options = main.parse(["cloud", *line.split()])
        try:
            code = main._run_command(options)
        except main.CommandError as error:
            return 1, self._capsys.readouterr().out + str(error)
        return code, self._capsys.readouterr().out


def test_a_workshop_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    instructor = Shell(tmp_path / "instructor", monkeypatch, capsys)
    anna = Shell(tmp_path / "anna", monkeypatch, capsys)
    file = tmp_path / "instructor" / "cloud" / JOIN_FILE
    try:
        code, said = instructor(f"start --host {HOST}")
        assert (code, str(file) in said, "creeklab cloud join FILE" in said) == (0, True, True)
        assert "No participants yet." in instructor("status")[1]
        code, said = instructor("start --host other.local")
        assert (code, "they apply only when the cloud" in said) == (1, True)

        code, said = anna(f"join {file} --name Anna")
        assert (code, "You have joined as Anna" in said) == (0, True)
        code, said = anna("status")
        running = supervisor.status(tmp_path / "instructor")
        assert running is not None
        assert (code, f"MQTT on {HOST}:{running.mqtt_port}" in said) == (0, True)
        trusted = supervisor.ca_path(tmp_path / "anna" / "workshop")
        assert trusted.exists()
        assert f"CA certificate: {trusted}\n" in said
        row = instructor("status")[1].splitlines()[-1].split()
        assert (row[0], row[2:]) == ("Anna", ["0", "0"])
        code, said = anna("start")
        assert (code, "No cloud was started" in said) == (1, True)
        code, said = anna("stop")
        assert (code, f"Its cloud runs on {HOST} and can only be stopped there" in said) == (
            1,
            True,
        )
        assert supervisor.status(tmp_path / "instructor") is not None
        assert anna("reset --yes")[0] == 0
        code, said = anna("participants")
        assert (code, "Only its instructor can use this command" in said) == (1, True)

        assert instructor("participants") == (0, instructor("status")[1].split("\n\n")[-1])
        code, said = instructor("remove Ben --yes")
        assert (code, "No participant is named 'Ben'" in said) == (1, True)
        monkeypatch.setattr("builtins.input", lambda _: "no")
        code, said = instructor("remove Anna")
        assert (code, "Nothing was changed." in said) == (1, True)
        assert "Anna" in instructor("participants")[1]
        assert instructor("remove Anna --yes")[0] == 0
        assert instructor("participants") == (0, "No participants yet.\n")
        with pytest.raises(ClientError, match="UnrecognizedClientException"):
            open_lab(home=tmp_path / "anna" / "workshop").client("iot").list_things()
        assert anna("leave")[0] == 0
        assert anna(f"join {file} --name Anna")[0] == 0

        assert instructor("stop")[0] == 0
        code, said = anna("status")
        assert (code, "cannot be reached" in said) == (3, True)
        assert anna("start")[0] == 1
        assert anna("reset --yes")[0] == 1
        assert anna("leave") == (
            0,
            "You have left the workshop. Your account there is kept: join again to use it.\n",
        )
        assert anna("leave") == (0, "You have not joined a workshop.\n")
        assert anna("status")[0] == 3
    finally:
        supervisor.stop(tmp_path / "instructor")


def test_a_damaged_file_of_a_participant(tmp_path: Path, file: Path) -> None:
    join(tmp_path, file, "Rob")
    supervisor.membership_file(workshop_folder(tmp_path)).write_text("{")
    with pytest.raises(CloudError, match="creeklab cloud leave"):
        open_lab(home=workshop_folder(tmp_path))
    assert leave(tmp_path) == ""
    assert leave(tmp_path) is None


def test_no_repr_contains_a_secret() -> None:
    assert "hush" not in repr(WorkshopMembership("h", 1, 2, "n", "hush"))
    assert "hush" not in repr(AccountIdentity("1", "r", "AKIA", "hush"))
    assert RunningCloud(0, "h", 1, 2).host == ""
