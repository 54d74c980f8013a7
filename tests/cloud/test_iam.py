"""Roles: the operations through boto3, trust policies, and what a role is allowed to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from creeklab import Lab
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.iam import role_documents
from creeklab.cloud.iam.roles import Roles
from creeklab.cloud.iam.store import MIGRATIONS
from creeklab.cloud.storage.database import Database
from tests.cloud.iot_fixture import IDENTITY

IOT, LAMBDA = "iot.amazonaws.com", "lambda.amazonaws.com"


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def trust(*services: str, **more: Any) -> dict[str, Any]:
    principal = {"Service": list(services)}
    return {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", **more}


def allow(action: str, resource: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


TRUST = document(trust(IOT))
PUBLISH = document(allow("iot:Publish", "arn:aws:iot:us-east-1:123456789012:topic/flood/*"))


# --- over boto3 -----------------------------------------------------------------------------------


@pytest.fixture
def iam(lab: Lab) -> Iterator[Any]:
    client = lab.client("iam")
    yield client
    for role in client.list_roles()["Roles"]:
        name = role["RoleName"]
        for policy in client.list_role_policies(RoleName=name)["PolicyNames"]:
            client.delete_role_policy(RoleName=name, PolicyName=policy)
        client.delete_role(RoleName=name)


def test_a_role_from_creation_to_deletion(lab: Lab, iam: Any) -> None:
    tags = [{"Key": "site", "Value": "01581920"}, {"Key": "empty", "Value": ""}]
    created = iam.create_role(
        RoleName="FloodAlarm",
        Path="/creek/",
        AssumeRolePolicyDocument=TRUST,
        Description="Publishes <flood> & 'drought' warnings",
        MaxSessionDuration=7200,
        Tags=tags,
    )["Role"]
    assert created["Arn"] == f"arn:aws:iam::{lab.account}:role/creek/FloodAlarm"
    assert created["RoleId"].startswith("AROA")
    assert created["AssumeRolePolicyDocument"] == json.loads(TRUST)
    role = iam.get_role(RoleName="FloodAlarm")["Role"]
    assert role == created
    assert (role["Description"], role["MaxSessionDuration"]) == (
        "Publishes <flood> & 'drought' warnings",
        7200,
    )
    assert role["Tags"] == tags == iam.list_role_tags(RoleName="FloodAlarm")["Tags"]
    assert role["CreateDate"].tzinfo is not None

    iam.update_role(RoleName="FloodAlarm", Description="new")
    iam.update_assume_role_policy(
        RoleName="FloodAlarm", PolicyDocument=document(trust(IOT, LAMBDA))
    )
    iam.tag_role(RoleName="FloodAlarm", Tags=[{"Key": "site", "Value": "2"}])
    iam.untag_role(RoleName="FloodAlarm", TagKeys=["empty", "none"])
    role = iam.get_role(RoleName="FloodAlarm")["Role"]
    assert (role["Description"], role["MaxSessionDuration"]) == ("new", 7200)
    assert role["Tags"] == [{"Key": "site", "Value": "2"}]
    assert role["AssumeRolePolicyDocument"] == json.loads(document(trust(IOT, LAMBDA)))

    for name in ("publish", "other"):
        iam.put_role_policy(RoleName="FloodAlarm", PolicyName=name, PolicyDocument=PUBLISH)
    new = document(allow("s3:PutObject", "arn:aws:s3:::creek/*"))
    iam.put_role_policy(RoleName="FloodAlarm", PolicyName="other", PolicyDocument=new)
    found = iam.get_role_policy(RoleName="FloodAlarm", PolicyName="other")
    assert found["PolicyDocument"] == json.loads(new)
    assert iam.list_role_policies(RoleName="FloodAlarm")["PolicyNames"] == ["other", "publish"]
    # Terraform asks both before it deletes a role.
    attached = iam.list_attached_role_policies(RoleName="FloodAlarm")
    assert (attached["AttachedPolicies"], attached["IsTruncated"]) == ([], False)
    profiles = iam.list_instance_profiles_for_role(RoleName="FloodAlarm")
    assert profiles["InstanceProfiles"] == []

    with pytest.raises(iam.exceptions.DeleteConflictException, match="must delete policies first"):
        iam.delete_role(RoleName="FloodAlarm")
    for name in ("publish", "other"):
        iam.delete_role_policy(RoleName="FloodAlarm", PolicyName=name)
    iam.delete_role(RoleName="FloodAlarm")
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_role(RoleName="FloodAlarm")


def test_roles_are_listed_page_by_page(iam: Any) -> None:
    for number in range(5):
        path = "/creek/" if number % 2 else "/"
        iam.create_role(RoleName=f"role{number}", Path=path, AssumeRolePolicyDocument=TRUST)
    paginator = iam.get_paginator("list_roles")
    pages = list(paginator.paginate(PaginationConfig={"PageSize": 2}))
    assert [[role["RoleName"] for role in page["Roles"]] for page in pages] == [
        ["role0", "role1"],
        ["role2", "role3"],
        ["role4"],
    ]
    assert [page["IsTruncated"] for page in pages] == [True, True, False]
    listed = iam.list_roles(PathPrefix="/creek/")["Roles"]
    assert [role["RoleName"] for role in listed] == ["role1", "role3"]
    assert listed[0]["AssumeRolePolicyDocument"] == json.loads(TRUST)
    assert "Tags" not in listed[0]


@pytest.mark.parametrize(
    ("operation", "request_", "code", "message"),
    [
        ("get_role", {"RoleName": "x"}, "NoSuchEntity", "The role with name x cannot be found."),
        (
            "get_role_policy",
            {"RoleName": "present", "PolicyName": "p"},
            "NoSuchEntity",
            "The role policy with name p cannot be found.",
        ),
        ("get_role", {"RoleName": "Present"}, "NoSuchEntity", "cannot be found"),
        (
            "create_role",
            {"RoleName": "PRESENT", "AssumeRolePolicyDocument": TRUST},
            "EntityAlreadyExists",
            "Role with name PRESENT already exists.",
        ),
        (
            "create_role",
            {"RoleName": "a b", "AssumeRolePolicyDocument": TRUST},
            "ValidationError",
            "Value 'a b' at 'RoleName' failed to satisfy constraint",
        ),
        (
            "create_role",
            {"RoleName": "a", "AssumeRolePolicyDocument": TRUST, "MaxSessionDuration": 50_000},
            "ValidationError",
            "Value '50000' at 'MaxSessionDuration' failed",
        ),
        (
            "create_role",
            {"RoleName": "a", "AssumeRolePolicyDocument": PUBLISH},
            "MalformedPolicyDocument",
            "Has prohibited field Resource",
        ),
        (
            "put_role_policy",
            {"RoleName": "present", "PolicyName": "p", "PolicyDocument": TRUST},
            "MalformedPolicyDocument",
            "should not specify a principal",
        ),
        (
            "put_role_policy",
            {
                "RoleName": "present",
                "PolicyName": "p",
                "PolicyDocument": document(allow("s3:GetObject", "arn:aws:s3:::" + "x" * 10_240)),
            },
            "MalformedPolicyDocument",
            "Syntax errors in policy. It has",
        ),
        ("list_roles", {"Marker": "invented"}, "ValidationError", "token for the next page"),
        (
            "attach_role_policy",
            {"RoleName": "present", "PolicyArn": "arn:aws:iam::aws:policy/AWSIoTFullAccess"},
            "NotImplementedException",
            "AttachRolePolicy is an operation of AWS Identity and Access Management",
        ),
    ],
)
def test_errors(
    iam: Any, operation: str, request_: dict[str, Any], code: str, message: str
) -> None:
    iam.create_role(RoleName="present", AssumeRolePolicyDocument=TRUST)
    with pytest.raises(ClientError, match=r".") as caught:
        getattr(iam, operation)(**request_)
    error = caught.value.response["Error"]
    assert (error["Code"], message in error["Message"]) == (code, True), error


# --- documents ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "invalid Json"),
        ("[" * 2000, "invalid Json"),
        ("[]", "must be a JSON object"),
        (document(), "There is no Statement"),
        (document(allow("sts:AssumeRole")), "prohibited field Resource"),
        (document({"Effect": "Allow", "Action": "sts:AssumeRole"}), "required field Principal"),
        (document(trust(IOT, Action="iot:Publish")), "only specify STS AssumeRole actions"),
        (document(trust("iot")), '"SERVICE":"iot"'),
        (document(trust(IOT, Principal={"Services": IOT})), "Principal must be an object"),
        (document(trust(IOT, Principal=IOT)), "Principal must be an object"),
        (document(trust(IOT, Effect="Maybe")), "Effect must be 'Allow' or 'Deny'"),
        (document(trust(IOT, NotPrincipal="*")), "does not evaluate NotPrincipal"),
        (document(trust(IOT, Condition={"Like": {"a": "b"}})), "Statement 1"),
        (document(*[trust(IOT)] * 40), "more than 2048 characters"),
    ],
)
def test_an_invalid_trust_policy(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        role_documents.check_trust(text)
    assert reason in str(caught.value)
    assert "AWS IoT" not in str(caught.value)


@pytest.mark.parametrize(
    ("statements", "service", "assumed"),
    [
        ([trust(IOT)], IOT, True),
        ([trust(IOT)], LAMBDA, False),
        ([trust(LAMBDA, IOT)], IOT, True),
        ([trust(LAMBDA), trust(IOT)], IOT, True),
        ([trust(IOT, Action="sts:*")], IOT, True),
        ([trust(IOT, Action="sts:TagSession")], IOT, False),
        ([trust(IOT, Principal="*")], IOT, True),
        ([trust(IOT, Principal={"AWS": "arn:aws:iam::123456789012:root"})], IOT, False),
        ([trust(IOT), trust(IOT, Effect="Deny")], IOT, False),
        ([trust(IOT), trust(LAMBDA, Effect="Deny")], IOT, True),
        ([trust(IOT, Condition={"StringEquals": {"aws:SourceAccount": "1"}})], IOT, True),
        ([trust(IOT, Condition={"StringEquals": {"aws:SourceAccount": "2"}})], IOT, False),
    ],
)
def test_which_service_can_assume_a_role(
    statements: list[dict[str, Any]], service: str, assumed: bool
) -> None:
    text = document(*statements)
    role_documents.check_trust(text)
    bound = role_documents.bind_trust(text, service, {"aws:SourceAccount": "1"})
    assert bound.decide("sts:AssumeRole", "*").allows == assumed


# --- assuming a role ------------------------------------------------------------------------------


@pytest.fixture
def roles(tmp_path: Path) -> Iterator[Roles]:
    database = Database(tmp_path / "cloud.db")
    database.migrate("iam", MIGRATIONS)
    yield Roles(database, IDENTITY, lambda: 1_800_000_000.0)
    database.close()


ROLE = "arn:aws:iam::123456789012:role/FloodAlarm"


@pytest.mark.parametrize(
    ("create", "reason"),
    [
        (lambda roles: roles.create("FloodAlarm", TRUST), None),
        (lambda roles: None, f"The role {ROLE} does not exist."),
        (lambda roles: roles.create("FloodAlarm", TRUST, path="/creek/"), "does not exist"),
        (
            lambda roles: roles.create("FloodAlarm", document(trust(LAMBDA))),
            f"does not name {IOT}. Add a statement",
        ),
        (
            lambda roles: roles.create("FloodAlarm", document(trust(IOT, Effect="Deny"))),
            "does not allow sts:AssumeRole",
        ),
    ],
)
def test_passing_a_role_to_aws_iot(
    roles: Roles, create: Callable[[Roles], object], reason: str | None
) -> None:
    create(roles)
    why = roles.why_not_assumed(ROLE, IOT, {})
    if reason is None:
        assert why is None
        roles.check_pass_role(ROLE, IOT, {})
        return
    assert why is not None
    assert reason in why
    with pytest.raises(ServiceError) as caught:
        roles.check_pass_role(ROLE, IOT, {})
    assert caught.value.code == "InvalidRequestException"
    assert caught.value.message == (
        "AWS IoT (iot.amazonaws.com) is unable to assume role (sts:AssumeRole) on resource: "
        f"{ROLE}. If the role was just created or updated, please try again in a few seconds."
    )


def test_what_a_role_is_allowed_to_do(roles: Roles) -> None:
    topic = "arn:aws:iot:us-east-1:123456789012:topic/"

    def allows(action: str, resource: str) -> bool:
        return roles.authorizer(ROLE, {}).decide(action, resource).allows

    assert not allows("iot:Publish", topic + "flood/1")  # there is no such role
    roles.create("FloodAlarm", TRUST)
    assert not allows("iot:Publish", topic + "flood/1")
    roles.put_policy("FloodAlarm", "publish", PUBLISH)
    assert allows("iot:Publish", topic + "flood/1")
    assert not allows("iot:Publish", topic + "other")
    deny = {**allow("iot:*", topic + "flood/secret"), "Effect": "Deny"}
    roles.put_policy("FloodAlarm", "deny", document(deny, allow("s3:*")))
    assert not allows("iot:Publish", topic + "flood/secret")
    assert allows("iot:Publish", topic + "flood/1")
    assert allows("s3:PutObject", "arn:aws:s3:::creek/a.json")
    roles.delete_policy("FloodAlarm", "publish")
    assert not allows("iot:Publish", topic + "flood/1")


def test_the_inline_policies_of_a_role_have_a_quota_together(roles: Roles) -> None:
    roles.create("FloodAlarm", TRUST)
    large = document(allow("s3:PutObject", "arn:aws:s3:::" + "x" * 6000))
    roles.put_policy("FloodAlarm", "a", large)
    roles.put_policy("FloodAlarm", "a", large)
    with pytest.raises(ServiceError, match="Maximum policy size of 10240 bytes exceeded"):
        roles.put_policy("FloodAlarm", "b", large)
