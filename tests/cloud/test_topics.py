"""Topic names, filters and the subscription tree, against a naive reading of the rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creeklab.client.topics import matches as client_matches
from creeklab.cloud.mqtt.routing.topic_tree import (
    InvalidTopic,
    SubscriptionTree,
    check_filter,
    check_topic,
    split_share,
)


def matches(topic_filter: str, topic: str, dollar_topics: str = "aws") -> bool:
    """The rule read naively; what a client sorts its messages by, but for the setting."""
    hidden = {"spec": "$", "aws": "$aws/events/", "all": "nothing"}[dollar_topics]
    if topic.startswith(hidden) and topic_filter[:1] in ("+", "#"):
        return False
    return client_matches(topic_filter, topic)


MATCHING = [
    ("creek/depth", "creek/depth", True),
    ("creek/depth", "creek/Depth", False),
    ("creek/+", "creek/depth", True),
    ("creek/+", "creek", False),
    ("creek/+", "creek/", True),
    ("creek/+", "creek/a/b", False),
    ("+", "creek", True),
    ("+/depth", "creek/depth", True),
    ("+/+", "/creek", True),
    ("/+", "/creek", True),
    ("+", "/creek", False),
    ("creek/#", "creek/depth", True),
    ("creek/#", "creek/a/b/c", True),
    # AWS differs from the standard: the parent level is not matched.
    ("creek/#", "creek", False),
    ("creek/#", "creek/", True),
    ("#", "creek", True),
    ("#", "/", True),
    ("$aws/things/+/shadow/#", "$aws/things/Test2/shadow/update", True),
]


@pytest.mark.parametrize(("topic_filter", "topic", "expected"), MATCHING)
def test_filter_matches_topic(topic_filter, topic, expected):
    tree = SubscriptionTree()
    tree.add(topic_filter, "subscriber", 1)
    assert matches(topic_filter, topic) is expected
    assert bool(tree.match(topic).direct) is expected


@pytest.mark.parametrize("topic_filter", ["#", "+/+/#"])
@pytest.mark.parametrize(
    ("dollar_topics", "topic", "expected"),
    [
        ("aws", "$aws/things/Test2/shadow/update/accepted", True),
        ("aws", "$aws/events/things/a", False),
        ("all", "$aws/events/things/a", True),
        ("spec", "$aws/things/Test2/shadow/update/accepted", False),
    ],
)
def test_leading_wildcard_and_reserved_topics(topic_filter, dollar_topics, topic, expected):
    tree = SubscriptionTree(dollar_topics)
    tree.add(topic_filter, "subscriber", 1)
    assert matches(topic_filter, topic, dollar_topics) is expected
    assert bool(tree.match(topic).direct) is expected


@pytest.mark.parametrize(
    "topic",
    [
        *("a", "/", "a/b/c/d/e/f/g/h", "x" * 256, "ü" * 128),
        "$aws/things/t/shadow/name/n/update",
        "$aws/things/t/jobs/get",
        "$aws/rules/r/1/2/3/4/5/6/7/8",
        "$aws/certificates/create/json",
        "$aws/provisioning-templates/t/provision/json",
    ],
)
def test_topic_is_accepted(topic):
    check_topic(topic)


@pytest.mark.parametrize(
    ("topic", "why"),
    [
        ("", "empty"),
        ("a/+", "wildcard"),
        ("a/#", "wildcard"),
        ("x" * 257, "256 bytes"),
        ("ü" * 129, "256 bytes"),
        ("a/b/c/d/e/f/g/h/i", "9 levels"),
        ("a\0", "U\\+0000"),
        ("$aws/rules/r/1/2/3/4/5/6/7/8/9", "12 levels"),
        ("$SYS/uptime", "not a reserved topic"),
        ("$aws/events/presence/connected/a", "for AWS to publish to"),
        ("$aws/rules", "not a reserved topic"),
        ("$aws/things/t/tunnels/notify", "not a reserved topic"),
        ("$aws/things/t", "not a reserved topic"),
    ],
)
def test_topic_is_refused(topic, why):
    with pytest.raises(InvalidTopic, match=why):
        check_topic(topic)


@pytest.mark.parametrize(
    "topic_filter",
    [
        "#",
        "+",
        "a/+/b/#",
        "/#",
        "$share/group/a/b/c/d/e/f/g/h",
        "$share/g/#",
        "$aws/#",
        "$aws/+/#",
        "$aws/things/#",
        "$aws/things/t/shadow/name/n/update/+",
        "$aws/things/t/jobs/#",
        "$aws/things/t/tunnels/notify",
        "$aws/events/#",
        "$aws/events/presence/connected/+",
        "$share/group/$aws/events/#",
    ],
)
def test_filter_is_accepted(topic_filter):
    check_filter(topic_filter)


@pytest.mark.parametrize(
    "topic_filter",
    [
        "",
        "a#",
        "a/#/b",
        "a/b+",
        "+a/b",
        "$share/group",
        "$share//a",
        "$share/group/",
        "$share/g+/a",
        "$share/" + "n" * 129 + "/a",
        "a/b/c/d/e/f/g/h/i",
        "$share/group/a/b/c/d/e/f/g/h/i",
        "x" * 257,
        "$SYS/#",
        "$aws/foo/bar",
        "$aws",
        "$aws/rules/#",
        "$aws/rules/r/creek",
        "$aws/things/t/what/#",
        "$share/group/$SYS/#",
    ],
)
def test_filter_is_refused(topic_filter):
    with pytest.raises(InvalidTopic):
        check_filter(topic_filter)


def test_a_client_knows_the_messages_of_a_shared_subscription():
    assert client_matches("$share/group/creek/#", "creek/depth")
    assert not client_matches("$share/group/creek/#", "rain")


def test_split_share():
    assert split_share("$share/group/a/+") == ("group", "a/+")
    assert split_share("a/+") == ("", "a/+")


def test_overlapping_subscriptions_are_one_subscriber_with_all_options():
    tree = SubscriptionTree()
    tree.add("a/b", "s", 0)
    tree.add("a/+", "s", 1)
    tree.add("a/b", "other", 0)
    assert {subscriber: set(options) for subscriber, options in tree.match("a/b").direct} == {
        "s": {0, 1},
        "other": {0},
    }


def test_adding_again_replaces_the_options():
    tree = SubscriptionTree()
    tree.add("a", "s", 0)
    tree.add("a", "s", 1)
    assert tree.match("a").direct == (("s", (1,)),)


def test_shared_groups_are_apart_from_each_other_and_from_direct_subscriptions():
    tree = SubscriptionTree()
    tree.add("$share/one/a/+", "s", 0)
    tree.add("$share/one/a/+", "t", 1)
    tree.add("$share/two/a/b", "s", 0)
    tree.add("a/b", "s", 1)
    match = tree.match("a/b")
    assert match.direct == (("s", (1,)),)
    assert sorted(match.groups) == [(("s", 0),), (("s", 0), ("t", 1))]
    tree.remove("$share/one/a/+", "s")
    tree.remove("$share/two/a/b", "s")
    assert tree.match("a/b").groups == ((("t", 1),),)


levels = st.sampled_from(["a", "b", "", "+", "$aws"])
filters = st.builds(
    lambda parts, deep: "/".join([*parts, "#"] if deep else parts),
    st.lists(levels, min_size=1, max_size=4),
    st.booleans(),
)
names = st.lists(st.sampled_from(["a", "b", "", "$aws"]), min_size=1, max_size=5).map("/".join)


@given(st.lists(st.tuples(filters, st.integers(0, 3))), names, st.sampled_from(["aws", "spec"]))
def test_tree_finds_what_matching_one_by_one_finds(subscriptions, topic, dollar_topics):
    tree = SubscriptionTree(dollar_topics)
    for topic_filter, subscriber in subscriptions:
        tree.add(topic_filter, subscriber, topic_filter)
    expected: dict[int, set[str]] = {}
    for topic_filter, subscriber in subscriptions:
        if matches(topic_filter, topic, dollar_topics):
            expected.setdefault(subscriber, set()).add(topic_filter)
    assert {who: set(options) for who, options in tree.match(topic).direct} == expected


@given(st.lists(st.tuples(filters, st.integers(0, 3)), unique=True), names)
def test_removing_everything_leaves_an_empty_tree(subscriptions, topic):
    tree = SubscriptionTree()
    for topic_filter, subscriber in subscriptions:
        tree.add(topic_filter, subscriber, 1)
    for topic_filter, subscriber in subscriptions:
        tree.remove(topic_filter, subscriber)
    assert tree.match(topic).direct == ()
    assert tree._root.empty
