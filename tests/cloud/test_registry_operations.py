"""The operations of the service ``iot``: each request and response must match botocore's model."""

from __future__ import annotations

import base64
import inspect
import uuid
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.messaging.connectivity import ConnectivityOperations
from creeklab.cloud.registry.operations import RegistryOperations
from tests.cloud.iot_fixture import (
    ALLOW,
    ARN,
    ERRORS,
    OPERATIONS,
    UNKNOWN,
    attached_to_policy,
    attached_to_thing,
    certificate,
    thing,
)

METHODS = {
    name: getattr(operations, name)
    for operations in (RegistryOperations, ConnectivityOperations)
    for name in dir(operations)
    if not name.startswith("_") and callable(getattr(operations, name))
}


# --- the shape of each operation ------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_what_the_model_says(name: str) -> None:
    shape = OPERATIONS[name].input_shape
    parameters = list(inspect.signature(METHODS[name]).parameters.values())[1:]
    kinds = [each.kind for each in parameters]
    of_page: set[str] = set()
    if kinds and kinds[-1] is inspect.Parameter.VAR_KEYWORD:
        (page,) = get_args(get_type_hints(METHODS[name])[parameters.pop().name])
        of_page = set(get_type_hints(page))
        assert not page.__required_keys__
        kinds.pop()
    assert {each.name for each in parameters} | of_page == set(shape.members)
    assert {each.name for each in parameters if each.default is each.empty} == set(
        shape.required_members
    )
    assert set(kinds) <= {inspect.Parameter.KEYWORD_ONLY}


def test_no_operation_is_missing() -> None:
    things = """create_thing describe_thing update_thing delete_thing list_things
        list_thing_principals list_thing_principals_v2 list_principal_things
        list_principal_things_v2 attach_thing_principal detach_thing_principal
        get_thing_connectivity_data"""
    groups = """create_thing_type describe_thing_type list_thing_types deprecate_thing_type
        delete_thing_type create_thing_group describe_thing_group list_thing_groups
        update_thing_group delete_thing_group add_thing_to_thing_group
        remove_thing_from_thing_group list_things_in_thing_group list_thing_groups_for_thing
        update_thing_type update_thing_groups_for_thing"""
    certificates = """create_keys_and_certificate create_certificate_from_csr describe_certificate
        register_certificate register_certificate_without_ca update_certificate
        delete_certificate list_certificates"""
    policies = """create_policy get_policy delete_policy list_policies create_policy_version
        get_policy_version list_policy_versions set_default_policy_version delete_policy_version
        attach_policy detach_policy attach_principal_policy detach_principal_policy
        list_attached_policies list_targets_for_policy list_policy_principals
        list_principal_policies test_authorization get_effective_policies"""
    account = """describe_endpoint describe_event_configurations update_event_configurations
        get_v2_logging_options set_v2_logging_options tag_resource untag_resource
        list_tags_for_resource"""
    wanted = f"{things} {groups} {certificates} {policies} {account}".split()
    assert sorted(METHODS) == sorted(wanted)


# --- AWS's errors, by code and message -----------------------------------------------------------


def versions(iot: Any, count: int) -> None:
    iot.create_policy(policyName="creek", policyDocument=ALLOW)
    for _ in range(count - 1):
        iot.create_policy_version(policyName="creek", policyDocument=ALLOW)


def eleven_policies(iot: Any) -> str:
    arn = certificate(iot)
    for number in range(11):
        iot.create_policy(policyName=f"p{number}", policyDocument=ALLOW)
    for number in range(10):
        iot.attach_policy(policyName=f"p{number}", target=arn)
    return arn


GUARDS: list[tuple[str, Callable[[Any], Any], str, dict[str, Any], str, str]] = [
    (
        "an active certificate",
        lambda iot: certificate(iot, active=True),
        "delete_certificate",
        {"certificateId": "{id}", "forceDelete": True},
        "CertificateStateException",
        "Certificate must be deactivated (not ACTIVE) before deletion. Id: {id}",
    ),
    (
        "a certificate of a thing",
        attached_to_thing,
        "delete_certificate",
        {"certificateId": "{id}"},
        "DeleteConflictException",
        "Things must be detached before deletion (arn: {arn})",
    ),
    (
        "a certificate of a thing, by force",
        attached_to_thing,
        "delete_certificate",
        {"certificateId": "{id}", "forceDelete": True},
        "DeleteConflictException",
        "Things must be detached before deletion (arn: {arn})",
    ),
    (
        "a certificate with a policy",
        attached_to_policy,
        "delete_certificate",
        {"certificateId": "{id}"},
        "DeleteConflictException",
        "Certificate policies must be detached before deletion (arn: {arn})",
    ),
    (
        "an attached policy",
        attached_to_policy,
        "delete_policy",
        {"policyName": "creek"},
        "DeleteConflictException",
        "The policy cannot be deleted as the policy is attached to one or more principals "
        "(name=creek)",
    ),
    (
        "a policy of several versions",
        lambda iot: versions(iot, 2),
        "delete_policy",
        {"policyName": "creek"},
        "DeleteConflictException",
        "The policy cannot be deleted as versions other than than default version exist",
    ),
    (
        "the default version",
        lambda iot: versions(iot, 2),
        "delete_policy_version",
        {"policyName": "creek", "policyVersionId": "1"},
        "InvalidRequestException",
        "Cannot delete the default version of a policy",
    ),
    (
        "a sixth version",
        lambda iot: versions(iot, 5),
        "create_policy_version",
        {"policyName": "creek", "policyDocument": ALLOW},
        "VersionsLimitExceededException",
        "The policy creek already has the maximum number of versions (5)",
    ),
    (
        "a policy's name taken",
        lambda iot: versions(iot, 1),
        "create_policy",
        {"policyName": "creek", "policyDocument": ALLOW},
        "ResourceAlreadyExistsException",
        "Policy cannot be created - name already exists (name=creek)",
    ),
    (
        "an eleventh policy",
        eleven_policies,
        "attach_policy",
        {"policyName": "p10", "target": "{arn}"},
        "LimitExceededException",
        "A certificate can have at most 10 policies attached. Detach one first, or put more "
        "statements into fewer policies.",
    ),
    (
        "a thing with a certificate",
        attached_to_thing,
        "delete_thing",
        {"thingName": "Test2"},
        "InvalidRequestException",
        "Cannot delete. Thing Test2 is still attached to one or more principals",
    ),
    *(
        (
            f"another version: {operation}",
            thing,
            operation,
            {"thingName": "Test2", "expectedVersion": 2},
            "VersionConflictException",
            "The version for thing Test2 does not match the expected version.",
        )
        for operation in ("delete_thing", "update_thing")
    ),
    (
        "a thing's name taken",
        lambda iot: thing(iot, site="plumtree"),
        "create_thing",
        {"thingName": "Test2"},
        "ResourceAlreadyExistsException",
        "Thing Test2 already exists in account with different attributes",
    ),
    (
        "a fourth attribute",
        lambda iot: None,
        "create_thing",
        {"thingName": "t", "attributePayload": {"attributes": dict.fromkeys("abcd", "1")}},
        "InvalidRequestException",
        "A thing without a thing type can have at most 3 attributes; this one would have 4: "
        "a, b, c, d.",
    ),
    *(
        (
            f"a missing thing: {operation}",
            certificate,
            operation,
            {"thingName": "Test3", **members},
            "ResourceNotFoundException",
            "Thing Test3 does not exist in your account",
        )
        for operation, members in [
            ("describe_thing", {}),
            ("update_thing", {}),
            ("attach_thing_principal", {"principal": "{arn}"}),
            ("detach_thing_principal", {"principal": "{arn}"}),
            ("get_effective_policies", {}),
        ]
    ),
    *(
        (
            f"a missing thing: {operation}",
            lambda iot: None,
            operation,
            {"thingName": "Test3"},
            "ResourceNotFoundException",
            "Failed to list principals for thing Test3 because the thing does not exist in your "
            "account",
        )
        for operation in ("list_thing_principals", "list_thing_principals_v2")
    ),
    *(
        (
            f"a missing certificate: {operation}",
            lambda iot: None,
            operation,
            {"certificateId": UNKNOWN, **members},
            "ResourceNotFoundException",
            f"Certificate {UNKNOWN} does not exist in your account",
        )
        for operation, members in [
            ("describe_certificate", {}),
            ("update_certificate", {"newStatus": "ACTIVE"}),
            ("delete_certificate", {}),
        ]
    ),
    *(
        (
            f"a missing certificate: {operation}",
            lambda iot: (thing(iot), versions(iot, 1)),
            operation,
            {member: f"{ARN}cert/{UNKNOWN}", **members},
            "ResourceNotFoundException",
            "The certificate given in the principal does not exist.",
        )
        for operation, member, members in [
            ("attach_policy", "target", {"policyName": "creek"}),
            ("detach_policy", "target", {"policyName": "creek"}),
            ("attach_principal_policy", "principal", {"policyName": "creek"}),
            ("detach_principal_policy", "principal", {"policyName": "creek"}),
            ("list_attached_policies", "target", {}),
            ("list_principal_policies", "principal", {}),
            ("attach_thing_principal", "principal", {"thingName": "Test2"}),
            ("detach_thing_principal", "principal", {"thingName": "Test2"}),
            ("list_principal_things", "principal", {}),
            ("list_principal_things_v2", "principal", {}),
            ("get_effective_policies", "principal", {}),
            (
                "test_authorization",
                "principal",
                {"authInfos": [{"actionType": "CONNECT", "resources": ["*"]}]},
            ),
        ]
    ),
    *(
        (
            f"a missing policy: {operation}",
            certificate,
            operation,
            {"policyName": "creek", **members},
            "ResourceNotFoundException",
            "Policy not found",
        )
        for operation, members in [
            ("get_policy", {}),
            ("delete_policy", {}),
            ("create_policy_version", {"policyDocument": ALLOW}),
            ("get_policy_version", {"policyVersionId": "1"}),
            ("list_policy_versions", {}),
            ("set_default_policy_version", {"policyVersionId": "1"}),
            ("delete_policy_version", {"policyVersionId": "1"}),
            ("attach_policy", {"target": "{arn}"}),
            ("detach_policy", {"target": "{arn}"}),
            ("attach_principal_policy", {"principal": "{arn}"}),
            ("detach_principal_policy", {"principal": "{arn}"}),
            ("list_targets_for_policy", {}),
            ("list_policy_principals", {}),
        ]
    ),
    *(
        (
            f"a missing version: {operation} {version[:3]}",
            lambda iot: versions(iot, 1),
            operation,
            {"policyName": "creek", "policyVersionId": version},
            "ResourceNotFoundException",
            f"Policy creek has no version {version}",
        )
        for operation in (
            "get_policy_version",
            "set_default_policy_version",
            "delete_policy_version",
        )
        for version in ("2", "0", "9" * 40)
    ),
    *(
        (
            f"a status of AWS's own: {status}",
            certificate,
            "update_certificate",
            {"certificateId": "{id}", "newStatus": status},
            "InvalidRequestException",
            f"Only AWS IoT itself sets the status {status}. Use ACTIVE, INACTIVE or REVOKED.",
        )
        for status in ("PENDING_TRANSFER", "PENDING_ACTIVATION")
    ),
    (
        "an endpoint type",
        lambda iot: None,
        "describe_endpoint",
        {"endpointType": "iot:Data-Ats"},
        "InvalidRequestException",
        "Endpoint type iot:Data-Ats not recognized.",
    ),
    (
        "a billing group",
        thing,
        "create_thing",
        {"thingName": "Test3", "billingGroupName": "stage"},
        "ResourceNotFoundException",
        "The billing group stage does not exist.",
    ),
    (
        "an attribute's value without its name",
        lambda iot: None,
        "list_things",
        {"attributeValue": "red"},
        "InvalidRequestException",
        "attributeValue needs attributeName beside it.",
    ),
    (
        "an authInfo without an action",
        lambda iot: None,
        "test_authorization",
        {"authInfos": [{"resources": ["*"]}]},
        "InvalidRequestException",
        "Each of authInfos needs an actionType: CONNECT, PUBLISH, RECEIVE, SUBSCRIBE.",
    ),
]


@pytest.mark.parametrize(
    ("prepare", "operation", "members", "code", "message"),
    [pytest.param(*guard[1:], id=guard[0]) for guard in GUARDS],
)
def test_guard(
    iot: Any,
    prepare: Callable[[Any], Any],
    operation: str,
    members: dict[str, Any],
    code: str,
    message: str,
) -> None:
    arn = prepare(iot)
    names = {"arn": arn, "id": arn[-64:]} if isinstance(arn, str) else {}

    def filled(value: Any) -> Any:
        fits = isinstance(value, str) and value in ("{arn}", "{id}")
        return value.format(**names) if fits else value

    with pytest.raises(ServiceError) as caught:
        getattr(iot, operation)(**{name: filled(value) for name, value in members.items()})
    assert (caught.value.code, caught.value.message) == (code, message.format(**names))
    assert caught.value.code in ERRORS


@pytest.mark.parametrize(
    "document",
    [
        "",
        "creek",
        "{}",
        '{"Version":"2012-10-17","Statement":[]}',
        ALLOW[:-1],
        ALLOW + " " + "x" * 9,
    ],
)
def test_an_invalid_policy_is_rejected_before_anything_changes(iot: Any, document: str) -> None:
    versions(iot, 1)
    for operation, name in (("create_policy", "new"), ("create_policy_version", "creek")):
        with pytest.raises(ServiceError, match=r"^MalformedPolicyException: Policy document is"):
            getattr(iot, operation)(policyName=name, policyDocument=document)
    assert [policy["policyName"] for policy in iot.list_policies()["policies"]] == ["creek"]
    assert len(iot.list_policy_versions(policyName="creek")["policyVersions"]) == 1


# --- the steps of the tutorial --------------------------------------------------------------------


def test_the_tutorial_from_start_to_clean_up(iot: Any) -> None:
    made = iot.create_thing(thingName="Test2", attributePayload={"attributes": {"site": "creek"}})
    assert made["thingArn"] == ARN + "thing/Test2"
    assert str(uuid.UUID(made["thingId"])) == made["thingId"]
    assert (
        iot.create_thing(thingName="Test2", attributePayload={"attributes": {"site": "creek"}})
        == made
    )
    described = {
        "defaultClientId": "Test2",
        "thingName": "Test2",
        "thingId": made["thingId"],
        "thingArn": made["thingArn"],
        "attributes": {"site": "creek"},
        "version": 1,
    }
    assert iot.describe_thing(thingName="Test2") == described

    issued = iot.create_keys_and_certificate(setAsActive=True)
    arn, key = issued["certificateArn"], issued["certificateId"]
    assert arn == ARN + "cert/" + key
    loaded = x509.load_pem_x509_certificate(issued["certificatePem"].encode())
    assert loaded.fingerprint(hashes.SHA256()).hex() == key
    assert issued["keyPair"]["PrivateKey"].startswith("-----BEGIN RSA PRIVATE KEY-----")
    public = serialization.load_pem_public_key(issued["keyPair"]["PublicKey"].encode())
    assert public == loaded.public_key()

    policy = iot.create_policy(policyName="creek", policyDocument=ALLOW)
    assert policy == {
        "policyName": "creek",
        "policyArn": ARN + "policy/creek",
        "policyDocument": ALLOW,
        "policyVersionId": "1",
    }
    for _ in range(2):  # the second time changes nothing
        iot.attach_policy(policyName="creek", target=arn)
        iot.attach_thing_principal(thingName="Test2", principal=arn)
    reference = {"policyName": "creek", "policyArn": ARN + "policy/creek"}
    assert iot.list_attached_policies(target=arn) == {"policies": [reference]}
    assert iot.list_principal_policies(principal=arn) == {"policies": [reference]}
    assert iot.list_targets_for_policy(policyName="creek") == {"targets": [arn]}
    assert iot.list_policy_principals(policyName="creek") == {"principals": [arn]}
    assert iot.list_thing_principals(thingName="Test2") == {"principals": [arn]}
    assert iot.list_thing_principals_v2(thingName="Test2") == {
        "thingPrincipalObjects": [{"principal": arn, "thingPrincipalType": "NON_EXCLUSIVE_THING"}]
    }
    assert iot.list_principal_things(principal=arn) == {"things": ["Test2"]}
    assert iot.list_principal_things_v2(principal=arn) == {
        "principalThingObjects": [
            {"thingName": "Test2", "thingPrincipalType": "NON_EXCLUSIVE_THING"}
        ]
    }
    assert iot.get_effective_policies(principal=arn, thingName="Test2") == {
        "effectivePolicies": [{**reference, "policyDocument": ALLOW}]
    }

    for _ in range(2):  # the second time changes nothing
        iot.detach_policy(policyName="creek", target=arn)
        iot.detach_thing_principal(thingName="Test2", principal=arn)
        iot.update_certificate(certificateId=key, newStatus="INACTIVE")
    iot.delete_certificate(certificateId=key)
    iot.delete_policy(policyName="creek")
    for _ in range(2):
        iot.delete_thing(thingName="Test2")
    assert iot.list_things() == {"things": []}
    assert iot.list_certificates() == {"certificates": []}
    assert iot.list_policies() == {"policies": []}


def test_describe_certificate(iot: Any) -> None:
    arn = certificate(iot)
    key = arn[-64:]
    first = iot.describe_certificate(certificateId=key)["certificateDescription"]
    loaded = x509.load_pem_x509_certificate(first["certificatePem"].encode())
    assert first == {
        "certificateArn": arn,
        "certificateId": key,
        "status": "INACTIVE",
        "certificatePem": first["certificatePem"],
        "ownedBy": "123456789012",
        "creationDate": 1_800_000_000.25,
        "lastModifiedDate": 1_800_000_000.25,
        "customerVersion": 1,
        "transferData": {},
        "generationId": first["generationId"],
        "validity": {
            "notBefore": loaded.not_valid_before_utc.timestamp(),
            "notAfter": loaded.not_valid_after_utc.timestamp(),
        },
        "certificateMode": "DEFAULT",
    }
    listed = {"certificateArn", "certificateId", "status", "certificateMode", "creationDate"}
    assert iot.list_certificates()["certificates"] == [{name: first[name] for name in listed}]
    iot.update_certificate(certificateId=key, newStatus="INACTIVE")  # no change
    assert iot.describe_certificate(certificateId=key)["certificateDescription"] == first
    iot.update_certificate(certificateId=key.upper(), newStatus="ACTIVE")
    second = iot.describe_certificate(certificateId=key.upper())["certificateDescription"]
    assert second["lastModifiedDate"] > first["lastModifiedDate"]
    assert second == {
        **first,
        "status": "ACTIVE",
        "lastModifiedDate": second["lastModifiedDate"],
    }


def test_force_detaches_policies(iot: Any) -> None:
    arn = attached_to_policy(iot)
    iot.delete_certificate(certificateId=arn[-64:], forceDelete=True)
    assert iot.list_targets_for_policy(policyName="creek") == {"targets": []}
    iot.delete_policy(policyName="creek")


def test_versions_of_a_policy(iot: Any) -> None:
    deny = ALLOW.replace("Allow", "Deny")
    iot.create_policy(policyName="creek", policyDocument=ALLOW)
    second = iot.create_policy_version(policyName="creek", policyDocument=deny)
    assert second == {
        "policyArn": ARN + "policy/creek",
        "policyDocument": deny,
        "policyVersionId": "2",
        "isDefaultVersion": False,
    }
    assert iot.get_policy(policyName="creek")["defaultVersionId"] == "1"
    third = iot.create_policy_version(policyName="creek", policyDocument=deny, setAsDefault=True)
    assert (third["policyVersionId"], third["isDefaultVersion"]) == ("3", True)
    policy = iot.get_policy(policyName="creek")
    assert (policy["defaultVersionId"], policy["policyDocument"]) == ("3", deny)
    assert policy["lastModifiedDate"] > policy["creationDate"]
    iot.delete_policy_version(policyName="creek", policyVersionId="2")
    fourth = iot.create_policy_version(policyName="creek", policyDocument=ALLOW)
    assert fourth["policyVersionId"] == "4"  # 2 does not come back
    listed = iot.list_policy_versions(policyName="creek")["policyVersions"]
    marks = [(version["versionId"], version["isDefaultVersion"]) for version in listed]
    assert marks == [("1", False), ("3", True), ("4", False)]
    iot.set_default_policy_version(policyName="creek", policyVersionId="1")
    got = iot.get_policy_version(policyName="creek", policyVersionId="1")
    assert (got["isDefaultVersion"], got["policyDocument"]) == (True, ALLOW)
    assert got["generationId"] == policy["generationId"]
    iot.delete_policy_version(policyName="creek", policyVersionId="3")


def test_every_endpoint_type_has_the_same_host_name(iot: Any) -> None:
    kinds = ["Data", "Data-ATS", "CredentialProvider", "Jobs", "DeviceAdvisor"]
    answers = [iot.describe_endpoint(endpointType=f"iot:{kind}") for kind in kinds]
    assert [*answers, iot.describe_endpoint()] == [{"endpointAddress": "localhost"}] * 6


# --- lists ----------------------------------------------------------------------------------------


def test_lists_continue_after_the_last_item(iot: Any) -> None:
    arn = certificate(iot)
    for number in range(26):
        iot.create_thing(thingName=f"t{number:02}")
        iot.attach_thing_principal(thingName=f"t{number:02}", principal=arn)
    for member, read in (
        ("things", iot.list_things),
        ("things", lambda **page: iot.list_principal_things(principal=arn, **page)),
        (
            "principalThingObjects",
            lambda **page: iot.list_principal_things_v2(principal=arn, **page),
        ),
    ):
        first = read()
        assert len(first[member]) == 25
        last = read(nextToken=first["nextToken"])
        assert len(last[member]) == 1
        assert last.keys() == {member}
        assert read(maxResults=26) == {member: first[member] + last[member]}


def test_markers_are_what_the_model_allows_and_the_newest_comes_first(iot: Any) -> None:
    names = [f"p{number}-{'x' * 120}" for number in range(3)]
    arn = certificate(iot)
    for name in names:
        iot.create_policy(policyName=name, policyDocument=ALLOW)
        iot.attach_policy(policyName=name, target=arn)
    for read, newest_first in (
        (iot.list_policies, True),
        (lambda **page: iot.list_principal_policies(principal=arn, **page), True),
        (lambda **page: iot.list_attached_policies(target=arn, **page), False),
    ):
        found: list[str] = []
        answer = read(pageSize=1)
        while True:
            found += [policy["policyName"] for policy in answer["policies"]]
            if "nextMarker" not in answer:
                break
            assert base64.b64decode(answer["nextMarker"], validate=True)
            assert len(answer["nextMarker"]) <= 1024
            answer = read(pageSize=1, marker=answer["nextMarker"])
        assert found == (names[::-1] if newest_first else names)
    up = iot.list_policies(ascendingOrder=True)["policies"]
    assert [policy["policyName"] for policy in up] == names


def test_certificates_by_creation(iot: Any) -> None:
    arns = [certificate(iot) for _ in range(3)]
    for ascending in (True, False):
        listed = iot.list_certificates(ascendingOrder=ascending)["certificates"]
        assert [each["certificateArn"] for each in listed] == arns[:: 1 if ascending else -1]
    assert iot.list_certificates() == iot.list_certificates(ascendingOrder=False)
    page = iot.list_certificates(pageSize=2, ascendingOrder=True)
    rest = iot.list_certificates(pageSize=2, ascendingOrder=True, marker=page["nextMarker"])
    assert [each["certificateArn"] for each in rest["certificates"]] == arns[2:]


def test_targets_of_a_policy_by_attachment(iot: Any) -> None:
    versions(iot, 1)
    arns = [certificate(iot) for _ in range(3)]
    for arn in arns:
        iot.attach_policy(policyName="creek", target=arn)
    read = iot.list_policy_principals
    assert iot.list_targets_for_policy(policyName="creek") == {"targets": arns}
    assert read(policyName="creek") == {"principals": arns[::-1]}
    assert read(policyName="creek", ascendingOrder=True) == {"principals": arns}
    first = read(policyName="creek", pageSize=2)
    assert read(policyName="creek", marker=first["nextMarker"]) == {"principals": arns[:1]}


def test_things_by_attribute(iot: Any) -> None:
    for name, color in (("a", "red"), ("b", "redder"), ("c", "blue")):
        iot.create_thing(thingName=name, attributePayload={"attributes": {"color": color}})
    red = {
        "thingName": "a",
        "thingArn": ARN + "thing/a",
        "attributes": {"color": "red"},
        "version": 1,
    }
    assert iot.list_things(attributeName="color", attributeValue="red") == {"things": [red]}
    prefixed = iot.list_things(
        attributeName="color", attributeValue="red", usePrefixAttributeValue=True
    )
    assert [each["thingName"] for each in prefixed["things"]] == ["a", "b"]
