"""A device: one connection as one Thing, its inboxes, its refusals, its end, and its shadow."""

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
from creeklab.client.device import RESPONSE_TIMEOUT, Device, RequestRefused
from creeklab.client.device_shadow import ShadowRejected
from creeklab.client.inbox import Inbox, ReceivedMessage
from creeklab.client.topics import topic_fault
from creeklab.cloud import supervisor
from creeklab.lab.lab import Lab, open_lab
from tests.conftest import NewThing, make_thing

NewThings = Callable[..., NewThing]


def message(topic: str, payload: bytes = b"") -> ReceivedMessage:
    return ReceivedMessage(topic, payload, 1, False)


def allow(action: str | list[str], *resources: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": list(resources)}


CONNECT = allow("iot:Connect", "*")


# --- the inbox by itself --------------------------------------------------------------------------


def test_an_inbox_keeps_what_came_in_order() -> None:
    inbox = Inbox("creek/#")
    assert (len(inbox), list(inbox), inbox.wait_for(0)) == (0, [], [])
    for topic in ("creek/a", "creek/b", "creek/a"):
        inbox.put(message(topic))
    assert inbox.topics == [each.topic for each in inbox] == ["creek/a", "creek/b", "creek/a"]
    assert inbox[-1] == inbox.messages[2]
    assert inbox.wait_for(2) == inbox.messages  # all of them, also those beyond the count
    inbox.clear()
    assert len(inbox) == 0
    inbox.put(message("creek/c"))
    assert inbox.topics == ["creek/c"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 messages"), (1, "1 message"), (2, "2 messages")],
)
def test_an_inbox_says_how_many_it_has(count: int, text: str) -> None:
    inbox = Inbox("creek/#")
    for _ in range(count):
        inbox.put(message("creek/a"))
    assert repr(inbox) == f"Inbox of 'creek/#': {text}"


def test_waiting_is_bounded_and_says_what_is_missing() -> None:
    inbox = Inbox("creek/#")
    inbox.put(message("creek/a"))
    began = time.monotonic()
    said = r"^1 of 2 messages came to 'creek/#' within 0\.2 s\. lab\.why\(\) may know\.$"
    with pytest.raises(TimeoutError, match=said):
        inbox.wait_for(2, timeout=0.2)
    assert 0.2 <= time.monotonic() - began < 2.0


def test_waiting_ends_with_the_message_that_was_awaited() -> None:
    inbox = Inbox("creek/#")
    threading.Timer(0.05, inbox.put, [message("creek/a")]).start()
    began = time.monotonic()
    assert [each.topic for each in inbox.wait_for(1, timeout=30)] == ["creek/a"]
    assert time.monotonic() - began < 10


def test_an_inbox_may_be_read_while_messages_arrive() -> None:
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
    """A Thing that may do everything."""
    return make_thing(session_lab)


def test_every_kind_of_payload_arrives_as_it_is(lab: Lab, thing: NewThing) -> None:
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
def test_what_is_not_json_is_not_sent(lab: Lab, thing: NewThing, payload: Any) -> None:
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


def test_a_retained_message_waits_for_who_comes_later(lab: Lab, thing: NewThing) -> None:
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


def test_a_callback_gets_the_messages_and_the_inbox_stays_empty(lab: Lab, thing: NewThing) -> None:
    with lab.connect(thing.name) as device:
        taken = Inbox("taken")
        inbox = device.subscribe("call/a", call=taken.put)
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
        no_more = [allow(["iot:Publish", "iot:Receive"], "*")]
        lab.client("iot").create_policy_version(
            policyName=new.policy,
            policyDocument=json.dumps({"Version": "2012-10-17", "Statement": no_more}),
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
        anew = device.subscribe("gone/a")
        assert anew is not gone
        device.publish("gone/a", "anew")
        assert [each.payload for each in anew.wait_for(1)] == [b"anew"]


def test_messages_keep_their_order_from_one_device_to_another(
    lab: Lab, thing: NewThing, new_thing: NewThings
) -> None:
    with lab.connect(thing.name) as listener, lab.connect(new_thing().name) as speaker:
        inbox = listener.subscribe("order/a")
        for number in range(300):
            speaker.publish("order/a", str(number), qos=number % 2)
        got = [int(each.payload) for each in inbox.wait_for(300)]
    assert got == list(range(300))


def test_many_publishes_may_be_under_way_at_once(lab: Lab, thing: NewThing) -> None:
    with lab.connect(thing.name) as device:
        inbox = device.subscribe("soon/a")
        under_way = [device.publish_soon("soon/a", {"number": number}) for number in range(250)]
        assert [each.result(10) for each in under_way] == [None] * 250
        assert all(each.done() for each in under_way)
        assert repr(under_way[0]) == "Publishing to 'soon/a': done"
        assert [each.json["number"] for each in inbox.wait_for(250)] == list(range(250))
        device.publish_soon("soon/a", "x", qos=0).result()


def test_an_acknowledgement_that_does_not_come(home: Path) -> None:
    supervisor.start_or_attach(home, mqtt_port=0, https_port=0)
    lab = open_lab(home=home)
    with lab.connect(make_thing(lab).name) as device:
        supervisor.stop(home)
        publishing = device.publish_soon("soon/a", "x")
        with pytest.raises(
            TimeoutError, match=r"Publishing to 'soon/a': no answer came within 0 s"
        ):
            publishing.result(0.01)
        assert not publishing.done()
        assert repr(publishing) == "Publishing to 'soon/a': under way"
        open_lab(home=home)
        publishing.result()  # the SDK sends it as soon as somebody is there


# --- refusals -------------------------------------------------------------------------------------


def test_connecting_without_permission(lab: Lab, new_thing: NewThings) -> None:
    thing = new_thing([allow("iot:Publish", "*")])
    with pytest.raises(RequestRefused) as refusal:
        lab.connect(thing.name)
    assert refusal.value.reason_code == 135
    assert str(refusal.value) == (
        f"Connecting as '{thing.name}': not authorized (reason code 135). lab.why() says why."
    )


def test_connecting_under_a_client_id_that_aws_does_not_take(lab: Lab, thing: NewThing) -> None:
    with pytest.raises(RequestRefused, match="client identifier not valid") as refusal:
        lab.connect(thing.name, client_id="$aws")
    assert refusal.value.reason_code == 133


@pytest.mark.parametrize("state", ["INACTIVE", "REVOKED", "deleted"])
def test_a_certificate_that_is_not_active_is_hung_up_on(
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
    ("topic", "code", "words"),
    [
        ("private/a", 135, "not authorized"),
        ("$SYS/a", 144, "topic name invalid"),
        ("a/b/c/d/e/f/g/h/i", 144, "topic name invalid"),
    ],
)
def test_a_refused_publish_leaves_the_device_connected(
    lab: Lab, new_thing: NewThings, topic: str, code: int, words: str
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
    assert str(refusal.value).startswith(f"Publishing to '{topic}': {words} (reason code {code}).")


@pytest.mark.parametrize(
    ("topic_filter", "code", "words"),
    [("private/#", 135, "not authorized"), ("$SYS/#", 143, "topic filter invalid")],
)
def test_a_refused_subscription_leaves_the_device_connected(
    lab: Lab, new_thing: NewThings, topic_filter: str, code: int, words: str
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
    start = f"Subscribing to '{topic_filter}': {words} (reason code {code})."
    assert str(refusal.value).startswith(start)


def test_what_may_not_be_received_does_not_arrive(lab: Lab, new_thing: NewThings) -> None:
    receive = allow("iot:Receive", "ARN:topic/some/b")
    thing = new_thing([CONNECT, allow(["iot:Publish", "iot:Subscribe"], "*"), receive])
    with lab.connect(thing.name) as device:
        inbox = device.subscribe("some/+")
        device.publish("some/a", "x")
        device.publish("some/b", "x")
        assert [each.topic for each in inbox.wait_for(1)] == ["some/b"]
        assert "iot:Receive" in lab.why(thing.name).summary


def test_a_refused_publish_at_qos_0_cuts_the_connection_and_the_sdk_mends_it(
    lab: Lab, new_thing: NewThings
) -> None:
    thing = new_thing([CONNECT, allow("iot:Publish", "ARN:topic/open/*")])
    last = int(lab.events().index[-1])
    with lab.connect(thing.name) as device:
        device.publish("private/a", "x", qos=0)
        device.publish("open/a", "x")
        tape = lab.events(after=last)
    mine = tape[tape["client_id"] == thing.name]["kind"].tolist()
    assert mine == ["connect", "publish", "disconnect", "connect", "publish"]


def test_subscriptions_outlive_a_connection_that_was_cut(
    lab: Lab, thing: NewThing, new_thing: NewThings
) -> None:
    everything = allow(["iot:Subscribe", "iot:Receive"], "*")
    cut = new_thing([CONNECT, allow("iot:Publish", "ARN:topic/open/*"), everything])
    with lab.connect(thing.name) as speaker, lab.connect(cut.name) as device:
        inbox = device.subscribe("outlive/a")
        device.publish("private/a", "x", qos=0)
        device.publish("open/a", "the connection is back")
        speaker.publish("outlive/a", "x")
        inbox.wait_for(1, timeout=2)


def test_a_payload_that_is_too_large_spoils_nothing(
    lab: Lab, thing: NewThing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("creeklab.client.device.RESPONSE_TIMEOUT", 3.0)
    with lab.connect(thing.name) as device:
        device.publish("large/a", b"x" * 131_072)
        with pytest.raises((RequestRefused, ValueError), match=r"131072|too large"):
            device.publish("large/a", b"x" * 131_073)
        device.publish("large/a", "still here")


@pytest.mark.parametrize("topic", ["", "creek/#", "creek/\0"], ids=repr)
def test_a_topic_that_the_sdk_does_not_take_is_named(lab: Lab, thing: NewThing, topic: str) -> None:
    with lab.connect(thing.name) as device:
        with pytest.raises(
            (RequestRefused, ValueError), match=re.escape(f"Publishing to {topic!r}")
        ) as refusal:
            device.publish(topic, "x")
        assert "lab.why()" not in str(refusal.value)  # the cloud never heard of it


# --- the end --------------------------------------------------------------------------------------


def test_closing_ends_the_connection_once_and_for_all(lab: Lab, thing: NewThing) -> None:
    threads = set(threading.enumerate())
    last = int(lab.events().index[-1])
    device = lab.connect(thing.name)
    name = f"Device of Thing '{thing.name}', client id '{thing.name}'"
    assert repr(device) == f"{name}, connected"
    device.subscribe("end/#")
    device.close()
    assert device._stopped.is_set()
    device.close()
    assert repr(device) == f"{name}, closed"
    assert set(threading.enumerate()) <= threads
    tape = lab.events(after=last)
    end = tape[(tape["client_id"] == thing.name) & (tape["kind"] == "disconnect")]
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
    with pytest.raises(RuntimeError, match=r"'end/a': this device is closed\. .*lab\.connect"):
        use(device)


def test_a_context_ends_with_the_connection_also_after_an_exception(
    lab: Lab, thing: NewThing
) -> None:
    with pytest.raises(KeyError), lab.connect(thing.name) as device:
        raise KeyError("in the cell")
    with pytest.raises(RuntimeError, match="closed"):
        device.publish("end/a", "x")


def test_a_device_that_was_refused_leaves_no_connection_behind(
    lab: Lab, new_thing: NewThings
) -> None:
    thing = new_thing([allow("iot:Publish", "*")])
    last = int(lab.events().index[-1])
    with pytest.raises(RequestRefused):
        lab.connect(thing.name)
    # If it went on trying, it would be let in from now on.
    lab.client("iot").attach_policy(policyName=new_thing().policy, target=thing.certificate_arn)
    with lab.connect(thing.name, client_id=f"{thing.name}-b") as device:
        silence = device.subscribe("refused/a")
        with pytest.raises(TimeoutError):
            silence.wait_for(1, timeout=1.5)
    tape = lab.events(after=last)
    tries = tape[(tape["client_id"] == thing.name) & (tape["kind"] == "connect")]
    assert len(tries) == 1


@pytest.mark.parametrize("topic", ["creek/#", "creek/+/depth", "#", ""])
def test_what_no_client_may_publish_to_is_said_in_words(lab: Lab, topic: str) -> None:
    with lab.connect_account() as device:
        with pytest.raises(
            ValueError, match=re.escape(f"Publishing to {topic!r}: {topic_fault(topic)}")
        ):
            device.publish(topic, "x")
        device.publish("creek/depth", "x")


def test_what_no_client_may_subscribe_to_is_said_in_words(lab: Lab) -> None:
    with lab.connect_account() as device:
        with pytest.raises(
            ValueError, match="to 'creek/#/depth': '#' stands by itself and at the end"
        ):
            device.subscribe("creek/#/depth")
        assert len(device.subscribe("creek/#")) == 0


def test_a_second_device_of_one_client_id_is_warned_of(lab: Lab, new_thing: NewThings) -> None:
    thing = new_thing()
    with lab.connect(thing.name):
        again = open_lab(home=lab.home)  # as a notebook does whose cells are run once more
        with pytest.warns(UserWarning, match=f"client id '{thing.name}' here already") as warned:
            second = again.connect(thing.name)
        assert warned[0].filename == __file__
        lab.connect(thing.name, client_id=f"{thing.name}-b").close()
    second.close()
    lab.connect(thing.name).close()  # of what is closed nobody is warned


# --- the cloud goes and comes back ----------------------------------------------------------------


def test_a_cloud_that_stops_and_starts_again(home: Path) -> None:
    # Not on the usual port, which another cloud may take as soon as this one stops.
    supervisor.start_or_attach(home, mqtt_port=0, https_port=0)
    lab = open_lab(home=home)
    thing = make_thing(lab)
    with lab.connect(thing.name) as device:
        supervisor.stop(home)
        began = time.monotonic()
        with pytest.raises(RequestRefused, match="Connecting as 'another': socket connection ref"):
            lab.connect(thing.name, client_id="another")
        assert time.monotonic() - began < 20

        again = open_lab(home=home)
        assert again.mqtt_port == lab.mqtt_port
        began = time.monotonic()
        device.publish("creek/depth", {"depth": 1.4})
        assert time.monotonic() - began < RESPONSE_TIMEOUT
        device.subscribe("creek/#")
        supervisor.stop(home)
    assert "closed" in repr(device)  # also when nobody is there to take leave of


def test_a_cloud_that_is_not_there_is_called_so(home: Path) -> None:
    lab = open_lab(home=home)
    thing = make_thing(lab)
    supervisor.stop(home)
    with pytest.raises((RequestRefused, ConnectionError)) as refusal:
        lab.connect(thing.name)
    assert "lab.why()" not in str(refusal.value)
    assert "open_lab" in str(refusal.value)


def test_what_is_asked_of_a_cloud_that_is_gone_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creeklab.client.device_shadow, "RESPONSE_TIMEOUT", 3)
    supervisor.start_or_attach(home, mqtt_port=0, https_port=0)
    lab = open_lab(home=home)
    with lab.connect(make_thing(lab).name) as device:
        assert device.shadow is not None
        supervisor.stop(home)
        said = ""
        end = time.monotonic() + 30
        while "Nobody listens" not in said and time.monotonic() < end:
            with pytest.raises(TimeoutError) as silence:
                device.publish_soon("creek/depth", "x").result(0.5)
            said = str(silence.value)
        again = "open the lab again with creeklab.open_lab(), and connect anew from it."
        assert said.endswith(f"within 0 s. Nobody listens there: {again}")
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
        accepted = shadow.update(reported={"depth": 1.4, "lamp": "off"}, name=name)
        now = accepted["timestamp"]
        assert abs(now - time.time()) < 60
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


def test_classic_and_named_shadows_are_apart(lab: Lab, new_thing: NewThings) -> None:
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
def test_what_the_service_rejects(
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
def test_a_policy_that_forbids_the_answer(
    lab: Lab, new_thing: NewThings, rights: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creeklab.client.device_shadow, "RESPONSE_TIMEOUT", 1)
    with lab.connect(new_thing([CONNECT, *rights]).name) as device:
        began = time.monotonic()
        with pytest.raises(TimeoutError) as silence:
            device.shadow.update(reported={"depth": 1.4})
        assert time.monotonic() - began < 5
    text = str(silence.value)
    assert text.startswith("Updating the shadow: no answer came (AWS_ERROR_MQTT_REQUEST_RESPONSE_")
    assert "Does the policy allow to publish the request" in text
    assert "lab.why()" in text


def test_the_shadow_of_a_closed_device_says_so(lab: Lab, thing: NewThing) -> None:
    with lab.connect(thing.name) as device:
        shadow = device.shadow
    for use in (shadow.get, shadow.update, shadow.delete):
        with pytest.raises(RuntimeError, match="This device is closed"):
            use()


def test_the_shadow_of_a_closed_device_is_closed_from_the_beginning(
    lab: Lab, thing: NewThing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creeklab.client.device_shadow, "RESPONSE_TIMEOUT", 1)
    device = lab.connect(thing.name)
    device.close()
    with pytest.raises(RuntimeError, match="This device is closed"):
        device.shadow.get()


# --- what the tools in the notebook need ----------------------------------------------------------


def test_user_properties_go_with_a_message(lab: Lab, thing: NewThing) -> None:
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


def test_a_lost_connection_is_told_and_so_is_the_next(lab: Lab, thing: NewThing) -> None:
    told: list[tuple[bool, str]] = []
    back = threading.Event()
    with lab.connect(thing.name, client_id="lost") as device:

        def listen(connected: bool, words: str) -> None:
            told.append((connected, words))
            if connected:
                back.set()

        device.on_connection = listen
        device.publish("$secret/a", "x", qos=0)  # AWS closes the connection for it
        assert back.wait(20)
    assert [connected for connected, _ in told] == [False, True]
    assert told[0][1]


# What a callback raises, awscrt can only print.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_callback_that_fails_keeps_no_message_from_the_others(lab: Lab, thing: NewThing) -> None:
    told = threading.Event()

    def fails(_: ReceivedMessage) -> None:
        told.set()
        raise RuntimeError("This one is broken.")

    with lab.connect(thing.name, client_id="guarded") as device:
        device.subscribe("guarded/#", call=fails)
        inbox = device.subscribe("guarded/a")
        device.publish("guarded/a", "x")
        assert [each.payload for each in inbox.wait_for(1, timeout=15)] == [b"x"]
    assert told.is_set()


def test_aws_has_no_qos_2(lab: Lab, new_thing: NewThing) -> None:
    with (
        lab.connect(new_thing().name) as device,
        pytest.raises(ValueError, match="QoS 0 and 1, and no other"),
    ):
        device.publish("creek/depth", {}, qos=2)
