"""Rules through boto3 and awsiotsdk: created over HTTPS, and triggered over MQTT."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from creeklab import Lab
from creeklab.client.device import Device
from tests.conftest import NewThing

ROLE = "arn:aws:iam::123456789012:role/creek"
numbers = itertools.count(1)


def republish(topic: str, **members: Any) -> dict[str, Any]:
    return {"republish": {"roleArn": ROLE, "topic": topic, **members}}


def events(lab: Lab, kind: str, rule: str) -> list[dict[str, Any]]:
    entries = lab.admin("events", {})["entries"]
    return [entry for entry in entries if entry["kind"] == kind and entry.get("rule") == rule]


@pytest.fixture
def iot(lab: Lab) -> Any:
    return lab.client("iot")


@pytest.fixture
def topic() -> str:
    """Return a topic that no other test uses."""
    return f"rules/{next(numbers)}"


@pytest.fixture
def create(iot: Any) -> Iterator[Callable[..., str]]:
    """Return a function that creates a rule, which is deleted after the test."""
    names: list[str] = []

    def make(sql: str, *actions: dict[str, Any], **payload: Any) -> str:
        name = f"rule_{next(numbers)}"
        payload = {"awsIotSqlVersion": "2016-03-23", **payload}
        iot.create_topic_rule(
            ruleName=name, topicRulePayload={"sql": sql, "actions": list(actions), **payload}
        )
        names.append(name)
        return name

    yield make
    for name in names:
        iot.delete_topic_rule(ruleName=name)


@pytest.fixture
def device(lab: Lab, new_thing: Callable[..., NewThing]) -> Iterator[Device]:
    with lab.connect(new_thing().name) as device:
        yield device


# --- republish ------------------------------------------------------------------------------------


def test_a_message_is_selected_and_republished(
    create: Callable[..., str], device: Device, topic: str
) -> None:
    create(
        f"SELECT depth, topic(3) AS thing, clientid() AS client FROM '{topic}/+' WHERE depth > 5.5",
        republish("alarm/${topic(3)}/${depth}", qos=1),
    )
    inbox = device.subscribe("alarm/#")
    device.publish(f"{topic}/test2", {"depth": 1.4})
    device.publish(f"{topic}/test2", {"depth": 6.63, "unit": "ft"})
    [message] = inbox.wait_for(1)
    assert message.topic == "alarm/test2/6.63"
    assert message.json == {"depth": 6.63, "thing": "test2", "client": device.client_id}


@pytest.mark.parametrize("payload", [b"flood!", b"\xff\x00", b'{"a": 1.50, "b": [1, null]}'])
def test_select_all_passes_on_every_payload(
    create: Callable[..., str], device: Device, topic: str, payload: bytes
) -> None:
    create(f"SELECT * FROM '{topic}/in'", republish(f"{topic}/out"))
    inbox = device.subscribe(f"{topic}/out")
    device.publish(f"{topic}/in", payload)
    [message] = inbox.wait_for(1)
    expected = payload if payload[:1] != b"{" else b'{"a":1.50,"b":[1,null]}'
    assert message.payload == expected


def test_messages_over_http_and_wills_reach_rules(
    create: Callable[..., str], device: Device, lab: Lab, topic: str
) -> None:
    create(f"SELECT clientid() AS client, sourceip() AS ip FROM '{topic}'", republish(f"{topic}/x"))
    inbox = device.subscribe(f"{topic}/x")
    lab.client("iot-data").publish(topic=topic, payload=b"{}")
    assert inbox.wait_for(1)[0].json == {"client": "n/a"}


def test_a_shadow_update_reaches_rules(
    create: Callable[..., str], device: Device, lab: Lab, topic: str
) -> None:
    create(
        "SELECT current.state.reported.depth AS depth, topic(3) AS thing "
        "FROM '$aws/things/+/shadow/update/documents' "
        "WHERE current.state.reported.depth > 5.5 AND previous.state.reported.depth <= 5.5",
        republish(f"{topic}/alarm"),
    )
    inbox = device.subscribe(f"{topic}/alarm")
    for depth in (5.2, 5.8, 6.1):
        device.shadow.update(reported={"depth": depth})
    assert inbox.wait_for(1)[0].json == {"depth": 5.8, "thing": device.client_id}


def test_a_rule_updates_a_shadow(
    create: Callable[..., str], device: Device, lab: Lab, topic: str
) -> None:
    create(
        f"SELECT depth AS state.reported.depth FROM '{topic}'",
        republish("$$aws/things/${clientid()}/shadow/update"),
    )
    inbox = device.subscribe(f"$aws/things/{device.client_id}/shadow/update/accepted")
    device.publish(topic, {"depth": 1.4})
    inbox.wait_for(1)
    assert device.shadow.get()["state"]["reported"] == {"depth": 1.4}


def test_headers_become_mqtt5_properties(
    create: Callable[..., str], device: Device, topic: str
) -> None:
    headers = {
        "contentType": "application/json",
        "payloadFormatIndicator": "UTF8_DATA",
        "correlationData": base64.b64encode(b"id").decode(),
        "responseTopic": "answer/${topic(2)}",
        "userProperties": [{"key": "site", "value": "${site}"}],
    }
    create(f"SELECT * FROM '{topic}'", republish(f"{topic}/out", headers=headers))
    create(
        "SELECT get_mqtt_property('response_topic') AS response, "
        "get_mqtt_property('correlation_data') AS correlation, "
        f"get_user_properties('site') AS site FROM '{topic}/out'",
        republish(f"{topic}/seen"),
    )
    inbox = device.subscribe(f"{topic}/seen")
    device.publish(topic, {"site": "creek"})
    assert inbox.wait_for(1)[0].json == {
        "response": f"answer/{topic.split('/')[1]}",
        "correlation": "aWQ=",
        "site": ["creek"],
    }


# --- Basic Ingest ---------------------------------------------------------------------------------


def test_basic_ingest_reaches_only_its_rule(
    create: Callable[..., str], device: Device, lab: Lab, topic: str
) -> None:
    name = create(
        "SELECT *, topic() AS topic FROM 'never/published' WHERE depth > 1", republish(f"{topic}/x")
    )
    create("SELECT * FROM '#'", republish(f"{topic}/all"), ruleDisabled=True)
    inbox = device.subscribe(f"{topic}/#")
    device.publish(f"$aws/rules/{name}/{topic}/raw/a/b/c/d", {"depth": 0.5})
    device.publish(f"$aws/rules/{name}/{topic}/raw/a/b/c/d", {"depth": 1.4})
    [message] = inbox.wait_for(1)
    assert message.json == {"depth": 1.4, "topic": f"{topic}/raw/a/b/c/d"}


def test_basic_ingest_without_an_enabled_rule_is_logged(
    create: Callable[..., str], device: Device, lab: Lab
) -> None:
    disabled = create("SELECT * FROM 'x'", republish("y"), ruleDisabled=True)
    for name in (disabled, "missing"):
        device.publish(f"$aws/rules/{name}/a", {})
    entries = lab.admin("events", {})["entries"]
    why = [each["why"] for each in entries if each["kind"] == "unanswered"]
    assert f"The rule '{disabled}' is disabled, so nothing received the message." in why
    assert "This cloud has no rule 'missing', so nothing received the message." in why


# --- failures -------------------------------------------------------------------------------------


def test_the_error_action_receives_the_failures(
    create: Callable[..., str], device: Device, lab: Lab, topic: str
) -> None:
    name = create(
        f"SELECT * FROM '{topic}'",
        republish("${target}", qos=1),
        republish(f"{topic}/ok"),
        errorAction=republish(f"{topic}/error/${{topic(2)}}"),
    )
    inbox = device.subscribe(f"{topic}/+/#")
    good = device.subscribe(f"{topic}/ok")
    payload = json.dumps({"target": "$aws/things/x/shadow/update"}).encode()
    device.publish(topic, payload)
    inbox.wait_for(1)
    good.wait_for(1)
    [message] = [each for each in inbox if "error" in each.topic]
    document = message.json
    assert message.topic == f"{topic}/error/{topic.split('/')[1]}"
    [failure] = document.pop("failures")
    assert failure["failedAction"] == "RepublishAction"
    assert failure["failedResource"] == "$aws/things/x/shadow/update"
    assert "needs a second $" in failure["errorMessage"]
    assert len(document.pop("cloudwatchTraceId")) == 36
    assert document == {
        "ruleName": name,
        "topic": topic,
        "clientId": device.client_id,
        "sourceIp": "127.0.0.1",
        "base64OriginalPayload": base64.b64encode(payload).decode(),
    }
    [entry] = events(lab, "rule", name)
    assert [each["action"] for each in entry["actions"]] == [
        "RepublishAction",
        "RepublishAction",
        "error action RepublishAction",
    ]
    assert "RepublishAction on '$aws/things/x/shadow/update'" in entry["refusal"]["summary"]


def test_a_loop_is_cut_and_explained(
    create: Callable[..., str], device: Device, lab: Lab, topic: str
) -> None:
    name = create(f"SELECT * FROM '{topic}/#'", republish(f"{topic}/again"))
    inbox = device.subscribe(f"{topic}/again")
    device.publish(f"{topic}/first", {"depth": 1.4})
    inbox.wait_for(10)
    [refused] = [entry for entry in events(lab, "rule", name) if "refusal" in entry]
    assert (
        f"The rule '{name}' did not run: rules publish to topics" in refused["refusal"]["summary"]
    )
    assert f"result of 10 hops ({name} -> {name}" in refused["refusal"]["summary"]


def test_a_loop_through_the_shadow_is_cut(
    create: Callable[..., str], device: Device, lab: Lab, topic: str
) -> None:
    thing = device.client_id
    name = create(
        f"SELECT state AS state FROM '$aws/things/{thing}/shadow/update/accepted'",
        republish(f"$$aws/things/{thing}/shadow/update"),
    )
    # Not the filter of `device.shadow`, which unsubscribes from it.
    inbox = device.subscribe("$aws/things/+/shadow/update/accepted")
    device.shadow.update(reported={"depth": 1.4})
    inbox.wait_for(11)
    assert any("refusal" in entry for entry in events(lab, "rule", name))


def test_a_statement_that_takes_too_long_is_stopped(
    create: Callable[..., str], device: Device, lab: Lab, topic: str
) -> None:
    name = create(
        f"SELECT regexp_matches(text, '(x+x+)+y') AS x FROM '{topic}'", republish(f"{topic}/out")
    )
    done = device.subscribe(f"{topic}/done")
    device.publish(topic, {"text": "x" * 5000})
    device.publish(f"{topic}/done", {})
    done.wait_for(1)
    [refused] = events(lab, "rule", name)
    assert "takes longer than 50 ms" in refused["refusal"]["summary"]


def test_metrics_count_what_rules_do(
    create: Callable[..., str], device: Device, lab: Lab, topic: str
) -> None:
    def totals() -> dict[str, int]:
        rows = lab.admin("metrics", {})["totals"]
        return {row["name"]: row["sum"] for row in rows if row["protocol"] == "MQTT"}

    create(f"SELECT depth FROM '{topic}' WHERE isUndefined(depth)", republish("${target}"))
    before = totals()
    inbox = device.subscribe(f"{topic}/done")
    create(f"SELECT * FROM '{topic}/last'", republish(f"{topic}/done"))
    device.publish(topic, {"depth": 1})
    device.publish(topic, b"not JSON")
    device.publish(f"{topic}/last", {})
    inbox.wait_for(1)
    after = totals()
    names = ("TopicMatch", "ParseError", "RulesExecuted", "Success", "Failure")
    grown = {name: after.get(name, 0) - before.get(name, 0) for name in names}
    assert grown == {
        "TopicMatch": 3,
        "ParseError": 1,
        "RulesExecuted": 2,
        "Success": 1,
        "Failure": 1,
    }


# --- control plane --------------------------------------------------------------------------------


def test_a_rule_is_created_described_replaced_and_deleted(iot: Any, lab: Lab) -> None:
    payload = {"sql": "SELECT * FROM 'creek/#'", "actions": [republish("out")]}
    iot.create_topic_rule(
        ruleName="described",
        topicRulePayload={**payload, "description": "Flood alarm"},
        tags="owner=ann&site=creek%20bend",
    )
    arn = f"arn:aws:iot:{lab.region}:{lab.account}:rule/described"
    answer = iot.get_topic_rule(ruleName="described")
    created = answer["rule"].pop("createdAt")
    assert answer["ruleArn"] == arn
    assert answer["rule"] == {
        "ruleName": "described",
        **payload,
        "description": "Flood alarm",
        "ruleDisabled": False,
        "awsIotSqlVersion": "2015-10-08",
    }
    tags = iot.list_tags_for_resource(resourceArn=arn)["tags"]
    assert {each["Key"]: each["Value"] for each in tags} == {"owner": "ann", "site": "creek bend"}

    iot.disable_topic_rule(ruleName="described")
    [row] = iot.list_topic_rules(topic="creek/#", ruleDisabled=True)["rules"]
    assert (row["ruleName"], row["ruleArn"], row["topicPattern"]) == ("described", arn, "creek/#")
    iot.enable_topic_rule(ruleName="described")
    assert iot.list_topic_rules(topic="creek/#", ruleDisabled=True)["rules"] == []
    iot.replace_topic_rule(
        ruleName="described",
        topicRulePayload={**payload, "sql": "SELECT depth FROM 'other/#'"},
    )
    replaced = iot.get_topic_rule(ruleName="described")["rule"]
    assert (replaced["sql"], replaced["createdAt"]) == ("SELECT depth FROM 'other/#'", created)
    assert "description" not in replaced
    for _ in range(2):  # deleting a missing rule succeeds
        iot.delete_topic_rule(ruleName="described")
    iot.create_topic_rule(ruleName="described", topicRulePayload=payload)
    assert iot.list_tags_for_resource(resourceArn=arn)["tags"] == []
    iot.delete_topic_rule(ruleName="described")


def refused(call: Callable[..., Any], **members: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call(**members)
    response: Any = error.value.response
    return response["Error"]["Code"], response["Error"]["Message"]


@pytest.mark.parametrize("operation", ["get", "enable", "disable"])
def test_a_missing_rule_is_unauthorized_as_on_aws(iot: Any, operation: str) -> None:
    call = getattr(iot, f"{operation}_topic_rule")
    assert refused(call, ruleName="floood") == (
        "UnauthorizedException",
        "Access to topic rule 'floood' was denied",
    )


@pytest.mark.parametrize(
    ("sql", "actions", "code", "message"),
    [
        ("SELECT arr[0] FROM 'x'", [], "SqlParseException", "Line 1, column 11: AWS IoT SQL has"),
        ("SELECT * FROM 'a/#/b'", [], "SqlParseException", "Line 1, column 15: In 'a/#/b', the"),
        ("SELECT * FROM 'x/${y}'", [], "SqlParseException", "cannot contain a substitution"),
        ("SELECT * FROM '$share/a/x'", [], "SqlParseException", "member of a shared"),
        ("SELECT * FROM '$aws/rules/a/x'", [], "SqlParseException", "cannot name a Basic Ingest"),
        ("SELECT * FROM 'x'", [republish("a/${b")], "SqlParseException", "Valid here"),
        ("SELECT * FROM 'x'", [republish("$aws/x")], "InvalidRequestException", "a second $"),
        ("SELECT * FROM 'x'", [republish("a/#")], "InvalidRequestException", "wildcard"),
        (
            "SELECT * FROM 'x'",
            [{"republish": {"roleArn": "creek", "topic": "y"}}],
            "InvalidRequestException",
            "'creek' is not the ARN of a role",
        ),
        (
            "SELECT * FROM 'x'",
            [{"iotEvents": {"roleArn": ROLE, "inputName": "y"}}],
            "InvalidRequestException",
            "This cloud does not have the action 'iotEvents'. It has: ",
        ),
        ("SELECT * FROM 'x'", [{}], "InvalidRequestException", "An action has exactly one kind"),
    ],
)
def test_a_wrong_rule_is_refused(
    iot: Any, sql: str, actions: list[Any], code: str, message: str
) -> None:
    payload = {"sql": sql, "actions": actions, "awsIotSqlVersion": "2016-03-23"}
    found = refused(iot.create_topic_rule, ruleName="wrong", topicRulePayload=payload)
    assert found[0] == code
    assert message in found[1]
    assert refused(iot.get_topic_rule, ruleName="wrong")[0] == "UnauthorizedException"


def test_an_existing_name_and_a_hyphen_are_refused(create: Callable[..., str], iot: Any) -> None:
    name = create("SELECT * FROM 'x'")
    payload = {"sql": "SELECT * FROM 'x'", "actions": []}
    code, message = refused(iot.create_topic_rule, ruleName=name, topicRulePayload=payload)
    assert (code, message) == (
        "ResourceAlreadyExistsException",
        "Rule with given name already exists",
    )
    code, message = refused(iot.create_topic_rule, ruleName="creek-flood", topicRulePayload=payload)
    assert code == "InvalidRequestException"
    assert "Member must satisfy regular expression pattern: ^[a-zA-Z0-9_]+$" in message


# --- why ------------------------------------------------------------------------------------------


def test_the_latest_messages_are_explained(
    create: Callable[..., str], device: Device, lab: Lab, topic: str
) -> None:
    name = create(f"SELECT * FROM '{topic}/+' WHERE depth > 5.5", republish("${target}"))
    device.publish(f"{topic}/a/b", {"depth": 6})
    [message] = lab.admin("rule", {"rule": name})["messages"]
    assert (message["outcome"], message["topic"]) == ("filter", f"{topic}/a/b")
    device.publish(f"{topic}/a", {"Depth": 6})
    device.publish(f"$aws/rules/{name}/x", {"depth": 1.4})
    device.publish(f"{topic}/a", {"depth": 6, "target": "$aws/x"})
    found = lab.admin("rule", {"rule": name})
    assert [(each["topic"], each["outcome"]) for each in found["messages"]] == [
        (f"{topic}/a", "fires"),
        ("x", "condition"),
        (f"{topic}/a", "condition"),
    ]
    assert "the payload has 'Depth'" in found["messages"][2]["change"]
    [execution] = found["executions"]
    assert "needs a second $" in execution["actions"][0]["error"]
    assert found["counts"]["Failure"] == 1


def test_a_typed_message_is_explained(create: Callable[..., str], lab: Lab, topic: str) -> None:
    name = create(f"SELECT depth FROM '{topic}' WHERE depth > 5.5", republish("x"))
    [message] = lab.admin("rule", {"rule": name, "topic": topic, "payload": '{"depth": 6}'})[
        "messages"
    ]
    assert (message["outcome"], message["payload"]) == ("fires", '{"depth":6}')
    with pytest.raises(Exception, match=r"There is no rule 'floood'. Rules: .*rule_"):
        lab.admin("rule", {"rule": "floood"})
