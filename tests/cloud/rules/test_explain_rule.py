"""Why a rule did not fire: the part that prevented it, and the smallest change."""

from __future__ import annotations

import re
from typing import Any

import pytest

from creeklab.cloud.rules.explain import Explanation, explain
from creeklab.cloud.rules.rule import Rule, compile_rule
from creeklab.cloud.rules.sql.functions.function import MessageContext

ARN = "arn:aws:iot:us-east-1:123456789012:rule/r"


def explained(
    sql: str,
    topic: str,
    payload: str | bytes = b"{}",
    *,
    basic_ingest: bool = False,
    **members: Any,
) -> Explanation:
    payload_members = {"sql": sql, "actions": [], "awsIotSqlVersion": "2016-03-23", **members}
    rule = compile_rule(Rule("FloodAlarm", payload_members, 0.0), ARN, {})
    data = payload.encode() if isinstance(payload, str) else payload
    message = MessageContext(topic, data, "Test2")
    return explain(rule, message, "aws", basic_ingest=basic_ingest)


def test_a_rule_that_fires_shows_its_payload() -> None:
    found = explained("SELECT depth FROM 'creek/+' WHERE depth > 5.5", "creek/a", '{"depth": 6.63}')
    assert (found.outcome, found.change) == ("fires", "")
    assert found.payload == '{"depth":6.63}'
    assert [(each.text, each.value, each.note) for each in found.operands] == [
        ("depth > 5.5", "true", ""),
        ("depth", "6.63", ""),
    ]


def test_a_disabled_rule() -> None:
    found = explained("SELECT * FROM '#'", "creek", ruleDisabled=True)
    assert found.outcome == "disabled"


@pytest.mark.parametrize(
    ("topic_filter", "topic", "change"),
    [
        ("creek/depth", "creek/level", "Level 2 is 'level', and the filter has 'depth'"),
        ("creek/*/depth", "creek/a/depth", "no wildcard '*'. Use '+' for a level: FROM 'creek/+/d"),
        ("Creek/depth", "creek/depth", "'Creek' and 'creek' differ in their case"),
        ("creek/#", "creek", "'creek/#' does not match 'creek' itself"),
        ("creek/+", "creek/a/b", "more levels than the filter. FROM 'creek/+/#' matches it"),
        ("creek/+/depth", "creek/a", "The topic has 2 levels, and the filter 3"),
        ("creek/+/depth", "creek/a/b/depth", "Level 3 is 'b', and the filter has 'depth'"),
        ("creek/+/depth/now", "creek/a/level/then", "FROM 'creek/+/+/+' matches it"),
        ("#", "$aws/events/presence/connected/a", "begins with $. Write FROM '$aws/#'"),
    ],
)
def test_a_filter_that_does_not_match(topic_filter: str, topic: str, change: str) -> None:
    found = explained(f"SELECT * FROM '{topic_filter}'", topic)
    assert found.outcome == "filter"
    assert found.summary == (
        f"The filter '{topic_filter}' of the rule 'FloodAlarm' does not match '{topic}'."
    )
    assert change in found.change
    for suggested in re.findall("FROM '(.+?)'", found.change):
        assert explained(f"SELECT * FROM '{suggested}'", topic).outcome == "fires"


def test_without_from_only_basic_ingest_reaches_it() -> None:
    assert "$aws/rules/FloodAlarm/creek/a" in explained("SELECT *", "creek/a").change
    assert explained("SELECT *", "creek/a", basic_ingest=True).outcome == "fires"


@pytest.mark.parametrize(
    ("where", "payload", "change"),
    [
        ("depth > 5.5", '{"depth": 1.4}', "1.4 > 5.5 is not true. Change the message or the limit"),
        ("depth > 5.5", '{"Depth": 6}', "depth is undefined: the payload has 'Depth'. Write 'D"),
        ("dept > 5.5", '{"depth": 6}', "dept is undefined: the payload has 'depth'"),
        ("state.reported.depth > 5", '{"state": {"desired": {}}}', "there are only 'desired'"),
        ("state.depth > 5", '{"state": 3}', "state.depth is undefined: state is 3"),
        (
            "my-key > 5",
            '{"my-key": 6}',
            "'my-key' is read as a subtraction. Write get(*, 'my-key')",
        ),
        ("depth = 6", '{"depth": "6"}', "a string never equals a number. Write cast(depth AS Dec"),
        ("name > 'a'", '{"name": "b"}', "> compares numbers only. Compare strings with ="),
        ("wet = 'true'", '{"wet": true}', "a Boolean equals only a Boolean"),
        ("depth > 5 AND unit = 'ft'", '{"depth": 6, "unit": "m"}', '"m" = "ft" is not true'),
        ("NOT wet", '{"wet": true}', "wet is true"),
        ("startswith(name, 'x')", '{"name": "creek"}', "startswith(name, 'x') is false"),
        ("depth > 5", "{'depth': 6}", "Correct the JSON: Expecting property name"),
        ("depth > 5", b"\xff", "The payload is not text. Use encode(*, 'base64')"),
    ],
)
def test_a_condition_that_is_not_true(where: str, payload: str | bytes, change: str) -> None:
    found = explained(f"SELECT * FROM 'creek/#' WHERE {where}", "creek/a", payload)
    assert found.outcome == "condition"
    assert change in found.change


def test_each_operand_has_its_value() -> None:
    found = explained(
        "SELECT * FROM 'creek/#' WHERE depth > 5.5 AND (unit = 'ft' OR NOT calm) AND 3 IN codes",
        "creek/a",
        '{"depth": 6.6, "unit": "m", "calm": true, "codes": [1, 3]}',
    )
    assert [(each.text, each.value, bool(each.note)) for each in found.operands] == [
        ("depth > 5.5", "true", False),
        ("depth", "6.6", False),
        ("unit = 'ft'", "false", True),
        ("unit", '"m"', False),
        ("calm", "true", True),
        ("3 IN codes", "true", False),
        ("codes", "[1,3]", False),
    ]


def test_a_stopped_statement() -> None:
    sql = "SELECT * FROM 'a' WHERE regexp_matches(text, '(x+x+)+y')"
    found = explained(sql, "a", '{"text": "' + "x" * 5000 + '"}')
    assert found.outcome == "stopped"
    assert "takes longer than 50 ms" in found.summary
