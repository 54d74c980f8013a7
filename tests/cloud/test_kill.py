"""``kill -9`` at fifty moments of a journey: what the cloud has answered is there afterwards.

One journey goes through all rounds in one home folder. It makes, changes and deletes, one step
after the other, and keeps its own account of what it was told. In each round the cloud is killed
during one of the steps and started again, and the whole account is read: it must be exactly what
the journey was told, but that the step under way may have been done, wholly, or not at all.

And what no kill may leave behind, nor anything else: a secret in a file where it does not belong.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import os
import random
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from botocore.config import Config
from botocore.exceptions import ConnectionError as NoConnection
from botocore.exceptions import HTTPClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from creeklab import Lab, open_lab
from creeklab.client.device import Device, RequestRefused
from creeklab.cloud import supervisor
from creeklab.cloud.account import load_account
from creeklab.cloud.supervisor import CloudError
from tests.conftest import NewThing, make_thing
from tests.hardening import kill

ROUNDS = 50
SEED = 20180831
LONGEST = 0.15  # seconds from the first step of a round to the kill: some fifty steps
MOST = 4  # of a kind, so that reading the account takes no longer from round to round
SHADOWS = ("", "alarm", "limits")
LAST_WORDS = "creek/last-words"

State = dict[str, Any]
Answer = Mapping[str, Any]
Change = Callable[[State, Answer], None]

# What is known before an answer, or without one: whatever the cloud says will be right.
UNKNOWN: Answer = defaultdict(lambda: ANY)


class Killed(Exception):
    """The cloud was killed before it answered."""


class Journey:
    """Steps through an account, and what it has been told so far.

    Attributes
    ----------
    state
        What all answers amount to, in the form of `read`.
    maybe
        The same if the step under way has been done too; None between two steps.
    device
        A connection of `own`, a Thing that the steps leave alone.
    """

    def __init__(self, lab: Lab, own: NewThing, seed: int) -> None:
        # Repeating a call on its own account is what a client does, and would hide a loss.
        once = Config(retries={"total_max_attempts": 1})
        self.iot = lab.session.client("iot", config=once)
        self.data = lab.session.client("iot-data", config=once)
        self.own = own
        self.random = random.Random(seed)
        self.killed = threading.Event()
        self.device: Device
        self.state: State = {}
        self.maybe: State | None = None
        # The highest number of a policy's or a shadow's versions so far: deleted ones don't return.
        self.highest: dict[str, int] = defaultdict(int)
        self._made = 0
        self._steps = [step for name, step in vars(Journey).items() if name.startswith("step_")]

    def step(self) -> None:
        """Take a step at random, one that can be taken.

        Raises
        ------
        Killed
            If it was not answered because the cloud was killed.
        """
        while not self.random.choice(self._steps)(self):
            pass

    def do(self, call: Callable[[], Answer | None], change: Change) -> bool:
        """Call, and once that is answered make the change that it means."""
        self.maybe = copy.deepcopy(self.state)
        change(self.maybe, UNKNOWN)
        try:
            answer = call()
        except (HTTPClientError, NoConnection, RequestRefused, TimeoutError, RuntimeError):
            if not self.killed.wait(10):
                raise
            raise Killed from None
        change(self.state, UNKNOWN if answer is None else answer)
        self._take_note()
        return True

    def settle(self, found: State) -> None:
        """Go on from what the account was found to be."""
        self.state = found
        self._take_note()

    def _take_note(self) -> None:
        self.maybe = None
        for name, policy in self.state["policies"].items():
            self.highest[name] = max(self.highest[name], *map(int, policy["versions"]))
        for name, shadow in self.state["shadows"].items():
            self.highest[name] = max(self.highest[name], shadow["version"])

    def name(self, kind: str) -> str | None:
        """Return a name for a new one, None if there are enough."""
        if len(self.state[kind]) > MOST:
            return None
        self._made += 1
        return f"new-{self._made}"

    def pick(self, kind: str, condition: Callable[[Any], bool] = lambda _: True) -> str | None:
        """Pick one of those that steps have made, None if no one meets the condition."""
        found = [name for name, each in self.state[kind].items() if condition(each)]
        found = [name for name in found if name.startswith("new-")]
        return self.random.choice(found) if found else None

    def number(self) -> int:
        return self.random.randrange(1_000_000)

    def document(self) -> str:
        resource = f"{self.own.arn}:client/{self.number()}"
        statement = {"Effect": "Allow", "Action": "iot:Connect", "Resource": resource}
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

    # --- Things -----------------------------------------------------------------------------------

    def step_create_thing(self) -> bool:
        name, attributes = self.name("things"), {"site": str(self.number())}

        def change(state: State, answer: Answer) -> None:
            thing = {"version": 1, "attributes": attributes, "certificates": []}
            state["things"][name] = {"id": answer["thingId"], **thing}

        return name is not None and self.do(
            lambda: self.iot.create_thing(
                thingName=name, attributePayload={"attributes": attributes}
            ),
            change,
        )

    def step_update_thing(self) -> bool:
        name, attributes = self.pick("things"), {"site": str(self.number())}

        def change(state: State, _: Answer) -> None:
            state["things"][name]["attributes"] = attributes
            state["things"][name]["version"] += 1

        return name is not None and self.do(
            lambda: self.iot.update_thing(
                thingName=name, attributePayload={"attributes": attributes}
            ),
            change,
        )

    def step_delete_thing(self) -> bool:
        name = self.pick("things", lambda thing: not thing["certificates"])
        return name is not None and self.do(
            lambda: self.iot.delete_thing(thingName=name),
            lambda state, _: state["things"].pop(name),
        )

    def step_attach_or_detach_thing(self) -> bool:
        thing, certificate = self.pick("things"), self.pick("certificates")
        if thing is None or certificate is None:
            return False
        attached = certificate in self.state["things"][thing]["certificates"]
        call = self.iot.detach_thing_principal if attached else self.iot.attach_thing_principal
        arn = self.state["certificates"][certificate]["arn"]

        def change(state: State, _: Answer) -> None:
            toggle(state["things"][thing]["certificates"], certificate)

        return self.do(lambda: call(thingName=thing, principal=arn), change)

    # --- certificates -----------------------------------------------------------------------------

    def step_create_certificate(self) -> bool:
        name, active = self.name("certificates"), self.random.random() < 0.5
        if name is None:
            return False
        request = signing_request(name)

        def change(state: State, answer: Answer) -> None:
            certificate = {"arn": answer["certificateArn"], "pem": answer["certificatePem"]}
            status = "ACTIVE" if active else "INACTIVE"
            state["certificates"][name] = {**certificate, "status": status, "policies": []}

        return self.do(
            lambda: self.iot.create_certificate_from_csr(
                certificateSigningRequest=request, setAsActive=active
            ),
            change,
        )

    def step_change_certificate(self) -> bool:
        name, status = self.pick("certificates"), self.random.choice(["ACTIVE", "INACTIVE"])
        return name is not None and self.do(
            lambda: self.iot.update_certificate(certificateId=self.id_of(name), newStatus=status),
            lambda state, _: state["certificates"][name].update(status=status),
        )

    def step_delete_certificate(self) -> bool:
        things = self.state["things"].values()
        attached = {name for thing in things for name in thing["certificates"]}
        name = self.pick("certificates", lambda each: each["status"] == "INACTIVE")
        return (name is not None and name not in attached) and self.do(
            lambda: self.iot.delete_certificate(certificateId=self.id_of(name), forceDelete=True),
            lambda state, _: state["certificates"].pop(name),
        )

    def id_of(self, certificate: str) -> str:
        return str(self.state["certificates"][certificate]["arn"]).partition("/")[2]

    # --- policies ---------------------------------------------------------------------------------

    def step_create_policy(self) -> bool:
        name, document = self.name("policies"), self.document()

        def change(state: State, _: Answer) -> None:
            state["policies"][name] = {"default": "1", "versions": {"1": document}}

        return name is not None and self.do(
            lambda: self.iot.create_policy(policyName=name, policyDocument=document), change
        )

    def step_attach_or_detach_policy(self) -> bool:
        policy, certificate = self.pick("policies"), self.pick("certificates")
        if policy is None or certificate is None:
            return False
        attached = policy in self.state["certificates"][certificate]["policies"]
        call = self.iot.detach_policy if attached else self.iot.attach_policy
        arn = self.state["certificates"][certificate]["arn"]

        def change(state: State, _: Answer) -> None:
            toggle(state["certificates"][certificate]["policies"], policy)

        return self.do(lambda: call(policyName=policy, target=arn), change)

    def step_create_policy_version(self) -> bool:
        name = self.pick("policies", lambda policy: len(policy["versions"]) < 5)
        document, default = self.document(), self.random.random() < 0.5
        if name is None:
            return False
        number = str(self.highest[name] + 1)

        def change(state: State, answer: Answer) -> None:
            assert answer["policyVersionId"] == number
            state["policies"][name]["versions"][number] = document
            if default:
                state["policies"][name]["default"] = number

        return self.do(
            lambda: self.iot.create_policy_version(
                policyName=name, policyDocument=document, setAsDefault=default
            ),
            change,
        )

    def step_set_default_policy_version(self) -> bool:
        name = self.pick("policies")
        if name is None:
            return False
        number = self.random.choice(list(self.state["policies"][name]["versions"]))
        return self.do(
            lambda: self.iot.set_default_policy_version(policyName=name, policyVersionId=number),
            lambda state, _: state["policies"][name].update(default=number),
        )

    def step_delete_policy_version(self) -> bool:
        name = self.pick("policies", lambda policy: len(policy["versions"]) > 1)
        if name is None:
            return False
        policy = self.state["policies"][name]
        number = self.random.choice(
            [each for each in policy["versions"] if each != policy["default"]]
        )
        return self.do(
            lambda: self.iot.delete_policy_version(policyName=name, policyVersionId=number),
            lambda state, _: state["policies"][name]["versions"].pop(number),
        )

    def step_delete_policy(self) -> bool:
        certificates = self.state["certificates"].values()
        attached = {name for certificate in certificates for name in certificate["policies"]}
        name = self.pick("policies", lambda policy: len(policy["versions"]) == 1)
        return (name is not None and name not in attached) and self.do(
            lambda: self.iot.delete_policy(policyName=name),
            lambda state, _: state["policies"].pop(name),
        )

    # --- shadows, and a retained message ----------------------------------------------------------

    def step_update_shadow_by_http(self) -> bool:
        return self._update_shadow(self._by_http)

    def step_update_shadow_by_mqtt(self) -> bool:
        return self._update_shadow(
            lambda name, reported: self.device.shadow.update(reported=reported, name=name or None)
        )

    def step_update_shadow_by_publish(self) -> bool:
        """What is acknowledged here is the message, before its effect is answered."""
        return self._update_shadow(self._by_publish)

    def _by_http(self, name: str, reported: dict[str, int]) -> Answer:
        payload = json.dumps({"state": {"reported": reported}})
        answer = self.data.update_thing_shadow(**self.shadow(name), payload=payload)
        document: Answer = json.loads(answer["payload"].read())
        return document

    def _by_publish(self, name: str, reported: dict[str, int]) -> None:
        topic = f"$aws/things/{self.own.name}/shadow" + (f"/name/{name}" if name else "")
        self.device.publish(topic + "/update", {"state": {"reported": reported}})

    def _update_shadow(self, send: Callable[[str, dict[str, int]], Answer | None]) -> bool:
        name, key = self.random.choice(SHADOWS), self.random.choice("abcde")
        reported, version = {key: self.number()}, self.highest[name] + 1

        def change(state: State, answer: Answer) -> None:
            assert answer["version"] == version
            empty: State = {"state": {"reported": {}}, "metadata": {"reported": {}}}
            shadow = state["shadows"].setdefault(name, empty)
            shadow["state"]["reported"].update(reported)
            shadow["metadata"]["reported"][key] = {"timestamp": answer["timestamp"]}
            shadow["version"] = version

        return self.do(lambda: send(name, reported), change)

    def step_delete_shadow(self) -> bool:
        name = self.random.choice(SHADOWS)
        return name in self.state["shadows"] and self.do(
            lambda: self.data.delete_thing_shadow(**self.shadow(name)),
            lambda state, _: state["shadows"].pop(name),
        )

    def shadow(self, name: str) -> dict[str, str]:
        return {"thingName": self.own.name} | ({"shadowName": name} if name else {})

    def step_publish_last_words(self) -> bool:
        words = str(self.number())
        return self.do(
            lambda: self.device.publish(LAST_WORDS, words, retain=True),
            lambda state, _: state.update(last_words=words),
        )

    # --- what the cloud says ----------------------------------------------------------------------

    def read(self) -> State:
        """Read the whole account. Certificates go by the common name of their subject."""
        iot = self.iot
        certificates: State = {}
        names: dict[str, str] = {}
        for each in iot.list_certificates(pageSize=250)["certificates"]:
            arn, number = each["certificateArn"], each["certificateId"]
            described = iot.describe_certificate(certificateId=number)["certificateDescription"]
            name = names[arn] = common_name(described["certificatePem"])
            attached = iot.list_attached_policies(target=arn)["policies"]
            certificates[name] = {
                "arn": arn,
                "pem": described["certificatePem"],
                "status": described["status"],
                "policies": sorted(policy["policyName"] for policy in attached),
            }
        things: State = {}
        for each in iot.list_things(maxResults=250)["things"]:
            name = each["thingName"]
            principals = iot.list_thing_principals(thingName=name)["principals"]
            things[name] = {
                "id": iot.describe_thing(thingName=name)["thingId"],
                "version": each["version"],
                "attributes": each["attributes"],
                "certificates": sorted(names[arn] for arn in principals),
            }
        policies: State = {}
        for each in iot.list_policies(pageSize=250)["policies"]:
            name = each["policyName"]
            versions = [
                iot.get_policy_version(policyName=name, policyVersionId=version["versionId"])
                for version in iot.list_policy_versions(policyName=name)["policyVersions"]
            ]
            policies[name] = {
                "default": iot.get_policy(policyName=name)["defaultVersionId"],
                "versions": {each["policyVersionId"]: each["policyDocument"] for each in versions},
            }
        inbox = self.device.subscribe(LAST_WORDS)
        return {
            "things": things,
            "certificates": certificates,
            "policies": policies,
            "shadows": {name: shadow for name in SHADOWS if (shadow := self._read_shadow(name))},
            "last_words": inbox.wait_for(1)[0].payload.decode(),
        }

    def _read_shadow(self, name: str) -> State | None:
        try:
            answer = self.data.get_thing_shadow(**self.shadow(name))
        except self.data.exceptions.ResourceNotFoundException:
            return None
        document = json.loads(answer["payload"].read())
        return {part: document[part] for part in ("state", "metadata", "version")}


def toggle(names: list[str], name: str) -> None:
    names[:] = sorted({*names} ^ {name})


def signing_request(name: str) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = request.sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def common_name(pem: str) -> str:
    subject = x509.load_pem_x509_certificate(pem.encode()).subject
    return str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_what_was_answered_outlives_fifty_kills(home: Path) -> None:
    assert journey_through_kills(home, ROUNDS, SEED) > ROUNDS  # else there was no journey


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_messages_of_persistent_sessions_outlive_kills_under_load(home: Path) -> None:
    for load in kill.rounds(home, 3, SEED):
        assert load.all.seen


def journey_through_kills(home: Path, rounds: int, seed: int) -> int:
    """Go through so many rounds in a new home folder; return how many changes were answered."""
    supervisor.start_or_attach(
        home, mqtt_port=0, https_port=0
    )  # not the usual ones, which others want too
    lab = open_lab(home=home)
    journey = Journey(lab, make_thing(lab), seed)
    moments = random.Random(seed)
    with lab.connect(journey.own.name) as journey.device:
        journey.device.publish(LAST_WORDS, "none yet", retain=True)
        journey.settle(journey.read())
    steps = 0
    for number in range(1, rounds + 1):
        running = supervisor.start_or_attach(home)
        moment = moments.uniform(0, LONGEST)
        with (
            lab.connect(journey.own.name) as journey.device,
            killed_after(moment, running.pid, journey),
            contextlib.suppress(Killed),
        ):
            while True:
                journey.step()
                steps += 1
        running = supervisor.start_or_attach(home)
        assert (running.mqtt_port, running.https_port) == (lab.mqtt_port, lab.https_port)
        with lab.connect(journey.own.name) as journey.device:
            found = journey.read()
        if found != journey.maybe:
            assert found == journey.state, f"round {number}"
        journey.settle(found)
    return steps


@contextlib.contextmanager
def killed_after(seconds: float, pid: int, journey: Journey) -> Iterator[None]:
    """Kill the cloud so many seconds from now, by a process that shares no lock with this one."""
    journey.killed.clear()

    def watch() -> None:
        os.waitpid(pid, 0)
        journey.killed.set()
        journey.device.close()  # Else the SDK would wait for the answer, and send again.

    watcher = threading.Thread(target=watch)
    watcher.start()
    with subprocess.Popen(["sh", "-c", f"sleep {seconds:.4f}; kill -9 {pid}"]):
        yield
        watcher.join()


def test_no_secret_lies_where_it_does_not_belong(home: Path) -> None:
    supervisor.start_or_attach(home, mqtt_port=0, https_port=0)
    lab = open_lab(home=home)
    things = [make_thing(lab) for _ in range(2)]
    with lab.connect(things[0].name) as device:
        device.publish("creek/depth", {"depth": 1.4}, retain=True)
        device.shadow.update(reported={"depth": 1.4})
    while_it_runs = contents(home)
    supervisor.stop(home)
    with pytest.raises(CloudError):
        supervisor.start_or_attach(home, settings=["none=1"])  # which the log tells
    stopped = contents(home)
    assert b"none=1" in stopped["cloud/cloud.log"]
    assert things[0].certificate_id.encode() in while_it_runs["cloud/cloud.db-wal"]
    assert things[0].certificate_id.encode() in stopped["cloud/cloud.db"]

    secret = load_account(home / "cloud").secret_key.encode()
    for files in (while_it_runs, stopped):
        for thing in things:
            file = thing.files.private_key
            pem, *other_forms = forms(file.read_bytes())
            own = file.relative_to(home).as_posix()
            assert holders(files, pem) == {own}
            assert set().union(*(holders(files, form) for form in other_forms)) <= {own}
        assert holders(files, secret) == {"cloud/account.json"}


def contents(home: Path) -> dict[str, bytes]:
    """Return what every file below `home` holds, by its path."""
    files = [path for path in home.rglob("*") if path.is_file()]
    return {file.relative_to(home).as_posix(): file.read_bytes() for file in files}


def holders(files: Mapping[str, bytes], part: bytes) -> set[str]:
    return {name for name, content in files.items() if part in content}


def forms(pem: bytes) -> list[bytes]:
    """Return what a private key may look like in a file: first its PEM text, then the others.

    A database may tear a text of that length, so its parts count as well: the lines of the PEM
    that hold what the public key does not, and a prime.
    """
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    lines = pem.split()[4:-4]  # without BEGIN RSA PRIVATE KEY and END RSA PRIVATE KEY
    body = b"".join(lines)
    prime = key.private_numbers().p.to_bytes(128)
    return [pem, base64.b64decode(body), body, prime, *lines[6:-1]]
