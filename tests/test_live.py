"""A device on AWS itself, for anyone with an account: ``pytest -m live tests/test_live.py``.

Deselected by default. It asks nothing, uses the credentials and region that boto3 finds, creates
two Things with unique names, and deletes them again. It costs less than a hundredth of a cent.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from creeklab import Lab, open_lab
from creeklab.client.device import RequestRefused

pytestmark = pytest.mark.live

AWS_SECONDS = 420.0  # a policy change takes AWS minutes to apply everywhere


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """Return the result of a call once it has one; AWS decides when."""
    deadline = time.monotonic() + seconds
    while True:
        found = call()
        if found or time.monotonic() > deadline:
            return found
        time.sleep(5)


@pytest.fixture(scope="module", params=[8883, 443])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = open_lab(
        "aws", home=tmp_path_factory.mktemp("home"), accept_costs=True, mqtt_port=request.param
    )
    yield lab
    done = within(AWS_SECONDS, lambda: (found := lab.ledger.tear_down()).ok and found)
    assert done, repr(lab.ledger.resources())
    assert lab.ledger.resources() == ()


@pytest.fixture(scope="module")
def thing(lab: Lab) -> str:
    name = f"creeklab-{uuid.uuid4()}"
    iot = lab.client("iot")
    iot.create_thing(thingName=name)
    answer = iot.create_keys_and_certificate(setAsActive=True)
    lab.keys.save(name, answer)
    iot.attach_thing_principal(thingName=name, principal=answer["certificateArn"])
    arn = f"arn:aws:iot:{lab.region}:{lab.account}"
    topics = [f"{arn}:topic/{name}/*", f"{arn}:topic/$aws/things/{name}/shadow/*"]
    filters = [topic.replace(":topic/", ":topicfilter/") for topic in topics]
    allowed: list[tuple[list[str], list[str]]] = [
        (["iot:Connect"], [f"{arn}:client/{name}"]),
        (["iot:Publish", "iot:Receive"], topics),
        (["iot:Subscribe"], filters),
    ]
    statements = [
        {"Effect": "Allow", "Action": actions, "Resource": resources}
        for actions, resources in allowed
    ]
    document = {"Version": "2012-10-17", "Statement": statements}
    iot.create_policy(policyName=name, policyDocument=json.dumps(document))
    iot.attach_policy(policyName=name, target=answer["certificateArn"])
    return name


def test_a_device_connects_publishes_and_has_a_shadow(lab: Lab, thing: str) -> None:
    def connected() -> bool:
        try:
            lab.connect(thing).close()
        except RequestRefused:
            return False
        return True

    assert within(60, connected)
    with lab.connect(thing) as device:
        inbox = device.subscribe(f"{thing}/depth")
        device.publish(f"{thing}/depth", {"depth": 1.4})
        assert inbox.wait_for(1)[0].json == {"depth": 1.4}
        device.shadow.update(reported={"depth": 1.4})
        assert device.shadow.get()["state"]["reported"] == {"depth": 1.4}
        with pytest.raises(RequestRefused):
            device.publish("not/allowed", "x")
    assert lab.check.certificate(thing)
    assert lab.check.shadow(thing, depth=1.4)


def test_the_doctor_finds_nothing_wrong(lab: Lab, thing: str) -> None:
    assert lab.doctor().ok, repr(lab.doctor())
    found = lab.doctor(thing, publish=[f"{thing}/depth"])
    assert found.ok, repr(found)


def test_the_account_itself_connects(lab: Lab, thing: str) -> None:
    with lab.connect_account() as account:
        inbox = account.subscribe(f"{thing}/account")
        account.publish(f"{thing}/account", "x")
        assert inbox.wait_for(1)[0].payload == b"x"


def test_what_was_made_and_used_is_on_record(lab: Lab, thing: str) -> None:
    assert thing in repr(lab.ledger.resources())
    assert lab.ledger.cost().total > 0
