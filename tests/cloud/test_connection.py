"""Conversations between clients and the broker, packet by packet, without a socket or a clock.

Each row is a rule of AWS IoT Core: what the broker answers in MQTT 3.1.1 and in MQTT 5, and whether
it hangs up.
"""

import json
from typing import Any

import pytest

from creeklab.cloud.mqtt.codec import packets
from creeklab.cloud.mqtt.codec.packets import (
    Connack,
    Disconnect,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
)
from creeklab.cloud.mqtt.codec.wire import Reason
from creeklab.cloud.mqtt.lifecycle.disconnect_reasons import DisconnectReason
from tests.cloud.broker_fixture import BrokerFixture, Client, FakeAuthorization, connect, subscribe

VERSIONS = pytest.mark.parametrize("version", [4, 5])


@pytest.fixture
def fixture() -> BrokerFixture:
    return BrokerFixture()


# --- connect --------------------------------------------------------------------------------------


def test_connack_of_mqtt_5_announces_what_aws_announces(fixture: BrokerFixture) -> None:
    [connack] = fixture.client(5).send(
        connect("a", 5, keep_alive=1000, session_expiry_interval=600)
    )
    assert connack == Connack(
        False,
        0,
        {
            "receive_maximum": 100,
            "maximum_qos": 1,
            "retain_available": 1,
            "maximum_packet_size": 149504,
            "topic_alias_maximum": 8,
            "wildcard_subscription_available": 1,
            "subscription_identifier_available": 0,
            "shared_subscription_available": 1,
            "server_keep_alive": 1000,
            "session_expiry_interval": 600,
        },
    )


def test_connack_of_mqtt_311_has_no_properties(fixture: BrokerFixture) -> None:
    assert fixture.client(4).send(connect("a", 4)) == [Connack(False, 0, {})]


@pytest.mark.parametrize(("asked", "given"), [(0, 1200), (65535, 1200), (5, 30), (30, 30)])
def test_keep_alive_is_clamped(fixture: BrokerFixture, asked: int, given: int) -> None:
    [connack] = fixture.client(5).send(connect("a", 5, keep_alive=asked))
    assert connack.properties["server_keep_alive"] == given


def test_session_expiry_is_clamped_to_the_hour(fixture: BrokerFixture) -> None:
    [connack] = fixture.client(5).send(connect("a", 5, session_expiry_interval=0xFFFFFFFF))
    assert connack.properties["session_expiry_interval"] == 3600


def test_an_empty_client_id_gets_one_assigned(fixture: BrokerFixture) -> None:
    [connack] = fixture.client(5).send(connect("", 5))
    assert len(connack.properties["assigned_client_identifier"]) == 36
    assert fixture.client(4).send(connect("", 4))[0].reason_code == 0
    refused = fixture.client(4)
    assert refused.send(connect("", 4, clean=False)) == [Connack(False, 2, {})]
    assert refused.closed


@VERSIONS
def test_connect_denied(fixture: BrokerFixture, version: int) -> None:
    fixture.authorization.denied.add(("iot:Connect", "client/a"))
    client = fixture.client(version)
    answer = client.send(connect("a", version))
    assert answer == ([] if version == 4 else [Connack(False, Reason.NOT_AUTHORIZED, {})])
    assert client.closed
    assert fixture.refusal == "iot:Connect on client/a is not allowed"


def test_connect_denied_may_be_told_in_mqtt_311() -> None:
    fixture = BrokerFixture(connect_denied_311="connack5")
    fixture.authorization.denied.add(("iot:Connect", "client/a"))
    assert fixture.client(4).send(connect("a", 4)) == [Connack(False, 5, {})]


@VERSIONS
@pytest.mark.parametrize("status", [None, "INACTIVE", "REVOKED"])
def test_a_certificate_that_is_not_active_is_dropped_before_any_connack(
    fixture: BrokerFixture, version: int, status: str | None
) -> None:
    fixture.authorization.status = status
    client = fixture.client(version)
    assert client.send(connect("a", version)) == []
    assert client.closed
    assert (status or "not in this account's registry") in fixture.refusal


@VERSIONS
@pytest.mark.parametrize("client_id", ["$a", "x" * 129])
def test_client_ids_that_aws_rejects(fixture: BrokerFixture, version: int, client_id: str) -> None:
    client = fixture.client(version)
    answer = client.send(connect(client_id, version))
    code = Reason.CLIENT_IDENTIFIER_NOT_VALID
    assert answer == ([] if version == 4 else [Connack(False, code, {})])
    assert client.closed


def test_a_will_that_is_not_allowed_rejects_the_connection(fixture: BrokerFixture) -> None:
    fixture.authorization.denied.add(("iot:Publish", "topic/gone"))
    will = Will("gone", b"", 0, False, {})
    [connack] = fixture.client(5).send(connect("a", 5, will=will))
    assert connack.reason_code == Reason.NOT_AUTHORIZED


@VERSIONS
def test_policies_see_the_connect_attributes(fixture: BrokerFixture, version: int) -> None:
    will = Will("gone", b"", 0, False, {})
    fixture.connected("a", version)
    fixture.connected("b", version, clean=False, session_expiry_interval=60, will=will)
    assert fixture.attributes == [(), ("PersistentConnect", "LastWill")]
    assert fixture.will_topics == [None, "gone"]


@VERSIONS
def test_the_newer_connection_of_a_client_id_wins(fixture: BrokerFixture, version: int) -> None:
    old = fixture.connected("a", version)
    new = fixture.connected("a", version)
    assert old.receive() == ([] if version == 4 else [Disconnect(Reason.SESSION_TAKEN_OVER, {})])
    assert old.closed
    old.connection.connection_lost("its socket closes a moment later")
    assert new.send(Pingreq()) == [Pingresp()]
    assert "its own client ID" in fixture.refusal


@VERSIONS
def test_a_second_connect_ends_the_connection(fixture: BrokerFixture, version: int) -> None:
    client = fixture.connected("a", version)
    client.send(connect("a", version))
    assert client.closed


# --- publish --------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize("qos", [0, 1])
def test_a_message_reaches_its_subscribers(fixture: BrokerFixture, version: int, qos: int) -> None:
    sender, other = fixture.connected("a", version), fixture.connected("b", version)
    assert other.send(subscribe("creek/+")) == [Suback(7, [1], {})]
    answer = sender.send(Publish("creek/depth", b"1.4", qos, packet_id=5 if qos else 0))
    assert answer == ([Puback(5, 0, {})] if qos else [])
    [message] = other.receive()
    assert message == Publish("creek/depth", b"1.4", qos, packet_id=qos, properties={})


@VERSIONS
def test_publish_denied_at_qos_1(fixture: BrokerFixture, version: int) -> None:
    fixture.authorization.denied.add(("iot:Publish", "topic/secret"))
    client = fixture.connected("a", version)
    answer = client.send(Publish("secret", b"", 1, packet_id=5))
    assert answer == ([] if version == 4 else [Puback(5, Reason.NOT_AUTHORIZED, {})])
    assert client.closed is (version == 4)


@VERSIONS
def test_publish_denied_at_qos_0(fixture: BrokerFixture, version: int) -> None:
    fixture.authorization.denied.add(("iot:Publish", "topic/secret"))
    client = fixture.connected("a", version)
    answer = client.send(Publish("secret", b""))
    assert answer == ([] if version == 4 else [Disconnect(Reason.NOT_AUTHORIZED, {})])
    assert client.closed
    assert fixture.refusal == "iot:Publish on topic/secret is not allowed"


@VERSIONS
def test_retain_needs_its_own_permission(fixture: BrokerFixture, version: int) -> None:
    fixture.authorization.denied.add(("iot:RetainPublish", "topic/creek"))
    client = fixture.connected("a", version)
    client.send(Publish("creek", b"x", 1, retain=True, packet_id=5))
    assert fixture.retained == {}
    assert fixture.refusal == "iot:RetainPublish on topic/creek is not allowed"


@pytest.mark.parametrize(
    ("topic", "why"),
    [
        ("x" * 257, "256 bytes"),
        ("a/b/c/d/e/f/g/h/i", "9 levels"),
        ("$SYS/uptime", "reserved"),
        ("$aws/events/presence/connected/a", "for AWS to publish to"),
    ],
)
def test_topics_that_aws_rejects(fixture: BrokerFixture, topic: str, why: str) -> None:
    five = fixture.connected("a", 5)
    code = Reason.TOPIC_NAME_INVALID
    assert five.send(Publish(topic, b"", 1, packet_id=5)) == [Puback(5, code, {})]
    assert not five.closed
    assert five.send(Publish(topic, b"")) == [Disconnect(code, {})]
    assert five.closed
    three = fixture.connected("b", 4)
    assert three.send(Publish(topic, b"", 1, packet_id=5)) == []
    assert three.closed
    assert why in fixture.refusal


@VERSIONS
def test_payload_of_128_kb_and_one_byte_more(fixture: BrokerFixture, version: int) -> None:
    client = fixture.connected("a", version)
    assert client.send(Publish("a", bytes(131072), 1, packet_id=5)) == [Puback(5, 0, {})]
    answer = client.send(Publish("a", bytes(131073), 1, packet_id=6))
    assert answer == ([] if version == 4 else [Puback(6, Reason.QUOTA_EXCEEDED, {})])
    assert client.closed is (version == 4)


@VERSIONS
def test_qos_2_is_refused(fixture: BrokerFixture, version: int) -> None:
    client = fixture.connected("a", version)
    answer = client.send(Publish("a", b"", 2, packet_id=5))
    assert answer == ([] if version == 4 else [Disconnect(Reason.QOS_NOT_SUPPORTED, {})])
    assert client.closed


def test_topic_aliases(fixture: BrokerFixture) -> None:
    sender, other = fixture.connected("a", 5), fixture.connected("b", 5)
    other.send(subscribe("#", qos=0))
    sender.send(
        Publish("creek", b"1", properties={"topic_alias": 8}),
        Publish("", b"2", properties={"topic_alias": 8}),
    )
    assert [(each.topic, each.payload, each.properties) for each in other.receive()] == [
        ("creek", b"1", {}),
        ("creek", b"2", {}),
    ]
    answer = sender.send(Publish("creek", b"3", properties={"topic_alias": 9}))
    assert answer == [Disconnect(Reason.TOPIC_ALIAS_INVALID, {})]
    unset = fixture.connected("c", 5)
    [goodbye] = unset.send(Publish("", b"", properties={"topic_alias": 1}))
    assert goodbye.reason_code == Reason.PROTOCOL_ERROR


def test_properties_are_forwarded_to_mqtt_5_only(fixture: BrokerFixture) -> None:
    sender, five, three = (fixture.connected(c, v) for c, v in (("a", 5), ("b", 5), ("c", 4)))
    for client in (five, three):
        client.send(subscribe("creek"))
    properties = {
        "content_type": "application/json",
        "response_topic": "answer",
        "correlation_data": b"1",
        "payload_format_indicator": 1,
        "message_expiry_interval": 700_000,
        "user_properties": [("gauge", "1"), ("gauge", "2")],
    }
    sender.send(Publish("creek", b"", 1, packet_id=1, properties=dict(properties)))
    [message] = five.receive()
    assert message.properties == {**properties, "message_expiry_interval": 604_800}
    assert three.receive()[0].properties == {}


def test_receive_denied_drops_the_message_and_nothing_else(fixture: BrokerFixture) -> None:
    fixture.authorization.denied.add(("iot:Receive", "topic/creek/secret"))
    client = fixture.connected("a", 5)
    client.send(subscribe("creek/#"))
    fixture.broker.publish("creek/secret", b"", 1)
    fixture.broker.publish("creek/depth", b"", 1)
    assert [each.topic for each in client.receive()] == ["creek/depth"]
    assert not client.closed
    assert fixture.refusal == "iot:Receive on topic/creek/secret is not allowed"


def test_at_most_100_messages_are_unacknowledged(fixture: BrokerFixture) -> None:
    client = fixture.connected("a", 4)
    client.send(subscribe("#"))
    for number in range(150):
        fixture.broker.publish("creek", str(number).encode(), 1)
    first = client.receive()
    assert len(first) == 100
    following = client.send(*(Puback(each.packet_id, 0, {}) for each in first[:60]))
    assert [each.payload for each in [*first, *following]] == [
        str(number).encode() for number in range(150)
    ]


def test_receive_maximum_and_packet_size_of_the_client(fixture: BrokerFixture) -> None:
    client = fixture.connected("a", 5, receive_maximum=2, maximum_packet_size=100)
    client.send(subscribe("#"))
    for payload in (b"1", bytes(200), b"2"):
        fixture.broker.publish("creek", payload, 0)
    assert [each.payload for each in client.receive()] == [b"1", b"2"]
    for _ in range(3):
        fixture.broker.publish("creek", b"x", 1)
    assert len(client.receive()) == 2


def test_a_message_too_large_for_the_client_does_not_stop_the_others(
    fixture: BrokerFixture,
) -> None:
    client = fixture.connected("a", 5, maximum_packet_size=100)
    client.send(subscribe("#"))
    for _ in range(150):
        fixture.broker.publish("creek", bytes(200), 1)
    fixture.broker.publish("creek", b"small", 1)
    assert [each.payload for each in client.receive()] == [b"small"]


def test_congested_clients_lose_qos_0_and_keep_qos_1(fixture: BrokerFixture) -> None:
    client = fixture.connected("a", 5)
    client.send(subscribe("#"))
    client.connection.congested = True
    fixture.broker.publish("creek", b"0", 0)
    fixture.broker.publish("creek", b"1", 1)
    assert [each.payload for each in client.receive()] == [b"1"]
    [dropped] = [each for each in fixture.event_log.entries() if each["kind"] == "dropped"]
    assert (dropped["client_id"], dropped["topic"]) == ("a", "creek")
    assert "reads more slowly" in dropped["why"]


# --- subscribe ------------------------------------------------------------------------------------


@VERSIONS
def test_subscribe_denied(fixture: BrokerFixture, version: int) -> None:
    fixture.authorization.denied.add(("iot:Subscribe", "topicfilter/secret/#"))
    client = fixture.connected("a", version)
    answer = client.send(subscribe("creek/#", "secret/#"))
    assert answer == ([] if version == 4 else [Suback(7, [1, Reason.NOT_AUTHORIZED], {})])
    assert client.closed is (version == 4)


def test_a_refused_subscribe_of_mqtt_311_leaves_nothing_behind(fixture: BrokerFixture) -> None:
    fixture.authorization.denied.add(("iot:Subscribe", "topicfilter/secret"))
    fixture.connected("a", 4, clean=False).send(subscribe("creek", "secret"))
    fixture.broker.publish("creek", b"", 1)
    again = fixture.client(4)
    assert again.send(connect("a", 4, clean=False)) == [Connack(True, 0, {})]


def test_subscribe_denied_may_be_told_in_mqtt_311() -> None:
    fixture = BrokerFixture(subscribe_denied_311="suback80")
    fixture.authorization.denied.add(("iot:Subscribe", "topicfilter/secret"))
    client = fixture.connected("a", 4)
    assert client.send(subscribe("secret", "creek")) == [Suback(7, [0x80, 1], {})]
    assert not client.closed


@VERSIONS
def test_qos_2_is_granted_as_1(fixture: BrokerFixture, version: int) -> None:
    client = fixture.connected("a", version)
    assert client.send(subscribe("a", qos=2)) == [Suback(7, [1], {})]


def test_no_more_than_8_filters_at_once(fixture: BrokerFixture) -> None:
    client = fixture.connected("a", 5)
    assert client.send(subscribe(*"abcdefgh")) == [Suback(7, [1] * 8, {})]
    assert client.send(subscribe(*"abcdefghi")) == [Disconnect(Reason.QUOTA_EXCEEDED, {})]


def test_no_more_than_50_subscriptions(fixture: BrokerFixture) -> None:
    client = fixture.connected("a", 5)
    for number in range(50):
        client.send(subscribe(f"creek/{number}"))
    assert client.send(subscribe("creek/50")) == [Suback(7, [Reason.QUOTA_EXCEEDED], {})]
    assert client.send(subscribe("creek/49")) == [Suback(7, [1], {})]
    client.send(Unsubscribe(8, ["creek/0"], {}))
    full = [1, Reason.QUOTA_EXCEEDED]
    assert client.send(subscribe("creek/50", "creek/51")) == [Suback(7, full, {})]


@pytest.mark.parametrize("topic_filter", ["a/#/b", "$SYS/#", "a/b/c/d/e/f/g/h/i", "$share/x"])
def test_filters_that_aws_rejects(fixture: BrokerFixture, topic_filter: str) -> None:
    client = fixture.connected("a", 5)
    assert client.send(subscribe(topic_filter)) == [Suback(7, [Reason.TOPIC_FILTER_INVALID], {})]


def test_subscription_identifiers_are_refused(fixture: BrokerFixture) -> None:
    client = fixture.connected("a", 5)
    packet = Subscribe(7, [Subscription("a", 1)], {"subscription_identifier": 1})
    code = Reason.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED
    assert client.send(packet) == [Disconnect(code, {})]


@VERSIONS
def test_unsubscribe(fixture: BrokerFixture, version: int) -> None:
    client = fixture.connected("a", version)
    client.send(subscribe("creek", "rain"))
    [unsuback] = client.send(Unsubscribe(8, ["creek", "never"], {}))
    assert unsuback == Unsuback(8, [] if version == 4 else [0, 0], {})
    fixture.broker.publish("creek", b"", 1)
    fixture.broker.publish("rain", b"", 1)
    assert [each.topic for each in client.receive()] == ["rain"]


def test_overlapping_subscriptions_give_one_message_at_the_highest_qos(
    fixture: BrokerFixture,
) -> None:
    client = fixture.connected("a", 5)
    client.send(subscribe("creek/#", qos=0), subscribe("creek/depth", qos=1))
    fixture.broker.publish("creek/depth", b"", 1)
    assert [each.qos for each in client.receive()] == [1]


def test_no_local(fixture: BrokerFixture) -> None:
    client = fixture.connected("a", 5)
    client.send(subscribe("creek", no_local=True))
    assert client.send(Publish("creek", b"", 0)) == []
    fixture.broker.publish("creek", b"", 0)
    assert len(client.receive()) == 1


def test_each_message_reaches_one_member_of_a_shared_group(fixture: BrokerFixture) -> None:
    members = [fixture.connected(each, 5) for each in "abc"]
    for member in members:
        member.send(subscribe("$share/group/creek/#"))
    for _ in range(60):
        fixture.broker.publish("creek/depth", b"", 0)
    heard = [len(member.receive()) for member in members]
    assert sum(heard) == 60
    assert min(heard) > 0


# --- retained messages and wills ------------------------------------------------------------------


@VERSIONS
def test_only_an_exact_topic_gets_a_retained_message(fixture: BrokerFixture, version: int) -> None:
    sender, early, late = (fixture.connected(each, version) for each in "abc")
    early.send(subscribe("creek/depth"))
    sender.send(Publish("creek/depth", b"1.4", 1, retain=True, packet_id=1))
    assert [each.retain for each in early.receive()] == [False]
    assert late.send(subscribe("creek/#")) == [Suback(7, [1], {})]
    _, message = late.send(subscribe("creek/depth"))
    assert (message.payload, message.retain, message.qos) == (b"1.4", True, 1)
    sender.send(Publish("creek/depth", b"", 1, retain=True, packet_id=2))
    assert late.send(subscribe("creek/depth"))[-1] == Suback(7, [1], {})


def test_retain_handling_and_retain_as_published(fixture: BrokerFixture) -> None:
    fixture.broker.publish("creek", b"1", 0, retain=True)
    client = fixture.connected("a", 5)
    assert len(client.send(subscribe("creek", retain_handling=2))) == 1
    assert len(client.send(subscribe("creek", retain_handling=1))) == 1
    assert len(client.send(subscribe("creek", retain_handling=0))) == 2
    client.send(subscribe("creek", retain_as_published=True, retain_handling=2))
    fixture.broker.publish("creek", b"2", 0, retain=True)
    assert [each.retain for each in client.receive()] == [True]


def test_reserved_topics_are_not_retained(fixture: BrokerFixture) -> None:
    client = fixture.connected("a", 5)
    topic = "$aws/things/Test2/shadow/update"
    answer = client.send(Publish(topic, b"{}", 1, retain=True, packet_id=5))
    assert answer == [Puback(5, Reason.TOPIC_NAME_INVALID, {})]


WILL = Will("gone", b"Test2", 1, False, {})


@VERSIONS
@pytest.mark.parametrize(
    ("goodbye", "sent"), [("disconnect", False), ("lost", True), ("taken over", True)]
)
def test_every_end_but_a_disconnect_publishes_the_will(
    fixture: BrokerFixture, version: int, goodbye: str, sent: bool
) -> None:
    watcher = fixture.connected("w", version)
    watcher.send(subscribe("gone"))
    client = fixture.connected("a", version, will=WILL)
    if goodbye == "disconnect":
        client.send(Disconnect(0, {}))
        assert client.closed
    elif goodbye == "lost":
        client.connection.connection_lost("connection lost")
    else:
        fixture.connected("a", version)
    assert [each.payload for each in watcher.receive()] == [b"Test2"] * sent


def test_disconnect_with_will(fixture: BrokerFixture) -> None:
    watcher = fixture.connected("w", 5)
    watcher.send(subscribe("gone"))
    fixture.connected("a", 5, will=WILL).send(Disconnect(Reason.DISCONNECT_WITH_WILL_MESSAGE, {}))
    assert len(watcher.receive()) == 1


@pytest.mark.parametrize(
    ("will", "code"),
    [
        (Will("$SYS/x", b"", 0, False, {}), Reason.TOPIC_NAME_INVALID),
        (Will("$aws/events/presence/connected/x", b"", 0, False, {}), Reason.TOPIC_NAME_INVALID),
        (Will("$aws/things/T/shadow/update", b"", 0, True, {}), Reason.TOPIC_NAME_INVALID),
        (Will("gone", b"", 2, False, {}), Reason.QOS_NOT_SUPPORTED),
    ],
)
def test_a_will_must_be_a_valid_message(fixture: BrokerFixture, will: Will, code: Reason) -> None:
    [connack] = fixture.client(5).send(connect("a", 5, will=will))
    assert connack.reason_code == code
    if code is Reason.QOS_NOT_SUPPORTED:
        refusal = fixture.event_log.last_refusal("a")
        assert refusal is not None
        assert refusal["refusal"]["summary"].startswith("The will has QoS 2")


def test_a_will_that_is_no_longer_allowed_is_not_published(fixture: BrokerFixture) -> None:
    watcher = fixture.connected("w", 5)
    watcher.send(subscribe("gone"))
    delayed = Will("gone", b"", 0, False, {"will_delay_interval": 10})
    fixture.connected("a", 5, will=delayed, session_expiry_interval=60).connection.connection_lost(
        "lost"
    )
    kept = fixture.connected("b", 5, will=Will("gone", b"", 0, True, {}))
    fixture.authorization.denied |= {("iot:Publish", "topic/gone")}
    fixture.broker.invalidate_authorization()
    fixture.clock.now += 11
    fixture.broker.tick()
    assert watcher.receive() == []
    fixture.authorization.denied = {("iot:RetainPublish", "topic/gone")}
    kept.connection.connection_lost("lost")
    assert watcher.receive() == []
    assert fixture.retained == {}


def test_a_delayed_will_is_canceled_by_a_new_connection(fixture: BrokerFixture) -> None:
    watcher = fixture.connected("w", 5)
    watcher.send(subscribe("gone"))
    will = Will("gone", b"", 0, False, {"will_delay_interval": 10})
    for returns in (True, False):
        fixture.connected("a", 5, will=will, session_expiry_interval=60).connection.connection_lost(
            "lost"
        )
        fixture.clock.now += 9
        fixture.broker.tick()
        assert watcher.receive() == []
        if returns:
            again = fixture.connected("a", 5, clean=False, session_expiry_interval=60)
            again.send(Disconnect(0, {}))
        fixture.clock.now += 2
        fixture.broker.tick()
        assert len(watcher.receive()) == (0 if returns else 1)


# --- sessions -------------------------------------------------------------------------------------


def test_a_persistent_session_keeps_subscriptions_and_messages(fixture: BrokerFixture) -> None:
    first = fixture.connected("a", 4, clean=False)
    first.send(subscribe("creek/#"))
    fixture.broker.publish("creek/depth", b"unacknowledged", 1)
    first.connection.connection_lost("lost")
    fixture.broker.publish("creek/depth", b"qos 0", 0)
    fixture.broker.publish("creek/depth", b"while away", 1)
    again = fixture.client(4)
    connack, *messages = again.send(connect("a", 4, clean=False))
    assert connack == Connack(True, 0, {})
    assert [(each.payload, each.dup) for each in messages] == [
        (b"unacknowledged", False),
        (b"while away", False),
    ]


@pytest.mark.parametrize("end", ["expiry", "clean", "other version", "other certificate"])
def test_a_session_ends(fixture: BrokerFixture, end: str) -> None:
    first = fixture.connected("a", 5, clean=False, session_expiry_interval=60)
    first.send(subscribe("creek"))
    first.connection.connection_lost("lost")
    if end == "expiry":
        fixture.clock.now += 61
        fixture.broker.tick()
    version = 4 if end == "other version" else 5
    certificate = "cd" * 32 if end == "other certificate" else "ab" * 32
    again = fixture.client(version, certificate=certificate)
    clean = end == "clean"
    [connack] = again.send(connect("a", version, clean=clean))
    assert not connack.session_present
    fixture.broker.publish("creek", b"", 1)
    assert again.receive() == []


def test_a_disconnect_can_change_the_expiry_unless_it_is_0(fixture: BrokerFixture) -> None:
    fixture.connected("a", 5, session_expiry_interval=60).send(
        Disconnect(0, {"session_expiry_interval": 0})
    )
    assert not fixture.client(5).send(connect("a", 5, clean=False))[0].session_present
    client = fixture.connected("b", 5)
    [goodbye] = client.send(Disconnect(0, {"session_expiry_interval": 60}))
    assert goodbye.reason_code == Reason.PROTOCOL_ERROR


# --- lifecycle events -----------------------------------------------------------------------------


def watching(fixture: BrokerFixture) -> Client:
    watcher = fixture.connected("watcher", 5)
    watcher.send(subscribe("$aws/events/#"))
    watcher.receive()
    return watcher


def seen(watcher: Client) -> list[tuple[str, dict[str, Any]]]:
    found = [(each.topic, json.loads(each.payload)) for each in watcher.receive()]
    return [(topic.removeprefix("$aws/events/"), event) for topic, event in found]


@VERSIONS
def test_events_of_connect_and_disconnect(fixture: BrokerFixture, version: int) -> None:
    watcher = watching(fixture)
    fixture.authorization.exclusive_thing = "Test2"
    client = fixture.connected("a", version)
    client.send(Disconnect(0, {}))
    fixture.connected("a", version)
    (came, first), (went, end), (again, second) = seen(watcher)
    assert came == again == "presence/connected/a"
    assert went == "presence/disconnected/a"
    assert first["principalIdentifier"] == "ab" * 32
    assert first["thingName"] == "Test2"
    assert first["ipAddress"] == "127.0.0.1"
    assert end["clientInitiatedDisconnect"] is True
    assert end["sessionIdentifier"] == first["sessionIdentifier"] != second["sessionIdentifier"]
    numbers = [each["versionNumber"] for each in (first, end, second)]
    assert numbers == [0, 0, 1]


ENDS = {
    "disconnect": "CLIENT_INITIATED_DISCONNECT",
    "lost": "CONNECTION_LOST",
    "taken over": "DUPLICATE_CLIENTID",
    "silence": "MQTT_KEEP_ALIVE_TIMEOUT",
    "forbidden publish": "AUTH_ERROR",
    "certificate revoked": "AUTH_ERROR",
    "second connect": "CLIENT_ERROR",
    "bad bytes": "CLIENT_ERROR",
    "DeleteConnection": "API_INITIATED_DISCONNECT",
    "shutdown": "SERVER_INITIATED_DISCONNECT",
    "our own fault": "SERVER_ERROR",
}


@VERSIONS
@pytest.mark.parametrize("end", ENDS)
def test_why_a_connection_ended_and_the_will_that_follows(
    fixture: BrokerFixture, version: int, end: str
) -> None:
    fixture.authorization.denied.add(("iot:Publish", "topic/secret"))
    client = fixture.connected("a", version, keep_alive=40, will=WILL)
    watcher = fixture.connected("w", version, keep_alive=1200)
    watcher.send(subscribe("gone", "$aws/events/presence/disconnected/a"))
    if end == "disconnect":
        client.send(Disconnect(0, {}))
    elif end == "lost":
        client.connection.connection_lost("lost")
    elif end == "taken over":
        fixture.connected("a", version)
    elif end == "silence":
        fixture.clock.now += 61
        fixture.broker.tick()
    elif end == "forbidden publish":
        client.send(Publish("secret", b""))
    elif end == "certificate revoked":
        client.connection.permissions.authorization = FakeAuthorization(status="REVOKED")
        fixture.broker.invalidate_authorization()
        fixture.broker.tick()
    elif end == "second connect":
        client.send(connect("a", version))
    elif end == "bad bytes":
        client.connection.receive(b"\xff")
    elif end == "DeleteConnection":
        fixture.broker.disconnect("a", clean_session=False, prevent_will=False)
    elif end == "shutdown":
        fixture.broker.close()
    else:
        client.connection.connection_lost("internal error", DisconnectReason.SERVER_ERROR)
    heard = {each.topic: each.payload for each in watcher.receive() if isinstance(each, Publish)}
    event = json.loads(heard.pop("$aws/events/presence/disconnected/a"))
    assert event["disconnectReason"] == ENDS[end]
    # A revoked certificate may not publish any more.
    assert set(heard) == (set() if end in ("disconnect", "certificate revoked") else {"gone"})


def test_closing_the_websocket_is_initiated_by_the_client(fixture: BrokerFixture) -> None:
    watcher = fixture.connected("w", 5)
    watcher.send(subscribe("gone"))
    client = fixture.connected("a", 5, will=WILL)
    client.connection.connection_lost("closed", DisconnectReason.CLIENT_INITIATED_DISCONNECT)
    assert watcher.receive() == []


@pytest.mark.parametrize(
    ("denied", "will"),
    [(("iot:Connect", "client/a"), None), (("iot:Publish", "topic/gone"), WILL)],
)
def test_event_of_a_connect_that_is_not_authorized(
    fixture: BrokerFixture, denied: tuple[str, str], will: Will | None
) -> None:
    watcher = watching(fixture)
    fixture.authorization.denied.add(denied)
    fixture.client(5).send(connect("a", 5, will=will))
    [(topic, event)] = seen(watcher)
    assert topic == "presence/connect_failed/a"
    assert event["connectFailureReason"] == "AUTHORIZATION_FAILED"


@pytest.mark.parametrize(
    ("status", "publishes_event"), [("INACTIVE", True), ("REVOKED", True), (None, False)]
)
def test_who_is_let_down_before_connack_is_announced_if_the_account_knows_it(
    fixture: BrokerFixture, status: str | None, publishes_event: bool
) -> None:
    # A watcher with rights of its own.
    watcher = watching(fixture)
    fixture.authorization = FakeAuthorization(status=status)
    fixture.client(5).send(connect("a", 5))
    assert [topic for topic, _ in seen(watcher)] == ["presence/connect_failed/a"] * publishes_event


def test_other_rejected_connects_have_no_event(fixture: BrokerFixture) -> None:
    watcher = watching(fixture)
    fixture.client(5).send(connect("$a", 5))
    fixture.client(5).send(connect("a", 5, will=Will("gone", b"", 2, False, {})))
    assert seen(watcher) == []


@VERSIONS
def test_events_of_subscriptions(fixture: BrokerFixture, version: int) -> None:
    client = fixture.connected("a", version)
    watcher = watching(fixture)
    client.send(subscribe("creek/#", "rain"), Unsubscribe(8, ["rain"], {}))
    [(came, made), (went, ended)] = seen(watcher)
    assert (came, made["topics"]) == ("subscriptions/subscribed/a", ["creek/#", "rain"])
    assert (went, ended["topics"]) == ("subscriptions/unsubscribed/a", ["rain"])
    assert made["sessionIdentifier"] == ended["sessionIdentifier"]


def test_only_granted_subscriptions_have_an_event(fixture: BrokerFixture) -> None:
    fixture.authorization.denied.add(("iot:Subscribe", "topicfilter/secret"))
    client = fixture.connected("a", 5)
    watcher = watching(fixture)
    client.send(subscribe("secret", "creek"), subscribe("secret"))
    assert [event["topics"] for _, event in seen(watcher)] == [["creek"]]


# --- reserved topics ------------------------------------------------------------------------------


def test_basic_ingest_reaches_no_subscriber() -> None:
    fixture = BrokerFixture(dollar_topics="all")
    client = fixture.connected("a", 5)
    client.send(subscribe("#", "$aws/#", qos=0))
    client.receive()
    served: list[str] = []
    fixture.broker.add_handler("services", lambda message: served.append(message.topic))
    topic = "$aws/rules/rule/creek/depth"
    assert client.send(Publish(topic, b"", 1, packet_id=5)) == [Puback(5, 0, {})]
    assert served == [topic]
    assert "no rule 'rule'" in fixture.event_log.entries()[-1]["why"]
    assert client.send(subscribe("$aws/rules/rule/#"))[0].reason_codes == [
        Reason.TOPIC_FILTER_INVALID
    ]


@pytest.mark.parametrize(
    ("topic", "service"),
    [
        ("$aws/things/t/jobs/get", "AWS IoT Jobs"),
        ("$aws/things/t/defender/metrics/json", "Device Defender"),
        ("$aws/certificates/create/json", "fleet provisioning"),
    ],
)
def test_services_that_this_cloud_does_not_have_do_not_answer(
    fixture: BrokerFixture, topic: str, service: str
) -> None:
    client = fixture.connected("a", 5)
    assert client.send(subscribe(topic + "/accepted")) == [Suback(7, [1], {})]
    assert client.send(Publish(topic, b"{}", 1, packet_id=5)) == [Puback(5, 0, {})]
    entry = fixture.event_log.entries()[-1]
    assert entry["kind"] == "unanswered"
    assert service in entry["why"]


# --- what the account may ask of the broker -------------------------------------------------------


def test_connectivity_of_a_client(fixture: BrokerFixture) -> None:
    client = fixture.connected("a", 5, keep_alive=40, session_expiry_interval=60)
    here = fixture.broker.connectivity.get("a")
    assert here is not None
    assert (here.connected, here.keep_alive, here.session_expiry) == (True, 40, 60)
    client.send(Disconnect(0, {"session_expiry_interval": 30}))
    gone = fixture.broker.connectivity.get("a")
    assert gone is not None
    assert (gone.connected, gone.session_expiry) == (False, 30)
    assert gone.disconnect_reason == "CLIENT_INITIATED_DISCONNECT"


@VERSIONS
@pytest.mark.parametrize("clean_session", [False, True])
@pytest.mark.parametrize("prevent_will", [False, True])
def test_the_account_disconnects_a_client(
    fixture: BrokerFixture, version: int, clean_session: bool, prevent_will: bool
) -> None:
    watcher = fixture.connected("w", version)
    watcher.send(subscribe("gone"))
    client = fixture.connected("a", version, clean=False, will=WILL, session_expiry_interval=60)
    client.send(subscribe("creek", "rain"))
    assert fixture.broker.disconnect("a", clean_session, prevent_will)
    goodbye = [] if version == 4 else [Disconnect(Reason.ADMINISTRATIVE_ACTION, {})]
    assert client.receive() == goodbye
    assert client.closed
    assert len(watcher.receive()) == (not prevent_will)
    subscriptions = fixture.broker.list_subscriptions("a")
    if clean_session:
        assert subscriptions is None
    else:
        assert subscriptions is not None
        assert [each.filter for each in subscriptions] == ["creek", "rain"]
    gone = fixture.broker.connectivity.get("a")
    assert gone is not None
    assert gone.disconnect_reason == "API_INITIATED_DISCONNECT"
    assert not fixture.broker.disconnect("a", clean_session, prevent_will)


def test_a_session_is_known_until_it_ends(fixture: BrokerFixture) -> None:
    assert fixture.broker.get_session("a") is None
    fixture.connected("a", 5, session_expiry_interval=60).connection.connection_lost("lost")
    assert fixture.broker.get_session("a") is not None
    fixture.clock.now += 60
    assert fixture.broker.get_session("a") is None


@VERSIONS
def test_a_direct_message_needs_no_subscription(fixture: BrokerFixture, version: int) -> None:
    client = fixture.connected("a", version)
    assert fixture.broker.send_direct("a", "creek/alarm", b"!", {"content_type": "text/plain"})
    [message] = client.receive()
    assert (message.topic, message.payload, message.qos) == ("creek/alarm", b"!", 0)
    assert message.properties == ({} if version == 4 else {"content_type": "text/plain"})
    assert not fixture.broker.send_direct("nobody", "creek/alarm", b"!", {})


def test_a_direct_message_is_confirmed_by_its_puback(fixture: BrokerFixture) -> None:
    client = fixture.connected("a", 5)
    confirmed: list[bool] = []
    fixture.broker.send_direct("a", "creek", b"", {}, lambda: confirmed.append(True))
    [message] = client.receive()
    assert (message.qos, confirmed) == (1, [])
    client.send(Puback(message.packet_id, 0, {}))
    assert confirmed == [True]


def test_a_direct_message_is_not_sent_again(fixture: BrokerFixture) -> None:
    client = fixture.connected("a", 5, clean=False, session_expiry_interval=60)
    client.send(subscribe("rain"))
    fixture.broker.send_direct("a", "creek", b"", {}, lambda: None)
    fixture.broker.publish("rain", b"", 1)
    client.connection.connection_lost("lost")
    again = fixture.client(5)
    _, message = again.send(connect("a", 5, clean=False))
    assert message.topic == "rain"


def test_a_direct_message_needs_permission_to_receive(fixture: BrokerFixture) -> None:
    fixture.authorization.denied.add(("iot:Receive", "topic/creek"))
    client = fixture.connected("a", 5)
    assert not fixture.broker.send_direct("a", "creek", b"", {})
    assert client.receive() == []


# --- time and the registry ------------------------------------------------------------------------


@VERSIONS
def test_no_packet_for_one_and_a_half_keep_alives(fixture: BrokerFixture, version: int) -> None:
    client = fixture.connected("a", version, keep_alive=40)
    fixture.clock.now += 59
    fixture.broker.tick()
    assert client.send(Pingreq()) == [Pingresp()]
    fixture.clock.now += 61
    fixture.broker.tick()
    assert client.receive() == ([] if version == 4 else [Disconnect(Reason.KEEP_ALIVE_TIMEOUT, {})])
    assert client.closed


def test_a_certificate_that_is_deactivated_ends_its_connection(fixture: BrokerFixture) -> None:
    client = fixture.connected("a", 5)
    fixture.authorization.status = "REVOKED"
    fixture.broker.invalidate_authorization()
    fixture.broker.tick()
    assert client.receive() == [Disconnect(Reason.NOT_AUTHORIZED, {})]
    assert fixture.refusal == "The certificate is no longer ACTIVE."


def test_a_connection_without_connect_is_closed(fixture: BrokerFixture) -> None:
    silent, client = fixture.client(5), fixture.connected("a", 5)
    silent.connection.close_if_no_connect()
    client.connection.close_if_no_connect()
    assert silent.closed
    assert not client.closed
    assert "sent no CONNECT" in fixture.refusal


# --- bad bytes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (bytes.fromhex("c000"), []),
        (packets.encode(connect("a", 5), 5)[:-1] + b"\xff", [Connack(False, 0x81, {})]),
    ],
)
def test_bytes_that_are_no_connect(fixture: BrokerFixture, data: bytes, answer: list[Any]) -> None:
    client = fixture.client(5)
    client.connection.receive(data)
    assert client.receive() == answer
    assert client.closed


def test_an_old_protocol_version_is_reported(fixture: BrokerFixture) -> None:
    client = fixture.client(4)
    client.connection.receive(bytes.fromhex("100f00064d51497364700302003c000161"))
    assert client.receive() == [Connack(False, 1, {})]
    assert client.closed


def test_packets_after_the_end_are_ignored(fixture: BrokerFixture) -> None:
    client, watcher = fixture.connected("a", 5), fixture.connected("w", 5)
    watcher.send(subscribe("#"))
    data = packets.encode(Disconnect(0, {}), 5) + packets.encode(Publish("late", b""), 5)
    client.connection.receive(data)
    client.connection.receive(packets.encode(Publish("later", b""), 5))
    assert watcher.receive() == []
