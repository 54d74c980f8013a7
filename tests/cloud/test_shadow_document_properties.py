"""Device Shadow documents: properties of every document and history of updates."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from creeklab.cloud.shadow import document as shadow
from creeklab.cloud.shadow.document import Rejected, Shadow, Update

NOW = 1_785_000_000


def patch(current: Shadow | None, state: Any, now: int = NOW) -> Update:
    payload = json.dumps({"state": state}).encode()
    return shadow.update(current, payload, now)


def shadow_after(history: list[Any]) -> Shadow:
    """Return the shadow after these updates."""
    current = None
    for state in history:
        current = patch(current, state).shadow
    assert current is not None
    return current


def text_of(document: Any) -> str:
    """Return text in which 1, 1.0 and true differ, as they do for a client."""
    return json.dumps(document, sort_keys=True, allow_nan=False)


# --- strategies ----------------------------------------------------------------------------------

keys = st.sampled_from(["a", "b", "timestamp", "ü"])
leaves = st.one_of(
    st.sampled_from([True, False, 0, 1, 1.0, -0.0, "", "x", "é€\N{DROPLET}"]),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text('a1é€\N{DROPLET}\\"\n', max_size=4),
)


def values(levels: int, nulls: bool) -> st.SearchStrategy[Any]:
    """Return JSON values of at most `levels` levels, with nulls only where they remove keys."""
    choices = [leaves]
    if nulls:
        choices.append(st.none())
    if levels > 0:
        choices.append(st.lists(values(levels - 1, nulls=False), max_size=3))
        choices.append(st.dictionaries(keys, values(levels - 1, nulls), max_size=3))
    return st.one_of(choices)


patches = st.one_of(st.none(), st.dictionaries(keys, values(3, nulls=True), max_size=4))
states = st.one_of(
    st.none(),
    st.fixed_dictionaries({}, optional={"desired": patches, "reported": patches}),
)
histories = st.lists(states, min_size=1, max_size=5)
anything = st.recursive(
    st.none() | leaves | st.sampled_from([float("nan"), float("inf"), 10**4000, "\ud800"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)
sections = st.sampled_from(["desired", "reported", "delta", "other"])
nearly_requests = st.fixed_dictionaries(
    {},
    optional={
        "state": st.dictionaries(sections, anything) | anything,
        "version": st.sampled_from([0, 1, 2]) | anything,
        "clientToken": st.sampled_from(["t", "x" * 65]) | anything,
    },
)


# --- independent implementations of the rules ----------------------------------------------------


def merge_patch(target: Any, change: Any) -> Any:
    """Merge as in RFC 7386, section 2, independently of the code under test."""
    if not isinstance(change, dict):
        return change
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def agree(wanted: Any, actual: Any) -> bool:
    """Return whether `actual` contains everything in `wanted`."""
    if isinstance(wanted, dict) and isinstance(actual, dict):
        return all(key in actual and agree(value, actual[key]) for key, value in wanted.items())
    return bool(distinct(wanted) == distinct(actual))


def distinct(value: Any) -> Any:
    """Return the value with booleans that differ from numbers."""
    if isinstance(value, dict):
        return {key: distinct(child) for key, child in value.items()}
    if isinstance(value, list):
        return [distinct(child) for child in value]
    return ("boolean", value) if isinstance(value, bool) else value


def fits(metadata: Any, state: Any) -> bool:
    """Return whether `metadata` has a timestamp for each leaf of `state`, and nothing else."""
    if isinstance(state, dict):
        same_keys: bool = metadata.keys() == state.keys()
        return same_keys and all(fits(metadata[key], state[key]) for key in state)
    if isinstance(state, list):
        return len(metadata) == len(state) and all(map(fits, metadata, state))
    return [*metadata] == ["timestamp"] and isinstance(metadata["timestamp"], int)


# --- properties ----------------------------------------------------------------------------------


@given(histories)
def test_every_history_satisfies_the_rules(history: list[Any]) -> None:
    current: Shadow | None = None
    model: dict[str, Any] = {}
    for number, state in enumerate(history, start=1):
        before = current and current.to_json()
        done = patch(current, state, NOW + number)
        assert (current and current.to_json()) == before, "an update changed its input"
        assert done.shadow.version == done.accepted["version"] == number

        model = merge_patch(model, state) if state is not None else {}
        model = {name: section for name, section in model.items() if section}
        document = done.shadow.document(NOW)
        delta = document["state"].pop("delta", None)
        assert text_of(document["state"]) == text_of(model)
        assert fits(document["metadata"], document["state"])

        desired, reported = model.get("desired", {}), model.get("reported", {})
        assert (delta is None) == agree(desired, reported)
        assert (done.delta is None) == (delta is None)
        if done.delta is not None:
            assert text_of(done.delta["state"]) == text_of(delta)
            assert fits(done.delta["metadata"], delta)
            assert agree(delta, desired)
        assert Shadow.from_json(done.shadow.to_json()).to_json() == done.shadow.to_json()
        current = done.shadow


@given(histories)
def test_reporting_the_delta_removes_it(history: list[Any]) -> None:
    current = shadow_after(history)
    delta = current.document(NOW)["state"].get("delta")
    if delta is not None:
        done = patch(current, {"reported": delta})
        assert done.delta is None
        assert agree(done.shadow.state.get("desired"), done.shadow.state.get("reported"))
        assert done.shadow.state.get("desired") is current.state.get("desired")


@given(histories)
def test_sending_the_current_state_changes_only_version_and_time(history: list[Any]) -> None:
    current = shadow_after(history)
    state = current.document(NOW)["state"]
    state.pop("delta", None)  # no update may contain it
    again = patch(current, state, NOW + 1).shadow
    assert text_of(again.document(NOW)["state"]) == text_of(current.document(NOW)["state"])
    assert again.version == current.version + 1


def check_response(payload: bytes, current: Shadow | None) -> None:
    """Check that the response is JSON in UTF-8 or a rejection, and the shadow unchanged."""
    before = current and current.to_json()
    documents: list[Any] = []
    try:
        done = shadow.update(current, payload, NOW)
    except Rejected as rejection:
        documents.append(rejection.document(NOW))
    else:
        documents += [done.accepted, done.delta, done.documents, done.shadow.document(NOW)]
    for request in (shadow.get, shadow.delete):
        try:
            documents.append(request(current, payload, NOW, label="x"))
        except Rejected as rejection:
            documents.append(rejection.document(NOW))
    for document in documents:
        json.dumps(document, allow_nan=False, ensure_ascii=False).encode()
    assert (current and current.to_json()) == before


currents = st.sampled_from(
    [None, shadow_after([{}]), shadow_after([{"desired": {"a": {"b": 1}}, "reported": {"a": [1]}}])]
)


@given(st.binary(max_size=60), currents)
def test_only_rejected_escapes_for_bytes(payload: bytes, current: Shadow | None) -> None:
    check_response(payload, current)


@given(nearly_requests | anything, st.booleans(), currents)
def test_only_rejected_escapes_for_json(
    request: Any, escaped: bool, current: Shadow | None
) -> None:
    text = json.dumps(request, ensure_ascii=escaped)
    check_response(text.encode(errors="surrogatepass"), current)
