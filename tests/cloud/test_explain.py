"""Explanations of denied requests: mismatches, advice and suggestion."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creeklab.cloud.policy import Authorizer, Context, Explanation, MalformedPolicy, Policy
from creeklab.cloud.policy import explain as explained
from creeklab.cloud.policy.explain import MAX_STATEMENTS
from tests.cloud.steps import steps

from .test_policy import (
    ALLOW_ALL,
    HERE,
    THING,
    actions,
    contexts,
    no_deadline,
    policies_of_any_kind,
    policy,
    resources,
    statement,
)

TEST2: Context = {
    "iot:ClientId": "Test2",
    "aws:SourceIp": "127.0.0.1",
    THING + "ThingName": "Test2",
    THING + "IsAttached": "true",
    "iot:Certificate.Subject.Title": "a*b",
}
NO_THING: Context = {"iot:ClientId": "gauge"}
NOT_ATTACHED: Context = {"iot:ClientId": "gauge", THING + "IsAttached": "false"}
HTTPS: Context = {"aws:SourceIp": "127.0.0.1"}

PUBLISH = "iot:Publish"
SHADOW = "topic/$aws/things/{}/shadow/update"
THING_TOPIC = "topic/${iot:Connection.Thing.ThingName}/a"


def explain(
    policies: list[Policy], action: str, requested: str, context: Context = TEST2
) -> Explanation:
    return explained(Authorizer(policies, context), action, HERE + requested)


def differences(explanation: Explanation) -> str:
    assert explanation.closest is not None
    return "; also ".join(explanation.closest.differs)


# One Allow statement for `action` on `pattern`, and a request for `requested`: how the explanation
# describes the difference, and its advice.
@pytest.mark.parametrize(
    ("action", "pattern", "requested", "context", "differs", "advice"),
    [
        pytest.param(
            PUBLISH,
            SHADOW.format("Test1"),
            SHADOW.format("Test2"),
            TEST2,
            "the policy names 'Test1' and the request names 'Test2'",
            "replace 'Test1' with 'Test2' in the policy, or have the client use 'Test1'",
            id="another Thing",
        ),
        pytest.param(
            PUBLISH,
            "topic/$aws/things/Test1/shadow/*",
            "topic/$aws/things/Test2/shadow/name/a/update",
            TEST2,
            "the policy names 'Test1' and the request names 'Test2'",
            "replace 'Test1' with 'Test2'",
            id="another Thing before a wildcard",
        ),
        pytest.param(
            "iot:Connect",
            "client/Test1",
            "client/Test2",
            TEST2,
            "the policy names 'Test1' and the request names 'Test2'",
            "have the client use 'Test1'",
            id="another client ID",
        ),
        pytest.param(
            "iot:Connect",
            "client/gauge-*",
            "client/pump-1",
            TEST2,
            "the policy names 'gauge-*' and the request names 'pump-1'",
            "have the client use a name that matches 'gauge-*'",
            id="another client ID, wildcard",
        ),
        pytest.param(
            PUBLISH,
            "topic/${iot:ClientId}/a",
            "topic/Test3/a",
            TEST2,
            "the policy names 'Test2' and the request names 'Test3'"
            " (${iot:ClientId} is 'Test2' here)",
            "replace 'Test2' with 'Test3'",
            id="another value than the variable's",
        ),
        pytest.param(
            PUBLISH,
            "topic/house/cellar",
            "topic/creek/depth",
            TEST2,
            "the policy names 'house/cellar' and the request names 'creek/depth'",
            "write 'creek/depth' in the policy, or a pattern that matches it",
            id="another topic",
        ),
        pytest.param(
            PUBLISH,
            "topic/$aws/things/${*}/get",
            "topic/$aws/things/a/b",
            TEST2,
            "the policy names '$aws/things/*/get' and the request names '$aws/things/a/b'",
            "write '$aws/things/a/b' in the policy, or a pattern that matches it",
            id="another topic, special characters",
        ),
        pytest.param(
            PUBLISH,
            "topic/a/$x",
            "topic/a/y",
            TEST2,
            "the policy names '$x' and the request names 'y'",
            "replace '$x' with 'y' in the policy, or have the client use '$x'",
            id="another level, special characters",
        ),
        pytest.param(
            PUBLISH,
            "topic/a/b",
            "topic/*/x/b",
            TEST2,
            "the policy names 'a/b' and the request names '*/x/b'",
            "write '*/x/b' in the policy",
            id="a request is not a pattern",
        ),
        pytest.param(
            PUBLISH,
            "topic/a:b",
            "topic/a:c",
            TEST2,
            "the policy names 'a:b' and the request names 'a:c'",
            "replace 'a:b' with 'a:c'",
            id="colon in a topic",
        ),
        pytest.param(
            "iot:Subscribe",
            "topic/creek/*",
            "topicfilter/creek/#",
            TEST2,
            "iot:Subscribe needs a resource of type 'topicfilter' and the policy names the type"
            " 'topic'",
            "replace 'topic' with 'topicfilter'",
            id="topic for topicfilter",
        ),
        pytest.param(
            PUBLISH,
            "topicfilter/creek/*",
            "topic/creek/depth",
            TEST2,
            "iot:Publish needs a resource of type 'topic' and the policy names the type"
            " 'topicfilter'",
            "replace 'topicfilter' with 'topic'",
            id="topicfilter for topic",
        ),
        pytest.param(
            "iot:Connect",
            "thing/Test2",
            "client/Test2",
            TEST2,
            "iot:Connect needs a resource of type 'client' and the policy names the type 'thing'",
            "replace 'thing' with 'client'",
            id="thing for client",
        ),
        pytest.param(
            "iot:GetThingShadow",
            "client/Test2",
            "thing/Test2",
            TEST2,
            "needs a resource of type 'thing' and the policy names the type 'client'",
            "replace 'client' with 'thing'",
            id="client for thing",
        ),
        pytest.param(
            PUBLISH,
            "creek",
            "topic/creek",
            TEST2,
            "the policy names 'creek' and the request names 'topic/creek'",
            "write 'topic/creek' in the policy, or 'topic/*'",
            id="no kind",
        ),
        pytest.param(
            PUBLISH,
            "topic/building/#",
            "topic/building/a/b",
            TEST2,
            "in a policy, # and + are ordinary characters, and the wildcard is *",
            "write 'building/*' in the policy",
            id="# in a policy",
        ),
        pytest.param(
            PUBLISH,
            "topic/building/+/t",
            "topic/building/a/t",
            TEST2,
            "in a policy, # and + are ordinary characters, and the wildcard is *",
            "write 'building/*/t' in the policy",
            id="+ in a policy",
        ),
        pytest.param(
            "iot:Receive",
            "topic/#",
            "topic/creek",
            TEST2,
            "the policy names '#' and the request names 'creek': in a policy, # and + are ordinary",
            "write '*' in the policy",
            id="# alone",
        ),
        pytest.param(
            PUBLISH,
            "topic/house/#",
            "topic/creek/a",
            TEST2,
            "the policy names 'house/#' and the request names 'creek/a': in a policy, # and +",
            "write a pattern that matches 'creek/a'",
            id="# and another name",
        ),
        pytest.param(
            "iot:Subscribe",
            "topicfilter/creek/depth",
            "topicfilter/creek/#",
            TEST2,
            "the policy names 'depth' and the request names '#' (a policy compares a"
            " topic filter literally, # and + included)",
            "replace 'depth' with '#' in the policy, or have the client use 'depth'",
            id="wildcard in the filter",
        ),
        pytest.param(
            PUBLISH,
            "topic/$aws/+/get",
            "topic/$aws/a/get",
            TEST2,
            "the policy names '$aws/+/get' and the request names '$aws/a/get': in a policy, # and"
            " + are ordinary",
            "write '$aws/*/get' in the policy",
            id="+ and special characters",
        ),
        pytest.param(
            PUBLISH,
            "topic/creek",
            "topic/creek/depth",
            TEST2,
            "without a * at the end, 'creek' matches only that exact name",
            "write 'creek/*' in the policy",
            id="* needed, levels",
        ),
        pytest.param(
            PUBLISH,
            "topic/creek/",
            "topic/creek/depth",
            TEST2,
            "without a * at the end, 'creek/' matches only that exact name",
            "write 'creek/*' in the policy",
            id="* needed after the slash",
        ),
        pytest.param(
            "iot:Connect",
            "client/gauge",
            "client/gauge-7",
            TEST2,
            "without a * at the end, 'gauge' matches only that exact name",
            "write 'gauge*' in the policy",
            id="* needed, name",
        ),
        pytest.param(
            PUBLISH,
            "topic/creek/*",
            "topic/creek",
            TEST2,
            "that matches everything below 'creek', but not 'creek' itself",
            "add 'creek' as a second Resource",
            id="the level itself",
        ),
        pytest.param(
            PUBLISH,
            "topic/Creek/Depth",
            "topic/creek/depth",
            TEST2,
            "names are case-sensitive",
            "use the same case in both places",
            id="case",
        ),
        pytest.param(
            PUBLISH,
            "topic/creek/*",
            "topic/Creek/depth",
            TEST2,
            "the policy names 'creek/*' and the request names 'Creek/depth': names are"
            " case-sensitive",
            "use the same case in both places",
            id="case in the request",
        ),
        pytest.param(
            PUBLISH,
            "topic/creek/depth",
            "topic/creek/depth/",
            TEST2,
            "a slash at the beginning or end is part of the name",
            "remove the slash, or write it in both places",
            id="slash at the end",
        ),
        pytest.param(
            PUBLISH,
            "topic/creek/*",
            "topic//creek/depth",
            TEST2,
            "a slash at the beginning or end is part of the name",
            "remove the slash, or write it in both places",
            id="slash at the beginning",
        ),
        pytest.param(
            PUBLISH,
            THING_TOPIC,
            "topic/gauge/a",
            NO_THING,
            "the policy variable ${iot:Connection.Thing.ThingName} has no value here: the client ID"
            " 'gauge' is not the name of a Thing",
            "connect with the Thing's name as the client ID",
            id="variable: no such Thing",
        ),
        pytest.param(
            PUBLISH,
            THING_TOPIC,
            "topic/gauge/a",
            NOT_ATTACHED,
            "has no value here: the connection's certificate is not attached to a Thing named"
            " 'gauge'",
            "attach the certificate to the Thing 'gauge' (AttachThingPrincipal)",
            id="variable: not attached",
        ),
        pytest.param(
            PUBLISH,
            THING_TOPIC,
            "topic/gauge/a",
            HTTPS,
            "Thing policy variables exist only in MQTT",
            "write the resource without a Thing policy variable",
            id="variable: HTTPS",
        ),
        pytest.param(
            PUBLISH,
            "topic/${iot:ClientId}",
            "topic/gauge",
            HTTPS,
            "this request has no such value; a client ID, for example, exists only in MQTT",
            "write the value itself in the policy",
            id="variable: no client ID",
        ),
        pytest.param(
            PUBLISH,
            "topic/${iot:Connection.Thing.Attributes[room]}",
            "topic/kitchen",
            TEST2,
            "the Thing 'Test2' has no attribute 'room'",
            "set it on the Thing 'Test2' (UpdateThing)",
            id="variable: no attribute",
        ),
        pytest.param(
            PUBLISH,
            "topic/${iot:Connection.Thing.ThingTypeName}",
            "topic/kitchen",
            TEST2,
            "the Thing 'Test2' has no ThingTypeName",
            "set it on the Thing 'Test2' (UpdateThing)",
            id="variable: no Thing type",
        ),
        pytest.param(
            PUBLISH,
            "topic/${iot:Connection.Thing.ThingTypeName}",
            "topic/kitchen",
            {"iot:ClientId": "Test2", THING + "ThingName": "Test2"},
            "the Thing 'Test2' has no ThingTypeName",
            "set it on the Thing 'Test2' (UpdateThing)",
            id="variable: no Thing type, attachment unknown",
        ),
        pytest.param(
            PUBLISH,
            "topic/${iot:Certificate.Subject.CommonName}",
            "topic/kitchen",
            TEST2,
            "the certificate has no Subject.CommonName",
            "use a certificate that has it",
            id="variable: not in the certificate",
        ),
        pytest.param(
            PUBLISH,
            "topic/${iot:Certificate.Subject.CommonName.1}",
            "topic/kitchen",
            TEST2,
            "the certificate has fewer values of it (.1 is the second)",
            "use a certificate that has it",
            id="variable: index",
        ),
        pytest.param(
            PUBLISH,
            "topic/${iot:Certificate.Subject.Title}",
            "topic/a*b",
            TEST2,
            "its value has one of * $ + ? #",
            "use a certificate that has it",
            id="variable: wildcard in the certificate",
        ),
        pytest.param(
            PUBLISH,
            "topic/${iot:ThingName}",
            "topic/Test2",
            TEST2,
            "AWS IoT has no policy variable of that name",
            "write ${iot:Connection.Thing.ThingName}",
            id="variable: misspelled",
        ),
        pytest.param(
            PUBLISH,
            "topic/${x}",
            "topic/Test2",
            TEST2,
            "AWS IoT has no policy variable of that name",
            "look up the name",
            id="variable: unknown",
        ),
    ],
)
def test_mismatches(
    action: str, pattern: str, requested: str, context: Context, differs: str, advice: str
) -> None:
    # A second, unrelated statement must not be chosen as the closest.
    rules = policy(
        statement("iot:DescribeJobExecution", HERE + "thing/other"),
        statement(action, HERE + pattern, Sid="Mine"),
        name="Test2Policy",
    )
    explanation = explain([rules], action, requested, context)
    finding = explanation.closest
    assert finding is not None
    assert (finding.policy, finding.statement, finding.sid) == ("Test2Policy", 1, "Mine")
    assert not finding.matched
    assert len(finding.differs) == 1
    assert differs in finding.differs[0]
    assert advice in finding.advice[0]
    assert differs in explanation.summary
    assert f"To fix it, {finding.advice[0]}." in explanation.summary
    assert "Statement 2 ('Mine') of policy 'Test2Policy' comes closest" in explanation.summary


@pytest.mark.parametrize(
    ("mistake", "label"),
    [("eu-west-1", "region"), ("999999999999", "account"), ("aws-cn", "partition")],
)
def test_another_field_of_the_arn(mistake: str, label: str) -> None:
    right = {"region": "us-east-1", "account": "123456789012", "partition": "aws"}[label]
    resource = HERE.replace(f":{right}:", f":{mistake}:") + "topic/${iot:ClientId}"
    explanation = explain([policy(statement(PUBLISH, resource))], PUBLISH, "topic/Test2")
    assert differences(explanation) == (
        f"the policy's ARN has the {label} {mistake!r} and the request's has {right!r}"
    )
    assert f"write {right!r} as the {label}" in explanation.summary


def test_all_differences_are_named() -> None:
    resource = "arn:aws:iot:eu-west-1:123456789012:topic/${iot:ClientId}/#"
    condition = {"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "192.168.0.0/16"]}}
    rules = policy(statement("iot:Subscribe", resource, Condition=condition))
    explanation = explain([rules], "iot:Subscribe", "topicfilter/Test2/a")
    assert explanation.closest is not None
    region, kind, name, address = explanation.closest.differs
    assert "region 'eu-west-1'" in region
    assert "the policy names the type 'topic'" in kind
    assert "in a policy, # and + are ordinary characters" in name
    assert name.endswith("(${iot:ClientId} is 'Test2' here)")
    assert address.endswith("'10.0.0.0/8' or '192.168.0.0/16' and the connection has '127.0.0.1'")
    assert len(explanation.closest.advice) == 4


@pytest.mark.parametrize(
    ("condition", "context", "differs", "advice"),
    [
        (
            {"Bool": {THING + "IsAttached": "true"}},
            NOT_ATTACHED,
            "the policy has 'true' and the connection has 'false'",
            "attach the certificate to the Thing 'gauge'",
        ),
        (
            {"Bool": {THING + "IsAttached": "true"}},
            NO_THING,
            "the connection has no value (the client ID 'gauge' is not the name of a Thing",
            "connect with the Thing's name as the client ID",
        ),
        (
            {"Bool": {THING + "IsAttached": "false"}},
            TEST2,
            "the policy has 'false' and the connection has 'true'",
            f"connect so that {THING}IsAttached meets the Condition, or change the Condition",
        ),
        (
            {"ForAllValues:StringEquals": {"iot:ConnectAttributes": "LastWill"}},
            {"iot:ConnectAttributes": ("PersistentConnect", "LastWill")},
            "the policy has 'LastWill' and the connection has 'PersistentConnect' and 'LastWill'",
            "connect so that iot:ConnectAttributes meets the Condition",
        ),
        (
            {"StringEquals": {"iot:ClientId": "${iot:Connection.Thing.ThingName}"}},
            {**TEST2, "iot:ClientId": "Test3"},
            "the policy has 'Test2' and the connection has 'Test3'",
            "connect so that iot:ClientId meets the Condition",
        ),
        (
            {"StringNotEquals": {"iot:ClientId": "${iot:Connection.Thing.ThingName}"}},
            NO_THING,
            "needs ${iot:Connection.Thing.ThingName}, which has no value here: the client ID",
            "connect with the Thing's name as the client ID",
        ),
    ],
)
def test_an_unmet_condition(
    condition: dict[str, object], context: Context, differs: str, advice: str
) -> None:
    rules = policy(statement("iot:Connect", "*", Condition=condition))
    explanation = explain([rules], "iot:Connect", "client/any", context)
    assert explanation.outcome == "IMPLICIT_DENY"
    ((operator, keys),) = condition.items()
    assert isinstance(keys, dict)
    assert differences(explanation).startswith(f"its Condition {operator} on {next(iter(keys))} ")
    assert differs in differences(explanation)
    assert advice in explanation.summary


def test_a_filter_without_wildcards_needs_no_note_about_them() -> None:
    rules = policy(statement("iot:Subscribe", HERE + "topicfilter/creek/depth"))
    explanation = explain([rules], "iot:Subscribe", "topicfilter/creek/stage")
    assert differences(explanation) == "the policy names 'depth' and the request names 'stage'"


def test_values_are_shown_only_of_variables_that_were_filled() -> None:
    resource = HERE + "topic/${iot:Certificate.Subject.Title}/${iot:ClientId}/${iot:Nothing}/a"
    explanation = explain([policy(statement(PUBLISH, resource))], PUBLISH, "topic/x/y/z/b")
    assert explanation.closest is not None
    title, nothing, name = explanation.closest.differs
    assert "${iot:Certificate.Subject.Title} has no value here" in title
    assert "${iot:Nothing} has no value here" in nothing
    assert name.endswith("(${iot:ClientId} is 'Test2' here)")


def test_variables_in_a_document_without_version() -> None:
    in_resource = policy(statement(PUBLISH, HERE + "topic/${iot:ClientId}"), version=None)
    in_condition = policy(
        statement(
            PUBLISH, "*", Condition={"StringEquals": {"iot:ClientId": ["${iot:ClientId}", "a"]}}
        ),
        version="2008-10-17",
    )
    for rules in (in_resource, in_condition):
        explanation = explain([rules], PUBLISH, "topic/Test2")
        assert "no Version '2012-10-17'" in differences(explanation)
        assert 'write "Version": "2012-10-17" in the document' in explanation.summary
    without_variables = policy(statement(PUBLISH, HERE + "topic/a"), version=None)
    assert "Version" not in explain([without_variables], PUBLISH, "topic/b").summary


def test_no_policy_at_all() -> None:
    explanation = explain([], "iot:Connect", "client/Test2")
    assert (explanation.findings, explanation.closest) == ((), None)
    assert explanation.summary == (
        "Client 'Test2' tried to connect (iot:Connect) and was denied."
        " No policy is attached to its certificate, and anything that no policy allows is denied."
        f" To fix it, attach a policy that allows iot:Connect on {HERE}client/Test2"
        " (AttachPolicy)."
    )


def test_an_action_that_no_statement_names() -> None:
    rules = policy(
        statement("iot:Connect", HERE + "client/Test2"),
        statement(PUBLISH, HERE + "topic/creek/*"),
        name="A",
    )
    explanation = explain([rules], "iot:Receive", "topic/creek/depth")
    assert differences(explanation) == "its Action (iot:Publish) does not include iot:Receive"
    assert explanation.summary == (
        "Client 'Test2' was due to receive a message on topic 'creek/depth' (iot:Receive) and was"
        " denied. No Allow statement in the attached policy 'A' includes iot:Receive."
        " Statement 2 of policy 'A' comes closest, but its Action (iot:Publish) does not include"
        " iot:Receive. To fix it, add a statement that allows iot:Receive on"
        f" {HERE}topic/creek/depth."
    )
    # If the resource does not match either, no statement is called the closest.
    assert "comes closest" not in explain([rules], "iot:Receive", "topic/other").summary


def test_an_explicit_deny() -> None:
    deny = policy(
        statement("iot:Connect", "*"),
        statement(PUBLISH, HERE + "topic/creek/*", "Deny", Sid="NoCreek"),
        name="deny",
    )
    explanation = explain([ALLOW_ALL, deny], PUBLISH, "topic/creek/depth")
    assert explanation.outcome == "EXPLICIT_DENY"
    assert explanation.closest is not None
    assert (explanation.closest.policy, explanation.closest.statement) == ("deny", 1)
    assert explanation.closest.matched
    assert (
        "Statement 2 ('NoCreek') of policy 'deny' denies it, although policy 'all' would allow it,"
        " and a Deny overrides every Allow." in explanation.summary
    )
    assert explanation.suggestion is None
    assert "although" not in explain([deny], PUBLISH, "topic/creek/depth").summary


def test_only_deny_statements() -> None:
    rules = policy(statement(PUBLISH, HERE + "topic/a", "Deny"), name="deny")
    explanation = explain([rules], PUBLISH, "topic/b")
    assert explanation.closest is None
    assert "There is no Allow statement in the attached policy 'deny'" in explanation.summary


def test_an_allowed_request() -> None:
    explanation = explain(
        [policy(statement(PUBLISH, "*"), name="A"), ALLOW_ALL], PUBLISH, "topic/a"
    )
    assert explanation.summary == (
        "Client 'Test2' tried to publish to topic 'a' (iot:Publish) and was allowed."
        " Statement 1 of policy 'A' allows it."
    )
    assert explanation.suggestion is None
    assert [finding.matched for finding in explanation.findings] == [True, True]


def test_a_deny_that_did_not_apply_is_a_warning() -> None:
    variable = statement(PUBLISH, HERE + "topic/${iot:Connection.Thing.ThingTypeName}", "Deny")
    attached = statement(PUBLISH, HERE + "topic/other", "Deny")
    rules = policy(statement(PUBLISH, "*"), attached, variable, name="A")
    summary = explain([rules], PUBLISH, "topic/a").summary
    assert (
        "Warning: statement 3 of policy 'A' is a Deny that did not apply: the policy variable"
        in summary
    )
    assert summary.count("Warning") == 1
    old = policy(statement(PUBLISH, "*"), variable, name="A", version=None)
    unfilled = {"StringEquals": {"iot:ClientId": "${iot:Nothing}"}}
    by_condition = policy(
        statement(PUBLISH, "*"), statement(PUBLISH, "*", "Deny", Condition=unfilled), name="A"
    )
    assert (
        "Warning: statement 2 of policy 'A'" in explain([by_condition], PUBLISH, "topic/a").summary
    )
    elsewhere = statement(PUBLISH, HERE + "client/${iot:Nothing}", "Deny")
    irrelevant = policy(statement(PUBLISH, "*"), elsewhere)
    assert "Warning" not in explain([irrelevant], PUBLISH, "topic/a").summary
    assert (
        "is a Deny that did not apply: its document has no Version"
        in explain([old], PUBLISH, "topic/a").summary
    )


def test_the_closest_of_several() -> None:
    rules = policy(
        statement(PUBLISH, HERE + "topic/house/cellar/damp"),
        statement(PUBLISH, [HERE + "topic/x/y", HERE + "topic/creek/stage", "arn:aws:iot:a:b:c/d"]),
        statement("iot:Receive", HERE + "topic/creek/depth"),
        statement(PUBLISH, HERE + "topic/creek/depth", "Deny", Condition={"Null": {"k": "false"}}),
    )
    other = policy(statement(PUBLISH, HERE + "client/creek/depth/#"))
    explanation = explain([other, rules], PUBLISH, "topic/creek/depth")
    assert explanation.closest == explanation.findings[2]
    assert differences(explanation) == "the policy names 'stage' and the request names 'depth'"


@pytest.mark.parametrize(
    ("closer", "farther"),
    [
        ("topic/CREEK/DEPTH", "topic/creek/deep"),
        ("topic/creek/depth/", "topic/creek/dept"),
        ("topic/+/+", "topic/creek/deept"),
        ("topic/c", "topic/creek/deptn"),
        ("topic/${iot:Connection.Thing.ThingTypeName}/depth", "topic/creek/deptn"),
        ("topic/creek/any", "topicfilter/creek/depth"),
        ("client/creek/depth", "topic/greek/depths"),
        ("topicfilter/*/else", "creek/depth"),
        ("topicfilter/creek/d", "topic/greek/#"),
    ],
)
def test_the_likelier_slip_is_closer(closer: str, farther: str) -> None:
    alone = explain([policy(statement(PUBLISH, HERE + closer))], PUBLISH, "topic/creek/depth")
    for order in ((closer, farther), (farther, closer)):
        together = policy(statement(PUBLISH, [HERE + pattern for pattern in order]))
        apart = policy(*(statement(PUBLISH, HERE + pattern) for pattern in order))
        for rules in (together, apart):
            explanation = explain([rules], PUBLISH, "topic/creek/depth")
            assert differences(explanation) == differences(alone)


def test_an_action_outweighs_every_other_difference() -> None:
    rules = policy(
        statement("iot:Receive", HERE + "topic/creek/depth"),
        statement(PUBLISH, "arn:x:y:z:0:thing/other", Condition={"Null": {"aws:SourceIp": "true"}}),
    )
    explanation = explain([rules], PUBLISH, "topic/creek/depth")
    assert explanation.closest == explanation.findings[1]


def test_the_most_similar_of_equally_distant_statements_is_closest() -> None:
    names = ["house/cellar", "creek/stage", "creek/height"]
    rules = policy(*(statement(PUBLISH, f"{HERE}topic/a/{name}/b") for name in names))
    explanation = explain([rules], PUBLISH, "topic/b/creek/heights/c")
    assert explanation.closest == explanation.findings[2]


def test_a_request_for_everything() -> None:
    rules = policy(statement("iot:ListRetainedMessages", HERE + "topic/*"))
    explanation = explained(Authorizer([rules], HTTPS), "iot:ListRetainedMessages", "*")
    assert differences(explanation) == f"the policy names '{HERE}topic/*' and the request names '*'"
    assert explanation.suggestion is not None
    assert explanation.suggestion["Resource"] == "*"


@pytest.mark.parametrize(
    ("action", "requested", "sentence"),
    [
        ("iot:Connect", "client/a", "Client 'a' tried to connect"),
        (PUBLISH, "topic/a/b", "Client 'Test2' tried to publish to topic 'a/b'"),
        ("iot:RetainPublish", "topic/a:b", "tried to publish a retained message to topic 'a:b'"),
        ("iot:Subscribe", "topicfilter/#", "tried to subscribe to topic filter '#'"),
        ("iot:Receive", "topic/a", "was due to receive a message on topic 'a'"),
        ("iot:GetThingShadow", "thing/T", "tried to read the shadow of the Thing 'T'"),
        ("iot:UpdateThingShadow", "thing/T", "tried to update the shadow of the Thing 'T'"),
        ("iot:DeleteThingShadow", "thing/T", "tried to delete the shadow of the Thing 'T'"),
        ("iot:AssumeRoleWithCertificate", "rolealias/r", f"sent a request for '{HERE}rolealias/r'"),
    ],
)
def test_attempt_in_words(action: str, requested: str, sentence: str) -> None:
    summary = explain([], action, requested).summary
    assert f"{sentence} ({action}) and was denied." in summary


@pytest.mark.parametrize(
    ("requested", "pattern"),
    [
        ("topic/$aws/things/Test2/shadow/update", "topic/$aws/things/Test2/shadow/update"),
        ("topic/a*b?", "topic/a${*}b${?}"),
        ("topic/${iot:ClientId}$(*)", "topic/${$}{iot:ClientId}${$}(${*})"),
    ],
)
def test_the_suggestion_covers_the_request_alone(requested: str, pattern: str) -> None:
    suggestion = explain([], PUBLISH, requested).suggestion
    assert suggestion == {"Effect": "Allow", "Action": PUBLISH, "Resource": HERE + pattern}
    granted = Authorizer([policy(suggestion)], TEST2)
    assert granted.decide(PUBLISH, HERE + requested).allows
    assert not granted.decide(PUBLISH, HERE + "topic/aXbX").allows


def test_as_dict_is_ready_for_json() -> None:
    rules = policy(statement(PUBLISH, HERE + "topic/a", Sid="S"), name="A")
    explanation = explain([rules], PUBLISH, "topic/b")
    content = json.loads(json.dumps(explanation.as_dict()))
    assert content == {
        "action": PUBLISH,
        "resource": HERE + "topic/b",
        "outcome": "IMPLICIT_DENY",
        "findings": [content["closest"]],
        "closest": {
            "policy": "A",
            "version": "",
            "statement": 0,
            "sid": "S",
            "effect": "Allow",
            "matched": False,
            "differs": ["the policy names 'a' and the request names 'b'"],
            "advice": ["replace 'a' with 'b' in the policy, or have the client use 'a'"],
            "differences": [{"kind": "level", "expected": "a", "actual": "b"}],
        },
        "non_applying": [],
        "summary": explanation.summary,
        "suggestion": {"Effect": "Allow", "Action": PUBLISH, "Resource": HERE + "topic/b"},
        "warning": None,
    }


# --- properties --------------------------------------------------------------------------------


@no_deadline
@given(policies=policies_of_any_kind, context=contexts, action=actions, resource=resources)
def test_an_explanation_agrees_with_the_decision(
    policies: list[Policy], context: Context, action: str, resource: str
) -> None:
    authorizer = Authorizer(policies, context)
    decision = authorizer.decide(action, resource)
    explanation = explained(authorizer, action, resource)
    assert explanation.outcome == decision.outcome

    effects = {finding.effect for finding in explanation.findings if finding.matched}
    assert ("Deny" in effects) == (decision.outcome == "EXPLICIT_DENY")
    assert decision.allows == (effects == {"Allow"})
    assert len(explanation.findings) == sum(len(policy.statements) for policy in policies)
    for finding in explanation.findings:
        assert finding.matched != bool(finding.differs)
        assert len(finding.differs) == len(finding.advice)
    if explanation.closest is not None:
        assert explanation.closest.matched == (decision.outcome != "IMPLICIT_DENY")
        assert explanation.closest.effect == (
            "Deny" if decision.outcome == "EXPLICIT_DENY" else "Allow"
        )


@no_deadline
@given(policies=policies_of_any_kind, context=contexts, action=actions, resource=resources)
def test_the_suggestion_is_enough(
    policies: list[Policy], context: Context, action: str, resource: str
) -> None:
    explanation = explained(Authorizer(policies, context), action, resource)
    assert (explanation.suggestion is not None) == (explanation.outcome == "IMPLICIT_DENY")
    if explanation.suggestion is not None:
        more = [*policies, policy(explanation.suggestion)]
        assert Authorizer(more, context).decide(action, resource).allows


@no_deadline
@given(policies=policies_of_any_kind, context=contexts, action=actions, resource=resources)
def test_a_summary_has_two_to_four_sentences(
    policies: list[Policy], context: Context, action: str, resource: str
) -> None:
    explanation = explained(Authorizer(policies, context), action, resource)
    sentences = re.split(r"\. (?=[A-Z])", explanation.summary.partition(" Warning")[0])
    assert 2 <= len(sentences) <= 4
    assert explanation.summary.endswith(".")


@no_deadline
@given(requested=st.text(), pattern=st.text(), client=st.text())
def test_explaining_any_text(requested: str, pattern: str, client: str) -> None:
    rules = policy(statement(PUBLISH, f"{HERE}topic/${{iot:ClientId}}/{pattern}x"[:300]))
    authorizer = Authorizer([rules], {"iot:ClientId": client})
    for resource in (requested, HERE + requested, f"{HERE}topic/{requested}"):
        assert explained(authorizer, PUBLISH, resource).summary


def test_the_domain_name_has_no_value_here() -> None:
    rules = policy(statement(PUBLISH, HERE + "topic/${iot:DomainName}"))
    summary = explain([rules], PUBLISH, "topic/example.com").summary
    assert "${iot:DomainName} has no value here: the local cloud has one endpoint" in summary


# --- bounds ---------------------------------------------------------------------------------------


def largest(resource: str) -> Policy:
    """Return a policy with as many resources as AWS's size limit permits."""
    resources: list[str] = []
    while True:
        more = [*resources, resource.format(len(resources))]
        try:
            policy(statement(PUBLISH, more))
        except MalformedPolicy:
            return policy(statement(PUBLISH, resources))
        resources = more


@pytest.mark.parametrize(
    "resource",
    [
        HERE + "topic/creek/{}/depth/*",
        "arn:a:b:::*/c*d*e{}/${{iot:ClientId}}",
        "arn:a:b:::*?a?b*?{}*c",
        "arn:a:b:::${{unknown{}}}",
        HERE + "topic/" + "${{iot:ClientId}}/" * 20 + "{}",
        HERE + "topic/" + "a/" * 100 + "{}",
    ],
)
def test_decisions_and_explanations_of_the_largest_policies_are_bounded(resource: str) -> None:
    one, topic = largest(resource), HERE + "topic/" + "c/d/e/" + "acde" * 60
    context = {"iot:ClientId": "ab/c" * 32}
    bound = Authorizer([replace(one, name=f"p{number}") for number in range(10)], context)
    decide = partial(bound.decide, PUBLISH, topic)
    assert steps(decide) < 20_000  # and once the patterns are compiled,
    assert steps(decide) < 10_000
    assert steps(partial(explained, bound, PUBLISH, topic)) < 200_000


def test_an_explanation_of_many_statements_is_bounded() -> None:
    name = HERE + "topic/{}"
    rules = policy(*(statement(PUBLISH, name.format(number)) for number in range(12)))
    rest = [replace(rules, name=f"p{number}") for number in range(10)]
    wanted = policy(statement(PUBLISH, name.format("creek/depth")), name="wanted")
    explanation = explained(Authorizer([*rest, wanted], {}), PUBLISH, name.format("creek/dept"))
    assert len(explanation.findings) == MAX_STATEMENTS
    assert explanation.closest is not None
    assert explanation.closest.policy == "wanted"
    allowed = explained(Authorizer([*rest, wanted], {}), PUBLISH, name.format("creek/depth"))
    assert allowed.closest is not None
    assert allowed.closest.matched
