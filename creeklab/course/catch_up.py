"""Prepare the account for a notebook, so that any notebook can be the first one opened.

Each step can be repeated: it creates what is missing and keeps what is right. It touches only what
the course itself creates: the Things, their certificates, and the policies named in
`creeklab.course.resources`. On AWS, they must belong to this lab according to its ledger.
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
    HELLO_POLICY,
    POLICIES,
    RULES,
    RULES_ROLE,
    SENSOR_POLICY,
    TEST_CLIENT,
    THING,
    THING_POLICY,
    THINGS,
    TRIAL_POLICIES,
    TRIAL_THINGS,
    WIDE_POLICY,
    hello_policy,
    sensor_policy,
    thing_policy,
    wide_policy,
)
from creeklab.resources.lookup import exists, paginate, shadow_names
from creeklab.resources.resource import Resource, ResourceKind, describe_arn, endpoints
from creeklab.session.lab_session import LabSession


def catch_up(lab: LabSession, notebook: str | int) -> str:
    """Prepare the account for `notebook`, given by its number or its file; describe the state.

    Raises
    ------
    ValueError
        If there is no such notebook.
    RuntimeError
        If an AWS account has a resource with a name of the course that this lab did not create, or
        others use what this lab created; or if AWS needs a few minutes before it deletes something.
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
        "13": _before_rules,
        "99": _before_end,
    }
    named = re.fullmatch(r"(\d{1,2})(-[\w-]+)?(\.ipynb)?", str(notebook))
    step = steps.get(named[1].zfill(2)) if named else None
    if step is None:
        raise ValueError(
            f"There is no notebook '{notebook}'. The notebooks are {', '.join(steps)}."
        )
    if step is _before_anything:
        return step(lab)
    if lab.target == "aws":
        _check_ownership(lab)
    _remove_rules(lab)
    return step(lab)


def _check_ownership(lab: LabSession) -> None:
    """Raise if a resource with a name of the course belongs to someone else."""
    inventory = lab.ledger.inventory
    for name in THINGS:
        thing = Resource(ResourceKind.THING, (name,))
        # Shadows can exist without a Thing; those of this lab's Things belong to this lab.
        if inventory.owns(thing):
            continue
        if exists(inventory.client, thing):
            raise _foreign(lab, thing)
        for shadow in shadow_names(inventory.client, name):
            one = Resource(ResourceKind.SHADOW, (name, shadow))
            if one not in inventory:
                raise _foreign(lab, one)
    named = [Resource(ResourceKind.POLICY, (name,)) for name in POLICIES]
    named += [Resource(ResourceKind.TOPIC_RULE, (name,)) for name in RULES]
    for one in named:
        if not inventory.owns(one) and exists(inventory.client, one):
            raise _foreign(lab, one)


def _foreign(lab: LabSession, one: Resource) -> RuntimeError:
    return RuntimeError(
        f"Nothing was done: this lab did not create the {one} in your AWS account {lab.account}, "
        f"region {lab.region}. If nobody needs it, delete it. Otherwise use another region: set "
        "AWS_REGION and open the lab again."
    )


def _before_anything(_: LabSession) -> str:
    return "This notebook needs no preparation."


def _before_tour(lab: LabSession) -> str:
    # Not the policy of notebook 4, whose mistake is discovered there.
    _ensure_devices(lab, {HELLO_POLICY: hello_policy(lab)})
    return f"The Things '{THING}' and '{TEST_CLIENT}' exist, with certificates and policies."


def _before_thing(lab: LabSession) -> str:
    for thing in (THING, *TRIAL_THINGS):
        _remove_thing(lab, thing)
    _remove_policy(lab, THING_POLICY)
    return f"The Thing '{THING}' does not exist yet."


def _before_policy(lab: LabSession) -> str:
    for policy in (THING_POLICY, WIDE_POLICY, *TRIAL_POLICIES):
        _remove_policy(lab, policy)
    _ensure_device(lab, THING, {})
    return f"The Thing '{THING}' has an active certificate, which has no policy."


def _before_mqtt(lab: LabSession) -> str:
    _ensure_devices(lab, {THING_POLICY: thing_policy(lab)})
    return (
        f"'{THING}' is allowed to connect and to publish updates of its shadow; '{TEST_CLIENT}' is "
        "allowed everything."
    )


def _before_shadow(lab: LabSession) -> str:
    state = _before_mqtt(lab)
    _remove_shadows(lab, THING)
    return f"{state} '{THING}' has no shadow yet."


def _before_sensor(lab: LabSession) -> str:
    _ensure_devices(lab, {THING_POLICY: thing_policy(lab), SENSOR_POLICY: sensor_policy(lab)})
    _remove_shadows(lab, THING)
    return (
        f"'{THING}' is allowed to use its own shadow; '{TEST_CLIENT}' is allowed everything. "
        f"'{THING}' has no shadow yet."
    )


def _before_breaking(lab: LabSession) -> str:
    for policy in BROKEN_POLICIES:
        _remove_policy(lab, policy)
    for thing in TRIAL_THINGS:
        _remove_thing(lab, thing)
    _ensure_devices(lab, {SENSOR_POLICY: sensor_policy(lab)})
    _remove_shadows(lab, THING)
    return (
        f"Everything works: '{THING}' is allowed to use its own shadow, '{TEST_CLIENT}' is allowed "
        f"everything. '{THING}' has no shadow yet."
    )


def _before_rules(lab: LabSession) -> str:
    state = _before_sensor(lab)
    if lab.ledger.has(ResourceKind.ROLE, RULES_ROLE):
        iam = lab.client("iam")
        with contextlib.suppress(iam.exceptions.NoSuchEntityException):
            for policy in iam.list_role_policies(RoleName=RULES_ROLE)["PolicyNames"]:
                iam.delete_role_policy(RoleName=RULES_ROLE, PolicyName=policy)
            iam.delete_role(RoleName=RULES_ROLE)
    return f"{state} There are no rules of the course yet."


def _before_end(lab: LabSession) -> str:
    _before_sensor(lab)
    report = json.dumps({"state": {"reported": {"depth": 1.24, "temperature": 70.52}}})
    lab.client("iot-data").update_thing_shadow(thingName=THING, payload=report)
    return f"Everything that the course creates exists: '{THING}' and '{TEST_CLIENT}', complete."


# --- repeatable steps -----------------------------------------------------------------------------


def _ensure_devices(lab: LabSession, policies: dict[str, dict[str, Any]]) -> None:
    """Ensure the course's device, with these policies, and its test client."""
    _ensure_device(lab, THING, policies)
    _ensure_device(lab, TEST_CLIENT, {WIDE_POLICY: wide_policy()})


def _ensure_device(lab: LabSession, thing: str, policies: dict[str, dict[str, Any]]) -> None:
    """Ensure that the Thing has one certificate, and the certificate exactly these policies."""
    iot = lab.client("iot")
    # An existing Thing keeps its attributes.
    with contextlib.suppress(iot.exceptions.ResourceAlreadyExistsException):
        iot.create_thing(thingName=thing)
    arn = _ensure_certificate(lab, thing)
    for other in list(paginate(iot.list_thing_principals, "principals", thingName=thing)):
        # A certificate that others attached does no harm, and only they may detach it.
        if other != arn and _is_own(lab, Resource(ResourceKind.THING_PRINCIPAL, (thing, other))):
            iot.detach_thing_principal(thingName=thing, principal=other)
    iot.attach_thing_principal(thingName=thing, principal=arn)
    for attached in iot.list_attached_policies(target=arn)["policies"]:
        if attached["policyName"] not in policies:
            iot.detach_policy(policyName=attached["policyName"], target=arn)
    for name, document in policies.items():
        _ensure_policy(lab, name, document)
        iot.attach_policy(policyName=name, target=arn)


def _ensure_certificate(lab: LabSession, thing: str) -> str:
    """Ensure that a registered, active certificate is on disk; return its ARN."""
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


def _ensure_policy(lab: LabSession, policy: str, document: dict[str, Any]) -> None:
    """Ensure that the policy exists with this document."""
    iot = lab.client("iot")
    try:
        iot.create_policy(policyName=policy, policyDocument=json.dumps(document))
    except iot.exceptions.ResourceAlreadyExistsException:
        if json.loads(iot.get_policy(policyName=policy)["policyDocument"]) != document:
            _delete_old_versions(iot, policy)
            iot.create_policy_version(
                policyName=policy, policyDocument=json.dumps(document), setAsDefault=True
            )


def _remove_rules(lab: LabSession) -> None:
    """Delete the course's rules: they would add messages to other notebooks."""
    iot = lab.client("iot")
    for rule in list(paginate(iot.list_topic_rules, "rules")):
        if rule["ruleName"] in RULES:
            iot.delete_topic_rule(ruleName=rule["ruleName"])


def _remove_policy(lab: LabSession, policy: str) -> None:
    iot = lab.client("iot")
    try:
        targets = list(paginate(iot.list_targets_for_policy, "targets", policyName=policy))
    except iot.exceptions.ResourceNotFoundException:
        return
    if lab.target == "aws":
        for target in targets:
            _check_not_in_use(lab, Resource(ResourceKind.POLICY_TARGET, (policy, target)))
    for target in targets:
        iot.detach_policy(policyName=policy, target=target)
    _delete_old_versions(iot, policy)
    with _explain_delay(f"the policy '{policy}'", "DeleteConflictException"):
        iot.delete_policy(policyName=policy)


def _check_not_in_use(lab: LabSession, attachment: Resource) -> None:
    """Raise if a policy or Thing of this lab is attached to what others own: it may be in use."""
    if not _is_own(lab, attachment):
        one, _ = endpoints(attachment)
        other = describe_arn(attachment.names[1])
        how = f"The {one} is attached to {other}"
        if attachment.kind == ResourceKind.THING_PRINCIPAL:
            how = f"The {one} has {other}"
        raise RuntimeError(
            f"{how} in your AWS account {lab.account}, region {lab.region}, which this lab did not "
            f"create. If nobody needs that attachment, detach the {one.kind}; then call this again."
        )


def _is_own(lab: LabSession, attachment: Resource) -> bool:
    """Return whether this lab created the other end of an attachment, or the attachment."""
    _, other = endpoints(attachment)
    return attachment in lab.ledger.inventory or other in lab.ledger.inventory


@contextlib.contextmanager
def _explain_delay(what: str, code: str) -> Iterator[None]:
    """Explain AWS's refusal to delete what was detached a moment ago."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] != code:
            raise
        raise RuntimeError(
            f"AWS does not delete {what} yet: it counts as attached for up to five minutes after "
            "it was detached. Wait a few minutes, then call this again to continue. "
            f"AWS says: {error.response['Error']['Message']}"
        ) from None


def _delete_old_versions(iot: Any, policy: str) -> None:
    """Delete every version except the default one: AWS allows five."""
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
    """Delete a Thing, its shadows, and its certificates that no other Thing uses."""
    iot = lab.client("iot")
    try:
        principals = list(paginate(iot.list_thing_principals, "principals", thingName=thing))
    except iot.exceptions.ResourceNotFoundException:
        principals = []
    if lab.target == "aws":
        for arn in principals:
            _check_not_in_use(lab, Resource(ResourceKind.THING_PRINCIPAL, (thing, arn)))
    for arn in principals:
        iot.detach_thing_principal(thingName=thing, principal=arn)
        if iot.list_principal_things(principal=arn)["things"]:
            continue
        certificate = arn.rpartition("/")[2]
        if not lab.ledger.has(ResourceKind.CERTIFICATE, certificate):
            continue  # someone else's
        with _explain_delay(f"certificate {certificate}", "DeleteConflictException"):
            iot.update_certificate(certificateId=certificate, newStatus="INACTIVE")
            iot.delete_certificate(certificateId=certificate, forceDelete=True)
    _remove_shadows(lab, thing)
    with _explain_delay(f"the Thing '{thing}'", "InvalidRequestException"):
        iot.delete_thing(thingName=thing)
    deleted = {
        number
        for number in lab.ledger.inventory.all_certificate_ids()
        if not lab.ledger.has(ResourceKind.CERTIFICATE, number)
    }
    lab.keys.remove(thing, deleted)
