"""The self-checks: the result of each if all is right, and for each possible problem."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from IPython.lib.pretty import pretty

from creeklab import Lab, open_lab
from creeklab.cloud import supervisor
from creeklab.course.checks import SelfCheck
from tests.conftest import NewThing, make_thing

NewThings = Callable[..., NewThing]
Step = Callable[[Lab, NewThing], object]
Ask = Callable[[Lab, NewThing], SelfCheck]


def test_a_notebook_shows_it_wrapped() -> None:
    found = SelfCheck(False, "this is what was found, and it takes many words to say it. " * 3)
    shown = pretty(found).splitlines()
    assert len(shown) == 2
    assert all(len(line) <= 96 for line in shown)
    assert " ".join(line.strip() for line in shown) == repr(found).strip()
    assert shown[1].startswith("    ")
    assert pretty(SelfCheck(True, "short.")) == "OK: short."


def nothing(lab: Lab, thing: NewThing) -> None:
    """Leave the Thing as it was created: all is right."""


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
    def ask_shadow(lab: Lab, thing: NewThing) -> SelfCheck:
        return lab.check.shadow(thing.name, **values)

    return ask_shadow


def ask_thing(lab: Lab, thing: NewThing) -> SelfCheck:
    return lab.check.thing(thing.name)


def ask_certificate(lab: Lab, thing: NewThing) -> SelfCheck:
    return lab.check.certificate(thing.name)


def ask_policy(lab: Lab, thing: NewThing) -> SelfCheck:
    return lab.check.policy(thing.name, thing.policy)


def ask_connection(lab: Lab, thing: NewThing) -> SelfCheck:
    return lab.check.connection(thing.name)


def ask_attributes(lab: Lab, thing: NewThing) -> SelfCheck:
    return lab.check.thing(thing.name, creek="Elkhorn")


def with_attributes(lab: Lab, thing: NewThing) -> None:
    lab.client("iot").update_thing(
        thingName=thing.name, attributePayload={"attributes": {"creek": "Elkhorn", "a": "b"}}
    )


def allowed(action: str, resource: str) -> Ask:
    def ask_allowed(lab: Lab, thing: NewThing) -> SelfCheck:
        return lab.check.allowed(thing.name, action, resource.replace("THING", thing.name))

    return ask_allowed


def refused(action: str, resource: str) -> Ask:
    def ask_denied(lab: Lab, thing: NewThing) -> SelfCheck:
        return lab.check.denied(thing.name, action, resource.replace("THING", thing.name))

    return ask_denied


def denied(lab: Lab, thing: NewThing) -> None:
    statement = {"Effect": "Deny", "Action": "iot:Publish", "Resource": f"{thing.arn}:topic/barn/*"}
    text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    lab.client("iot").create_policy(policyName=f"{thing.name}-deny", policyDocument=text)
    lab.client("iot").attach_policy(policyName=f"{thing.name}-deny", target=thing.certificate_arn)


def delta(**differences: Any) -> Ask:
    def ask_delta(lab: Lab, thing: NewThing) -> SelfCheck:
        return lab.check.delta(thing.name, **differences)

    return ask_delta


def in_step(lab: Lab, thing: NewThing) -> None:
    payload = json.dumps({"state": {"reported": {"lamp": "on"}, "desired": {"lamp": "on"}}})
    lab.client("iot-data").update_thing_shadow(thingName=thing.name, payload=payload)


def named_shadow(lab: Lab, thing: NewThing) -> None:
    lab.client("iot-data").update_thing_shadow(
        thingName=thing.name,
        shadowName="settings",
        payload='{"state": {"reported": {"seconds": 120}}}',
    )


def ask_named(lab: Lab, thing: NewThing) -> SelfCheck:
    return lab.check.shadow(thing.name, "settings", seconds=120)


def ask_no_shadow(lab: Lab, thing: NewThing) -> SelfCheck:
    return lab.check.no_shadow(thing.name)


ROWS: list[Any] = [
    # step, check, passed?, part of the result ({} is the name of the Thing)
    (nothing, ask_thing, True, "the Thing '{}' exists; its ARN is arn:aws:iot:"),
    (thing_deleted, ask_thing, False, "Thing {} does not exist in your account. Create it"),
    (nothing, ask_certificate, True, "certificate and private key of '{}' are on disk and"),
    (without_files, ask_certificate, False, "no certificate and key are saved for '{}'"),
    (anothers_key, ask_certificate, False, "the private key on disk does not belong"),
    (certificate_deleted, ask_certificate, False, "the certificate on disk is not registered"),
    (inactive, ask_certificate, False, "is INACTIVE. Activate it: iot.update_certificate."),
    (revoked, ask_certificate, False, "is REVOKED."),
    (detached, ask_certificate, False, "is not attached to '{}'. Attach it: iot.attach_thing_pr"),
    pytest.param(damaged_certificate, ask_certificate, False, ""),
    pytest.param(damaged_key, ask_certificate, False, ""),
    (nothing, ask_policy, True, "'{}-policy' is attached to the certificate of '{}'."),
    (policy_detached, ask_policy, False, "(attached: none). Attach it: iot.attach_policy."),
    (other_policy, ask_policy, False, "(attached: thing-"),
    (without_files, ask_policy, False, "no certificate and key are saved for '{}'"),
    pytest.param(certificate_deleted, ask_policy, False, "certificate"),
    pytest.param(damaged_certificate, ask_policy, False, ""),
    (nothing, ask_connection, True, "'{}' can connect over mutual TLS."),
    (policy_detached, ask_connection, False, "Connecting as '{}' failed: not authorized"),
    (inactive, ask_connection, False, "Connecting as '{}' failed: The connection was closed"),
    (without_files, ask_connection, False, "no certificate and key are saved for '{}'"),
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
    (
        nothing,
        ask_attributes,
        False,
        "of '{}': creek is missing, not Elkhorn. Set them: iot.update_",
    ),
    (with_attributes, ask_attributes, True, "the Thing '{}' exists"),
    (
        nothing,
        allowed("iot:Publish", "topic/creek"),
        True,
        "of '{}' allow iot:Publish on topic/creek.",
    ),
    (
        nothing,
        refused("iot:Publish", "topic/creek"),
        False,
        "Find the statement that is too broad.",
    ),
    (
        policy_detached,
        allowed("iot:Publish", "topic/a"),
        False,
        "do not allow iot:Publish on topic/a: ",
    ),
    (policy_detached, allowed("iot:Publish", "topic/a"), False, "no statement allows it. Compare"),
    (policy_detached, refused("iot:Connect", "client/THING"), True, "'{}' do not allow iot:Conn"),
    (
        denied,
        allowed("iot:Publish", "topic/barn/door"),
        False,
        "denies it, which overrides every Allow",
    ),
    (denied, allowed("iot:Publish", "topic/creek"), True, "allow iot:Publish on topic/creek."),
    (
        without_files,
        allowed("iot:Publish", "topic/a"),
        False,
        "no certificate and key are saved for '{}'",
    ),
    (damaged_certificate, allowed("iot:Publish", "topic/a"), False, ""),
    (
        nothing,
        allowed("iot:Jump", "topic/a"),
        False,
        "AWS made no decision for '{}'. 1 validation error",
    ),
    (nothing, delta(lamp="on"), False, "No shadow exists with name: '{}'. Update it first."),
    (reported(lamp="off"), delta(lamp="on"), True, "its desired state yet: lamp on."),
    (reported(lamp="off"), delta(), False, "the delta of '{}' is lamp on, not empty."),
    (reported(lamp="off"), delta(lamp="blue"), False, "is lamp on, not lamp blue. Compare"),
    (in_step, delta(), True, "'{}' reports its desired state: there is no delta."),
    (in_step, delta(lamp="on"), False, "the delta of '{}' is empty, not lamp on."),
    (named_shadow, ask_named, True, "shadow 'settings' of '{}' reports seconds 120."),
    (reported(seconds=120), ask_named, False, "No shadow exists with name: 'settings'."),
    (nothing, ask_no_shadow, True, "'{}' has no shadow."),
    (in_step, ask_no_shadow, False, "'{}' has a shadow. Delete it: delete_thing_shadow."),
    (named_shadow, ask_no_shadow, False, "'{}' has the shadow 'settings'. Delete it"),
]


@pytest.mark.parametrize(
    ("step", "ask", "ok", "found"), ROWS, ids=lambda value: getattr(value, "__name__", "")
)
def test_the_result_of_a_check(
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
    """Assert that a text consists of plain sentences."""
    assert text.endswith(".")
    assert text == " ".join(text.split())
    assert not re.search(r"\.\.|[,;:]\.| [.,;]", text.replace("...", ""))
    assert (
        "An error occurred (" not in text
    )  # boto3's prefix, although the learner did not call boto3
    assert "None" not in text


def test_a_connected_device_stays_connected(lab: Lab, new_thing: NewThings) -> None:
    thing = new_thing()
    with lab.connect(thing.name):
        check = lab.check.connection(thing.name)
        assert check
        assert check.found == (
            f"'{thing.name}' is connected. Its files were not tried, because that "
            "would disconnect it."
        )
        gone = lab.events(kind="disconnect", thing=thing.name)
        anothers_key(lab, thing)  # the files are still checked
        assert not lab.check.connection(thing.name)
    assert gone.empty


def test_the_account(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    check = lab.check.account()
    assert check
    assert check.found == f"you are user/creeklab in account {lab.account}, not its root user."
    assert_sentences(check.found)

    class Root:
        def get_caller_identity(self) -> dict[str, str]:
            return {"Account": "123456789012", "Arn": "arn:aws:iam::123456789012:root"}

    monkeypatch.setattr(lab, "client", lambda service: Root())
    check = lab.check.account()
    assert not check
    assert "you are the root user of account 123456789012. Create a user" in check.found
    assert_sentences(check.found)


def test_an_account_that_does_not_answer(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = lab.session.get_credentials()
    assert credentials is not None
    pair = {"aws_access_key_id": credentials.access_key, "aws_secret_access_key": "guessed"}
    wrong = lab.session.client("sts", **pair)
    monkeypatch.setattr(lab, "client", lambda service: wrong)
    check = lab.check.account()
    assert not check
    assert "signature" in check.found
    assert check.found.endswith("Check your access key.")
    assert_sentences(check.found)


def test_received_messages(lab: Lab, new_thing: NewThings) -> None:
    thing = new_thing()
    with lab.connect(thing.name) as device:
        inbox = device.subscribe(f"{thing.name}/#")
        check = lab.check.received(inbox)
        assert not check
        assert f"the subscription to '{thing.name}/#' received no message. Publish" in check.found
        for end in ("b", "a"):
            device.publish(f"{thing.name}/{end}", "x")
        inbox.wait_for(2)
    check = lab.check.received(inbox, f"{thing.name}/a")
    assert check
    assert check.found == (
        f"the subscription to '{thing.name}/#' received 2 messages, on {thing.name}/a, "
        f"{thing.name}/b."
    )
    check = lab.check.received(inbox, f"{thing.name}/a", f"{thing.name}/c")
    assert not check
    assert f"received no message on '{thing.name}/c'" in check.found
    assert_sentences(check.found)


def test_subscriptions(lab: Lab, new_thing: NewThings) -> None:
    thing = new_thing()
    check = lab.check.subscribed(thing.name, "a")
    assert not check
    assert check.found.endswith("Connect it: lab.connect.")
    with lab.connect(thing.name) as device:
        assert lab.check.subscribed(thing.name).found.endswith("is subscribed to nothing.")
        assert (
            "is subscribed to nothing, not to 'a'. Subscribe"
            in lab.check.subscribed(thing.name, "a").found
        )
        filters = [f"many/{number:02}" for number in range(30)]  # more than one page of results
        for topic_filter in filters:
            device.subscribe(topic_filter)
        assert lab.check.subscribed(thing.name, *filters)
        check = lab.check.subscribed(thing.name, "many/00", "many/31")
        assert not check
        assert "is subscribed to 'many/00', 'many/01'" in check.found
        assert "not to 'many/31'. Subscribe" in check.found
        assert_sentences(check.found)


def test_retained_messages(lab: Lab, new_thing: NewThings) -> None:
    thing = new_thing()
    topic = f"{thing.name}/kept"
    check = lab.check.retained(topic)
    assert not check
    assert f"no message is retained for '{topic}'. Publish one" in check.found
    with lab.connect(thing.name) as device:
        device.publish(topic, "four", retain=True)
        assert (
            lab.check.retained(topic).found
            == f"the broker retains a message for '{topic}', 4 bytes."
        )
        device.publish(topic, b"", retain=True)
        assert not lab.check.retained(topic)


@pytest.mark.parametrize(
    ("found", "expected", "ok"), [(1, 1, True), ([1.5], [1.5], True), ("a", "b", False)]
)
def test_an_answer(lab: Lab, found: object, expected: object, ok: bool) -> None:
    check = lab.check.equals(found, expected, "the answer says what was checked")
    assert bool(check) is ok
    text = f"the result is {found!r}, not {expected!r}. Go through the steps again."
    assert check.found == ("the answer says what was checked." if ok else text)
    assert_sentences(check.found)


def test_dots_are_not_an_answer(lab: Lab) -> None:
    for check in (lab.check.equals((1, ...), (1, 2), "x"), lab.check.received(...)):  # type: ignore[arg-type]
        assert not check
        assert check.found.startswith("there is no answer yet. Replace the dots")


def test_a_replaced_certificate(lab: Lab, new_thing: Callable[..., Any]) -> None:
    thing, iot = new_thing(), lab.client("iot")
    assert (
        "still uses its old certificate"
        in lab.check.replaced(thing.name, thing.certificate_id).found
    )
    new = iot.create_keys_and_certificate(setAsActive=True)
    lab.keys.save(thing.name, new)
    iot.attach_thing_principal(thingName=thing.name, principal=new["certificateArn"])
    assert "still exists" in lab.check.replaced(thing.name, thing.certificate_id).found
    iot.detach_policy(policyName=thing.policy, target=thing.certificate_arn)
    iot.detach_thing_principal(thingName=thing.name, principal=thing.certificate_arn)
    iot.update_certificate(certificateId=thing.certificate_id, newStatus="INACTIVE")
    iot.delete_certificate(certificateId=thing.certificate_id)
    assert lab.check.replaced(thing.name, thing.certificate_id)


def test_nothing_left(home: Path) -> None:
    lab = open_lab(home=home)
    assert lab.check.nothing_left()
    lab.catch_up(99)
    with lab.connect("TestClient") as client:
        client.publish("barn/door", "open", retain=True)
    check = lab.check.nothing_left()
    assert not check
    for left in ("key files of 'Test2'", "Thing 'TestClient'", "policy 'policyall'"):
        assert left in check.found
    assert "a shadow of 'Test2'" in check.found
    assert "the retained message of 'barn/door'" in check.found
    assert_sentences(check.found)
    lab.ledger.tear_down()
    assert lab.check.nothing_left()


def test_certificates_and_keys_set_aside_are_left_of_the_course(home: Path) -> None:
    lab = open_lab(home=home)
    iot = lab.client("iot")
    first, second, third = (iot.create_keys_and_certificate(setAsActive=True) for _ in range(3))
    lab.keys.save("Test2", first)
    lab.keys.save("Test2", second)  # sets the first aside
    lab.keys.save("Mine", third)
    lab.keys.remove("Test2", {second["certificateId"]})
    for number in (second["certificateId"], third["certificateId"]):
        iot.update_certificate(certificateId=number, newStatus="INACTIVE")
    iot.delete_certificate(certificateId=second["certificateId"])
    check = lab.check.nothing_left()
    assert not check
    assert f"the certificate {first['certificateId']}, ACTIVE" in check.found
    assert f"the certificate {third['certificateId']}, INACTIVE" in check.found
    assert second["certificateId"] not in check.found
    folder = f"Test2.was-{first['certificateId'][:10]}"
    for name in (folder, "Mine"):
        assert f"the key files in the folder '{name}'" in check.found
    assert_sentences(check.found)
    lab.ledger.tear_down()
    assert lab.check.nothing_left()

    # A key whose certificate is unknown.
    (home / "keys" / "Test2.was-unknown").mkdir(parents=True)
    assert "the key files in the folder 'Test2.was-unknown'" in lab.check.nothing_left().found


def test_a_missing_thing(lab: Lab) -> None:
    check = lab.check.thing("never-made")
    assert repr(check) == (
        "NOT YET: Thing never-made does not exist in your account. Create it: iot.create_thing."
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
def test_an_invalid_name_is_a_failure(lab: Lab, check: str, name: str) -> None:
    finding = getattr(lab.check, check)(name)
    assert not finding
    assert_sentences(finding.found)


def test_checks_on_a_stopped_cloud(home: Path) -> None:
    lab = open_lab(home=home)
    thing = make_thing(lab)
    supervisor.stop(home)
    with pytest.raises(supervisor.CloudError, match="is no longer running"):
        lab.check.connection(thing.name)
