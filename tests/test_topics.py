"""Topics: explain invalid topics and filters, for which the SDK has only a number; shadows."""

import pytest

from creeklab.client.topics import filter_fault, shadow_request, shadow_topic, topic_fault


@pytest.mark.parametrize("name", ["#", "+", "a/+/b", "a/#", "+/+", "a", "/", "$aws/things/+/#"])
def test_a_valid_filter_has_no_fault(name: str) -> None:
    assert filter_fault(name) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "the topic filter is empty."),
        ("a#", "'#' must be the whole last level"),
        ("#/a", "'#' must be the whole last level"),
        ("a/+b", "'+' must be a whole level"),
    ],
)
def test_an_invalid_filter_is_explained(name: str, text: str) -> None:
    assert (filter_fault(name) or "").startswith(text)


def test_a_topic_is_not_empty_and_contains_no_wildcard() -> None:
    assert topic_fault("a/$b") is None
    assert topic_fault("") == "the topic is empty."
    for name in ("a/+", "#", "a/b#"):
        assert "'#' and '+' are only for subscribing" in (topic_fault(name) or "")


@pytest.mark.parametrize(
    ("topic", "request_"),
    [
        (shadow_topic("Test2", "get"), ("Test2", "", "get")),
        (shadow_topic("Test2", "update", "config"), ("Test2", "config", "update")),
        (shadow_topic("Test2", "update/accepted"), None),
        ("$aws/things/Test2/shadow/name/get", None),
        ("$aws/things/Test2/shadow/name/config/list", None),
        ("$aws/things/Test2/jobs/get", None),
        ("creek/depth", None),
    ],
)
def test_shadow_requests(topic: str, request_: tuple[str, str, str] | None) -> None:
    assert shadow_request(topic) == request_
