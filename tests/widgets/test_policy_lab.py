"""The policy lab: faults, requests, decisions, and that AWS decides the same."""

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
def test_faults_of_a_document(text: str, line: int | None, message: str) -> None:
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
def policy_lab(lab: Lab, new_thing: Callable[..., Any]) -> Any:
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


def test_it_opens_with_the_policy_and_the_requests_of_the_thing(policy_lab: Any) -> None:
    assert policy_lab.policy == policy_lab.thing.policy
    assert json.loads(policy_lab.document)["Statement"][0]["Action"] == "iot:Connect"
    name = policy_lab.thing.name
    assert decisions(policy_lab)[f"iot:Connect {name}"] == "ALLOWED"
    assert decisions(policy_lab)["iot:Subscribe creek/#"] == "IMPLICIT_DENY"
    assert repr(policy_lab) == f"Policy lab: {policy_lab.policy} allows 2 of 6 requests"
    assert "valid policy" in shown(policy_lab)


def test_a_decision_changes_as_the_document_does(policy_lab: Any) -> None:
    before = policy_lab.document
    policy_lab.document = before.replace("topic/creek/*", "topic/creek/depht")
    page = shown(policy_lab)
    assert decisions(policy_lab)["iot:Publish creek/depth"] == "IMPLICIT_DENY"
    assert "was ALLOWED" in page
    assert "creek/depht" in page
    policy_lab.document = before
    assert "was ALLOWED" not in shown(policy_lab)


def test_a_fault_is_shown_with_its_position(policy_lab: Any) -> None:
    policy_lab.document = '{\n  "Version": "2012-10-17",\n  "Statement": [}\n}'
    page = shown(policy_lab)
    assert "line 3, column 17" in page
    assert "3:   &quot;Statement&quot;: [}\n                   ^" in page
    assert 'role="alert"' in page
    assert "is not a policy" in repr(policy_lab)
    assert "line 3, column 17" in policy_lab._repr_mimebundle_()["text/html"]


def test_nothing_is_evaluated_before_the_typing_pauses(policy_lab: Any) -> None:
    shown(policy_lab)
    drawn = threading.Event()
    policy_lab._table.observe(lambda _: drawn.set(), "value")
    policy_lab._fault.observe(lambda _: drawn.set(), "value")
    policy_lab._document.value = "{"
    assert "valid policy" in policy_lab._fault.value
    assert drawn.wait(5)
    assert "not JSON" in policy_lab._fault.value


def test_test_authorization_decides_the_same(policy_lab: Any, lab: Lab) -> None:
    policy_lab.document = document(
        allow("iot:*", f"{PREFIX}:topic*/creek/${{iot:Connection.Thing.ThingName}}"),
        {"Effect": "Deny", "Action": "iot:Connect", "Resource": "*"},
    )
    name = policy_lab.thing.name
    policy_lab.requests = "\n".join(
        [
            f"iot:Publish creek/{name}",
            "iot:Publish creek/other",
            f"iot:Connect {name}",
            f"iot:GetThingShadow {name}",
            *(f"iot:Subscribe creek/{n}" for n in range(12)),
        ]
    )
    found = decisions(policy_lab)
    assert found[f"iot:Publish creek/{name}"] == "ALLOWED"
    assert found[f"iot:Connect {name}"] == "EXPLICIT_DENY"
    before = [each["policyName"] for each in lab.client("iot").list_policies()["policies"]]
    policy_lab._check.click()
    page = shown(policy_lab)
    assert "TestAuthorization decides all 15 the same." in page
    assert "It does not support the actions of 1 more." in page
    after = [each["policyName"] for each in lab.client("iot").list_policies()["policies"]]
    assert after == before


def test_a_disagreement_is_reported(policy_lab: Any) -> None:
    class Disagreeing:
        def create_policy(self, **_: Any) -> None: ...

        def delete_policy(self, **_: Any) -> None: ...

        def test_authorization(self, **question: Any) -> Any:
            count = len(question["authInfos"])
            return {"authResults": [{"authDecision": "EXPLICIT_DENY"}] * count}

    access = policy_lab._access
    text = model.check(Disagreeing(), access, "p", policy_lab.document, policy_lab.verdicts())
    assert text.startswith("TestAuthorization decides differently: iot:Connect")
    assert "EXPLICIT_DENY, not ALLOWED" in text
    text = model.check(Disagreeing(), access, "p", "", [])
    assert text == "TestAuthorization supports none of these actions."


def test_saving_creates_a_version_that_takes_effect_at_once(policy_lab: Any, lab: Lab) -> None:
    policy_lab.document = document(allow("iot:*", "*"))
    policy_lab._save.click()
    assert "Created version 2 of" in shown(policy_lab)
    with lab.connect(policy_lab.thing.name) as device:
        device.subscribe("creek/#")
    for _ in range(3):
        policy_lab._save.click()
    assert "Created version 5 of" in shown(policy_lab)
    policy_lab._save.click()
    page = shown(policy_lab)
    assert "VersionsLimitExceededException" in page
    assert 'role="alert"' in page


def test_a_new_policy(policy_lab: Any, lab: Lab) -> None:
    policy_lab._chosen.value = NEW
    assert policy_lab.policy == "MyPolicy"
    assert model.find_fault(policy_lab.document) is None
    name = f"{policy_lab.thing.name}-new"
    policy_lab._name.value = name
    policy_lab._save.click()
    assert "It takes effect when it is attached" in shown(policy_lab)
    assert policy_lab._chosen.value == name
    assert lab.client("iot").get_policy(policyName=name)["defaultVersionId"] == "1"


def test_an_unknown_client(policy_lab: Any) -> None:
    policy_lab._client.value = "nobody"
    page = shown(policy_lab)
    assert "has no certificate in this account" in page
    assert "client ID &#x27;nobody&#x27;" in page


def test_input_is_escaped(policy_lab: Any) -> None:
    policy_lab.requests = "iot:Publish <img src=x>\n<script>"
    page = shown(policy_lab) + policy_lab._repr_mimebundle_()["text/html"]
    assert "<img" not in page
    assert "<script>" not in page
    policy_lab.document = '{"<img src=x>": 1}'
    assert "<img" not in shown(policy_lab) + policy_lab._repr_mimebundle_()["text/html"]


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
