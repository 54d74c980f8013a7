"""The policy playground: faults, requests, decisions, and that AWS decides the same."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from creeklab import Lab
from creeklab.widgets import policy_model as model
from creeklab.widgets.policy_lab import NEW, PolicyLab

PREFIX = "arn:aws:iot:us-east-1:123456789012"


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: str, resource: str) -> dict[str, str]:
    return {"Effect": "Allow", "Action": action, "Resource": resource}


# --- the model ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (
            '{\n  "Version": "2012-10-17",\n  "Statement": [}',
            3,
            "It is not JSON: line 3, column 17",
        ),
        ("", 1, "It is not JSON: line 1, column 1"),
        ("[]", None, "Invalid policy syntax"),
        ('{"Version": "2012-10-17"}', None, "There is no Statement"),
        (document({"Effect": "Allow", "Action": "iot:Publish"}), None, "Resource"),
        (document(allow("iot:Publish", "creek/depth")), None, "[creek/depth]"),
        ('{"Version": "2012-10-17", "Statement": [' + '"x"' * 900 + "]}", None, "at most 2048"),
    ],
)
def test_the_find_fault_a_document(text: str, line: int | None, message: str) -> None:
    fault = model.find_fault(text)
    assert fault is not None
    assert message in fault.message
    assert fault.line == line
    assert model.find_fault(document(allow("iot:*", "*"))) is None


def test_requests_are_parsed() -> None:
    text = "iot:Publish creek/depth\n\n  subscribe creek/#\niot:Connect\niot:Dance a\niot:Receive *"
    assert model.parse_requests(text, PREFIX) == [
        model.Request("iot:Publish creek/depth", "iot:Publish", f"{PREFIX}:topic/creek/depth"),
        model.Request("subscribe creek/#", "iot:Subscribe", f"{PREFIX}:topicfilter/creek/#"),
        model.Request("iot:Connect", fault="Add a client ID after iot:Connect."),
        model.Request(
            "iot:Dance a",
            fault=f"'iot:Dance' is not a device action. Use one of {', '.join(model.KINDS)}.",
        ),
        model.Request("iot:Receive *", "iot:Receive", "*"),
    ]


# --- with an account ------------------------------------------------------------------------------


@pytest.fixture
def playground(lab: Lab, new_thing: Callable[..., Any]) -> Any:
    thing = new_thing(
        [
            {"Effect": "Allow", "Action": "iot:Connect", "Resource": "ARN:client/THING"},
            {"Effect": "Allow", "Action": "iot:Publish", "Resource": "ARN:topic/creek/*"},
        ]
    )
    with lab.policy_lab(thing.name) as view:
        view.thing = thing
        view.settle()
        yield view


def shown(view: PolicyLab) -> str:
    view.settle()
    return f"{view._fault.value} {view._table.value} {view._notice.value}"


def decisions(view: PolicyLab) -> dict[str, str]:
    return {each.request.line: each.decision for each in view.verdicts()}


def test_it_opens_with_the_policy_and_the_requests_of_the_thing(playground: Any) -> None:
    assert playground.policy == playground.thing.policy
    assert json.loads(playground.document)["Statement"][0]["Action"] == "iot:Connect"
    name = playground.thing.name
    assert decisions(playground)[f"iot:Connect {name}"] == "ALLOWED"
    assert decisions(playground)["iot:Subscribe creek/#"] == "IMPLICIT_DENY"
    assert repr(playground) == f"Policy playground: {playground.policy} allows 2 of 6 requests"
    assert "valid policy" in shown(playground)


def test_a_decision_changes_as_the_document_does(playground: Any) -> None:
    before = playground.document
    playground.document = before.replace("topic/creek/*", "topic/creek/depht")
    page = shown(playground)
    assert decisions(playground)["iot:Publish creek/depth"] == "IMPLICIT_DENY"
    assert "was ALLOWED" in page
    assert "creek/depht" in page
    playground.document = before
    assert "was ALLOWED" not in shown(playground)


def test_a_fault_is_shown_with_its_position(playground: Any) -> None:
    playground.document = '{\n  "Version": "2012-10-17",\n  "Statement": [}\n}'
    page = shown(playground)
    assert "line 3, column 17" in page
    assert "3:   &quot;Statement&quot;: [}\n                   ^" in page
    assert 'role="alert"' in page
    assert "is not a policy" in repr(playground)
    assert "line 3, column 17" in playground._repr_mimebundle_()["text/html"]


def test_nothing_is_evaluated_before_the_typing_pauses(playground: Any) -> None:
    shown(playground)
    drawn = threading.Event()
    playground._table.observe(lambda _: drawn.set(), "value")
    playground._fault.observe(lambda _: drawn.set(), "value")
    playground._document.value = "{"
    assert "valid policy" in playground._fault.value
    assert drawn.wait(5)
    assert "not JSON" in playground._fault.value


def test_test_authorization_decides_the_same(playground: Any, lab: Lab) -> None:
    playground.document = document(
        allow("iot:*", f"{PREFIX}:topic*/creek/${{iot:Connection.Thing.ThingName}}"),
        {"Effect": "Deny", "Action": "iot:Connect", "Resource": "*"},
    )
    name = playground.thing.name
    playground.requests = "\n".join(
        [
            f"iot:Publish creek/{name}",
            "iot:Publish creek/other",
            f"iot:Connect {name}",
            f"iot:GetThingShadow {name}",
            *(f"iot:Subscribe creek/{n}" for n in range(12)),
        ]
    )
    found = decisions(playground)
    assert found[f"iot:Publish creek/{name}"] == "ALLOWED"
    assert found[f"iot:Connect {name}"] == "EXPLICIT_DENY"
    before = [each["policyName"] for each in lab.client("iot").list_policies()["policies"]]
    playground._check.click()
    page = shown(playground)
    assert "TestAuthorization decides all 15 the same." in page
    assert "It does not support the actions of 1 more." in page
    after = [each["policyName"] for each in lab.client("iot").list_policies()["policies"]]
    assert after == before


def test_a_disagreement_is_reported(playground: Any) -> None:
    class Disagreeing:
        def create_policy(self, **_: Any) -> None: ...

        def delete_policy(self, **_: Any) -> None: ...

        def test_authorization(self, **question: Any) -> Any:
            count = len(question["authInfos"])
            return {"authResults": [{"authDecision": "EXPLICIT_DENY"}] * count}

    access = playground._access
    text = model.check(Disagreeing(), access, "p", playground.document, playground.verdicts())
    assert text.startswith("TestAuthorization decides differently: iot:Connect")
    assert "EXPLICIT_DENY, not ALLOWED" in text
    text = model.check(Disagreeing(), access, "p", "", [])
    assert text == "TestAuthorization supports none of these actions."


def test_saving_creates_a_version_that_takes_effect_at_once(playground: Any, lab: Lab) -> None:
    playground.document = document(allow("iot:*", "*"))
    playground._save.click()
    assert "Created version 2 of" in shown(playground)
    with lab.connect(playground.thing.name) as device:
        device.subscribe("creek/#")
    for _ in range(3):
        playground._save.click()
    assert "Created version 5 of" in shown(playground)
    playground._save.click()
    page = shown(playground)
    assert "VersionsLimitExceededException" in page
    assert 'role="alert"' in page


def test_a_new_policy(playground: Any, lab: Lab) -> None:
    playground._chosen.value = NEW
    assert playground.policy == "MyPolicy"
    assert model.find_fault(playground.document) is None
    name = f"{playground.thing.name}-new"
    playground._name.value = name
    playground._save.click()
    assert "It takes effect when it is attached" in shown(playground)
    assert playground._chosen.value == name
    assert lab.client("iot").get_policy(policyName=name)["defaultVersionId"] == "1"


def test_an_unknown_client(playground: Any) -> None:
    playground._client.value = "nobody"
    page = shown(playground)
    assert "has no certificate in this account" in page
    assert "client ID &#x27;nobody&#x27;" in page


def test_input_is_escaped(playground: Any) -> None:
    playground.requests = "iot:Publish <img src=x>\n<script>"
    page = shown(playground) + playground._repr_mimebundle_()["text/html"]
    assert "<img" not in page
    assert "<script>" not in page
    playground.document = '{"<img src=x>": 1}'
    assert "<img" not in shown(playground) + playground._repr_mimebundle_()["text/html"]


def test_closing_leaves_no_thread(lab: Lab, new_thing: Callable[..., Any]) -> None:
    before = set(threading.enumerate())
    view = lab.policy_lab(new_thing().name)
    view.settle()
    view.close()
    left = [each for each in set(threading.enumerate()) - before if "creeklab" in each.name]
    assert left == []


def test_a_policy_that_does_not_exist(lab: Lab, new_thing: Callable[..., Any]) -> None:
    with pytest.raises(ClientError, match="Policy not found"):
        lab.policy_lab(new_thing().name, "no-such-policy")
