"""Rules in the lab: why they did nothing, the self-check, catching up, ledger and teardown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from creeklab import Lab, open_lab
from creeklab.client.device import Device
from creeklab.cloud import supervisor
from creeklab.resources.resource import Resource, ResourceKind
from creeklab.targets.target import NotSupportedOnAws
from tests.test_ledger import others


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Return a lab of its own: catching up changes the names of the course."""
    home = tmp_path_factory.mktemp("rules")
    yield open_lab(home=home)
    supervisor.stop(home)


@pytest.fixture
def iot(course: Lab) -> Iterator[Any]:
    """Return a client; the rules of the test are deleted after it."""
    iot = course.client("iot")
    yield iot
    for each in iot.list_topic_rules()["rules"]:
        iot.delete_topic_rule(ruleName=each["ruleName"])


@pytest.fixture
def client(course: Lab) -> Iterator[Device]:
    with course.connect_account() as client:
        yield client


def payload(sql: str, topic: str = "alarm", **more: Any) -> dict[str, Any]:
    role = "arn:aws:iam::123456789012:role/creek"
    actions = [{"republish": {"roleArn": role, "topic": topic, "qos": 1}}]
    return {"sql": sql, "awsIotSqlVersion": "2016-03-23", "actions": actions, **more}


def test_a_typo_in_where(course: Lab, iot: Any, client: Device) -> None:
    iot.create_topic_rule(
        ruleName="FloodAlarm", topicRulePayload=payload("SELECT * FROM 'creek/+' WHERE depht > 5.5")
    )
    client.publish("creek/depth", {"depth": 6.2})
    report = course.why(rule="FloodAlarm")
    assert (report.outcome, report.action_error) == ("condition", "")
    assert repr(report).splitlines() == [
        "Rule 'FloodAlarm', message on 'creek/depth': WHERE not true.",
        "WHERE of the rule 'FloodAlarm' is not true for this message.",
        "What to change: depht is undefined: the payload has 'depth'. Write 'depth' in the rule.",
        "WHERE, part by part:",
        "  depht > 5.5  undefined",
        "  depht        undefined",
        "So far: received 1.",
    ]
    page = report._repr_html_()
    assert "the payload has &#x27;depth&#x27;" in page
    assert "WHERE, part by part" in page


def test_a_failed_action(course: Lab, iot: Any, client: Device) -> None:
    rule = payload(
        "SELECT * FROM 'creek/+'", "alarm/${place}", errorAction=payload("")["actions"][0]
    )
    iot.create_topic_rule(ruleName="FloodAlarm", topicRulePayload=rule)
    errors = client.subscribe("alarm")
    client.publish("creek/depth", {"place": "#"})
    errors.wait_for(1)
    report = course.why(rule="FloodAlarm")
    assert report.outcome == "fires"
    assert "'alarm/#' contains a wildcard" in report.action_error
    assert report.action_error in repr(report).replace("\n", " ")
    assert "actions failed 1" in repr(report)


@pytest.mark.parametrize(
    ("message", "outcome", "text"),
    [
        ({"depth": 6.2}, "fires", 'Outgoing payload: {"depth":6.2}'),
        (b'{"depth": 6.2}', "fires", 'Outgoing payload: {"depth":6.2}'),
        ('{"depth": 1.4}', "condition", "1.4 > 5.5 is not true"),
        (None, "condition", "The payload is not JSON"),
    ],
)
def test_a_message_that_nobody_sent(
    course: Lab, iot: Any, message: object, outcome: str, text: str
) -> None:
    sql = "SELECT * FROM 'creek/+' WHERE depth > 5.5"
    iot.create_topic_rule(ruleName="FloodAlarm", topicRulePayload=payload(sql))
    report = course.why(rule="FloodAlarm", topic="creek/depth", payload=message)
    assert report.outcome == outcome
    assert text in repr(report)
    assert report.counts == {}  # asking is not sending


def test_questions_that_have_no_answer(
    course: Lab, iot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Exception, match="There is no rule 'Floood'"):
        course.why(rule="Floood")
    with pytest.raises(ValueError, match="A payload needs the topic"):
        course.why(rule="FloodAlarm", payload={})
    monkeypatch.setattr(course, "target", "aws")
    with pytest.raises(NotSupportedOnAws, match="set_v2_logging_options"):
        course.why(rule="FloodAlarm")


def test_the_self_check(course: Lab, iot: Any) -> None:
    assert "there is no rule 'FloodAlarm'" in course.check.rule("FloodAlarm").found
    iot.create_topic_rule(
        ruleName="FloodAlarm", topicRulePayload=payload("SELECT * FROM 'creek/#'")
    )
    assert course.check.rule("FloodAlarm")
    assert "rule 'FloodAlarm'" in course.check.nothing_left().found
    assert course.check.rule("FloodAlarm", "creek/#")
    assert "not on 'creek/+'" in course.check.rule("FloodAlarm", "creek/+").found
    iot.disable_topic_rule(ruleName="FloodAlarm")
    disabled = course.check.rule("FloodAlarm")
    assert not disabled
    assert "is disabled. Enable it" in disabled.found


def test_catching_up_removes_the_rules_of_the_course(course: Lab, iot: Any) -> None:
    for name in ("FloodAlarm", "Mine"):
        iot.create_topic_rule(ruleName=name, topicRulePayload=payload("SELECT * FROM 'creek/#'"))
    assert course.catch_up("13-act").endswith("There are no rules of the course yet.")
    assert [each["ruleName"] for each in iot.list_topic_rules()["rules"]] == ["Mine"]
    assert course.check.thing("TestClient")


def test_the_teardown_deletes_own_rules_only(course: Lab, iot: Any) -> None:
    theirs = others(course, "iot")
    rule = payload("SELECT * FROM 'creek/#'")
    for own, name in ((iot, "Mine"), (theirs, "Theirs"), (iot, "Replaced"), (iot, "Gone")):
        own.create_topic_rule(ruleName=name, topicRulePayload=rule)
    theirs.delete_topic_rule(ruleName="Gone")
    theirs.delete_topic_rule(ruleName="Replaced")
    theirs.create_topic_rule(ruleName="Replaced", topicRulePayload=rule)
    assert course.ledger.has("topic rule", "Mine")
    result = course.ledger.tear_down()
    steps = {step.what: step.result for step in result.steps}
    assert steps["delete topic rule 'Mine'"] == "OK"
    assert [what for what in steps if "rule" in what and "Mine" not in what] == [
        "topic rule 'Replaced' stays: someone else has re-created it."
    ]
    assert {each["ruleName"] for each in theirs.list_topic_rules()["rules"]} == {
        "Theirs",
        "Replaced",
    }
    assert Resource(ResourceKind.TOPIC_RULE, ("Mine",)) not in course.ledger.inventory
