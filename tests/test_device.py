"""A device: the connection of one Thing, its inboxes, refusals, end, and shadow."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import creeklab.client.device_shadow
from creeklab import Lab, open_lab
from creeklab.client.device import ConnectionChange, Device, RequestRefused
from creeklab.client.device_shadow import ShadowRejected
from creeklab.client.inbox import Inbox, ReceivedMessage
from creeklab.client.topics import topic_fault
from creeklab.cloud import supervisor
from tests.conftest import NewThing, make_thing

NewThings = Callable[..., NewThing]


def message(topic: str, payload: bytes = b"") -> ReceivedMessage:
    return ReceivedMessage(topic, payload, 1, False)


def allow(action: str | list[str], *resources: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": list(resources)}


CONNECT = allow("iot:Connect", "*")


# --- the inbox without a device -------------------------------------------------------------------


def test_an_inbox_keeps_messages_in_order() -> None:
    inbox = Inbox("creek/#")
    assert (len(inbox), list(inbox), inbox.wait_for(0)) == (0, [], [])
    for topic in ("creek/a", "creek/b", "creek/a"):
        inbox.put(message(topic))
    assert inbox.topics == [each.topic for each in inbox] == ["creek/a", "creek/b", "creek/a"]
    assert inbox[-1] == inbox.messages[2]
    assert inbox.wait_for(2) == inbox.messages  # including those beyond the count
    inbox.clear()
    assert len(inbox) == 0
    inbox.put(message("creek/c"))
    assert inbox.topics == ["creek/c"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 messages"), (1, "1 message"), (2, "2 messages")],
)
def test_an_inbox_shows_its_length(count: int, text: str) -> None:
    inbox = Inbox("creek/#")
    for _ in range(count):
        inbox.put(message("creek/a"))
    assert repr(inbox) == f"Inbox of 'creek/#': {text}"


def test_waiting_is_bounded_and_says_what_is_missing() -> None:
    inbox = Inbox("creek/#")
    inbox.put(message("creek/a"))
    expected = "Received 1 of 2 messages on 'creek/#' within 0.2 s. lab.why() may explain it."
    with pytest.raises(TimeoutError, match=f"^{re.escape(expected)}$"):
        inbox.wait_for(2, timeout=0.2)


def test_waiting_ends_when_the_message_arrives() -> None:
    inbox = Inbox("creek/#")
    sender = threading.Timer(0.05, inbox.put, [message("creek/a")])
    sender.start()
    # The next message never arrives, so a wait that missed this one would time out.
    assert [each.topic for each in inbox.wait_for(1, timeout=30)] == ["creek/a"]
    sender.join()


def test_an_inbox_can_be_read_while_messages_arrive() -> None:
    inbox = Inbox("creek/#")

    def fill() -> None:
        for number in range(5000):
            inbox.put(message(str(number)))

    writer = threading.Thread(target=fill)
    writer.start()
    seen: list[list[str]] = []
    while not seen or len(seen[-1]) < 5000:
        seen.append([each.topic for each in inbox])
    writer.join()
    everything = [str(number) for number in range(5000)]
    assert all(topics == everything[: len(topics)] for topics in seen)


def test_a_message_shows_topic_and_text() -> None:
    assert repr(message("creek/a", '{"ü": 1}'.encode())) == 'creek/a  {"ü": 1}'
    assert repr(message("creek/a", b"\x98\x01")) == "creek/a  \\x98\x01"
    assert message("creek/a", b'{"depth": 1.4}').json == {"depth": 1.4}
    with pytest.raises(json.JSONDecodeError):
        _ = message("creek/a", b"plain").json


# --- publish and subscribe ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def thing(session_lab: Lab) -> NewThing:
    """A Thing whose policy allows everything."""
    return make_thing(session_lab)


def test_every_kind_of_payload_arrives_unchanged(lab: Lab, thing: NewThing) -> None:
    sent: list[tuple[Any, bytes]] = [
        ({"depth": 1.4, "at": None}, b'{"depth": 1.4, "at": null}'),
        ({}, b"{}"),
        ([1, "two"], b'[1, "two"]'),
        ("plain text: ü", b"plain text: \xc3\xbc"),
        ("", b""),
        (b"\x98\x01\x00\xff", b"\x98\x01\x00\xff"),
        (b"", b""),
        ("x" * 100_000, b"x" * 100_000),
    ]
    with lab.connect(thing.name) as device:
        inbox = device.subscribe("payload/#")
        for payload, _ in sent:
            device.publish("payload/a", payload)
        assert [each.payload for each in inbox.wait_for(len(sent))] == [raw for _, raw in sent]


@pytest.mark.parametrize("payload", [{"depth": object()}, [b"bytes"]])
def test_a_value_that_is_not_json_is_not_sent(lab: Lab, thing: NewThing, payload: Any) -> None:
    with lab.connect(thing.name) as device:
        with pytest.raises(TypeError, match="not JSON serializable"):
            device.publish("payload/b", payload)
        inbox = device.subscribe("payload/b")
        device.publish("payload/b", "after")
        assert [each.payload for each in inbox.wait_for(1)] == [b"after"]


@pytest.mark.parametrize(("sent", "granted", "got"), [(0, 1, 0), (1, 1, 1), (1, 0, 0)])
def test_the_quality_of_service_is_the_lower_one(
    lab: Lab, thing: NewThing, sent: int, granted: int, got: int
) -> None:
    with lab.connect(thing.name) as device:
        inbox = device.subscribe("quality/a", qos=granted)
        device.publish("quality/a", "x", qos=sent)
        assert [each.qos for each in inbox.wait_for(1)] == [got]


def test_a_late_subscriber_receives_the_retained_message(lab: Lab, thing: NewThing) -> None:
    with lab.connect(thing.name) as device:
        present = device.subscribe("retain/a")
        device.publish("retain/a", "last", retain=True)
        assert [each.retain for each in present.wait_for(1)] == [False]
        device.unsubscribe("retain/a")
        late = device.subscribe("retain/a")
        assert [(each.payload, each.retain) for each in late.wait_for(1)] == [(b"last", True)]
        device.publish("retain/a", b"", retain=True)


def test_overlapping_subscriptions_each_get_the_message_once(lab: Lab, thing: NewThing) -> None:
    filters = ["overlap/a/b", "overlap/+/b", "overlap/a/#", "#"]
    with lab.connect(thing.name) as device:
        inboxes = [device.subscribe(topic_filter) for topic_filter in filters]
        beside = device.subscribe("overlap/b/#")
        device.publish("overlap/a/b", "one")
        device.publish("overlap/end", "two")
        inboxes[-1].wait_for(2)
        assert [inbox.topics.count("overlap/a/b") for inbox in inboxes] == [1, 1, 1, 1]
        assert [len(inbox) for inbox in (*inboxes[:3], beside)] == [1, 1, 1, 0]


def test_a_shared_subscription_has_an_inbox_too(lab: Lab, thing: NewThing) -> None:
    with lab.connect(thing.name) as device:
        inbox = device.subscribe("$share/group/shared/#")
        device.publish("shared/a", "x")
        assert [each.topic for each in inbox.wait_for(1, timeout=1)] == ["shared/a"]


def test_subscribing_again_gives_the_same_inbox(lab: Lab, thing: NewThing) -> None:
    with lab.connect(thing.name) as device:
        inbox = device.subscribe("again/a")
        assert device.subscribe("again/a") is inbox
        device.publish("again/a", "x")
        device.publish("again/a", "y")
        assert [each.payload for each in inbox.wait_for(2)] == [b"x", b"y"]


def test_a_callback_receives_the_messages_and_the_inbox_stays_empty(
    lab: Lab, thing: NewThing
) -> None:
    with lab.connect(thing.name) as device:
        taken = Inbox("taken")
        inbox = device.subscribe("call/a", callback=taken.put)
        device.publish("call/a", "x")
        assert [each.payload for each in taken.wait_for(1)] == [b"x"]
        assert len(inbox) == 0
        assert device.subscribe("call/a") is inbox
        device.publish("call/a", "y")
        assert [each.payload for each in inbox.wait_for(1)] == [b"y"]
        assert len(taken) == 1


def test_a_refused_second_subscription_leaves_the_first_inbox_alone(
    lab: Lab, new_thing: Callable[..., NewThing]
) -> None:
    new = new_thing()
    with lab.connect(new.name) as device:
        inbox = device.subscribe("twice/a")
        no_subscribe = [allow(["iot:Publish", "iot:Receive"], "*")]
        lab.client("iot").create_policy_version(
            policyName=new.policy,
            policyDocument=json.dumps({"Version": "2012-10-17", "Statement": no_subscribe}),
            setAsDefault=True,
        )
        with pytest.raises(RequestRefused):
            device.subscribe("twice/a")
        device.publish("twice/a", "x")
        inbox.wait_for(1)


def test_after_unsubscribing_the_inbox_keeps_what_it_has(lab: Lab, thing: NewThing) -> None:
    with lab.connect(thing.name) as device:
        gone, stays = device.subscribe("gone/a"), device.subscribe("gone/+")
        device.publish("gone/a", "before")
        gone.wait_for(1)
        device.unsubscribe("gone/a")
        device.publish("gone/a", "after")
        stays.wait_for(2)
        assert [each.payload for each in gone] == [b"before"]
        device.unsubscribe("never/subscribed")
        second = device.subscribe("gone/a")
        assert second is not gone
        device.publish("gone/a", "again")
        assert [each.payload for each in second.wait_for(1)] == [b"again"]


def test_messages_keep_their_order_from_one_device_to_another(
    lab: Lab, thing: NewThing, new_thing: NewThings
) -> None:
    with lab.connect(thing.name) as listener, lab.connect(new_thing().name) as speaker:
        inbox = listener.subscribe("order/a")
        for number in range(300):
            speaker.publish("order/a", str(number), qos=number % 2)
        got = [int(each.payload) for each in inbox.wait_for(300)]
    assert got == list(range(300))


def test_many_messages_can_be_in_flight(lab: Lab, thing: NewThing) -> None:
    with lab.connect(thing.name) as device:
        inbox = device.subscribe("soon/a")
        pending = [device.publish_soon("soon/a", {"number": number}) for number in range(250)]
        assert [each.result(10) for each in pending] == [None] * 250
        assert all(each.done() for each in pending)
        assert repr(pending[0]) == "Publishing to 'soon/a': done"
        assert [each.json["number"] for each in inbox.wait_for(250)] == list(range(250))
        device.publish_soon("soon/a", "x", qos=0).result()


def test_an_acknowledgment_that_does_not_arrive(home: Path) -> None:
    supervisor.start_or_attach(home, mqtt_port=0, https_port=0)
    lab = open_lab(home=home)
    with lab.connect(make_thing(lab).name) as device:
        supervisor.stop(home)
        pending = device.publish_soon("soon/a", "x")
        with pytest.raises(
            TimeoutError, match=r"Publishing to 'soon/a' timed out: no answer within 0\.01 s"
        ):
            pending.result(0.01)
        assert not pending.done()
        assert repr(pending) == "Publishing to 'soon/a': in progress"
        open_lab(home=home)
        pending.result()  # the SDK sends it once the cloud is back


# --- refusals -------------------------------------------------------------------------------------


def test_connecting_without_permission(lab: Lab, new_thing: NewThings) -> None:
    thing = new_thing([allow("iot:Publish", "*")])
    with pytest.raises(RequestRefused) as refusal:
        lab.connect(thing.name)
    assert refusal.value.reason_code == 135
    assert str(refusal.value) == (
        f"Connecting as '{thing.name}' failed: not authorized (reason code 135). "
        "lab.why() explains it."
    )


def test_connecting_with_an_invalid_client_id(lab: Lab, thing: NewThing) -> None:
    with pytest.raises(RequestRefused, match="client identifier not valid") as refusal:
        lab.connect(thing.name, client_id="$aws")
    assert refusal.value.reason_code == 133


@pytest.mark.parametrize("state", ["INACTIVE", "REVOKED", "deleted"])
def test_a_certificate_that_is_not_active_cannot_connect(
    lab: Lab, new_thing: NewThings, state: str
) -> None:
    thing, iot = new_thing(), lab.client("iot")
    status = "INACTIVE" if state == "deleted" else state
    iot.update_certificate(certificateId=thing.certificate_id, newStatus=status)
    if state == "deleted":
        iot.detach_thing_principal(thingName=thing.name, principal=thing.certificate_arn)
        iot.delete_certificate(certificateId=thing.certificate_id, forceDelete=True)
    with pytest.raises(RequestRefused, match="AWS_ERROR_MQTT_UNEXPECTED_HANGUP") as refusal:
        lab.connect(thing.name)
    assert refusal.value.reason_code is None


@pytest.mark.parametrize(
    ("topic", "code", "reason"),
    [
        ("private/a", 135, "not authorized"),
        ("$SYS/a", 144, "topic name invalid"),
        ("a/b/c/d/e/f/g/h/i", 144, "topic name invalid"),
    ],
)
def test_a_refused_publish_leaves_the_device_connected(
    lab: Lab, new_thing: NewThings, topic: str, code: int, reason: str
) -> None:
    thing = new_thing([CONNECT, allow("iot:Publish", "ARN:topic/a/*", "ARN:topic/$SYS/*")])
    with lab.connect(thing.name) as device:
        with pytest.raises(RequestRefused) as refusal:
            device.publish(topic, "x")
        soon = device.publish_soon(topic, "x")
        with pytest.raises(RequestRefused) as same:
            soon.result()
        device.publish("a/b", "x")
    assert (str(same.value), same.value.reason_code) == (str(refusal.value), code)
    assert refusal.value.reason_code == code
    assert str(refusal.value).startswith(
        f"Publishing to '{topic}' failed: {reason} (reason code {code})."
    )


@pytest.mark.parametrize(
    ("topic_filter", "code", "reason"),
    [("private/#", 135, "not authorized"), ("$SYS/#", 143, "topic filter invalid")],
)
def test_a_refused_subscription_leaves_the_device_connected(
    lab: Lab, new_thing: NewThings, topic_filter: str, code: int, reason: str
) -> None:
    allowed = allow("iot:Subscribe", "ARN:topicfilter/open/*", "ARN:topicfilter/$SYS/*")
    thing = new_thing([CONNECT, allowed, allow(["iot:Publish", "iot:Receive"], "*")])
    with lab.connect(thing.name) as device:
        with pytest.raises(RequestRefused) as refusal:
            device.subscribe(topic_filter)
        inbox = device.subscribe("open/#")
        device.publish("open/a", "x")
        inbox.wait_for(1)
    assert refusal.value.reason_code == code
    start = f"Subscribing to '{topic_filter}' failed: {reason} (reason code {code})."
    assert str(refusal.value).startswith(start)


def test_messages_without_permission_to_receive_do_not_arrive(
    lab: Lab, new_thing: NewThings
) -> None:
    receive = allow("iot:Receive", "ARN:topic/some/b")
    thing = new_thing([CONNECT, allow(["iot:Publish", "iot:Subscribe"], "*"), receive])
    with lab.connect(thing.name) as device:
        inbox = device.subscribe("some/+")
        device.publish("some/a", "x")
        device.publish("some/b", "x")
        assert [each.topic for each in inbox.wait_for(1)] == ["some/b"]
        assert "iot:Receive" in lab.why(thing.name).summary


def test_a_refused_publish_at_qos_0_ends_the_connection_and_the_sdk_reconnects(
    lab: Lab, new_thing: NewThings
) -> None:
    thing = new_thing([CONNECT, allow("iot:Publish", "ARN:topic/open/*")])
    last = int(lab.events().index[-1])
    with lab.connect(thing.name) as device:
        device.publish("private/a", "x", qos=0)
        device.publish("open/a", "x")
        events = lab.events(after=last)
    mine = events[events["client_id"] == thing.name]["kind"].tolist()
    assert mine == ["connect", "publish", "disconnect", "connect", "publish"]


def test_subscriptions_survive_a_lost_connection(
    lab: Lab, thing: NewThing, new_thing: NewThings
) -> None:
    everything = allow(["iot:Subscribe", "iot:Receive"], "*")
    limited = new_thing([CONNECT, allow("iot:Publish", "ARN:topic/open/*"), everything])
    with lab.connect(thing.name) as speaker, lab.connect(limited.name) as device:
        inbox = device.subscribe("outlive/a")
        device.publish("private/a", "x", qos=0)
        device.publish("open/a", "the connection is back")
        speaker.publish("outlive/a", "x")
        inbox.wait_for(1, timeout=2)


def test_the_connection_survives_a_payload_that_is_too_large(
    lab: Lab, thing: NewThing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("creeklab.client.device.RESPONSE_TIMEOUT", 3.0)
    with lab.connect(thing.name) as device:
        device.publish("large/a", b"x" * 131_072)
        with pytest.raises((RequestRefused, ValueError), match=r"131,072|too large"):
            device.publish("large/a", b"x" * 131_073)
        device.publish("large/a", "still here")


@pytest.mark.parametrize("topic", ["", "creek/#", "creek/\0"], ids=repr)
def test_a_topic_that_the_sdk_rejects_is_named(lab: Lab, thing: NewThing, topic: str) -> None:
    with lab.connect(thing.name) as device:
        with pytest.raises(
            (RequestRefused, ValueError), match=re.escape(f"Publishing to {topic!r}")
        ) as refusal:
            device.publish(topic, "x")
        assert "lab.why()" not in str(refusal.value)  # the cloud has not seen it


# --- the end --------------------------------------------------------------------------------------


def test_closing_ends_the_connection_once_and_for_all(lab: Lab, thing: NewThing) -> None:
    threads = set(threading.enumerate())
    last = int(lab.events().index[-1])
    device = lab.connect(thing.name)
    name = f"Device of Thing '{thing.name}', client ID '{thing.name}'"
    assert repr(device) == f"{name}, connected"
    device.subscribe("end/#")
    device.close()
    assert device._stopped.is_set()
    device.close()
    assert repr(device) == f"{name}, closed"
    assert set(threading.enumerate()) <= threads
    events = lab.events(after=last)
    end = events[(events["client_id"] == thing.name) & (events["kind"] == "disconnect")]
    assert end["why"].tolist() == ["client disconnected"]


@pytest.mark.parametrize(
    "use",
    [
        lambda device: device.publish("end/a", "x"),
        lambda device: device.publish_soon("end/a", "x"),
        lambda device: device.subscribe("end/a"),
        lambda device: device.unsubscribe("end/a"),
    ],
    ids=["publish", "publish soon", "subscribe", "unsubscribe"],
)
def test_a_closed_device_says_so(
    lab: Lab, thing: NewThing, use: Callable[[Device], object]
) -> None:
    device = lab.connect(thing.name)
    device.close()
    with pytest.raises(
        RuntimeError, match=r"'end/a' failed: this device is closed\. .*lab\.connect"
    ):
        use(device)


def test_an_exception_in_a_context_also_closes_the_connection(lab: Lab, thing: NewThing) -> None:
    with pytest.raises(KeyError), lab.connect(thing.name) as device:
        raise KeyError("in the cell")
    with pytest.raises(RuntimeError, match="closed"):
        device.publish("end/a", "x")


def test_a_refused_device_leaves_no_connection_behind(lab: Lab, new_thing: NewThings) -> None:
    thing = new_thing([allow("iot:Publish", "*")])
    last = int(lab.events().index[-1])
    with pytest.raises(RequestRefused):
        lab.connect(thing.name)
    # If it were still trying, it would now be able to connect.
    lab.client("iot").attach_policy(policyName=new_thing().policy, target=thing.certificate_arn)
    with lab.connect(thing.name, client_id=f"{thing.name}-b") as device:
        silence = device.subscribe("refused/a")
        with pytest.raises(TimeoutError):
            silence.wait_for(1, timeout=1.5)
    events = lab.events(after=last)
    tries = events[(events["client_id"] == thing.name) & (events["kind"] == "connect")]
    assert len(tries) == 1


@pytest.mark.parametrize("topic", ["creek/#", "creek/+/depth", "#", ""])
def test_an_invalid_topic_is_explained(lab: Lab, topic: str) -> None:
    with lab.connect_account() as device:
        with pytest.raises(
            ValueError, match=re.escape(f"Publishing to {topic!r} failed: {topic_fault(topic)}")
        ):
            device.publish(topic, "x")
        device.publish("creek/depth", "x")


def test_an_invalid_topic_filter_is_explained(lab: Lab) -> None:
    with lab.connect_account() as device:
        with pytest.raises(
            ValueError, match="to 'creek/#/depth' failed: '#' must be the whole last level"
        ):
            device.subscribe("creek/#/depth")
        assert len(device.subscribe("creek/#")) == 0


def test_a_second_device_with_the_same_client_id_gives_a_warning(
    lab: Lab, new_thing: NewThings
) -> None:
    thing = new_thing()
    with lab.connect(thing.name):
        again = open_lab(home=lab.home)  # as a notebook does whose cells are run once more
        with pytest.warns(
            UserWarning, match=f"connected with the client ID '{thing.name}'"
        ) as warned:
            second = again.connect(thing.name)
        assert warned[0].filename == __file__
        lab.connect(thing.name, client_id=f"{thing.name}-b").close()
    second.close()
    lab.connect(thing.name).close()  # a closed device gives no warning


# --- the cloud goes and comes back ----------------------------------------------------------------


def test_a_cloud_that_stops_and_starts_again(home: Path) -> None:
    # Use a free port: another cloud might take the usual one as soon as this one stops.
    supervisor.start_or_attach(home, mqtt_port=0, https_port=0)
    lab = open_lab(home=home)
    thing = make_thing(lab)
    with lab.connect(thing.name) as device:
        supervisor.stop(home)
        with pytest.raises(RequestRefused, match="as 'another' failed: socket connection refused"):
            lab.connect(thing.name, client_id="another")

        again = open_lab(home=home)
        assert again.mqtt_port == lab.mqtt_port
        device.publish("creek/depth", {"depth": 1.4})
        device.subscribe("creek/#")
        supervisor.stop(home)
    assert "closed" in repr(device)  # even when no cloud is there to disconnect from


def test_connecting_to_a_stopped_cloud_says_how_to_open_it(home: Path) -> None:
    lab = open_lab(home=home)
    thing = make_thing(lab)
    supervisor.stop(home)
    with pytest.raises((RequestRefused, ConnectionError)) as refusal:
        lab.connect(thing.name)
    assert "lab.why()" not in str(refusal.value)
    assert "open_lab" in str(refusal.value)


def test_requests_to_a_stopped_cloud_say_how_to_open_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creeklab.client.device_shadow, "RESPONSE_TIMEOUT", 3)
    supervisor.start_or_attach(home, mqtt_port=0, https_port=0)
    lab = open_lab(home=home)
    with lab.connect(make_thing(lab).name) as device:
        assert device.shadow is not None
        supervisor.stop(home)
        text = ""
        end = time.monotonic() + 30
        while "not running" not in text and time.monotonic() < end:
            with pytest.raises(TimeoutError) as timeout:
                device.publish_soon("creek/depth", "x").result(0.5)
            text = str(timeout.value)
        again = "Open the lab again with creeklab.open_lab() and connect from it."
        assert text.endswith(f"within 0.5 s. The cloud is not running. {again}")
        with pytest.raises(RequestRefused, match=re.escape(again)):
            device.publish("creek/depth", "x", qos=0)
        with pytest.raises(TimeoutError, match=re.escape(again)):
            device.shadow.get()


# --- the shadow -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, "settings"])
def test_a_shadow_from_the_first_update_to_its_end(
    lab: Lab, new_thing: NewThings, name: str | None
) -> None:
    with lab.connect(new_thing().name) as device:
        shadow = device.shadow
        assert device.shadow is shadow
        before = int(time.time())
        accepted = shadow.update(reported={"depth": 1.4, "lamp": "off"}, name=name)
        now = accepted["timestamp"]
        assert before <= now <= time.time()
        assert accepted == {
            "state": {"reported": {"depth": 1.4, "lamp": "off"}},
            "metadata": {"reported": {"depth": {"timestamp": now}, "lamp": {"timestamp": now}}},
            "version": 1,
            "timestamp": now,
        }
        shadow.update(desired={"lamp": "on"}, reported={"depth": None}, version=1, name=name)
        document = shadow.get(name=name)
        assert document["version"] == 2
        assert document["state"] == {
            "desired": {"lamp": "on"},
            "reported": {"lamp": "off"},
            "delta": {"lamp": "on"},
        }
        assert document["metadata"].keys() == {"desired", "reported"}
        deleted = shadow.delete(name=name)
        assert deleted == {"version": 2, "timestamp": deleted["timestamp"]}
        with pytest.raises(ShadowRejected, match="404 No shadow exists with name"):
            shadow.get(name=name)


def test_classic_and_named_shadows_are_separate(lab: Lab, new_thing: NewThings) -> None:
    with lab.connect(new_thing().name) as device:
        for number, name in enumerate((None, "one", "two")):
            device.shadow.update(reported={"number": number}, name=name)
        reported = [device.shadow.get(name)["state"]["reported"] for name in (None, "one", "two")]
        assert reported == [{"number": 0}, {"number": 1}, {"number": 2}]
        device.shadow.delete("one")
        assert device.shadow.get()["version"] == 1


@pytest.mark.parametrize(
    ("code", "text", "use"),
    [
        (404, "No shadow exists with name: 'NAME'", lambda shadow: shadow.delete()),
        (404, "No shadow exists with name: 'one'", lambda shadow: shadow.get("one")),
        (409, "Version conflict", lambda shadow: shadow.update(reported={"a": 1}, version=7)),
        (400, "levels of nesting", lambda shadow: shadow.update(reported=nested(7))),
        (413, "maximum size", lambda shadow: shadow.update(desired={"a": "x" * 9000})),
    ],
    ids=lambda value: value if isinstance(value, int) else "",
)
def test_rejected_requests(
    lab: Lab, new_thing: NewThings, code: int, text: str, use: Callable[[Any], object]
) -> None:
    with lab.connect(new_thing().name) as device:
        if code == 409:
            device.shadow.update(reported={"a": 0})
        with pytest.raises(ShadowRejected, match=text.replace("NAME", device.thing)) as rejection:
            use(device.shadow)
    assert rejection.value.code == code
    assert str(rejection.value).startswith(f"{code} ")


def nested(levels: int) -> dict[str, Any]:
    return {"a": nested(levels - 1)} if levels > 1 else {"a": 1}


SHADOW_TOPIC, SHADOW_FILTER = "ARN:topic/$aws/things/*", "ARN:topicfilter/$aws/things/*"


@pytest.mark.parametrize(
    "rights",
    [
        [allow(["iot:Publish", "iot:Receive"], SHADOW_TOPIC)],
        [allow("iot:Subscribe", SHADOW_FILTER), allow("iot:Receive", SHADOW_TOPIC)],
        [allow("iot:Subscribe", SHADOW_FILTER), allow("iot:Publish", SHADOW_TOPIC)],
    ],
    ids=["no Subscribe", "no Publish", "no Receive"],
)
def test_a_policy_that_does_not_allow_the_response(
    lab: Lab, new_thing: NewThings, rights: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creeklab.client.device_shadow, "RESPONSE_TIMEOUT", 1)
    with (
        lab.connect(new_thing([CONNECT, *rights]).name) as device,
        pytest.raises(TimeoutError) as timeout,
    ):
        device.shadow.update(reported={"depth": 1.4})
    text = str(timeout.value)
    assert text.startswith("Updating the shadow timed out: no answer (AWS_ERROR_MQTT_REQUEST_RESPO")
    assert "Check that the policy allows publishing the request" in text
    assert "lab.why()" in text


def test_the_shadow_of_a_closed_device_says_so(lab: Lab, thing: NewThing) -> None:
    with lab.connect(thing.name) as device:
        shadow = device.shadow
    for use in (shadow.get, shadow.update, shadow.delete):
        with pytest.raises(RuntimeError, match="This device is closed"):
            use()


def test_the_shadow_of_a_closed_device_cannot_be_created(
    lab: Lab, thing: NewThing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creeklab.client.device_shadow, "RESPONSE_TIMEOUT", 1)
    device = lab.connect(thing.name)
    device.close()
    with pytest.raises(RuntimeError, match="This device is closed"):
        device.shadow.get()


# --- for the tools in the notebook ----------------------------------------------------------------


def test_user_properties_are_sent_with_a_message(lab: Lab, thing: NewThing) -> None:
    with lab.connect(thing.name, client_id="properties") as device:
        inbox = device.subscribe("properties/#")
        pairs = [("a", "1"), ("ü", "2"), ("a", "3")]
        device.publish("properties/many", "x", user_properties=pairs)
        device.publish("properties/one", "x", user_properties={"b": "4"})
        device.publish("properties/none", "x")
        found = {each.topic: each.user_properties for each in inbox.wait_for(3)}
    assert found == {
        "properties/many": tuple(pairs),
        "properties/one": (("b", "4"),),
        "properties/none": (),
    }


def test_on_connection_is_called_for_each_change(lab: Lab, thing: NewThing) -> None:
    calls: list[tuple[bool, str]] = []
    back = threading.Event()
    with lab.connect(thing.name, client_id="lost") as device:

        def listen(change: ConnectionChange) -> None:
            calls.append((change.connected, change.reason))
            if change.connected:
                back.set()

        device.on_connection = listen
        device.publish("$secret/a", "x", qos=0)  # AWS closes the connection for it
        assert back.wait(20)
    assert [connected for connected, _ in calls] == [False, True, False]
    assert calls[0][1]


# awscrt can only print an exception from a callback.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_failing_callback_does_not_stop_the_others(lab: Lab, thing: NewThing) -> None:
    called = threading.Event()

    def fails(_: ReceivedMessage) -> None:
        called.set()
        raise RuntimeError("This one is broken.")

    with lab.connect(thing.name, client_id="guarded") as device:
        device.subscribe("guarded/#", callback=fails)
        inbox = device.subscribe("guarded/a")
        device.publish("guarded/a", "x")
        assert [each.payload for each in inbox.wait_for(1, timeout=15)] == [b"x"]
    assert called.is_set()


def test_aws_does_not_support_qos_2(lab: Lab, new_thing: NewThing) -> None:
    with (
        lab.connect(new_thing().name) as device,
        pytest.raises(ValueError, match="supports QoS 0 and 1, not 2"),
    ):
        device.publish("creek/depth", {}, qos=2)
