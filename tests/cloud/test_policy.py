"""Policies: parsing, and the decision on a request."""

from __future__ import annotations

import json
from functools import cache, partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creeklab.cloud.policy import (
    MAX_SIZE,
    Authorizer,
    Condition,
    Context,
    MalformedPolicy,
    Policy,
    Statement,
    explain,
    parse,
)
from creeklab.cloud.policy.conditions import OPERATORS
from creeklab.cloud.policy.wildcards import Glob, covers, fill, literal, plain
from tests.cloud.steps import steps

no_deadline = settings(deadline=None)  # the machine may be busy

HERE = "arn:aws:iot:us-east-1:123456789012:"
VERSION = "2012-10-17"
THING = "iot:Connection.Thing."

SYNTAX = "Policy document is Malformed: Invalid policy syntax."
RESOURCES = "Policy document is Malformed: The following resources are invalid : "


def statement(action: Any, resource: Any, effect: str = "Allow", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": resource, **more}


def policy(*statements: dict[str, Any], name: str = "P", version: str | None = VERSION) -> Policy:
    content: dict[str, Any] = {"Statement": list(statements)}
    if version is not None:
        content["Version"] = version
    return parse(json.dumps(content), name=name, arn=f"{HERE}policy/{name}")


def outcome(policies: list[Policy], action: str, resource: str, context: Context | None = None):
    return Authorizer(policies, context or {}).decide(action, resource).outcome


def allows(
    action: str,
    pattern: str,
    requested: str,
    context: Context | None = None,
    *,
    version: str | None = VERSION,
) -> bool:
    """Return whether an Allow on HERE + pattern covers a request for HERE + requested."""
    one = policy(statement(action, HERE + pattern), version=version)
    return Authorizer([one], context or {}).decide(action, HERE + requested).allows


# --- patterns ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "pattern", "requested", "expected"),
    [
        ("iot:Subscribe", "topicfilter/building/#", "topicfilter/building/#", True),
        ("iot:Subscribe", "topicfilter/building/#", "topicfilter/building/a", False),
        ("iot:Subscribe", "topicfilter/building/*", "topicfilter/building/#", True),
        ("iot:Subscribe", "topicfilter/building/*", "topicfilter/building/+/t", True),
        ("iot:Subscribe", "topicfilter/building/*", "topicfilter/building/a/b", True),
        ("iot:Publish", "topic/building/#", "topic/building/a", False),
        ("iot:Publish", "topic/building/*", "topic/building/a/b/c", True),
        ("iot:Publish", "topic/building/*", "topic/building/", True),
        ("iot:Publish", "topic/building/*", "topic/building", False),
        ("iot:Subscribe", "topicfilter/some/?????/topic", "topicfilter/some/thing/topic", True),
        ("iot:Subscribe", "topicfilter/some/?????/topic", "topicfilter/some/stuffs/topic", False),
        ("iot:Subscribe", "topicfilter/some/*/topic", "topicfilter/some/+/topic", True),
        ("iot:Subscribe", "topicfilter/+/topic", "topicfilter/some/topic", False),
        ("iot:Subscribe", "topic/x", "topicfilter/x", False),
        ("iot:Publish", "topicfilter/x", "topic/x", False),
        ("iot:Connect", "thing/Test2", "client/Test2", False),
        ("iot:Publish", "topic/Creek", "topic/creek", False),
        ("iot:Publish", "topic/creek", "topic/creek/depth", False),
        ("iot:Publish", "topic/a.c", "topic/abc", False),
        ("iot:Publish", "topic/a*", "topic/a\nb", True),
        ("iot:Publish", "topic/a", "topic/a\n", False),
        ("iot:Publish", "topic/$aws/things/*", "topic/$aws/things/Test2/shadow/get", True),
        ("iot:Publish", "topic/a${*}c", "topic/a*c", True),
        ("iot:Publish", "topic/a${*}c", "topic/abc", False),
        ("iot:Publish", "topic/a$(*)c", "topic/a*c", True),
        ("iot:Publish", "topic/a$(*)c", "topic/abc", False),
        ("iot:Publish", "topic/a${?}c", "topic/a?c", True),
        ("iot:Publish", "topic/a$(?)c", "topic/abc", False),
        ("iot:Publish", "topic/a${$}c", "topic/a$c", True),
        ("iot:Publish", "topic/a$($)c", "topic/a$c", True),
        ("iot:Publish", "topic/a$()c", "topic/a$()c", True),
        ("iot:Publish", "topic/a${}c", "topic/a${}c", True),
        ("iot:Publish", "*", "topic/anything", True),
    ],
)
def test_resources(action: str, pattern: str, requested: str, expected: bool) -> None:
    resource = "*" if pattern == "*" else HERE + pattern
    one = policy(statement(action, resource))
    assert Authorizer([one], {}).decide(action, HERE + requested).allows is expected


@pytest.mark.parametrize(
    "resource",
    [
        "arn:aws:iot:*:*:topic/a",
        "arn:aws:iot:us-east-1:123456789012:*",
        "arn:*:iot:us-*:12345678901?:topic/?",
    ],
)
def test_wildcards_in_every_field_of_an_arn(resource: str) -> None:
    assert outcome(
        [policy(statement("iot:Publish", resource))], "iot:Publish", HERE + "topic/a"
    ) == ("ALLOWED")


@pytest.mark.parametrize("part", ["aws", "iot", "us-east-1", "123456789012"])
def test_another_partition_service_region_or_account(part: str) -> None:
    resource = HERE.replace(part, "other") + "topic/a"
    one = policy(statement("iot:Publish", resource))
    assert outcome([one], "iot:Publish", HERE + "topic/a") == "IMPLICIT_DENY"


@pytest.mark.parametrize(
    ("pattern", "action", "expected"),
    [
        ("iot:Publish", "iot:Publish", True),
        ("IoT:publish", "iot:Publish", True),
        ("iot:*", "iot:Publish", True),
        ("*", "iot:Publish", True),
        ("iot:*Publish", "iot:RetainPublish", True),
        ("iot:?ublish", "iot:Publish", True),
        ("iot:Publish", "iot:RetainPublish", False),
        ("iot:Get*", "iot:UpdateThingShadow", False),
        ("greengrass:*", "iot:Publish", False),
        # U+017F is an "s" where Unicode ignores case.
        ("iot:Publish", "iot:Publi\u017fh", False),
        # U+212A is a Kelvin sign, and lower() makes it a "k".
        ("iot:k", "iot:\u212a", False),
    ],
)
def test_actions(pattern: str, action: str, expected: bool) -> None:
    one = policy(statement(pattern, "*"))
    assert Authorizer([one], {}).decide(action, HERE + "topic/a").allows is expected


def test_lists_of_actions_and_resources_are_alternatives() -> None:
    rules = policy(statement(["iot:Publish", "iot:Receive"], [HERE + "topic/a", HERE + "topic/b"]))
    allowed = [
        (action, name)
        for action in ("Publish", "Receive", "Connect")
        for name in "abc"
        if outcome([rules], f"iot:{action}", f"{HERE}topic/{name}") == "ALLOWED"
    ]
    assert allowed == [("Publish", "a"), ("Publish", "b"), ("Receive", "a"), ("Receive", "b")]


def test_matching_is_not_exponential() -> None:
    # With backtracking, these would take longer than the age of the universe.
    for pattern, text in [
        ("a*" * 30 + "b", "a" * 100),
        ("a*" * 900 + "b", "a" * 2000),
        ("?*" * 900 + "b", "a" * 2000),
        ("*a" * 900 + "*?", "a" * 899 + "b" * 1100),
    ]:
        assert not covers(pattern, text)


@cache
def naive(pattern: str, text: str) -> bool:
    """Match a glob by its definition, one character at a time."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return naive(pattern[1:], text) or (bool(text) and naive(pattern, text[1:]))
    return bool(text) and pattern[0] in ("?", text[0]) and naive(pattern[1:], text[1:])


texts = st.text("ab/*?+#$.", max_size=9)


@no_deadline
@given(pattern=texts, text=texts)
def test_globbing_follows_its_definition(pattern: str, text: str) -> None:
    filled, _ = fill(pattern, lambda _: None)
    assert covers(filled, text) == naive(pattern, text)


@pytest.mark.parametrize("pattern", ["*a?a?b*", "*?*a*?b", "a*" * 40 + "?b", "*/c*d*e/c", "?" * 90])
def test_matching_is_linear(pattern: str) -> None:
    compiled = Glob(pattern)
    for letter in "a/c?":
        counts = [steps(partial(compiled.matches, letter * size)) for size in (500, 5000)]
        assert counts[1] <= 10 * counts[0] + 50


@no_deadline
@given(pattern=st.text("ab?*", min_size=1, max_size=12), text=st.text("ab", max_size=12))
def test_globbing_with_many_stars(pattern: str, text: str) -> None:
    assert covers(pattern, text) == naive(pattern, text)


@no_deadline
@given(text=st.text(), other=st.text())
def test_a_literal_covers_only_itself(text: str, other: str) -> None:
    assert covers(literal(text), text)
    assert covers(literal(text), other) == (text == other)
    assert plain(literal(text)) == text


# --- variables ---------------------------------------------------------------------------------

GAUGE: Context = {
    "iot:ClientId": "gauge",
    "aws:SourceIp": "127.0.0.1",
    "iot:CertificateId": "0a1b",
    THING + "ThingName": "gauge",
    THING + "ThingTypeName": "Sensor",
    THING + "IsAttached": "true",
    THING + "Attributes[room]": "Kitchen",
    "iot:Certificate.Subject.CommonName": "first",
    "iot:Certificate.Subject.CommonName.1": "second",
    "iot:Certificate.Subject.CommonName.List": ("first", "second"),
    "iot:Certificate.Subject.Title": "a*b",
    "iot:Certificate.Subject.Country": "x" * 1024,
    "iot:Certificate.Subject.State": "x" * 1025,
}


@pytest.mark.parametrize(
    ("pattern", "requested", "expected"),
    [
        ("topic/${iot:ClientId}/a", "topic/gauge/a", True),
        ("topic/${iot:ClientId}/a", "topic/other/a", False),
        ("topic/${iot:ClientId}/a", "topic/${iot:ClientId}/a", False),
        ("topic/${IOT:clientid}/a", "topic/gauge/a", True),
        ("topic/${iot:ClientId}-${iot:CertificateId}/*", "topic/gauge-0a1b/x/y", True),
        ("topic/$${iot:ClientId}", "topic/$gauge", True),
        ("topic/${aws:SourceIp}", "topic/127.0.0.1", True),
        ("topic/${iot:Connection.Thing.ThingName}", "topic/gauge", True),
        ("topic/${iot:Connection.Thing.ThingTypeName}", "topic/Sensor", True),
        ("topic/${iot:Connection.Thing.Attributes[room]}", "topic/Kitchen", True),
        ("topic/${iot:Connection.Thing.Attributes[Room]}", "topic/Kitchen", False),
        ("topic/${iot:Certificate.Subject.CommonName}", "topic/first", True),
        ("topic/${iot:Certificate.Subject.CommonName.1}", "topic/second", True),
        ("topic/${iot:Certificate.Subject.CommonName.2}", "topic/second", False),
        # A variable with several values is not replaced.
        ("topic/${iot:Certificate.Subject.CommonName.List}", "topic/first", False),
        # AWS does not use certificate attributes that contain wildcards or are too long.
        ("topic/${iot:Certificate.Subject.Title}", "topic/a*b", False),
        ("topic/${iot:Certificate.Subject.Country}", "topic/" + "x" * 1024, True),
        ("topic/${iot:Certificate.Subject.State}", "topic/" + "x" * 1025, False),
        ("topic/${iot:NoSuchThing}*", "topic/a", False),
        ("topic/${iot:NoSuchThing}", "topic/${iot:NoSuchThing}", False),
        ("topic/${iot:NoSuchThing}", "topic/*", False),
    ],
)
def test_variables(pattern: str, requested: str, expected: bool) -> None:
    assert allows("iot:Publish", pattern, requested, GAUGE) is expected


@pytest.mark.parametrize("client", ["*", "?", "a*", "${*}", "${iot:CertificateId}", "$", "{*}"])
def test_a_value_is_never_a_pattern(client: str) -> None:
    for pattern in ("topic/${iot:ClientId}", "topic/$${iot:ClientId}", "topic/${iot:ClientId}*}"):
        exact = pattern.replace("${iot:ClientId}", client)
        context = {**GAUGE, "iot:ClientId": client}
        assert allows("iot:Publish", pattern, exact, context)
        for other in ("topic/x", "topic/abc", "topic/", "topic/0a1b", "topic/$x", "topic/xy}"):
            assert not allows("iot:Publish", pattern, other, context)


@no_deadline
@given(client=st.text(min_size=1), other=st.text())
def test_a_variable_covers_only_its_value(client: str, other: str) -> None:
    context = {"iot:ClientId": client}
    pattern = "topic/${iot:ClientId}/end"
    assert allows("iot:Publish", pattern, f"topic/{client}/end", context)
    assert allows("iot:Publish", pattern, f"topic/{other}/end", context) == (client == other)


@pytest.mark.parametrize("version", [None, "2008-10-17"])
def test_variables_are_plain_text_before_2012(version: str | None) -> None:
    pattern = "topic/${iot:ClientId}"
    assert not allows("iot:Publish", pattern, "topic/gauge", GAUGE, version=version)
    assert allows("iot:Publish", pattern, pattern, GAUGE, version=version)
    assert allows("iot:Publish", "topic/*", "topic/gauge", GAUGE, version=version)
    # So ${*} is a wildcard between other characters there.
    assert allows("iot:Publish", "topic/${*}", "topic/${a}", GAUGE, version=version)
    assert not allows("iot:Publish", "topic/${*}", "topic/*", GAUGE, version=version)


def test_a_statement_with_an_empty_variable_still_covers_its_other_resources() -> None:
    one = policy(statement("iot:Publish", [HERE + "topic/${iot:Nothing}", HERE + "topic/a"]))
    assert outcome([one], "iot:Publish", HERE + "topic/a") == "ALLOWED"


def test_a_deny_with_an_empty_variable_denies_nothing() -> None:
    rules = policy(
        statement("iot:Publish", "*"),
        statement("iot:Publish", HERE + "topic/${iot:Nothing}", "Deny"),
    )
    decision = Authorizer([rules], {}).decide("iot:Publish", HERE + "topic/a")
    assert decision.allows
    assert decision.missing == ("iot:Nothing",)


def test_missing_names_what_kept_statements_about_the_action_from_matching() -> None:
    rules = policy(
        statement("iot:Publish", HERE + "topic/${iot:A}/${iot:B}"),
        statement("iot:Publish", HERE + "topic/${iot:A}"),
        statement("iot:Publish", "*", Condition={"StringEquals": {"iot:C": "${iot:D}"}}),
        statement("iot:Publish", "*", Condition={"Null": {"iot:E": "false"}}),
        statement("iot:Publish", "*", Condition={"StringEqualsIfExists": {"iot:F": "f"}}),
        statement("iot:Connect", HERE + "client/${iot:G}"),
    )
    decision = Authorizer([rules], {}).decide("iot:Publish", HERE + "topic/a")
    assert decision.missing == ("iot:A", "iot:B", "iot:D", "iot:C")


# --- evaluation --------------------------------------------------------------------------------

ALLOW_ALL = policy(statement("iot:*", "*"), name="all")
ALLOW_CREEK = policy(statement("iot:Publish", HERE + "topic/creek/*"), name="creek")
DENY_CREEK = policy(statement("iot:Publish", HERE + "topic/creek/*", "Deny"), name="no-creek")


@pytest.mark.parametrize(
    ("policies", "expected", "allowed", "denied"),
    [
        ([], "IMPLICIT_DENY", [], []),
        ([ALLOW_CREEK], "ALLOWED", [ALLOW_CREEK], []),
        ([ALLOW_CREEK, ALLOW_ALL], "ALLOWED", [ALLOW_CREEK, ALLOW_ALL], []),
        ([ALLOW_ALL, ALLOW_ALL], "ALLOWED", [ALLOW_ALL], []),
        ([DENY_CREEK], "EXPLICIT_DENY", [], [DENY_CREEK]),
        ([DENY_CREEK, ALLOW_ALL], "EXPLICIT_DENY", [ALLOW_ALL], [DENY_CREEK]),
        ([ALLOW_ALL, DENY_CREEK], "EXPLICIT_DENY", [ALLOW_ALL], [DENY_CREEK]),
    ],
)
def test_decisions(
    policies: list[Policy], expected: str, allowed: list[Policy], denied: list[Policy]
) -> None:
    decision = Authorizer(policies, {}).decide("iot:Publish", HERE + "topic/creek/depth")
    assert decision.outcome == expected
    assert decision.allows == (expected == "ALLOWED")
    assert decision.allowed == tuple(allowed)
    assert decision.denied == tuple(denied)
    assert decision.missing == ()


def test_the_order_of_statements_does_not_matter() -> None:
    allow = statement("iot:Publish", "*")
    deny = statement("iot:Publish", HERE + "topic/a", "Deny")
    for rules in (policy(allow, deny), policy(deny, allow)):
        assert outcome([rules], "iot:Publish", HERE + "topic/a") == "EXPLICIT_DENY"
        assert outcome([rules], "iot:Publish", HERE + "topic/b") == "ALLOWED"


def test_a_deny_of_a_filter_does_not_deny_a_wider_one() -> None:
    rules = policy(
        statement("iot:Subscribe", HERE + "topicfilter/building/*"),
        statement("iot:Subscribe", HERE + "topicfilter/building/control_room/#", "Deny"),
        statement("iot:Receive", HERE + "topic/building/*"),
        statement("iot:Receive", HERE + "topic/building/control_room/*", "Deny"),
    )
    wide = outcome([rules], "iot:Subscribe", HERE + "topicfilter/building/#")
    narrow = outcome([rules], "iot:Subscribe", HERE + "topicfilter/building/control_room/#")
    seen = outcome([rules], "iot:Receive", HERE + "topic/building/control_room/door")
    assert (wide, narrow, seen) == ("ALLOWED", "EXPLICIT_DENY", "EXPLICIT_DENY")


# --- conditions --------------------------------------------------------------------------------

MANY = "iot:ConnectAttributes"
BOTH: Context = {MANY: ("PersistentConnect", "LastWill")}


@pytest.mark.parametrize(
    ("operator", "policy_value", "values", "expected"),
    [
        # `values` is the connection's value of the key "k"; None if it has none.
        ("StringEquals", "a", "a", True),
        ("StringEquals", "a", "A", False),
        ("StringEquals", ["b", "a"], "a", True),
        ("StringEquals", "*", "a", False),
        ("StringEquals", "*", "*", True),
        ("StringEquals", "a", None, False),
        ("StringNotEquals", "a", "b", True),
        ("StringNotEquals", ["b", "a"], "a", False),
        ("StringNotEquals", "a", None, True),
        ("StringEqualsIgnoreCase", "creek", "CREEK", True),
        ("StringEqualsIgnoreCase", "Creek${*}", "CREEK*", True),
        ("StringNotEqualsIgnoreCase", "creek", "CREEK", False),
        ("StringLike", "cr?e*", "creek", True),
        ("StringLike", "cr${*}", "creek", False),
        ("StringLike", "cr${*}", "cr*", True),
        ("StringNotLike", "cr*", "creek", False),
        ("StringNotLike", "cr*", None, True),
        ("Bool", "true", "true", True),
        ("Bool", True, "True", True),
        ("Bool", "true", "false", False),
        ("Bool", "false", "maybe", False),
        ("Bool", "true", None, False),
        ("NumericEquals", "5", "5.0", True),
        ("NumericNotEquals", 5, "6", True),
        ("NumericLessThan", "5", "4.9", True),
        ("NumericLessThan", "5", "5", False),
        ("NumericLessThanEquals", "5", "5", True),
        ("NumericGreaterThan", "5", "10", True),
        ("NumericGreaterThanEquals", "5", "4", False),
        ("NumericLessThan", "5", "few", False),
        ("NumericNotEquals", "5", "few", True),
        ("DateEquals", "2018-08-31T12:00:00Z", "2018-08-31T14:00:00+02:00", True),
        ("DateNotEquals", "2018-08-31", "2018-09-01", True),
        ("DateLessThan", "2018-08-31T23:30:00Z", "1535760000", False),
        ("DateLessThanEquals", "2018-08-31", "2018-08-31T00:00:00Z", True),
        ("DateGreaterThan", "2018-08-31", "2018-09-01T00:00:00", True),
        ("DateGreaterThanEquals", "1535760000", "2018-09-01", True),
        ("IpAddress", "127.0.0.0/8", "127.0.0.1", True),
        ("IpAddress", ["10.0.0.0/8", "127.0.0.1"], "127.0.0.1", True),
        ("IpAddress", "127.0.0.5/8", "127.0.0.1", True),
        ("IpAddress", "10.0.0.0/8", "127.0.0.1", False),
        ("IpAddress", "::/0", "127.0.0.1", False),
        ("NotIpAddress", "10.0.0.0/8", "127.0.0.1", True),
        ("NotIpAddress", "10.0.0.0/8", "10.1.2.3", False),
        ("Null", "true", None, True),
        ("Null", "true", "a", False),
        ("Null", "false", "a", True),
        ("Null", False, None, False),
        ("Null", "true", (), True),
        ("StringEqualsIfExists", "a", None, True),
        ("StringEqualsIfExists", "a", "b", False),
        ("NumericLessThanIfExists", "5", None, True),
        ("ForAllValues:StringEquals", ["a", "b"], ("a", "b"), True),
        ("ForAllValues:StringEquals", ["a", "b"], ("a", "c"), False),
        ("ForAllValues:StringEquals", "a", (), True),
        ("ForAllValues:StringEquals", "a", None, True),
        ("ForAllValues:StringNotEquals", "c", ("a", "b"), True),
        ("ForAllValues:StringNotEquals", "a", ("a", "b"), False),
        ("ForAnyValue:StringEquals", "a", ("a", "c"), True),
        ("ForAnyValue:StringEquals", "b", ("a", "c"), False),
        ("ForAnyValue:StringEquals", "a", (), False),
        ("ForAnyValue:StringEquals", "a", None, False),
        ("ForAnyValue:StringNotEquals", "a", ("a", "b"), True),
        ("ForAnyValue:StringNotEquals", "a", ("a",), False),
        ("ForAnyValue:StringNotEquals", "a", None, False),
        ("ForAnyValue:StringLikeIfExists", "a*", None, True),
        # Without a quantifier, one equal value is enough; a negated operator allows none.
        ("StringEquals", "a", ("a", "b"), True),
        ("StringNotEquals", "a", ("a", "b"), False),
    ],
)
def test_conditions(
    operator: str, policy_value: object, values: str | tuple[str, ...] | None, expected: bool
) -> None:
    one = policy(statement("iot:Publish", "*", Condition={operator: {"aws:K": policy_value}}))
    context: Context = {} if values is None else {"AWS:k": values}
    assert Authorizer([one], context).decide("iot:Publish", HERE + "topic/a").allows is expected


def test_all_conditions_must_be_met() -> None:
    both = {
        "StringEquals": {"iot:ClientId": "gauge", THING + "ThingTypeName": "Sensor"},
        "Bool": {THING + "IsAttached": "true"},
    }
    one = policy(statement("iot:Connect", "*", Condition=both))
    assert outcome([one], "iot:Connect", HERE + "client/gauge", GAUGE) == "ALLOWED"
    for name in ("iot:ClientId", THING + "ThingTypeName", THING + "IsAttached"):
        context = {**GAUGE, name: "other"}
        assert outcome([one], "iot:Connect", HERE + "client/gauge", context) == "IMPLICIT_DENY"


@pytest.mark.parametrize(
    ("operator", "value", "client", "expected"),
    [
        ("StringEquals", "${iot:Connection.Thing.ThingName}", "gauge", True),
        ("StringEquals", "${iot:Connection.Thing.ThingName}", "other", False),
        ("StringLike", "${iot:Connection.Thing.ThingName}*", "gauge-2", True),
        ("StringNotEquals", "${iot:Connection.Thing.ThingName}", "other", True),
        # Without a value, nothing is compared and the statement does not match.
        ("StringNotEquals", "${iot:Nothing}", "gauge", False),
        ("ForAllValues:StringLike", "${iot:Nothing}*", "gauge", False),
    ],
)
def test_variables_in_conditions(operator: str, value: str, client: str, expected: bool) -> None:
    one = policy(statement("iot:Connect", "*", Condition={operator: {"iot:ClientId": value}}))
    decision = Authorizer([one], {**GAUGE, "iot:ClientId": client}).decide("iot:Connect", HERE)
    assert decision.allows is expected


def test_a_value_in_a_condition_is_never_a_pattern() -> None:
    condition = {"StringLike": {THING + "ThingName": "${iot:ClientId}"}}
    one = policy(statement("iot:Connect", "*", Condition=condition))
    context = {**GAUGE, "iot:ClientId": "*"}
    assert outcome([one], "iot:Connect", HERE + "client/*", context) == "IMPLICIT_DENY"


def test_connect_attributes() -> None:
    allow = policy(
        statement(
            "iot:Connect",
            "*",
            Condition={"ForAllValues:StringEquals": {MANY: ["PersistentConnect"]}},
        )
    )
    deny = policy(
        statement(
            "iot:Connect",
            "*",
            "Deny",
            Condition={"ForAnyValue:StringEquals": {MANY: ["PersistentConnect"]}},
        )
    )
    persistent, plain_connect = {MANY: ("PersistentConnect",)}, {MANY: ()}
    client = HERE + "client/gauge"
    assert outcome([allow], "iot:Connect", client, persistent) == "ALLOWED"
    assert outcome([allow], "iot:Connect", client, plain_connect) == "ALLOWED"
    assert outcome([allow], "iot:Connect", client, BOTH) == "IMPLICIT_DENY"
    assert outcome([ALLOW_ALL, deny], "iot:Connect", client, persistent) == "EXPLICIT_DENY"
    assert outcome([ALLOW_ALL, deny], "iot:Connect", client, plain_connect) == "ALLOWED"


condition_texts = st.one_of(
    st.lists(
        st.sampled_from(
            [
                "arn",
                ":",
                "aws",
                "*",
                "?",
                "$",
                "${iot:ClientId}",
                "${a}",
                "${*}",
                "{",
                "}",
                "1",
                ".",
            ]
        ),
        max_size=8,
    ).map("".join),
    st.sampled_from(
        [
            *("true", "1e999", "2026-01-01", "0001-01-01T00:00+23:59", "9999-12-31T23:59-23:59"),
            *("10.0.0.0/8", "::/0", "fe80::1%eth0", "arn:aws:iot:${iot:ClientId}:x", "nan"),
        ]
    ),
    st.text(max_size=6),
)


@no_deadline
@given(
    operator=st.builds(
        "{}{}{}".format,
        st.sampled_from(["", "ForAllValues:", "ForAnyValue:"]),
        st.sampled_from(list(OPERATORS)),
        st.sampled_from(["", "IfExists"]),
    ),
    expected=st.lists(condition_texts, min_size=1, max_size=3),
    client=condition_texts,
    version=st.sampled_from(["2012-10-17", "2008-10-17"]),
    resource=st.lists(condition_texts, min_size=1, max_size=2),
)
def test_no_accepted_policy_raises_while_it_is_evaluated(
    operator: str, expected: list[str], client: str, version: str, resource: list[str]
) -> None:
    rule = statement("iot:Connect", resource)
    rule["Condition"] = {operator: {"iot:ClientId": expected}}
    try:
        accepted = parse(json.dumps({"Version": version, "Statement": rule}), name="p")
    except MalformedPolicy:
        return
    bound = Authorizer([accepted], {"iot:ClientId": client})
    bound.decide("iot:Connect", HERE + "client/" + client)
    explain(bound, "iot:Connect", HERE + "client/" + client)


@pytest.mark.parametrize("text", ["arn:aws:iot:${iot:ClientId}:x", "arn:aws:iot:us:1", "${a:b:c}"])
def test_a_condition_value_that_is_not_an_arn_is_malformed(text: str) -> None:
    rule = statement("iot:Connect", "*")
    rule["Condition"] = {"ArnLike": {"iot:ClientId": text}}
    with pytest.raises(MalformedPolicy, match="ArnLike cannot compare with"):
        parse(json.dumps({"Version": "2012-10-17", "Statement": rule}))


# --- documents ---------------------------------------------------------------------------------


def test_parse_reads_every_member() -> None:
    content = {
        "Version": VERSION,
        "Id": "any",
        "Statement": [
            {
                "Sid": "Connect",
                "Effect": "Allow",
                "Action": "iot:Connect",
                "Resource": "*",
                "Condition": {
                    "Bool": {THING + "IsAttached": True},
                    "StringLike": {"k": ["a", "b"]},
                },
            },
            statement(["iot:Publish", "iot:Receive"], [HERE + "topic/a", HERE + "topic/b"], "Deny"),
        ],
    }
    assert parse(json.dumps(content), name="N", arn="A") == Policy(
        "N",
        "A",
        (
            Statement(
                0,
                "Connect",
                "Allow",
                ("iot:Connect",),
                ("*",),
                (
                    Condition("Bool", THING + "IsAttached", ("true",)),
                    Condition("StringLike", "k", ("a", "b")),
                ),
            ),
            Statement(
                1,
                None,
                "Deny",
                ("iot:Publish", "iot:Receive"),
                (HERE + "topic/a", HERE + "topic/b"),
                (),
            ),
        ),
        VERSION,
    )


def test_a_single_statement_needs_no_list() -> None:
    one = statement("iot:Publish", "*")
    single = parse(json.dumps({"Version": VERSION, "Statement": one}))
    assert single == parse(json.dumps({"Version": VERSION, "Statement": [one]}))


def document(**changes: object) -> str:
    """Return a document with a valid statement, some members changed, or removed if None."""
    members = {**statement("iot:Publish", "*"), **changes}
    kept = {name: value for name, value in members.items() if value is not None}
    return json.dumps({"Version": VERSION, "Statement": [kept]})


def condition(operator: str, value: object) -> str:
    return document(Condition={operator: {"k": value}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON: line 1, column 1"),
        ("./policy.json", "not JSON"),
        ('{"Version": "2012-10-17",\n "Statement": [}', "line 2, column 16"),
        ("[" * 2000, "nested too deeply"),
        ("[]", "The document must be a JSON object"),
        ("{}", "no Statement"),
        ('{"Statement": []}', "no Statement"),
        ('{"Statement": "a"}', "Statement 1 must be a JSON object"),
        ('{"Statement": [], "Statement": []}', "'Statement' appears twice"),
        (json.dumps({"Version": "2020-01-01", "Statement": []}), "must be '2012-10-17', not '2020"),
        (json.dumps({"Version": [], "Statement": []}), "Version must be"),
        ('{"Version": "2012-10-17", "Id": "a", "Id": "b"}', "'Id' appears twice"),
        (json.dumps({"statement": []}), "did you mean 'Statement'?"),
        (json.dumps({"STATEMENT": []}), "did you mean 'Statement'?"),
        (document(Effect=None), "Statement 1 has no 'Effect'"),
        (document(Action=None), "Statement 1 has no 'Action'"),
        (document(Resource=None), "Statement 1 has no 'Resource'"),
        (document(Effect="allow"), "'Allow' or 'Deny', not 'allow'"),
        (document(Effect=["Allow"]), "'Allow' or 'Deny', not ['Allow']"),
        (document(Sid=5), "Sid must be a string"),
        (document(Action=[]), "Action must be a string or a list"),
        (document(Action=["iot:Publish", 5]), "Action must be a string or a list"),
        (
            document(Action="Publish"),
            "'Publish' is not an action; an action looks like 'iot:Publish'",
        ),
        (document(Action="iot:Publish,iot:Connect"), "is not an action"),
        (document(Resource={}), "Resource must be a string or a list"),
        (document(Resource=[]), "Resource must be a string or a list"),
        (document(Principal="*"), "'Principal': an IoT policy applies to the certificate"),
        (document(NotPrincipal="*"), "'NotPrincipal': an IoT policy applies"),
        (document(NotAction="iot:Publish"), "'NotAction': AWS IoT documents only Action"),
        (document(NotResource="*"), "'NotResource': AWS IoT documents only Resource"),
        (document(resource="*"), "'resource'; did you mean 'Resource'?"),
        (document(Comment="x"), "unknown element 'Comment'; use Sid, Effect, Action"),
        (document(Condition="x"), "Condition must look like"),
        (document(Condition={"Bool": "x"}), "Condition must look like"),
        (
            condition("StringEqual", "a"),
            "no condition operator 'StringEqual'; did you mean 'StringE",
        ),
        (condition("stringequals", "a"), "no condition operator 'stringequals'; did you mean"),
        (condition("Whatever", "a"), "no condition operator 'Whatever'"),
        (condition("ForSomeValues:StringEquals", "a"), "no condition operator 'ForSome"),
        (condition("NullIfExists", "true"), "no condition operator 'NullIfExists'"),
        (condition("ForAllValues:Null", "true"), "no condition operator 'ForAllValues:Null'"),
        (condition("StringEquals", []), "'k' must be a string or a list"),
        (condition("StringEquals", None), "'k' must be a string or a list"),
        (condition("Bool", "yes"), "Bool cannot compare with 'yes'"),
        (condition("Null", "a"), "Null cannot compare with 'a'"),
        (condition("NumericLessThan", "few"), "NumericLessThan cannot compare with 'few'"),
        (condition("NumericEquals", "${iot:ClientId}"), "cannot compare with '${iot:ClientId}'"),
        (condition("DateLessThan", "tomorrow"), "DateLessThan cannot compare with 'tomorrow'"),
        (condition("IpAddress", "localhost"), "IpAddress cannot compare with 'localhost'"),
    ],
)
def test_malformed_documents(text: str, message: str) -> None:
    with pytest.raises(MalformedPolicy) as caught:
        parse(text)
    assert str(caught.value).startswith(f"{SYNTAX} ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "resource",
    [
        "",
        "\\",
        ".*",
        "topic/creek",
        "client/${iot:ClientId}",
        "arn",
        "arn:aws:iot",
        "arn:aws:iot:us-east-1:topic/creek",
        "arn:aws:iot:us-east-1:topic/${iot:ClientId}",
        "arn:aws:iot:us-east-1:123456789012:",
    ],
)
def test_malformed_resources(resource: str) -> None:
    with pytest.raises(MalformedPolicy) as caught:
        parse(document(Resource=[HERE + "topic/a", resource]))
    assert str(caught.value).startswith(f"{RESOURCES}[{resource}]")


def test_malformed_resources_are_all_named() -> None:
    with pytest.raises(MalformedPolicy) as caught:
        policy(statement("iot:Publish", ["a", "*"]), statement("iot:Publish", "b"))
    assert str(caught.value).startswith(f"{RESOURCES}[a, b]")


def test_size_is_counted_without_white_space() -> None:
    empty = len("".join(document(Sid="").split()))
    longest = document(Sid="x" * (MAX_SIZE - empty))
    spaced = json.dumps(json.loads(longest), indent=8)
    assert len(spaced) > MAX_SIZE
    assert parse(spaced) == parse(longest)
    with pytest.raises(MalformedPolicy, match=r"^Policy document .* 2049 characters .* most 2048"):
        parse(document(Sid="x" * (MAX_SIZE - empty + 1)))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["*", "Allow"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Version", "Statement", "Effect", "Action", "Resource", "Condition", "Bool", "k"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@no_deadline
@given(content=json_values)
def test_any_document_is_parsed_or_rejected(content: object) -> None:
    for text in (json.dumps(content), document(Condition=content), document(Action=content)):
        try:
            parsed = parse(text)
        except MalformedPolicy:
            continue
        assert parsed.statements


# --- properties of decisions -------------------------------------------------------------------

actions = st.sampled_from(["iot:Publish", "iot:Subscribe", "iot:Receive"])
action_patterns = st.sampled_from(["iot:Publish", "iot:subscribe", "iot:*", "iot:?e*", "*"])
names = st.text("ab/*?+#", min_size=1, max_size=4)
resources = st.builds(
    lambda kind, name: f"{HERE}{kind}/{name}", st.sampled_from(["topic", "topicfilter"]), names
)
resource_patterns = resources | st.sampled_from(
    ["*", HERE + "topic/${iot:ClientId}/*", HERE + "*/${iot:Connection.Thing.ThingName}"]
)
conditions = st.sampled_from(
    [
        {},
        {"Bool": {THING + "IsAttached": "true"}},
        {"StringNotEquals": {"iot:ClientId": ["a", "${iot:Connection.Thing.ThingName}"]}},
        {"ForAllValues:StringEquals": {MANY: "LastWill"}},
    ]
)
contexts = st.fixed_dictionaries(
    {"iot:ClientId": names},
    optional={
        THING + "ThingName": names,
        THING + "IsAttached": st.sampled_from(["true", "false"]),
        MANY: st.lists(st.sampled_from(["LastWill", "PersistentConnect"])).map(tuple),
    },
)


def statements_of(effects: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda action, resource, effect, condition: statement(
            action, resource, effect, Condition=condition
        ),
        st.lists(action_patterns, min_size=1, max_size=2),
        st.lists(resource_patterns, min_size=1, max_size=2),
        effects,
        conditions,
    )


policies_of_any_kind = st.lists(
    st.builds(
        lambda statements, version: policy(*statements, version=version),
        st.lists(statements_of(st.sampled_from(["Allow", "Deny"])), min_size=1, max_size=3),
        st.sampled_from([VERSION, VERSION, None]),
    ),
    max_size=3,
)


@no_deadline
@given(
    policies=policies_of_any_kind,
    more=statements_of(st.just("Deny")),
    context=contexts,
    action=actions,
    resource=resources,
)
def test_one_more_deny_never_allows_more(
    policies: list[Policy], more: dict[str, Any], context: Context, action: str, resource: str
) -> None:
    before = Authorizer(policies, context).decide(action, resource)
    after = Authorizer([*policies, policy(more)], context).decide(action, resource)
    assert before.allows or not after.allows


@no_deadline
@given(
    policies=policies_of_any_kind,
    more=statements_of(st.just("Allow")),
    context=contexts,
    action=actions,
    resource=resources,
)
def test_one_more_allow_never_denies_more(
    policies: list[Policy], more: dict[str, Any], context: Context, action: str, resource: str
) -> None:
    before = Authorizer(policies, context).decide(action, resource)
    after = Authorizer([*policies, policy(more)], context).decide(action, resource)
    assert after.allows or not before.allows


@no_deadline
@given(
    rules=st.lists(
        st.tuples(
            st.sampled_from(["Allow", "Deny"]),
            st.sampled_from(["iot:Publish", "iot:*", "*"]),
            st.text("ab/*?", max_size=5),
        ),
        max_size=5,
    ),
    name=st.text("ab/", max_size=5),
)
def test_decisions_follow_their_definition(rules: list[tuple[str, str, str]], name: str) -> None:
    requested = f"{HERE}topic/{name}"
    matching = {
        effect
        for effect, action, pattern in rules
        if naive(action, "iot:Publish") and naive(f"topic/{pattern}", f"topic/{name}")
    }
    expected = (
        "EXPLICIT_DENY"
        if "Deny" in matching
        else "ALLOWED"
        if "Allow" in matching
        else "IMPLICIT_DENY"
    )
    policies = [
        policy(statement(action, f"{HERE}topic/{pattern}", effect))
        for effect, action, pattern in rules
    ]
    assert outcome(policies, "iot:Publish", requested) == expected
