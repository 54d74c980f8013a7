"""Bring the account to where a notebook starts, so that any notebook can be the first one opened.

Each step is safe to repeat: it makes what is missing and leaves alone what is right. Touches only
what the course itself makes: the Things ``Test2`` and ``TestClient``, their certificates, and the
policies named here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from creeklab.lab import Lab

THING, TEST_CLIENT = "Test2", "TestClient"
THING_POLICY, WIDE_POLICY, SENSOR_POLICY = "Test2Policy", "policyall", "CreekSensorPolicy"


def catch_up(lab: Lab, notebook: str) -> str:
    """Bring the account of `lab` to the start of `notebook`, named by its number or its file.

    Returns
    -------
    str
        What there is now, in a sentence.

    Raises
    ------
    ValueError
        If there is no such notebook.
    """
    steps = {
        "00": _before_anything,
        "03": _before_thing,
        "04": _before_policy,
        "05": _before_mqtt,
        "06": _before_shadow,
        "07": _before_shadow,
        "08": _before_sensor,
    }
    step = steps.get(notebook[:2])
    if step is None:
        raise ValueError(f"'{notebook}' is none of the notebooks {', '.join(steps)}.")
    return step(lab)


def _before_anything(_: Lab) -> str:
    return "This notebook needs nothing."


def _before_thing(lab: Lab) -> str:
    _remove_thing(lab, THING)
    _remove_policy(lab, THING_POLICY)
    return f"There is no Thing '{THING}' yet."


def _before_policy(lab: Lab) -> str:
    _have_thing(lab, THING)
    _have_certificate(lab, THING)
    _remove_policy(lab, THING_POLICY)
    _detach_policies(lab, THING)
    return f"The Thing '{THING}' has an active certificate, and the certificate no policy."


def _before_mqtt(lab: Lab) -> str:
    _have_thing(lab, THING)
    _have_certificate(lab, THING)
    _have_policy(lab, THING, THING_POLICY, thing_policy(lab))
    _have_thing(lab, TEST_CLIENT)
    _have_certificate(lab, TEST_CLIENT)
    _have_policy(lab, TEST_CLIENT, WIDE_POLICY, wide_policy())
    return (
        f"'{THING}' may connect and publish updates of its shadow; '{TEST_CLIENT}' may do "
        "everything."
    )


def _before_shadow(lab: Lab) -> str:
    said = _before_mqtt(lab)
    _remove_shadow(lab, THING)
    return f"{said} '{THING}' has no shadow yet."


def _before_sensor(lab: Lab) -> str:
    _before_shadow(lab)
    _have_policy(lab, THING, SENSOR_POLICY, sensor_policy(lab))
    return (
        f"'{THING}' may use its own shadow; '{TEST_CLIENT}' may do everything. "
        f"'{THING}' has no shadow yet."
    )


# --- the policies of the course ---------------------------------------------------------------


def thing_policy(lab: Lab) -> dict[str, Any]:
    """Return the tutorial's policy for Test2, its slip mended."""
    arn = f"arn:aws:iot:{lab.region}:{lab.account}"
    return _document(
        _allow("iot:Connect", f"{arn}:client/{THING}"),
        _allow("iot:Publish", f"{arn}:topic/$aws/things/{THING}/shadow/update"),
    )


def wide_policy() -> dict[str, Any]:
    """Return the tutorial's ``policyall``: everything to everything. Not for a device."""
    return _document(_allow("iot:*", "*"))


def sensor_policy(lab: Lab) -> dict[str, Any]:
    """Return a policy for any number of sensors: each may use the shadow of its own Thing."""
    arn = f"arn:aws:iot:{lab.region}:{lab.account}"
    name = "${iot:Connection.Thing.ThingName}"
    return _document(
        _allow("iot:Connect", f"{arn}:client/{name}"),
        _allow(["iot:Publish", "iot:Receive"], f"{arn}:topic/$aws/things/{name}/shadow/*"),
        _allow("iot:Subscribe", f"{arn}:topicfilter/$aws/things/{name}/shadow/*"),
    )


def _document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(action: str | list[str], resource: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource}


# --- steps that may be repeated -----------------------------------------------------------------


def _have_thing(lab: Lab, thing: str) -> None:
    lab.client("iot").create_thing(thingName=thing)


def _have_certificate(lab: Lab, thing: str) -> None:
    """See to it that the certificate on disk is known, active and the Thing's."""
    iot = lab.client("iot")
    try:
        certificate = iot.describe_certificate(certificateId=lab.keys.files(thing).certificate_id)[
            "certificateDescription"
        ]
    except (FileNotFoundError, iot.exceptions.ResourceNotFoundException):
        certificate = iot.create_keys_and_certificate(setAsActive=True)
        lab.keys.save(thing, certificate)
    else:
        if certificate["status"] != "ACTIVE":
            iot.update_certificate(certificateId=certificate["certificateId"], newStatus="ACTIVE")
    iot.attach_thing_principal(thingName=thing, principal=certificate["certificateArn"])


def _have_policy(lab: Lab, thing: str, policy: str, document: dict[str, Any]) -> None:
    """See to it that the Thing's certificate has the policy, and the policy this document."""
    iot = lab.client("iot")
    try:
        iot.create_policy(policyName=policy, policyDocument=json.dumps(document))
    except iot.exceptions.ResourceAlreadyExistsException:
        if json.loads(iot.get_policy(policyName=policy)["policyDocument"]) != document:
            _drop_versions(iot, policy)
            iot.create_policy_version(
                policyName=policy, policyDocument=json.dumps(document), setAsDefault=True
            )
    iot.attach_policy(policyName=policy, target=_arn(lab, thing))


def _detach_policies(lab: Lab, thing: str) -> None:
    iot, arn = lab.client("iot"), _arn(lab, thing)
    for policy in iot.list_attached_policies(target=arn)["policies"]:
        iot.detach_policy(policyName=policy["policyName"], target=arn)


def _remove_policy(lab: Lab, policy: str) -> None:
    iot = lab.client("iot")
    try:
        targets = iot.list_targets_for_policy(policyName=policy, pageSize=250)["targets"]
    except iot.exceptions.ResourceNotFoundException:
        return
    for target in targets:
        iot.detach_policy(policyName=policy, target=target)
    _drop_versions(iot, policy)
    iot.delete_policy(policyName=policy)


def _drop_versions(iot: Any, policy: str) -> None:
    """Delete every version but the default one: AWS keeps five at most."""
    for version in iot.list_policy_versions(policyName=policy)["policyVersions"]:
        if not version["isDefaultVersion"]:
            iot.delete_policy_version(policyName=policy, policyVersionId=version["versionId"])


def _remove_shadow(lab: Lab, thing: str) -> None:
    data = lab.client("iot-data")
    try:
        data.delete_thing_shadow(thingName=thing)
    except data.exceptions.ResourceNotFoundException:
        return


def _remove_thing(lab: Lab, thing: str) -> None:
    """Remove a Thing, its shadow, and each certificate that is no other Thing's, in AWS's order."""
    iot = lab.client("iot")
    try:
        principals = iot.list_thing_principals(thingName=thing)["principals"]
    except iot.exceptions.ResourceNotFoundException:
        principals = []
    for arn in principals:
        iot.detach_thing_principal(thingName=thing, principal=arn)
        if iot.list_principal_things(principal=arn)["things"]:
            continue
        certificate = arn.rpartition("/")[2]
        iot.update_certificate(certificateId=certificate, newStatus="INACTIVE")
        iot.delete_certificate(certificateId=certificate, forceDelete=True)
    iot.delete_thing(thingName=thing)
    _remove_shadow(lab, thing)
    lab.keys.remove(thing)


def _arn(lab: Lab, thing: str) -> str:
    certificate = lab.keys.files(thing).certificate_id
    return f"arn:aws:iot:{lab.region}:{lab.account}:cert/{certificate}"
