"""Comparison of shadow documents, checked against the shadow service itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creeklab.cloud.shadow import document
from creeklab.widgets.shadow_document import (
    changes,
    delta,
    leaves,
    same,
    section,
    short,
    smallest_update,
    stamp,
)

keys = st.sampled_from(["a", "b", "timestamp"])
scalars = st.one_of(st.booleans(), st.integers(-2, 2), st.just(1.0), st.sampled_from(["", "x"]))
values = st.recursive(
    st.one_of(scalars, st.lists(scalars, max_size=2)),
    lambda below: st.dictionaries(keys, below, max_size=3),
    max_leaves=6,
)
sections = st.dictionaries(keys, values, max_size=3)


def stored(*updates: dict[str, Any]) -> document.Shadow | None:
    """Return the shadow after updates of its ``state``."""
    current = None
    for update in updates:
        payload = json.dumps({"state": update}).encode()
        current = document.update(current, payload, 1_700_000_000).shadow
    return current


def as_stored(tree: Any) -> Any:
    """Return a section as the service stores it, with its handling of empty objects."""
    kept = stored({"desired": tree})
    return (kept.state.get("desired") if kept else None) or {}


@given(sections, sections)
def test_the_delta_matches_the_service(desired: dict[str, Any], reported: dict[str, Any]) -> None:
    kept = stored({"desired": desired, "reported": reported})
    assert kept is not None
    expected = kept.document(0)["state"].get("delta", {})
    assert json.dumps(
        delta(kept.state.get("desired") or {}, kept.state.get("reported") or {}), sort_keys=True
    ) == (json.dumps(expected, sort_keys=True))


@given(sections, sections)
def test_the_smallest_update_turns_one_section_into_the_other(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    update = smallest_update(before, after)
    kept = stored({"desired": before, "reported": {"stays": 1}}, {"desired": update})
    assert kept is not None
    assert same(kept.state.get("desired") or {}, as_stored(after))
    assert kept.state["reported"] == {"stays": 1}
    if same(before, after):
        assert update == {}


@given(sections, sections)
def test_every_changed_leaf_is_described(before: dict[str, Any], after: dict[str, Any]) -> None:
    described = changes(before, after)
    old, new = leaves(before), leaves(after)
    for path in {*old, *new}:
        unchanged = path in old and path in new and same(old[path], new[path])
        assert (path in described) == (not unchanged)


def test_descriptions_of_changes() -> None:
    before = {"depth": 1.4, "gone": "x", "config": {"interval": 60, "unit": "ft"}}
    after = {"depth": 1.5, "config": {"interval": 60, "unit": "m"}, "list": [1]}
    assert changes(before, after) == {
        ("depth",): "changed, was 1.4",
        ("config", "unit"): 'changed, was "ft"',
        ("list",): "new",
        ("gone",): 'removed, was "x"',
    }


def test_true_is_not_one() -> None:
    assert not same(True, 1)
    assert not same([0], [False])
    assert same(1, 1.0)
    assert changes({"on": 1}, {"on": True}) == {("on",): "changed, was 1"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("depth",), 5),
        (("list",), 8),
        (("config", "timestamp"), 6),
        (("not", "there"), None),
        (("depth", "deeper"), None),
    ],
)
def test_a_leaf_has_the_time_of_its_last_write(path: tuple[str, ...], expected: int | None) -> None:
    metadata = {
        "depth": {"timestamp": 5},
        "list": [{"timestamp": 7}, {"timestamp": 8}],
        "config": {"timestamp": {"timestamp": 6}},
    }
    assert stamp({"metadata": {"desired": metadata}}, "desired", path) == expected
    assert stamp({"metadata": {"desired": metadata}}, "reported", path) is None
    assert stamp(None, "desired", path) is None


def test_missing_sections_are_empty() -> None:
    assert section(None, "desired") == section({"state": {"desired": None}}, "desired") == {}
    assert leaves({"a": {}, "b": {"c": {}}}) == {("a",): {}, ("b", "c"): {}}
    assert short("ü" * 100, 10) == '"üüüüüüüü…'
