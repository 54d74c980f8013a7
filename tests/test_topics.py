"""What is wrong with a topic filter or a topic, in words, where the SDK has only a number."""

import pytest

from creeklab.client.topics import filter_fault, topic_fault


@pytest.mark.parametrize("name", ["#", "+", "a/+/b", "a/#", "+/+", "a", "/", "$aws/things/+/#"])
def test_a_filter_that_mqtt_knows_has_no_fault(name: str) -> None:
    assert filter_fault(name) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "the topic filter is empty."),
        ("a#", "'#' stands by itself"),
        ("#/a", "'#' stands by itself and at the end"),
        ("a/+b", "'+' stands by itself"),
    ],
)
def test_the_fault_of_a_filter_is_told(name: str, words: str) -> None:
    assert (filter_fault(name) or "").startswith(words)


def test_a_topic_is_not_empty_and_holds_no_wildcard() -> None:
    assert topic_fault("a/$b") is None
    assert topic_fault("") == "the topic is empty."
    for name in ("a/+", "#", "a/b#"):
        assert "'#' and '+' are for subscribing" in (topic_fault(name) or "")
