"""Teardown: everything that the lab created and nothing else, in AWS's order, whatever fails.

It runs on a local cloud, which restricts deletion like AWS. A client that the lab does not observe
compares the resources of others before and after.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError

from creeklab import Lab, open_lab
from creeklab.cloud import supervisor
from creeklab.cloud.lambda_.function import RUNTIME
from creeklab.ledger.ledger_file import LedgerFile
from creeklab.resources.resource import Resource, ResourceKind
from tests.test_ledger import POLICY_TEXT, others


@pytest.fixture(scope="module")
def own_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("tear-down")
    yield open_lab(home=home)
    supervisor.stop(home)


@pytest.fixture(scope="module")
def theirs(own_lab: Lab) -> Any:
    return others(own_lab, "iot")


def everything(lab: Lab) -> dict[str, Any]:
    """Return everything in the account, as another client sees it."""
    iot, data, iam = others(lab, "iot"), others(lab, "iot-data"), others(lab, "iam")
    things = {each["thingName"] for each in iot.list_things()["things"]}
    certificates = iot.list_certificates(pageSize=250)["certificates"]
    policies = [each["policyName"] for each in iot.list_policies()["policies"]]
    retained = data.list_retained_messages()["retainedTopics"]
    return {
        "things": things,
        "principals": {
            name: set(iot.list_thing_principals(thingName=name)["principals"]) for name in things
        },
        "certificates": {each["certificateArn"]: each["status"] for each in certificates},
        "policies": {
            name: {
                each["versionId"]
                for each in iot.list_policy_versions(policyName=name)["policyVersions"]
            }
            for name in policies
        },
        "targets": {
            name: set(iot.list_targets_for_policy(policyName=name)["targets"]) for name in policies
        },
        "groups": {
            each["groupName"]: set(
                iot.list_things_in_thing_group(thingGroupName=each["groupName"])["things"]
            )
            for each in iot.list_thing_groups()["thingGroups"]
        },
        "types": {each["thingTypeName"] for each in iot.list_thing_types()["thingTypes"]},
        "retained": {each["topic"] for each in retained},
        "roles": {
            each["RoleName"]: iam.list_role_policies(RoleName=each["RoleName"])["PolicyNames"]
            for each in iam.list_roles()["Roles"]
        },
        "shadows": {
            name: data.list_named_shadows_for_thing(thingName=name)["results"] for name in things
        },
    }


def make_much(lab: Lab) -> None:
    """Create one of each resource that a lab can take down without waiting."""
    iot, data = lab.client("iot"), lab.client("iot-data")
    iot.create_thing(thingName="mine")
    iot.create_thing_group(thingGroupName="outer")
    iot.create_thing_group(thingGroupName="inner", parentGroupName="outer")
    iot.add_thing_to_thing_group(thingGroupName="inner", thingName="mine")
    answer = iot.create_keys_and_certificate(setAsActive=True)
    lab.keys.save("mine", answer)
    iot.attach_thing_principal(thingName="mine", principal=answer["certificateArn"])
    iot.create_policy(policyName="mine", policyDocument=POLICY_TEXT)
    iot.create_policy_version(policyName="mine", policyDocument=POLICY_TEXT, setAsDefault=True)
    iot.attach_policy(policyName="mine", target=answer["certificateArn"])
    group = iot.describe_thing_group(thingGroupName="outer")["thingGroupArn"]
    iot.attach_policy(policyName="mine", target=group)
    data.update_thing_shadow(thingName="mine", payload='{"state": {}}')
    data.update_thing_shadow(thingName="mine", shadowName="named", payload='{"state": {}}')
    data.publish(topic="mine/last", retain=True, payload=b"1.4")
    iam = lab.client("iam")
    iam.create_role(RoleName="mine", AssumeRolePolicyDocument=TRUST_TEXT)
    iam.put_role_policy(RoleName="mine", PolicyName="inline", PolicyDocument=POLICY_TEXT)


TRUST_TEXT = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Principal": {"Service": "iot.amazonaws.com"},
            "Action": "sts:AssumeRole",
        },
    }
)
ALL_STEPS = [
    "clear the retained message on 'mine/last'",
    "detach policy 'mine' from certificate of 'mine'",
    "detach policy 'mine' from thing group 'outer'",
    "detach certificate of 'mine' from Thing 'mine'",
    "remove Thing 'mine' from thing group 'inner'",
    "deactivate certificate of 'mine'",
    "delete certificate of 'mine'",
    "delete version 1 of policy 'mine'",
    "delete policy 'mine'",
    "delete policy 'inline' of role 'mine'",
    "delete role 'mine'",
    "delete shadow of 'mine'",
    "delete shadow 'named' of 'mine'",
    "delete Thing 'mine'",
    "delete thing group 'inner'",
    "delete thing group 'outer'",
    "delete the key files in the folder 'mine'",
]


def test_a_dry_run_lists_the_steps_in_order_and_does_nothing(own_lab: Lab) -> None:
    make_much(own_lab)
    before = everything(own_lab)
    plan = own_lab.ledger.tear_down(dry_run=True)
    assert everything(own_lab) == before
    assert own_lab.keys.things() == ["mine"]
    assert sorted(step.what for step in plan.steps) == sorted(ALL_STEPS)
    order = [step.what for step in plan.steps]
    for first, then in [
        ("detach policy 'mine' from certificate of 'mine'", "delete policy 'mine'"),
        ("detach policy 'mine' from thing group 'outer'", "delete policy 'mine'"),
        ("detach certificate of 'mine' from Thing 'mine'", "delete certificate of 'mine'"),
        ("deactivate certificate of 'mine'", "delete certificate of 'mine'"),
        ("detach certificate of 'mine' from Thing 'mine'", "delete Thing 'mine'"),
        ("delete version 1 of policy 'mine'", "delete policy 'mine'"),
        ("delete policy 'inline' of role 'mine'", "delete role 'mine'"),
        ("delete thing group 'inner'", "delete thing group 'outer'"),
        ("delete certificate of 'mine'", "delete the key files in the folder 'mine'"),
    ]:
        assert order.index(first) < order.index(then)
    assert repr(plan).endswith("These steps would be taken. Nothing has been done yet.")
    assert {step.result for step in plan.steps} == {"-"}


def test_roles_of_others_stay(own_lab: Lab) -> None:
    iam, theirs = own_lab.client("iam"), others(own_lab, "iam")
    theirs.create_role(RoleName="theirs", AssumeRolePolicyDocument=TRUST_TEXT)
    iam.put_role_policy(RoleName="theirs", PolicyName="mine", PolicyDocument=POLICY_TEXT)
    theirs.put_role_policy(RoleName="mine", PolicyName="theirs", PolicyDocument=POLICY_TEXT)
    steps = [step.what for step in own_lab.ledger.tear_down(dry_run=True).steps]
    assert [step for step in steps if "role" in step] == [
        "delete policy 'inline' of role 'mine'",
        "delete policy 'mine' of role 'theirs'",
        "delete policy 'theirs' of role 'mine'",
        "delete role 'mine'",
    ]
    theirs.delete_role_policy(RoleName="mine", PolicyName="theirs")
    iam.delete_role_policy(RoleName="theirs", PolicyName="mine")
    theirs.delete_role(RoleName="theirs")


def test_everything_is_taken_down_and_a_second_run_does_nothing(own_lab: Lab) -> None:
    done = own_lab.ledger.tear_down()
    assert done.ok, repr(done)
    assert {step.result for step in done.steps} == {"OK"}
    assert len(done.steps) == len(ALL_STEPS)
    assert own_lab.ledger.resources() == ()
    assert own_lab.keys.things() == []
    assert not any(everything(own_lab).values())
    again = own_lab.ledger.tear_down()
    assert again.ok
    assert again.steps == []
    assert "Nothing to take down" in repr(again)
    assert "Nothing to take down" in again._repr_html_()


# --- what others have -------------------------------------------------------------------------


def test_resources_of_others_are_not_touched(own_lab: Lab, theirs: Any) -> None:
    theirs.create_thing(thingName="theirs")
    theirs.create_thing_group(thingGroupName="their-group")
    theirs.create_policy(policyName="theirs", policyDocument=POLICY_TEXT)
    arn = theirs.create_keys_and_certificate(setAsActive=True)["certificateArn"]
    theirs.attach_thing_principal(thingName="theirs", principal=arn)
    theirs.attach_policy(policyName="theirs", target=arn)
    theirs.add_thing_to_thing_group(thingGroupName="their-group", thingName="theirs")
    others(own_lab, "iot-data").update_thing_shadow(
        thingName="theirs", shadowName="n", payload='{"state": {}}'
    )
    others(own_lab, "iot-data").publish(topic="theirs", retain=True, payload=b"x")
    before = everything(own_lab)

    iot = own_lab.client("iot")
    iot.create_thing(thingName="theirs")  # succeeds without creating anything
    iot.create_thing_group(thingGroupName="their-group")
    make_much(own_lab)
    mine = iot.list_thing_principals(thingName="mine")["principals"][0]
    iot.attach_thing_principal(thingName="theirs", principal=mine)
    iot.attach_policy(policyName="mine", target=arn)
    iot.attach_policy(policyName="theirs", target=mine)
    iot.add_thing_to_thing_group(thingGroupName="their-group", thingName="mine")
    iot.create_policy_version(policyName="theirs", policyDocument=POLICY_TEXT)

    done = own_lab.ledger.tear_down()
    assert done.ok, repr(done)
    assert everything(own_lab) == before
    theirs.detach_policy(policyName="theirs", target=arn)
    theirs.detach_thing_principal(thingName="theirs", principal=arn)


def test_resources_that_others_use_stay_and_are_named(own_lab: Lab, theirs: Any) -> None:
    """They attached this lab's policy to their certificate, and that to this lab's Thing."""
    make_much(own_lab)
    arn = theirs.create_keys_and_certificate(setAsActive=True)["certificateArn"]
    number = arn.rpartition("/")[2]
    theirs.attach_policy(policyName="mine", target=arn)
    theirs.attach_thing_principal(thingName="mine", principal=arn)
    done = own_lab.ledger.tear_down()
    assert not done.ok
    left = {step.what for step in done.steps if step.result == "LEFT"}
    why = f"others attached certificate {number}, which is not this lab's."
    assert left == {f"Thing 'mine' stays: {why}", f"policy 'mine' stays: {why}"}
    assert {step.result for step in done.steps} == {"OK", "LEFT"}
    assert repr(done).endswith("Deleted everything that this lab created, except what others use.")
    now = everything(own_lab)
    assert now["certificates"][arn] == "ACTIVE"
    assert now["targets"]["mine"] == {arn}
    assert now["principals"]["mine"] == {arn}
    assert now["shadows"]["mine"] == ["named"]  # deleted with its Thing

    theirs.detach_policy(policyName="mine", target=arn)
    theirs.detach_thing_principal(thingName="mine", principal=arn)
    assert own_lab.ledger.tear_down().ok
    theirs.update_certificate(certificateId=number, newStatus="INACTIVE")
    theirs.delete_certificate(certificateId=number)


def test_a_version_that_became_the_default_of_their_policy_stays(own_lab: Lab, theirs: Any) -> None:
    theirs.create_policy(policyName="versioned", policyDocument=POLICY_TEXT)
    iot = own_lab.client("iot")
    iot.create_policy_version(policyName="versioned", policyDocument=POLICY_TEXT, setAsDefault=True)
    done = own_lab.ledger.tear_down()
    [step] = done.steps
    assert step.result == "LEFT"
    assert step.what.startswith("version 2 of policy 'versioned' stays")
    theirs.set_default_policy_version(policyName="versioned", policyVersionId="1")
    assert own_lab.ledger.tear_down().ok
    assert everything(own_lab)["policies"]["versioned"] == {"1"}


def test_resources_recreated_by_others_stay(own_lab: Lab, theirs: Any) -> None:
    """Someone deleted this lab's resources and created their own under the same names."""
    iot, data = own_lab.client("iot"), others(own_lab, "iot-data")
    iot.create_thing_type(thingTypeName="renewed")
    iot.create_thing_group(thingGroupName="renewed")
    iot.create_thing(thingName="renewed")
    iot.create_thing(thingName="stays-mine")
    iot.create_policy(policyName="renewed", policyDocument=POLICY_TEXT)
    iot.create_policy_version(policyName="renewed", policyDocument=POLICY_TEXT)
    data.update_thing_shadow(thingName="renewed", payload='{"state": {}}')
    assert Resource(ResourceKind.SHADOW, ("renewed", "")) in own_lab.ledger.resources()
    theirs.delete_thing(thingName="renewed")
    theirs.delete_thing_group(thingGroupName="renewed")
    theirs.delete_policy_version(policyName="renewed", policyVersionId="2")
    theirs.delete_policy(policyName="renewed")
    theirs.create_thing(thingName="renewed")
    theirs.create_thing_group(thingGroupName="renewed")
    theirs.create_policy(policyName="renewed", policyDocument=POLICY_TEXT)
    theirs.create_policy_version(policyName="renewed", policyDocument=POLICY_TEXT)
    mine = iot.create_keys_and_certificate(setAsActive=True)["certificateArn"]
    iot.attach_policy(policyName="renewed", target=mine)
    iot.attach_thing_principal(thingName="renewed", principal=mine)
    before = everything(own_lab)

    assert Resource(ResourceKind.THING, ("renewed",)) not in own_lab.ledger.resources()
    for dry_run in (True, False):
        done = own_lab.ledger.tear_down(dry_run=dry_run)
        assert {step.what for step in done.steps if step.result == "LEFT"} == {
            "Thing 'renewed' stays: someone else has re-created it.",
            "thing group 'renewed' stays: someone else has re-created it.",
            "policy 'renewed' stays: someone else has re-created it.",
            "shadow of 'renewed' stays: someone else has re-created it.",
        }
    assert not own_lab.ledger.has(ResourceKind.THING, "renewed")
    again = own_lab.ledger.tear_down()
    assert {step.what.partition(":")[0] for step in again.steps} == {
        "delete thing type 'renewed', five minutes after its deprecation"
    }
    now = everything(own_lab)
    assert now["things"] == before["things"] - {"stays-mine"}
    for kind in ("groups", "policies", "shadows"):
        kept = {name: has for name, has in before[kind].items() if name != "stays-mine"}
        assert now[kind] == kept
    assert data.get_thing_shadow(thingName="renewed")
    assert mine not in now["certificates"]
    own_lab.ledger.inventory.record_deleted(Resource(ResourceKind.THING_TYPE, ("renewed",)))
    theirs.delete_thing(thingName="renewed")
    theirs.delete_thing_group(thingGroupName="renewed")


def test_resources_recreated_by_this_lab_are_its_own(own_lab: Lab, theirs: Any) -> None:
    iot = own_lab.client("iot")
    iot.create_thing(thingName="again")
    theirs.delete_thing(thingName="again")
    iot.create_thing(thingName="again")
    iot.create_thing(thingName="again")
    assert own_lab.ledger.inventory.owns(Resource(ResourceKind.THING, ("again",)))
    assert [step.what for step in own_lab.ledger.tear_down().steps] == ["delete Thing 'again'"]


def test_older_entries_without_an_identity_count_by_name(own_lab: Lab) -> None:
    theirs = others(own_lab, "iot")
    theirs.create_thing(thingName="older")
    line = {"did": "make", "at": 0, "kind": ResourceKind.THING, "names": ["older"]}
    LedgerFile.of(own_lab.home, own_lab.account).add(line)
    assert own_lab.ledger.inventory.owns(Resource(ResourceKind.THING, ("older",)))
    assert own_lab.ledger.tear_down().ok
    assert "older" not in everything(own_lab)["things"]


# --- failures -----------------------------------------------------------------------------------


class Fault:
    """Passes some calls and fails the next one, before it is sent or after its response."""

    def __init__(self, lab: Lab, calls: int, when: str) -> None:
        self._events = lab.session.events
        self._left = calls
        self._name = {"before": "before-send", "after": "response-received"}[when]
        # A client copies the events of its session, so the ledger's clients keep theirs.
        self._clients = [lab.ledger.inventory.client(name) for name in ("iot", "iot-data", "iam")]

    def _fail(self, **_: Any) -> None:
        if self._left == 0:
            raise EndpointConnectionError(endpoint_url="https://nobody")
        self._left -= 1

    def __enter__(self) -> Fault:
        for client in self._clients:
            client.meta.events.register(self._name, self._fail, "fault")
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.meta.events.unregister(self._name, self._fail, "fault")


def calls_before_the_first_change(lab: Lab) -> int:
    """Return the number of calls for a plan, which is that of a dry run."""
    lab.ledger.tear_down(dry_run=True)  # finds unnoticed changes, which takes more calls
    counted = 0

    def count(**_: Any) -> None:
        nonlocal counted
        counted += 1

    clients = [lab.ledger.inventory.client(name) for name in ("iot", "iot-data", "iam")]
    for client in clients:
        client.meta.events.register("before-send", count, "count")
    lab.ledger.tear_down(dry_run=True)
    for client in clients:
        client.meta.events.unregister("before-send", count, "count")
    return counted


@pytest.mark.parametrize(("when", "calls"), [("before", 1), ("after", 0)])
def test_a_teardown_continues_after_a_failure_at_each_step(
    when: str, calls: int, own_lab: Lab
) -> None:
    """A call that is not sent, at each step except the first; a lost response, at each step.

    Each run completes one step, so each step fails once.
    """
    before = everything(own_lab)
    make_much(own_lab)
    done: list[str] = []
    while len(done) < len(ALL_STEPS) - 2:
        with Fault(own_lab, calls_before_the_first_change(own_lab) + calls, when):
            broken = own_lab.ledger.tear_down()
        found = [step.result for step in broken.steps]
        assert found == ["OK"] * calls + ["FAILED"] + ["-"] * (len(found) - calls - 1), repr(broken)
        assert repr(broken).endswith("Run it again to continue from here.")
        done.append(broken.steps[0].what)
        assert len(found) == len(ALL_STEPS) + 1 - len(done)
    rest = own_lab.ledger.tear_down()
    assert rest.ok, repr(rest)
    assert [step.what for step in rest.steps][-1] == ALL_STEPS[-1]
    assert everything(own_lab) == before
    assert own_lab.keys.things() == []


def test_a_teardown_continues_after_its_process_was_killed(own_lab: Lab) -> None:
    before = everything(own_lab)
    make_much(own_lab)

    def stop(**_: Any) -> None:
        raise KeyboardInterrupt

    iot = own_lab.ledger.inventory.client("iot")
    iot.meta.events.register("before-send.iot.DeletePolicy", stop, "stop")
    with pytest.raises(KeyboardInterrupt):
        own_lab.ledger.tear_down()
    iot.meta.events.unregister("before-send.iot.DeletePolicy", stop, "stop")
    again = open_lab(home=own_lab.home)
    assert again.ledger.has(ResourceKind.POLICY, "mine")
    assert again.ledger.tear_down().ok
    assert everything(own_lab) == before


def test_resources_deleted_by_others_are_skipped(own_lab: Lab, theirs: Any) -> None:
    iot = own_lab.client("iot")
    number = iot.create_keys_and_certificate()["certificateId"]
    iot.create_thing(thingName="vanishes")
    theirs.delete_certificate(certificateId=number)
    theirs.delete_thing(thingName="vanishes")
    assert own_lab.ledger.has(ResourceKind.CERTIFICATE, number)
    assert own_lab.ledger.tear_down().steps == []
    assert not own_lab.ledger.has(ResourceKind.CERTIFICATE, number)
    assert not own_lab.ledger.has(ResourceKind.THING, "vanishes")


def test_resources_deleted_during_the_teardown_count_as_done(own_lab: Lab, theirs: Any) -> None:
    own_lab.client("iot").create_policy(policyName="races", policyDocument=POLICY_TEXT)

    def quicker(**_: Any) -> None:
        iot.meta.events.unregister("before-send.iot.DeletePolicy", quicker, "quicker")
        theirs.delete_policy(policyName="races")

    iot = own_lab.ledger.inventory.client("iot")
    iot.meta.events.register("before-send.iot.DeletePolicy", quicker, "quicker")
    assert own_lab.ledger.tear_down().ok
    assert not own_lab.ledger.has(ResourceKind.POLICY, "races")


def test_a_lasting_refusal_shows_the_message_of_aws(own_lab: Lab, theirs: Any) -> None:
    own_lab.client("iot").create_thing_group(thingGroupName="outer")
    own_lab.client("iot").create_thing_group(thingGroupName="another")
    theirs.create_thing_group(thingGroupName="their-inner", parentGroupName="outer")
    failed = own_lab.ledger.tear_down()
    found = {step.what.partition(":")[0]: step.result for step in failed.steps}
    assert found == {"delete thing group 'another'": "OK", "delete thing group 'outer'": "FAILED"}
    assert repr(failed).count("outer") > 1  # AWS's own message
    theirs.delete_thing_group(thingGroupName="their-inner")
    assert own_lab.ledger.tear_down().ok


def test_only_a_thing_type_waits_five_minutes(own_lab: Lab) -> None:
    iot = own_lab.client("iot")
    iot.create_thing_type(thingTypeName="gauge")
    iot.create_thing(thingName="typed", thingTypeName="gauge")
    first = own_lab.ledger.tear_down()
    assert [(step.result, step.what.split(":")[0]) for step in first.steps] == [
        ("OK", "delete Thing 'typed'"),
        ("OK", "deprecate thing type 'gauge'"),
        ("WAIT", "delete thing type 'gauge', five minutes after its deprecation"),
    ]
    assert not first.ok
    rest = "AWS needs a few minutes before the remaining steps. Run this again later."
    assert repr(first).endswith(rest)
    assert own_lab.ledger.has(ResourceKind.THING_TYPE, "gauge")
    again = own_lab.ledger.tear_down()
    assert [step.result for step in again.steps] == ["WAIT"]  # it is not deprecated twice


# --- key files ----------------------------------------------------------------------------------


def test_only_key_files_of_deleted_certificates_are_deleted(own_lab: Lab, theirs: Any) -> None:
    iot = own_lab.client("iot")
    own_lab.keys.save("kept", theirs.create_keys_and_certificate())
    own_lab.keys.save("replaced", iot.create_keys_and_certificate())
    own_lab.keys.save("replaced", iot.create_keys_and_certificate())
    assert len(list(own_lab.keys.folder.glob("replaced*"))) == 2
    own_lab.ledger.tear_down()
    assert own_lab.keys.things() == ["kept"]
    assert list(own_lab.keys.folder.glob("replaced*")) == []
    own_lab.keys.files("kept").check()


def test_the_key_of_a_certificate_that_could_not_be_deleted_stays(own_lab: Lab) -> None:
    iot = own_lab.client("iot")
    own_lab.keys.save("stays", iot.create_keys_and_certificate())
    deletes = "before-call.iot.DeleteCertificate"

    def refuse(**_: Any) -> tuple[Any, dict[str, Any]]:
        refused = AWSResponse("https://nobody", 400, {}, None)
        return refused, {"Error": {"Code": "ThrottlingException", "Message": "Slow down"}}

    mine = own_lab.ledger.inventory.client("iot")
    mine.meta.events.register_last(deletes, refuse, "refuse")
    failed = own_lab.ledger.tear_down()
    mine.meta.events.unregister(deletes, refuse, "refuse")
    found = {step.what.partition(":")[0].split(" ")[1]: step.result for step in failed.steps}
    assert found["certificate"] == "FAILED"
    assert found["the"] == "-"  # key files
    assert "Slow down" in repr(failed)
    own_lab.keys.files("stays").check()
    own_lab.ledger.tear_down()
    assert own_lab.keys.things() == ["kept"]


def test_the_file_is_json_lines(own_lab: Lab) -> None:
    lines = LedgerFile.of(own_lab.home, own_lab.account).file.read_text().splitlines()
    assert {json.loads(line)["did"] for line in lines} >= {"make", "remove"}


def test_rules_and_functions_are_taken_down(own_lab: Lab) -> None:
    iot, functions = own_lab.client("iot"), own_lab.client("lambda")
    payload = {"sql": "SELECT * FROM 'creek/#'", "actions": []}
    others(own_lab, "iot").create_topic_rule(ruleName="theirs", topicRulePayload=payload)
    for name in ("flood", "deleted"):
        iot.create_topic_rule(ruleName=name, topicRulePayload=payload)
    iot.delete_topic_rule(ruleName="deleted")
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("lambda_function.py", "def lambda_handler(event, context): pass")
    for name in ("creekWaterLevelInsert", "other"):
        answer = functions.create_function(
            FunctionName=name,
            Role="arn:aws:iam::123456789012:role/creek",
            Runtime=RUNTIME,
            Handler="lambda_function.lambda_handler",
            Code={"ZipFile": code.getvalue()},
        )
    functions.delete_function(FunctionName=answer["FunctionArn"])
    result = own_lab.ledger.tear_down()
    assert [step.what for step in result.steps] == [
        "delete topic rule 'flood'",
        "delete function 'creekWaterLevelInsert'",
    ]
    assert result.ok
    assert [each["ruleName"] for each in iot.list_topic_rules()["rules"]] == ["theirs"]
    assert functions.list_functions()["Functions"] == []
    others(own_lab, "iot").delete_topic_rule(ruleName="theirs")
