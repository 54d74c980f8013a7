"""The self-checks: what each finds when all is right, and in each way that it may be wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from creeklab.checks import Check
from creeklab.cloud import process
from creeklab.lab import Lab, open_lab
from tests.conftest import NewThing, make_thing

NewThings = Callable[..., NewThing]
Step = Callable[[Lab, NewThing], object]
Ask = Callable[[Lab, NewThing], Check]


def nothing(lab: Lab, thing: NewThing) -> None:
    """Leave the Thing as it was made: all is right."""


def without_files(lab: Lab, thing: NewThing) -> None:
    lab.keys.remove(thing.name)


def detached(lab: Lab, thing: NewThing) -> None:
    lab.client("iot").detach_thing_principal(thingName=thing.name, principal=thing.certificate_arn)


def inactive(lab: Lab, thing: NewThing) -> None:
    lab.client("iot").update_certificate(certificateId=thing.certificate_id, newStatus="INACTIVE")


def revoked(lab: Lab, thing: NewThing) -> None:
    lab.client("iot").update_certificate(certificateId=thing.certificate_id, newStatus="REVOKED")


def certificate_deleted(lab: Lab, thing: NewThing) -> None:
    detached(lab, thing)
    inactive(lab, thing)
    lab.client("iot").delete_certificate(certificateId=thing.certificate_id, forceDelete=True)


def thing_deleted(lab: Lab, thing: NewThing) -> None:
    detached(lab, thing)
    lab.client("iot").delete_thing(thingName=thing.name)


def policy_detached(lab: Lab, thing: NewThing) -> None:
    lab.client("iot").detach_policy(policyName=thing.policy, target=thing.certificate_arn)


def other_policy(lab: Lab, thing: NewThing) -> None:
    policy_detached(lab, thing)
    other = make_thing(lab)
    lab.client("iot").attach_policy(policyName=other.policy, target=thing.certificate_arn)


def anothers_key(lab: Lab, thing: NewThing) -> None:
    thing.files.private_key.write_bytes(make_thing(lab).files.private_key.read_bytes())


def damaged_certificate(lab: Lab, thing: NewThing) -> None:
    thing.files.certificate.write_text("no certificate")


def damaged_key(lab: Lab, thing: NewThing) -> None:
    thing.files.private_key.write_text("no key")


def reported(**values: Any) -> Step:
    def report(lab: Lab, thing: NewThing) -> None:
        payload = json.dumps({"state": {"reported": values, "desired": {"lamp": "on"}}})
        lab.client("iot-data").update_thing_shadow(thingName=thing.name, payload=payload)

    return report


def shadow(**values: Any) -> Ask:
    def ask_shadow(lab: Lab, thing: NewThing) -> Check:
        return lab.check.shadow(thing.name, **values)

    return ask_shadow


def ask_thing(lab: Lab, thing: NewThing) -> Check:
    return lab.check.thing(thing.name)


def ask_certificate(lab: Lab, thing: NewThing) -> Check:
    return lab.check.certificate(thing.name)


def ask_policy(lab: Lab, thing: NewThing) -> Check:
    return lab.check.policy(thing.name, thing.policy)


def ask_connection(lab: Lab, thing: NewThing) -> Check:
    return lab.check.connection(thing.name)


ROWS: list[Any] = [
    # step, question, all right?, what is found ({} is the name of the Thing)
    (nothing, ask_thing, True, "the Thing '{}' exists; its ARN is arn:aws:iot:"),
    (thing_deleted, ask_thing, False, "Thing {} does not exist in your account. Make it with"),
    (nothing, ask_certificate, True, "certificate and private key of '{}' are on disk and"),
    (without_files, ask_certificate, False, "no certificate with its key for '{}'"),
    (anothers_key, ask_certificate, False, "the private key on disk is not the certificate's."),
    (certificate_deleted, ask_certificate, False, "does not know the certificate on disk."),
    (inactive, ask_certificate, False, "is INACTIVE. Activate it: update_certificate."),
    (revoked, ask_certificate, False, "is REVOKED."),
    (detached, ask_certificate, False, "is not attached to '{}'. Attach it: attach_thing_pr"),
    pytest.param(damaged_certificate, ask_certificate, False, ""),
    pytest.param(damaged_key, ask_certificate, False, ""),
    (nothing, ask_policy, True, "'{}-policy' is attached to the certificate of '{}'."),
    (policy_detached, ask_policy, False, "(attached: none). Attach it: attach_policy."),
    (other_policy, ask_policy, False, "(attached: thing-"),
    (without_files, ask_policy, False, "no certificate with its key for '{}'"),
    pytest.param(certificate_deleted, ask_policy, False, "certificate"),
    pytest.param(damaged_certificate, ask_policy, False, ""),
    (nothing, ask_connection, True, "'{}' can connect over mutual TLS."),
    (policy_detached, ask_connection, False, "Connecting as '{}': not authorized"),
    (inactive, ask_connection, False, "Connecting as '{}': The connection was closed"),
    (without_files, ask_connection, False, "no certificate with its key for '{}'"),
    pytest.param(damaged_certificate, ask_connection, False, ""),
    pytest.param(damaged_key, ask_connection, False, ""),
    (nothing, shadow(depth=1), False, "No shadow exists with name: '{}'. Update it first."),
    (reported(depth=1.4, a=2), shadow(depth=1.4), True, "of '{}' reports depth 1.4."),
    (reported(depth=1.4, a=2), shadow(depth=1.4, a=2), True, "reports a 2, depth 1.4."),
    (reported(depth=1.4), shadow(depth=2), False, "of '{}': depth is 1.4, not 2."),
    (reported(depth=1), shadow(a=1, depth=2), False, "a is missing, not 1; depth is 1, not 2."),
    (reported(), shadow(depth=2), False, "depth is missing, not 2."),
    (reported(lamp="off"), shadow(lamp="on"), False, "lamp is off, not on."),
    pytest.param(reported(depth=1.4), shadow(), True, "'{}'"),
]


@pytest.mark.parametrize(
    ("step", "ask", "ok", "found"), ROWS, ids=lambda value: getattr(value, "__name__", "")
)
def test_what_a_check_finds(
    lab: Lab, new_thing: NewThings, step: Step, ask: Ask, ok: bool, found: str
) -> None:
    thing = new_thing()
    step(lab, thing)
    check = ask(lab, thing)
    assert (check.ok, bool(check)) == (ok, ok)
    assert found.replace("{}", thing.name) in check.found
    assert_sentences(check.found)
    assert repr(check) == f"{'OK' if ok else 'NOT YET'}: {check.found}"


def assert_sentences(text: str) -> None:
    """Assert that a text reads as one would write it to a person."""
    assert text.endswith(".")
    assert text == " ".join(text.split())
    assert not re.search(r"\.\.|[,;:]\.| [.,;]", text.replace("...", ""))
    assert "An error occurred (" not in text  # how boto3 begins; the person did not call boto3
    assert "None" not in text


def test_a_thing_that_was_never_made(lab: Lab) -> None:
    check = lab.check.thing("never-made")
    assert repr(check) == (
        "NOT YET: Thing never-made does not exist in your account. Make it with iot.create_thing."
    )


@pytest.mark.parametrize(
    ("check", "name"),
    [
        ("thing", "a b"),
        ("shadow", "a b"),
        *(
            pytest.param(check, name)
            for check, name in (
                ("thing", ""),
                ("shadow", ""),
                ("certificate", "a b"),
                ("connection", "a b"),
            )
        ),
    ],
)
def test_what_is_not_the_name_of_a_thing_is_a_finding_too(lab: Lab, check: str, name: str) -> None:
    finding = getattr(lab.check, check)(name)
    assert not finding
    assert_sentences(finding.found)


def test_a_cloud_that_is_not_there(home: Path) -> None:
    lab = open_lab(home=home)
    thing = make_thing(lab)
    process.stop(home)
    with pytest.raises(process.CloudError, match="does not run any more"):
        lab.check.connection(thing.name)
