"""Persistent sessions: a device that was away receives what was sent meanwhile."""

from __future__ import annotations

import threading

import pytest

from creeklab import Lab
from creeklab.client.device import ConnectionChange
from creeklab.client.inbox import ReceivedMessage
from creeklab.client.session_expiry import parse_session_expiry
from tests.conftest import NewThing, make_thing


@pytest.fixture
def sender(lab: Lab) -> NewThing:
    return make_thing(lab)


@pytest.fixture
def receiver(lab: Lab) -> NewThing:
    return make_thing(lab)


class Received:
    """A callback that keeps the payloads, and an event for the last one."""

    def __init__(self, last: bytes) -> None:
        self.payloads: list[bytes] = []
        self.complete = threading.Event()
        self._last = last

    def __call__(self, message: ReceivedMessage) -> None:
        self.payloads.append(message.payload)
        if message.payload == self._last:
            self.complete.set()


@pytest.mark.parametrize("text", ["1h", "90s", "7d", "30m"])
def test_durations(text: str) -> None:
    assert parse_session_expiry(text) == {"1h": 3600, "90s": 90, "7d": 604_800, "30m": 1800}[text]


@pytest.mark.parametrize("text", ["", "0s", "1", "h", "8d", "1 h", "-1h", "1.5h", "1w"])
def test_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration from 1s to 7d"):
        parse_session_expiry(text)


def test_a_resumed_session_calls_on_message_without_a_subscription(
    lab: Lab, sender: NewThing, receiver: NewThing
) -> None:
    with lab.connect(receiver.name, session="10m") as device:
        assert not device.session_present
        device.subscribe("resumed/#")
    received = Received(b"19")
    with lab.connect(sender.name) as device:
        for number in range(20):
            device.publish("resumed/a", str(number))
    changes: list[ConnectionChange] = []
    with lab.connect(
        receiver.name, session="10m", on_message=received, on_connection=changes.append
    ) as device:
        assert received.complete.wait(20)
        assert device.session_present
        inbox = device.subscribe("resumed/#")  # A subscription without a callback uses on_message.
        with lab.connect(sender.name) as other:
            other.publish("resumed/a", "19")
        assert len(inbox) == 0
    assert received.payloads[:20] == [str(number).encode() for number in range(20)]
    assert changes[0] == ConnectionChange(True, session_present=True)


def test_messages_wait_in_the_device_until_a_subscription_matches_them(
    lab: Lab, sender: NewThing, receiver: NewThing
) -> None:
    """Their number is above the bound, so the cloud has to keep most of them."""
    with lab.connect(receiver.name, session="10m") as device:
        device.subscribe("waiting/#")
        device.subscribe("other/#")
    with lab.connect(sender.name) as device:
        pending = [device.publish_soon("waiting/a", str(number)) for number in range(60)]
        pending += [device.publish_soon("other/a", str(number)) for number in range(30)]
        for each in pending:
            each.result()
    with lab.connect(receiver.name, session="10m") as device:
        inbox = device.subscribe("waiting/#")
        others = device.subscribe("other/#")
        assert [int(each.payload) for each in inbox.wait_for(60, 20)] == list(range(60))
        assert [int(each.payload) for each in others.wait_for(30, 20)] == list(range(30))
    with lab.connect(receiver.name, session="10m") as device:
        # All of them were acknowledged.
        with lab.connect(sender.name) as other:
            other.publish("waiting/a", "new")
        assert [each.payload for each in device.subscribe("waiting/#").wait_for(1)] == [b"new"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_message_whose_callback_fails_is_delivered_again(
    lab: Lab, sender: NewThing, receiver: NewThing
) -> None:
    failed = threading.Event()

    def fails(_: ReceivedMessage) -> None:
        failed.set()
        raise OSError("No space left on device")

    with lab.connect(receiver.name, session="10m", on_message=fails) as device:
        device.subscribe("failing/#")
        with lab.connect(sender.name) as other:
            other.publish("failing/a", "kept")
        assert failed.wait(20)
    received = Received(b"kept")
    with lab.connect(receiver.name, session="10m", on_message=received):
        assert received.complete.wait(20)


def test_the_account_needs_a_client_id_for_a_session(lab: Lab) -> None:
    with pytest.raises(ValueError, match="A session needs a client ID"):
        lab.connect_account(session="1h")
    with lab.connect_account("recorder-of-the-account", session="10m") as device:
        device.subscribe("account/#")
    with lab.connect_account() as device:
        device.publish("account/a", "kept")
    received = Received(b"kept")
    with lab.connect_account("recorder-of-the-account", session="10m", on_message=received):
        assert received.complete.wait(20)


def test_a_session_that_aws_shortens_gives_a_warning(lab: Lab, receiver: NewThing) -> None:
    with pytest.warns(UserWarning, match="for 3600 s, which is less than 7d") as warned:
        lab.connect(receiver.name, client_id="long", session="7d").close()
    assert warned[0].filename == __file__


def test_shadow_responses_do_not_wait(lab: Lab, receiver: NewThing) -> None:
    """The SDK subscribes to them by itself; they must not fill the device."""
    with lab.connect(receiver.name, client_id="shadow", session="10m") as device:
        for depth in range(3):
            device.shadow.update(reported={"depth": depth})
        assert device._delivery.waiting == []
