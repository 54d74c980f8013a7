"""What devices do over MQTT is counted under CloudWatch's names, each thing once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from creeklab import Lab
from creeklab.client.device import RequestRefused


def totals(lab: Lab) -> Counter[str]:
    """Return the counts since the start, of MQTT."""
    found = lab.admin("metrics", {})["totals"]
    return Counter({each["name"]: each["sum"] for each in found if each["protocol"] == "MQTT"})


def test_each_thing_is_counted_once(lab: Lab, new_thing: Callable[..., Any]) -> None:
    own = ["ARN:client/THING", "ARN:topic/a/*", "ARN:topicfilter/a/*"]
    thing = new_thing([{"Effect": "Allow", "Action": "iot:*", "Resource": own}])
    silent = new_thing([{"Effect": "Allow", "Action": "iot:Publish", "Resource": "*"}])
    before = totals(lab)
    with lab.connect(thing.name) as device:
        inbox = device.subscribe("a/#")
        for qos in (0, 1):
            device.publish("a/b", "x", qos=qos)
        inbox.wait_for(2)
        with pytest.raises(RequestRefused):
            device.publish("b", "x")
        with pytest.raises(RequestRefused):
            device.subscribe("b/#")
        with pytest.raises(RequestRefused):
            device.publish("a/b/c/d/e/f/g/h/i", "x")
        device.unsubscribe("a/#")
    with pytest.raises(RequestRefused):
        lab.connect(silent.name)
    lab.client("iot").update_certificate(certificateId=silent.certificate_id, newStatus="INACTIVE")
    with pytest.raises(RequestRefused):
        lab.connect(silent.name)
    counted = totals(lab) - before
    assert counted == {
        "Connect.Success": 1,
        "Connect.AuthError": counted["Connect.AuthError"],
        "PublishIn.Success": 2,
        "PublishIn.AuthError": 1,
        "PublishIn.ClientError": 1,
        "PublishOut.Success": 2,
        "Subscribe.Success": 1,
        "Subscribe.AuthError": 1,
        "Unsubscribe.Success": 1,
    }
    # The SDK may try again before it is stopped.
    assert counted["Connect.AuthError"] >= 2
