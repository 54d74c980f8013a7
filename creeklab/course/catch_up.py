"""Bring the account to where a notebook starts, so that any notebook can be the first one opened.

Each step is safe to repeat: it makes what is missing and leaves alone what is right. Touches only
what the course itself makes: the Things, their certificates, and the policies named here. On AWS
that has to be this lab's own, by its ledger.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from creeklab.course.resources import (
    BROKEN_POLICIES,
    POLICIES,
    SENSOR_POLICY,
    TEST_CLIENT,
    THING,
    THING_POLICY,
    THINGS,
    TRIAL_POLICIES,
    TRIAL_THINGS,
    WIDE_POLICY,
    sensor_policy,
    thing_policy,
    wide_policy,
)
from creeklab.resources.lookup import exists, paginate, shadow_names
from creeklab.resources.resource import Resource, ResourceKind, describe_arn, endpoints
from creeklab.session.lab_session import LabSession


def catch_up(lab: LabSession, notebook: str | int) -> str:
    """Bring the account of `lab` to the start of `notebook`, named by its number or its file.

    Returns
    -------
    str
        What there is now, in a sentence.

    Raises
    ------
    ValueError
        If there is no such notebook.
    RuntimeError
        If an AWS account has something under a name of the course that this lab did not make, or
        others use what this lab made; or if AWS wants some minutes before it deletes something.
    """
    steps = {
        "00": _before_anything,
        "01": _before_anything,
        "02": _before_tour,
        "03": _before_thing,
        "04": _before_policy,
        "05": _before_mqtt,
        "06": _before_shadow,
        "07": _before_shadow,
        "08": _before_sensor,
        "09": _before_sensor,
        "10": _before_breaking,
        "11": _before_breaking,
        "12": _before_breaking,
        "99": _before_end,
    }
    named = re.fullmatch(r"(\d{1,2})(-[\w-]+)?(\.ipynb)?", str(notebook))
    step = steps.get(named[1].zfill(2)) if named else None
    if step is None:
        raise ValueError(f"'{notebook}' is none of the notebooks {', '.join(steps)}.")
    if lab.target == "aws":
        _refuse_what_others_made(lab)
    return step(lab)


def _refuse_what_others_made(lab: LabSession) -> None:
    """Refuse to work on anything in an AWS account that has a name of the course by chance."""
    for name in THINGS:
        thing = Resource(ResourceKind.THING, (name,))
        # A shadow needs no Thing; those of this lab's Things are this lab's.
        if lab.ledger.inventory.owns(thing):
            continue
        if exists(lab.ledger.inventory.client, thing):
            raise _not_ours(lab, thing)
        for shadow in shadow_names(lab.ledger.inventory.client, name):
            if not lab.ledger.has(ResourceKind.SHADOW, name, shadow):
                raise _not_ours(lab, Resource(ResourceKind.SHADOW, (name, shadow)))
    for policy in [Resource(ResourceKind.POLICY, (name,)) for name in POLICIES]:
        if not lab.ledger.inventory.owns(policy) and exists(lab.ledger.inventory.client, policy):
            raise _not_ours(lab, policy)


def _not_ours(lab: LabSession, one: Resource) -> RuntimeError:
    return RuntimeError(
        f"The {one} in your AWS account {lab.account}, region {lab.region}, was not made "
        "by this lab, so it is left alone, and nothing was done. If nobody needs it, "
        "delete it; else use another region: set AWS_REGION and open the lab again."
    )


def _before_anything(_: LabSession) -> str:
    return "This notebook needs nothing."


def _before_tour(lab: LabSession) -> str:
    _before_mqtt(lab)
    return f"There are the Things '{THING}' and '{TEST_CLIENT}', with certificates and policies."


def _before_thing(lab: LabSession) -> str:
    for thing in (THING, *TRIAL_THINGS):
        _remove_thing(lab, thing)
    _remove_policy(lab, THING_POLICY)
    return f"There is no Thing '{THING}' yet."


def _before_policy(lab: LabSession) -> str:
    for policy in (THING_POLICY, WIDE_POLICY, *TRIAL_POLICIES):
        _remove_policy(lab, policy)
    _have_device(lab, THING, {})
    return f"The Thing '{THING}' has an active certificate, and the certificate no policy."


def _before_mqtt(lab: LabSession) -> str:
    _have_device(lab, THING, {THING_POLICY: thing_policy(lab)})
    _have_device(lab, TEST_CLIENT, {WIDE_POLICY: wide_policy()})
    return (
        f"'{THING}' may connect and publish updates of its shadow; '{TEST_CLIENT}' may do "
        "everything."
    )


def _before_shadow(lab: LabSession) -> str:
    said = _before_mqtt(lab)
    _remove_shadows(lab, THING)
    return f"{said} '{THING}' has no shadow yet."


def _before_sensor(lab: LabSession) -> str:
    policies = {THING_POLICY: thing_policy(lab), SENSOR_POLICY: sensor_policy(lab)}
    _have_device(lab, THING, policies)
    _have_device(lab, TEST_CLIENT, {WIDE_POLICY: wide_policy()})
    _remove_shadows(lab, THING)
    return (
        f"'{THING}' may use its own shadow; '{TEST_CLIENT}' may do everything. "
        f"'{THING}' has no shadow yet."
    )


def _before_breaking(lab: LabSession) -> str:
    for policy in BROKEN_POLICIES:
        _remove_policy(lab, policy)
    for thing in TRIAL_THINGS:
        _remove_thing(lab, thing)
    _have_device(lab, THING, {SENSOR_POLICY: sensor_policy(lab)})
    _have_device(lab, TEST_CLIENT, {WIDE_POLICY: wide_policy()})
    _remove_shadows(lab, THING)
    return (
        f"All is well: '{THING}' may use its own shadow, '{TEST_CLIENT}' may do everything. "
        f"'{THING}' has no shadow yet."
    )


def _before_end(lab: LabSession) -> str:
    _before_sensor(lab)
    report = json.dumps({"state": {"reported": {"depth": 1.24, "temperature": 70.52}}})
    lab.client("iot-data").update_thing_shadow(thingName=THING, payload=report)
    return f"All that the course makes is there: the Things '{THING}' and '{TEST_CLIENT}', whole."


# --- the policies of the course ---------------------------------------------------------------


# --- steps that may be repeated -----------------------------------------------------------------


def _have_device(lab: LabSession, thing: str, policies: dict[str, dict[str, Any]]) -> None:
    """See to it that the Thing has one certificate, and the certificate just these policies."""
    iot = lab.client("iot")
    # One that is there keeps its attributes.
    with contextlib.suppress(iot.exceptions.ResourceAlreadyExistsException):
        iot.create_thing(thingName=thing)
    arn = _have_certificate(lab, thing)
    for other in list(paginate(iot.list_thing_principals, "principals", thingName=thing)):
        # One that others gave it is theirs to take away; it is in nobody's way.
        if other != arn and _is_ours(lab, Resource(ResourceKind.THING_PRINCIPAL, (thing, other))):
            iot.detach_thing_principal(thingName=thing, principal=other)
    iot.attach_thing_principal(thingName=thing, principal=arn)
    for attached in iot.list_attached_policies(target=arn)["policies"]:
        if attached["policyName"] not in policies:
            iot.detach_policy(policyName=attached["policyName"], target=arn)
    for name, document in policies.items():
        _have_policy(lab, name, document)
        iot.attach_policy(policyName=name, target=arn)


def _have_certificate(lab: LabSession, thing: str) -> str:
    """See to it that a certificate that is known and active is on disk; return its ARN."""
    iot = lab.client("iot")
    try:
        files = lab.keys.files(thing)
        files.check()
        certificate = iot.describe_certificate(certificateId=files.certificate_id)[
            "certificateDescription"
        ]
    except (FileNotFoundError, ValueError, iot.exceptions.ResourceNotFoundException):
        certificate = iot.create_keys_and_certificate(setAsActive=True)
        lab.keys.save(thing, certificate)
    else:
        if certificate["status"] != "ACTIVE":
            iot.update_certificate(certificateId=certificate["certificateId"], newStatus="ACTIVE")
    return str(certificate["certificateArn"])


def _have_policy(lab: LabSession, policy: str, document: dict[str, Any]) -> None:
    """See to it that the policy is there and says this."""
    iot = lab.client("iot")
    try:
        iot.create_policy(policyName=policy, policyDocument=json.dumps(document))
    except iot.exceptions.ResourceAlreadyExistsException:
        if json.loads(iot.get_policy(policyName=policy)["policyDocument"]) != document:
            _drop_versions(iot, policy)
            iot.create_policy_version(
                policyName=policy, policyDocument=json.dumps(document), setAsDefault=True
            )


def _remove_policy(lab: LabSession, policy: str) -> None:
    iot = lab.client("iot")
    try:
        targets = list(paginate(iot.list_targets_for_policy, "targets", policyName=policy))
    except iot.exceptions.ResourceNotFoundException:
        return
    if lab.target == "aws":
        for target in targets:
            _refuse_if_others_attached(lab, Resource(ResourceKind.POLICY_TARGET, (policy, target)))
    for target in targets:
        iot.detach_policy(policyName=policy, target=target)
    _drop_versions(iot, policy)
    with _minutes_explained(f"the policy '{policy}'", "DeleteConflictException"):
        iot.delete_policy(policyName=policy)


def _refuse_if_others_attached(lab: LabSession, attachment: Resource) -> None:
    """Refuse to take a policy or a Thing of this lab off what others have: it may be in use."""
    if not _is_ours(lab, attachment):
        one, _ = endpoints(attachment)
        other = describe_arn(attachment.names[1])
        how = f"The {one} is attached to {other}"
        if attachment.kind == ResourceKind.THING_PRINCIPAL:
            how = f"The {one} has {other}"
        raise RuntimeError(
            f"{how} in your AWS account {lab.account}, region {lab.region}, which this lab did not "
            f"make, so it is left alone. If nobody needs that, detach the {one.kind} from it; then "
            "call this again."
        )


def _is_ours(lab: LabSession, attachment: Resource) -> bool:
    """Tell whether this lab made what a Thing or a policy of it is attached to, or attached it."""
    _, other = endpoints(attachment)
    return any(lab.ledger.has(each.kind, *each.names) for each in (attachment, other))


@contextlib.contextmanager
def _minutes_explained(what: str, code: str) -> Iterator[None]:
    """Say what to do if AWS refuses to delete what was detached a moment ago."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] != code:
            raise
        raise RuntimeError(
            f"AWS does not delete {what} yet: it counts as attached for up to five minutes after "
            "it was detached. Wait some minutes, then call this again: it goes on from here. "
            f"AWS says: {error.response['Error']['Message']}"
        ) from None


def _drop_versions(iot: Any, policy: str) -> None:
    """Delete every version but the default one: AWS keeps five at most."""
    for version in iot.list_policy_versions(policyName=policy)["policyVersions"]:
        if not version["isDefaultVersion"]:
            iot.delete_policy_version(policyName=policy, policyVersionId=version["versionId"])


def _remove_shadows(lab: LabSession, thing: str) -> None:
    data = lab.client("iot-data")
    for name in data.list_named_shadows_for_thing(thingName=thing)["results"]:
        data.delete_thing_shadow(thingName=thing, shadowName=name)
    with contextlib.suppress(data.exceptions.ResourceNotFoundException):
        data.delete_thing_shadow(thingName=thing)


def _remove_thing(lab: LabSession, thing: str) -> None:
    """Remove a Thing, its shadow, and each certificate that is no other Thing's, in AWS's order."""
    iot = lab.client("iot")
    try:
        principals = list(paginate(iot.list_thing_principals, "principals", thingName=thing))
    except iot.exceptions.ResourceNotFoundException:
        principals = []
    if lab.target == "aws":
        for arn in principals:
            _refuse_if_others_attached(lab, Resource(ResourceKind.THING_PRINCIPAL, (thing, arn)))
    for arn in principals:
        iot.detach_thing_principal(thingName=thing, principal=arn)
        if iot.list_principal_things(principal=arn)["things"]:
            continue
        certificate = arn.rpartition("/")[2]
        if not lab.ledger.has(ResourceKind.CERTIFICATE, certificate):
            continue  # somebody else's
        with _minutes_explained(f"certificate {certificate}", "DeleteConflictException"):
            iot.update_certificate(certificateId=certificate, newStatus="INACTIVE")
            iot.delete_certificate(certificateId=certificate, forceDelete=True)
    _remove_shadows(lab, thing)
    with _minutes_explained(f"the Thing '{thing}'", "InvalidRequestException"):
        iot.delete_thing(thingName=thing)
    deleted = {
        number
        for number in lab.ledger.inventory.all_certificate_ids()
        if not lab.ledger.has(ResourceKind.CERTIFICATE, number)
    }
    lab.keys.remove(thing, deleted)
