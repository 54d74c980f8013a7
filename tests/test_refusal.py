"""A refusal in words: its text alone, and the last refusal in the event log of a cloud."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from creeklab import Lab
from creeklab.client.device import RequestRefused
from creeklab.client.device_shadow import ShadowRejected
from creeklab.diagnosis.refusal import Refusal
from creeklab.diagnosis.why import unknown_client
from creeklab.display.text import WIDTH

ARN = "arn:aws:iot:us-east-1:123456789012:topicfilter/creek/elkhorn/depth"
FINDINGS = [
    {"policy": "Test2Policy", "statement": 0, "effect": "Allow", "differs": ["no", "not that"]},
    {"policy": "Guard", "statement": 1, "effect": "Deny", "differs": []},
]


def entry(summary: str, **members: Any) -> dict[str, Any]:
    findings = {}
    if "findings" in members:
        findings = {"findings": members.pop("findings"), "outcome": "IMPLICIT_DENY"}
    return {"kind": "publish", "refusal": {"summary": summary, **findings}, **members}


def test_nothing_was_refused() -> None:
    why = Refusal(None)
    assert why.entry is None
    assert why.summary == repr(why) == "Nothing was refused."


NAMES = ["TestClient", "Test2", "gauge-1"]


@pytest.mark.parametrize(
    ("of", "known", "end"),
    [
        ("test2", NAMES, "Known names: 'Test2', 'TestClient', 'gauge-1'."),
        ("gauge_1", NAMES, "Known names: 'gauge-1', 'Test2', 'TestClient'."),
        ("a", [f"b{n}" for n in range(12)], "'b7' and 2 more."),
        ("a", [], "No clients or Things are known yet."),
    ],
)
def test_an_unknown_name_lists_the_most_similar_ones(of: str, known: list[str], end: str) -> None:
    text = unknown_client(of, known)
    assert text.startswith(f"'{of}' is unknown: no client in the event log")
    assert text.endswith(end)


def test_the_summary_is_that_of_the_entry() -> None:
    why = Refusal(entry("It was refused, for a reason."))
    assert why.summary == "It was refused, for a reason."
    assert repr(why) == "Publish: refused.\nIt was refused, for a reason."


def test_the_text_is_wrapped() -> None:
    why = Refusal(entry("It was refused, for a reason that is long. " * 5))
    lines = why.text.splitlines()
    assert len(lines) == 3
    assert all(len(line) <= 96 for line in lines)
    assert " ".join(lines) == why.summary.strip()


def test_client_and_statements_are_shown() -> None:
    why = Refusal(entry("No.", client_id="Test2", findings=FINDINGS))
    assert repr(why).split("\n") == [
        "Client ID 'Test2', publish: denied.",
        "No.",
        "Evaluated statements:",
        "  Test2Policy, statement 1, Allow: no; not that",
        "  Guard, statement 2, Deny: matches",
    ]


def test_long_texts_are_wrapped() -> None:
    differs = [f"word{number}" for number in range(40)]
    finding = {"policy": "P", "statement": 0, "effect": "Allow", "differs": differs}
    lines = repr(Refusal(entry("several words " * 40, findings=[finding]))).split("\n")
    assert len(lines) > 8
    assert max(map(len, lines)) <= WIDTH
    assert lines[-1].startswith("    word")


@pytest.mark.parametrize("before", range(20, 60, 4))
def test_an_arn_is_not_wrapped(before: int) -> None:
    padding = "x" * before
    assert f" {ARN}." in repr(Refusal(entry(f"{padding} {ARN}."))).replace("\n", " ")
    finding = {"policy": padding, "statement": 0, "effect": "Allow", "differs": [ARN]}
    assert ARN in repr(Refusal(entry("No.", findings=[finding])))


CONNECT_ONLY = [{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}]


def test_the_last_refusal_of_anyone_and_of_one_client(
    lab: Lab, new_thing: Callable[..., Any]
) -> None:
    first, second = new_thing(CONNECT_ONLY), new_thing(CONNECT_ONLY)
    with lab.connect(first.name) as one, lab.connect(second.name) as other:
        with pytest.raises(RequestRefused):
            one.publish("creek/first", "x")
        with pytest.raises(RequestRefused):
            other.subscribe("creek/second")
    last = lab.why()
    assert last.entry is not None
    assert (last.entry["client_id"], last.entry["action"]) == (second.name, "iot:Subscribe")
    assert "topic filter 'creek/second'" in last.summary
    earlier = lab.why(first.name)
    assert "topic 'creek/first'" in earlier.summary
    assert repr(earlier).startswith(f"Client ID '{first.name}', publish: denied at ")
    assert "its Action (iot:Connect) does not include iot:Publish" in " ".join(
        repr(earlier).split()
    )
    third = new_thing()
    assert repr(lab.why(third.name)) == f"Nothing was refused to '{third.name}'."


def test_a_rejected_shadow_request_is_a_refusal_too(
    lab: Lab, new_thing: Callable[..., Any]
) -> None:
    thing = new_thing()
    topic = f"$aws/things/{thing.name}/shadow"
    with lab.connect(thing.name) as device:
        with pytest.raises(ShadowRejected):
            device.shadow.get()
        assert lab.why(thing.name).summary == (
            f"The shadow service rejected the message on {topic}/get: 404 No shadow exists with "
            f"name: '{thing.name}'. The shadow does not exist. Update it first: the first update "
            "creates it."
        )
        device.shadow.update(reported={"depth": 1})
        device.shadow.update(reported={"depth": 2})
        stale = {"state": {"reported": {"depth": 3}}, "version": 1}
        # Not update/rejected itself: the SDK's shadow client may still be unsubscribing from it.
        inbox = device.subscribe(f"{topic}/+/rejected")
        device.publish(f"{topic}/update", stale)
        inbox.wait_for(1)
    summary = lab.why(thing.name).summary
    assert f"{topic}/update: 409 Version conflict. The shadow is now at version 2. Get" in summary


def test_a_newer_failure_comes_first(lab: Lab, new_thing: Callable[..., Any]) -> None:
    thing = new_thing()
    with lab.connect(thing.name) as device:
        with pytest.raises(RequestRefused):
            device.publish("a/b/c/d/e/f/g/h/i", "x")
        device.publish("$aws/rules/no-such-rule/creek", "x")
    why = lab.why(thing.name)
    first, *_ = " ".join(repr(why).split()).partition("Client ID")
    assert first.startswith(f"Newer, just now: '{thing.name}' published to $aws/rules/no-such-rule")
    assert "9 levels" in why.summary
    page = why._repr_html_()
    assert page.index("Newer, just now") < page.index("9 levels")
    with pytest.raises(ClientError):
        lab.client("iot-data").publish(topic="creek/depth", qos=0, payload=b"x" * 200_000)
    assert "Newer, just now: Publish failed with 413" in lab.why().notices[0]
    with pytest.raises(ClientError):
        lab.client("iot").describe_thing(thingName="never-made")
    assert "Newer, just now: Publish failed with 413" in lab.why().notices[0]


def test_a_failure_without_a_refusal() -> None:
    failure = {
        **{"kind": "call", "time": 0.0, "operation": None, "status": 404},
        **{"error": "UnknownOperationException", "message": "There is no such path."},
    }
    why = Refusal(None, asked=120.0, failure=failure)
    assert why.summary == (
        "Newer, 2 minutes ago: an HTTP request failed with 404 UnknownOperationException. There is "
        "no such path."
    )


def test_dropped_messages_are_mentioned() -> None:
    dropped = {"gauge-1": {"count": 12, "why": "It reads too slowly."}}
    why = Refusal(entry("It was refused."), dropped=dropped)
    text = "12 messages were dropped for the client 'gauge-1'. It reads too slowly."
    assert repr(why).split("\n")[0] == text
    assert text in why._repr_html_().replace("&#x27;", "'")


def test_a_client_id_without_a_certificate_that_is_active(
    lab: Lab, new_thing: Callable[..., Any]
) -> None:
    thing = new_thing()
    iot = lab.client("iot")
    iot.update_certificate(certificateId=thing.certificate_id, newStatus="INACTIVE")
    with pytest.raises(RequestRefused):
        lab.connect(thing.name)
    why = lab.why(thing.name)
    assert "is INACTIVE" in why.summary
    assert "update_certificate" in why.summary
    assert json.loads(json.dumps(why.entry)) == why.entry
