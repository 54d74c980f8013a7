"""The Things, policies, rules and role of the course, by name."""

from __future__ import annotations

from typing import Any

from creeklab.session.lab_session import LabSession

THING = "Test2"
TEST_CLIENT = "TestClient"
THING_POLICY = "Test2Policy"
HELLO_POLICY = "HelloPolicy"
WIDE_POLICY = "policyall"
SENSOR_POLICY = "CreekSensorPolicy"

# Created and deleted again by a notebook or one of its exercises.
TRIAL_THINGS = ("Test3", "gauge-1", "gauge-2", "gauge-3")
TRIAL_POLICIES = (
    HELLO_POLICY,
    *("HashPolicy", "OwnTopicPolicy", "ListenPolicy", "NoBarnPolicy", "QuestionPolicy"),
)
BROKEN_POLICIES = ("FilterPolicy", "WrongRegionPolicy")

THINGS = (THING, TEST_CLIENT, *TRIAL_THINGS)
POLICIES = (THING_POLICY, WIDE_POLICY, SENSOR_POLICY, *TRIAL_POLICIES, *BROKEN_POLICIES)
RULES = ("FloodAlarm", "FloodOnce", "Heat", "BrokenAlarm")
RULES_ROLE = "creek-rules"
RETAINED = ("creek/elkhorn/last", "barn/door")


def thing_policy(lab: LabSession) -> dict[str, Any]:
    """Return the tutorial's policy for Test2, with its mistake corrected."""
    arn = f"arn:aws:iot:{lab.region}:{lab.account}"
    return _document(
        _allow("iot:Connect", f"{arn}:client/{THING}"),
        _allow("iot:Publish", f"{arn}:topic/$aws/things/{THING}/shadow/update"),
    )


def hello_policy(lab: LabSession) -> dict[str, Any]:
    """Return the policy that Test2 has in the tour, before notebook 4 writes a real one."""
    arn = f"arn:aws:iot:{lab.region}:{lab.account}"
    return _document(
        _allow("iot:Connect", f"{arn}:client/{THING}"),
        _allow("iot:Publish", f"{arn}:topic/hello/{THING}"),
    )


def wide_policy() -> dict[str, Any]:
    """Return the tutorial's ``policyall``, which allows everything. Not for a device."""
    return _document(_allow("iot:*", "*"))


def sensor_policy(lab: LabSession) -> dict[str, Any]:
    """Return a policy for any number of sensors: each can use the shadow of its own Thing."""
    arn = f"arn:aws:iot:{lab.region}:{lab.account}"
    name = "${iot:Connection.Thing.ThingName}"
    return _document(
        _allow("iot:Connect", f"{arn}:client/{name}"),
        _allow(["iot:Publish", "iot:Receive"], f"{arn}:topic/$aws/things/{name}/shadow/*"),
        _allow("iot:Subscribe", f"{arn}:topicfilter/$aws/things/{name}/shadow/*"),
    )


def _document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(action: str | list[str], resource: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource}
