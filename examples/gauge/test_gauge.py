"""The gauge against a local AWS IoT Core; every test has an account of its own."""

from __future__ import annotations

import boto3
import gauge
import pytest


@pytest.fixture
def creek_gauge(iot_core, tmp_path):
    """A gauge that is registered and connected."""
    gauge.register("elkhorn", tmp_path)
    address = gauge.Address(iot_core.endpoint, iot_core.mqtt_port, str(iot_core.ca_file))
    connected = gauge.Gauge("elkhorn", tmp_path, address)
    yield connected
    connected.close()


def test_registering(iot_core, tmp_path):
    gauge.register("elkhorn", tmp_path)
    iot = boto3.client("iot")  # the environment leads to the account of this test
    [thing] = iot.list_things()["things"]
    assert thing["thingName"] == "elkhorn"
    assert (tmp_path / "private.pem").stat().st_mode & 0o077 == 0


def test_two_gauges_share_a_policy(iot_core, tmp_path):
    for name in ("elkhorn", "cane"):
        folder = tmp_path / name
        folder.mkdir()
        gauge.register(name, folder)
    assert len(boto3.client("iot").list_targets_for_policy(policyName="gauge")["targets"]) == 2


def test_a_low_creek(creek_gauge, captured_messages):
    creek_gauge.report(1.4)
    [message] = captured_messages.wait_for(1)
    assert message.topic == "creek/elkhorn/depth"
    assert message.json == {"depth": 1.4}


def test_a_flood_raises_an_alarm(creek_gauge, captured_messages):
    creek_gauge.report(2.6)
    captured_messages.wait_for(2)
    assert captured_messages.topics == ["creek/elkhorn/depth", "creek/elkhorn/alarm"]


def test_a_gauge_speaks_only_for_itself(creek_gauge):
    creek_gauge.name = "cane"
    with pytest.raises(PermissionError, match="creek/cane/depth: NOT_AUTHORIZED"):
        creek_gauge.report(1.4)
