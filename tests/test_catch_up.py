"""Catching up: whatever a learner did before, each notebook finds the account that it needs.

The account itself shows the result: its Things, files, policies and shadows, and what the
certificates are allowed.
"""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from creeklab import Lab, open_lab
from creeklab.cloud import supervisor
from creeklab.course.resources import (
    BROKEN_POLICIES,
    TRIAL_THINGS,
    sensor_policy,
    thing_policy,
    wide_policy,
)

NOTEBOOKS = ["02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "99"]
BREAKING = ("10", "11", "12")
THINGS = ("Test2", "TestClient")
OF_NOTEBOOK_4 = ("Test2Policy", "policyall", "HashPolicy", "OwnTopicPolicy")
REPORT = '{"state": {"reported": {"depth": 1.4}}}'


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Return a lab of its own: catching up changes the names of the course."""
    home = tmp_path_factory.mktemp("course")
    lab = open_lab(home=home)
    lab.client = functools.cache(lab.client)  # type: ignore[method-assign]  # for speed
    yield lab
    supervisor.stop(home)


def empty(lab: Lab) -> None:
    """Empty the account like `Lab.reset`, without the second for a restart."""
    iot, data = lab.client("iot"), lab.client("iot-data")
    for thing in [each["thingName"] for each in iot.list_things()["things"]]:
        for principal in iot.list_thing_principals(thingName=thing)["principals"]:
            iot.detach_thing_principal(thingName=thing, principal=principal)
        iot.delete_thing(thingName=thing)
    for each in iot.list_certificates()["certificates"]:
        iot.update_certificate(certificateId=each["certificateId"], newStatus="INACTIVE")
        iot.delete_certificate(certificateId=each["certificateId"], forceDelete=True)
    for policy in policies(lab):
        for version in iot.list_policy_versions(policyName=policy)["policyVersions"]:
            if not version["isDefaultVersion"]:
                iot.delete_policy_version(policyName=policy, policyVersionId=version["versionId"])
        iot.delete_policy(policyName=policy)
    for thing in (*THINGS, *TRIAL_THINGS, "Mine"):
        for name in shadows(lab, thing):
            data.delete_thing_shadow(thingName=thing, **({"shadowName": name} if name else {}))
    if lab.keys.folder.exists():
        shutil.rmtree(lab.keys.folder)


# --- what there is --------------------------------------------------------------------------------


def policies(lab: Lab) -> dict[str, Any]:
    """Return the document of every policy."""
    iot = lab.client("iot")
    names = [each["policyName"] for each in iot.list_policies()["policies"]]
    return {name: json.loads(iot.get_policy(policyName=name)["policyDocument"]) for name in names}


def certificate(lab: Lab, thing: str) -> str:
    """Return the ARN of the certificate on disk."""
    number = lab.keys.files(thing).certificate_id
    return f"arn:aws:iot:{lab.region}:{lab.account}:cert/{number}"


def may(lab: Lab, thing: str, action: str, resource: str) -> bool:
    """Return AWS's decision for the certificate on disk."""
    prefix = f"arn:aws:iot:{lab.region}:{lab.account}"
    answer = lab.client("iot").test_authorization(
        principal=certificate(lab, thing),
        clientId=thing,
        authInfos=[{"actionType": action, "resources": [f"{prefix}:{resource}"]}],
    )
    decision: str = answer["authResults"][0]["authDecision"]
    return decision == "ALLOWED"


def shadows(lab: Lab, thing: str) -> list[str]:
    data = lab.client("iot-data")
    names: list[str] = data.list_named_shadows_for_thing(thingName=thing)["results"]
    try:
        data.get_thing_shadow(thingName=thing)
    except data.exceptions.ResourceNotFoundException:
        return names
    return ["", *names]


def assert_ready(lab: Lab, notebook: str) -> None:
    """Assert that the account is as the cells of a notebook expect."""
    known = policies(lab)
    if notebook == "03":
        things = [each["thingName"] for each in lab.client("iot").list_things()["things"]]
        assert not {"Test2", *TRIAL_THINGS} & {*things, *lab.keys.things()}
        assert "Test2Policy" not in known
        assert shadows(lab, "Test2") == []
        return
    assert lab.check.thing("Test2")
    assert lab.check.certificate("Test2")
    if notebook == "04":
        [principal] = lab.client("iot").list_thing_principals(thingName="Test2")["principals"]
        assert principal == certificate(lab, "Test2")
        assert lab.client("iot").list_attached_policies(target=principal)["policies"] == []
        assert known.keys().isdisjoint(OF_NOTEBOOK_4)
        return
    assert lab.check.certificate("TestClient")
    assert known["policyall"] == wide_policy()
    if notebook in BREAKING:
        [principal] = lab.client("iot").list_thing_principals(thingName="Test2")["principals"]
        [attached] = lab.client("iot").list_attached_policies(target=principal)["policies"]
        assert attached["policyName"] == "CreekSensorPolicy"
        assert known["CreekSensorPolicy"] == sensor_policy(lab)
        assert known.keys().isdisjoint(BROKEN_POLICIES)
        assert not {*TRIAL_THINGS} & {*lab.keys.things()}
        assert shadows(lab, "Test2") == []
        return
    if notebook == "02":
        assert may(lab, "Test2", "PUBLISH", "topic/hello/Test2")
        assert not may(lab, "Test2", "PUBLISH", "topic/$aws/things/Test2/shadow/update")
        assert may(lab, "TestClient", "SUBSCRIBE", "topicfilter/#")
        return
    assert known["Test2Policy"] == thing_policy(lab)
    assert may(lab, "Test2", "CONNECT", "client/Test2")
    assert may(lab, "Test2", "PUBLISH", "topic/$aws/things/Test2/shadow/update")
    assert not may(lab, "Test2", "SUBSCRIBE", "topicfilter/#")
    assert not may(lab, "Test2", "PUBLISH", "topic/$aws/things/applecreek/shadow/update")
    assert may(lab, "TestClient", "CONNECT", "client/TestClient")
    assert may(lab, "TestClient", "SUBSCRIBE", "topicfilter/#")
    if notebook in ("08", "09", "99"):
        assert known["CreekSensorPolicy"] == sensor_policy(lab)
        assert may(lab, "Test2", "SUBSCRIBE", "topicfilter/$aws/things/Test2/shadow/get/+")
        assert may(lab, "Test2", "RECEIVE", "topic/$aws/things/Test2/shadow/get/accepted")
    if notebook == "99":
        assert lab.check.shadow("Test2", depth=1.24)
    elif notebook != "05":
        assert shadows(lab, "Test2") == []


# --- from nothing, and again ----------------------------------------------------------------------


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_from_an_empty_account_and_twice_in_a_row(course: Lab, notebook: str) -> None:
    empty(course)
    state = course.catch_up(notebook)
    assert state.startswith(("The Thing", "'Test2' is allowed", "Everything "))
    assert state.endswith(".")
    assert_ready(course, notebook)
    before = everything(course)
    assert course.catch_up(notebook) == state
    assert everything(course) == before


def everything(lab: Lab) -> dict[str, Any]:
    """Return everything that catching up might change, except version numbers."""
    iot = lab.client("iot")
    things = {
        each["thingName"]: (
            each["attributes"],
            iot.list_thing_principals(thingName=each["thingName"])["principals"],
            shadows(lab, each["thingName"]),
        )
        for each in iot.list_things()["things"]
    }
    targets = {
        name: (
            document,
            sorted(iot.list_targets_for_policy(policyName=name)["targets"]),
            iot.list_policy_versions(policyName=name)["policyVersions"],
        )
        for name, document in policies(lab).items()
    }
    certificates = {
        each["certificateId"]: each["status"] for each in iot.list_certificates()["certificates"]
    }
    folder = lab.keys.folder
    files = {path: path.read_text() for path in folder.rglob("*") if path.is_file()}
    return {"things": things, "policies": targets, "certificates": certificates, "files": files}


@pytest.mark.parametrize(
    "name", ["04", "4", 4, "4-policy", "04-policy.ipynb"], ids=lambda name: repr(name)
)
def test_a_notebook_is_named_by_number_or_file(course: Lab, name: str | int) -> None:
    assert course.catch_up(name) == course.catch_up("04-policy")


@pytest.mark.parametrize("name", [0, 1, "00", "1", "01-account"])
def test_notebooks_that_need_no_preparation(course: Lab, name: str | int) -> None:
    assert course.catch_up(name) == "This notebook needs no preparation."


@pytest.mark.parametrize(
    "name", ["", "98", 98, -4, 4.0, None, True, "xx", "policy", "-04", "004", "Test2"]
)
def test_an_unknown_notebook(course: Lab, name: Any) -> None:
    with pytest.raises(ValueError, match=f"^There is no notebook '{name}'. The notebooks are 0"):
        course.catch_up(name)


# --- from a mess ----------------------------------------------------------------------------------


def certificate_inactive(lab: Lab) -> None:
    for thing in THINGS:
        lab.client("iot").update_certificate(
            certificateId=lab.keys.files(thing).certificate_id, newStatus="INACTIVE"
        )


def certificate_revoked(lab: Lab) -> None:
    lab.client("iot").update_certificate(
        certificateId=lab.keys.files("Test2").certificate_id, newStatus="REVOKED"
    )


def certificate_detached(lab: Lab) -> None:
    iot = lab.client("iot")
    for thing in THINGS:
        for principal in iot.list_thing_principals(thingName=thing)["principals"]:
            iot.detach_thing_principal(thingName=thing, principal=principal)


def certificate_deleted(lab: Lab) -> None:
    iot = lab.client("iot")
    ids = [lab.keys.files(thing).certificate_id for thing in THINGS]
    certificate_detached(lab)
    for number in ids:
        iot.update_certificate(certificateId=number, newStatus="INACTIVE")
        iot.delete_certificate(certificateId=number, forceDelete=True)


def key_folder_missing(lab: Lab) -> None:
    for thing in THINGS:
        lab.keys.remove(thing)


def key_file_missing(lab: Lab) -> None:
    lab.keys.files("Test2").private_key.unlink()


def certificate_file_missing(lab: Lab) -> None:
    lab.keys.files("Test2").certificate.unlink()


def certificate_file_damaged(lab: Lab) -> None:
    lab.keys.files("Test2").certificate.write_text("no certificate")


def key_file_damaged(lab: Lab) -> None:
    lab.keys.files("Test2").private_key.write_text("no key")


def thing_missing(lab: Lab) -> None:
    certificate_detached(lab)
    for thing in THINGS:
        lab.client("iot").delete_thing(thingName=thing)


def thing_has_attributes(lab: Lab) -> None:
    lab.client("iot").update_thing(
        thingName="Test2",
        attributePayload={"attributes": {"creek": "Elkhorn", "state": "Kentucky"}},
    )


def policy_changed_four_times(lab: Lab) -> None:
    iot = lab.client("iot")
    for policy in ("Test2Policy", "policyall"):
        for number in range(4):
            document = {**wide_policy(), "Id": str(number)}
            iot.create_policy_version(
                policyName=policy, policyDocument=json.dumps(document), setAsDefault=number == 2
            )


def wide_policy_attached_to_the_device(lab: Lab) -> None:
    attach(lab, "policyall", "Test2")


def foreign_policy_attached_to_the_device(lab: Lab) -> None:
    make_policy(lab, "Mine")
    attach(lab, "Mine", "Test2")


def policies_of_notebook_4_left_over(lab: Lab) -> None:
    for policy in OF_NOTEBOOK_4:
        make_policy(lab, policy)
        attach(lab, policy, "Test2")


def trial_things_left_over(lab: Lab) -> None:
    iot = lab.client("iot")
    for thing in TRIAL_THINGS:
        iot.create_thing(thingName=thing)
    answer = iot.create_keys_and_certificate(setAsActive=True)
    lab.keys.save("Test3", answer)
    iot.attach_thing_principal(thingName="Test3", principal=answer["certificateArn"])


def broken_policies_left_over(lab: Lab) -> None:
    for policy in BROKEN_POLICIES:
        make_policy(lab, policy)
        attach(lab, policy, "Test2")


def shadow_there(lab: Lab) -> None:
    lab.client("iot-data").update_thing_shadow(thingName="Test2", payload=REPORT)


def named_shadow_there(lab: Lab) -> None:
    lab.client("iot-data").update_thing_shadow(
        thingName="Test2", shadowName="settings", payload=REPORT
    )


def make_policy(lab: Lab, policy: str) -> None:
    iot = lab.client("iot")
    try:
        iot.create_policy(policyName=policy, policyDocument=json.dumps(wide_policy()))
    except iot.exceptions.ResourceAlreadyExistsException:
        return


def attach(lab: Lab, policy: str, thing: str) -> None:
    lab.client("iot").attach_policy(policyName=policy, target=certificate(lab, thing))


Mess = Callable[[Lab], None]
MESSES: list[Mess] = [
    certificate_inactive,
    certificate_revoked,
    certificate_detached,
    certificate_deleted,
    key_folder_missing,
    key_file_missing,
    key_file_damaged,
    certificate_file_missing,
    certificate_file_damaged,
    thing_missing,
    thing_has_attributes,
    policy_changed_four_times,
    wide_policy_attached_to_the_device,
    foreign_policy_attached_to_the_device,
    policies_of_notebook_4_left_over,
    trial_things_left_over,
    broken_policies_left_over,
    shadow_there,
    named_shadow_there,
]


def rows() -> Iterator[Any]:
    for mess in MESSES:
        breaking = ("10",) if mess in (trial_things_left_over, broken_policies_left_over) else ()
        for notebook in ("03", "04", "08", *breaking):
            yield pytest.param(mess, notebook, id=f"{mess.__name__}-{notebook}")


@pytest.fixture
def after_the_course(course: Lab) -> Lab:
    """Return a lab with the account of the last notebook."""
    empty(course)
    course.catch_up("08")
    return course


@pytest.mark.parametrize(("mess", "notebook"), list(rows()))
def test_from_a_mess(after_the_course: Lab, mess: Mess, notebook: str) -> None:
    mess(after_the_course)
    after_the_course.catch_up(notebook)
    assert_ready(after_the_course, notebook)


@pytest.mark.parametrize("notebook", ["02", "05", "06", "10", "99"])
def test_from_several_messes_at_once(after_the_course: Lab, notebook: str) -> None:
    for mess in (shadow_there, policy_changed_four_times, key_file_missing, thing_missing):
        mess(after_the_course)
    after_the_course.catch_up(notebook)
    assert_ready(after_the_course, notebook)


# --- what is not the course's ---------------------------------------------------------------------


def test_other_resources_stay(course: Lab) -> None:
    empty(course)
    iot = course.client("iot")
    iot.create_thing(thingName="Mine", attributePayload={"attributes": {"creek": "Cane"}})
    answer = iot.create_keys_and_certificate(setAsActive=False)
    course.keys.save("Mine", answer)
    iot.attach_thing_principal(thingName="Mine", principal=answer["certificateArn"])
    for policy in ("Mine", "Test2PolicyOfMine"):
        make_policy(course, policy)
        iot.attach_policy(policyName=policy, target=answer["certificateArn"])
    course.client("iot-data").update_thing_shadow(thingName="Mine", payload=REPORT)
    before = everything(course)

    for notebook in [*NOTEBOOKS, *reversed(NOTEBOOKS)]:
        course.catch_up(notebook)
        now = everything(course)
        assert now["things"]["Mine"] == before["things"]["Mine"]
        for kind in ("policies", "certificates", "files"):
            assert before[kind].items() <= now[kind].items()


def test_a_certificate_shared_with_another_thing_stays(after_the_course: Lab) -> None:
    iot = after_the_course.client("iot")
    [principal] = iot.list_thing_principals(thingName="Test2")["principals"]
    iot.create_thing(thingName="Neighbor")
    iot.attach_thing_principal(thingName="Neighbor", principal=principal)
    key = after_the_course.keys.files("Test2").private_key.read_text()
    after_the_course.catch_up("03")
    assert iot.list_thing_principals(thingName="Neighbor")["principals"] == [principal]
    [kept] = after_the_course.keys.folders("Test2")  # another Thing uses its key too
    assert (kept / "private.pem.key").read_text() == key
