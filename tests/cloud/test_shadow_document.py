"""Device Shadow documents: the rules of merge, delta, version and rejection, as tables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from creeklab.cloud.shadow import document as shadow
from creeklab.cloud.shadow.document import Rejected, Shadow, ShadowLimits, Update

NOW = 1_785_000_000
STAMP = {"timestamp": NOW}
ABSENT = object()

INVALID_JSON = (400, "Invalid JSON")
NO_STATE = (400, "Missing required node: state")
NO_OBJECT = (400, "Desired node must be an object")
INVALID_VERSION = (400, "Invalid version")
CONFLICT = (409, "Version conflict")
TOO_DEEP = (400, "JSON contains too many levels of nesting; maximum is 6")
NOT_UTF8 = (415, "Unsupported documented encoding; supported encoding is UTF-8")
TOO_LARGE = (413, "The payload exceeds the maximum size allowed")
INVALID_NODE = (400, "State contains an invalid node")  # a null in an array has no name
INVALID_TOKEN = (400, "Invalid clientToken")


def apply(current: Shadow | None, request: Any, now: int = NOW, **options: Any) -> Update:
    payload = request if isinstance(request, bytes) else json.dumps(request).encode()
    return shadow.update(current, payload, now, **options)


def patch(current: Shadow | None, state: Any, now: int = NOW) -> Update:
    return apply(current, {"state": state}, now)


def shadow_after(*states: Any) -> Shadow:
    """Return the shadow after these updates."""
    current = None
    for state in states:
        current = patch(current, state).shadow
    assert current is not None
    return current


def state_of(current: Shadow) -> Any:
    return current.document(NOW)["state"]


def text_of(document: Any) -> str:
    """Return text in which 1, 1.0 and true differ, as they do for a client."""
    return json.dumps(document, sort_keys=True, allow_nan=False)


def rejection_of(request: Any, current: Shadow | None = None, **options: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        apply(current, request, **options)
    return caught.value


def code_and_message(rejection: Rejected) -> tuple[int, str]:
    return rejection.code, rejection.message


def short(parameter: Any) -> str:
    """Return a test ID that stays short if the payload is huge."""
    return ascii(parameter)[:50]


def nested(levels: int, kind: str = "object") -> Any:
    """Return `levels` objects or arrays around a 1."""
    value: Any = 1
    for _ in range(levels):
        value = {"a": value} if kind == "object" else [value]
    return value


# --- documents -----------------------------------------------------------------------------------


def test_all_messages_of_an_update() -> None:
    before = patch(None, {"desired": {"lamp": "off"}, "reported": {"lamp": "off"}}, 100).shadow
    update = apply(
        before,
        {
            "state": {"desired": {"lamp": "on", "rgb": [255, 0]}},
            "clientToken": "req-0001",
            "version": 1,
        },
    )
    now = {"lamp": STAMP, "rgb": [STAMP, STAMP]}
    assert update.accepted == {
        "state": {"desired": {"lamp": "on", "rgb": [255, 0]}},
        "metadata": {"desired": now},
        "version": 2,
        "timestamp": NOW,
        "clientToken": "req-0001",
    }
    assert update.delta == {
        "version": 2,
        "timestamp": NOW,
        "state": {"lamp": "on", "rgb": [255, 0]},
        "metadata": now,
        "clientToken": "req-0001",
    }
    old = {"lamp": {"timestamp": 100}}
    assert update.documents == {
        "previous": {
            "state": {"desired": {"lamp": "off"}, "reported": {"lamp": "off"}},
            "metadata": {"desired": old, "reported": old},
            "version": 1,
        },
        "current": {
            "state": {"desired": {"lamp": "on", "rgb": [255, 0]}, "reported": {"lamp": "off"}},
            "metadata": {"desired": now, "reported": old},
            "version": 2,
        },
        "timestamp": NOW,
        "clientToken": "req-0001",
    }


def test_full_document() -> None:
    current = shadow_after({"desired": {"lamp": "on"}, "reported": {"lamp": "off"}})
    expected = {
        "state": {
            "desired": {"lamp": "on"},
            "reported": {"lamp": "off"},
            "delta": {"lamp": "on"},
        },
        "metadata": {"desired": {"lamp": STAMP}, "reported": {"lamp": STAMP}},
        "version": 1,
        "timestamp": NOW + 10,
    }
    assert current.document(NOW + 10) == expected
    response = shadow.get(current, b'{"clientToken":"req-0002"}', NOW + 10, label="Test2")
    assert response == {**expected, "clientToken": "req-0002"}


def test_responses_have_no_client_token_without_one_in_the_request() -> None:
    update = patch(None, {"desired": {"lamp": "on"}})
    assert update.delta is not None
    for document in (update.accepted, update.delta, update.documents):
        assert "clientToken" not in document


@pytest.mark.parametrize(
    ("rules", "previous"),
    [
        (ShadowLimits(), None),
        (ShadowLimits(first_previous="empty"), {"state": {}, "metadata": {}}),
    ],
)
def test_previous_of_a_first_update(rules: ShadowLimits, previous: Any) -> None:
    documents = apply(None, {"state": {"reported": {"depth": 1.4}}}, limits=rules).documents
    assert documents["previous"] == previous
    assert documents["current"]["version"] == 1


def test_documents_hold_no_delta() -> None:
    first = patch(None, {"desired": {"lamp": "on"}})
    second = patch(first.shadow, {"reported": {"lamp": "off"}})
    assert second.delta is not None
    assert "delta" not in second.documents["previous"]["state"]
    assert "delta" not in second.documents["current"]["state"]


def test_store_round_trip() -> None:
    for current in (
        shadow_after({"desired": {"ü": [1, 1.0, True]}, "reported": {"timestamp": 5}}),
        shadow_after({"reported": {"depth": 6.63}}),
        shadow_after({}),
    ):
        again = Shadow.from_json(current.to_json())
        assert again == current
        assert again.to_json() == current.to_json()


# --- merge ---------------------------------------------------------------------------------------


MERGES: dict[str, tuple[Any, Any, Any]] = {
    "other keys stay": ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
    "scalar sets": ({"a": 1}, {"a": "x"}, {"a": "x"}),
    "scalar over object": ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
    "objects merge": ({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}),
    "object over scalar": ({"c": 3}, {"c": {"d": 1}}, {"c": {"d": 1}}),
    "empty object over scalar": ({"c": 3}, {"c": {}}, {"c": {}}),
    "object over array": ({"c": [3]}, {"c": {"d": 1}}, {"c": {"d": 1}}),
    "new empty object": ({"a": 1}, {"d": {}}, {"a": 1, "d": {}}),
    "empty object over object": ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": 1}}),
    "array replaced entirely": ({"a": [1, 2, 3]}, {"a": [9]}, {"a": [9]}),
    "no element merge": ({"a": [{"x": 1}]}, {"a": [{"y": 2}]}, {"a": [{"y": 2}]}),
    "null removes": ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
    "null removes an object": ({"a": {"b": 1}, "c": 2}, {"a": None}, {"c": 2}),
    "null of what is absent": ({"a": 1}, {"b": None}, {"a": 1}),
    "nested null": ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}),
    "emptied parent stays": ({"a": {"b": 1}}, {"a": {"b": None}}, {"a": {}}),
    "new, nulls": ({"a": 1}, {"n": {"x": None, "y": 2}}, {"a": 1, "n": {"y": 2}}),
    "new, only nulls": ({"a": 1}, {"n": {"x": None}}, {"a": 1, "n": {}}),
    "only nulls over scalar": ({"a": 1}, {"a": {"x": None}}, {"a": {}}),
    "last key removed": ({"a": 1}, {"a": None}, ABSENT),
    "section removed": ({"a": 1}, None, ABSENT),
    "empty section changes nothing": ({"a": 1}, {}, {"a": 1}),
    "a key named timestamp": ({"timestamp": {"b": 1}}, {"timestamp": 2}, {"timestamp": 2}),
}  # fmt: skip


@pytest.mark.parametrize(("before", "update", "after"), MERGES.values(), ids=MERGES.keys())
@pytest.mark.parametrize("section", ["desired", "reported"])
def test_merge(section: str, before: Any, update: Any, after: Any) -> None:
    other = "reported" if section == "desired" else "desired"
    first = patch(None, {section: before, other: {"k": 0}}, 100).shadow
    done = patch(first, {section: update})
    document = done.shadow.document(NOW)
    document["state"].pop("delta", None)
    expected = {other: {"k": 0}} if after is ABSENT else {section: after, other: {"k": 0}}
    assert document["state"] == expected
    assert document["metadata"].keys() == expected.keys()
    assert done.shadow.version == 2
    # The response repeats the request as it was sent, nulls included, with new timestamps.
    assert done.accepted["state"] == {section: update}
    assert done.accepted["metadata"] == {section: stamped(update, NOW)}


def stamped(value: Any, now: int) -> Any:
    if isinstance(value, dict):
        return {key: stamped(child, now) for key, child in value.items()}
    if isinstance(value, list):
        return [stamped(child, now) for child in value]
    return {"timestamp": now}


def test_state_null_removes_everything_and_still_counts() -> None:
    current = shadow_after({"desired": {"a": 1}, "reported": {"a": 2}})
    done = patch(current, None)
    assert done.accepted == {"state": None, "metadata": STAMP, "version": 2, "timestamp": NOW}
    assert done.delta is None
    assert done.shadow.document(NOW) == {
        "state": {},
        "metadata": {},
        "version": 2,
        "timestamp": NOW,
    }
    assert patch(done.shadow, {"reported": {"a": 3}}).shadow.version == 3


def test_state_null_makes_an_empty_shadow() -> None:
    assert shadow_after(None).document(NOW)["state"] == {}


@pytest.mark.parametrize("empty", [{}, {"desired": {}}, {"reported": {"x": None}}])
def test_empty_first_content_shows_no_section(empty: Any) -> None:
    current = shadow_after(empty)
    assert current.document(NOW) == {"state": {}, "metadata": {}, "version": 1, "timestamp": NOW}


def test_other_top_level_keys_are_ignored() -> None:
    request = {
        "state": {"reported": {"a": 1}},
        "metadata": {"reported": {"a": {"timestamp": 1}}},
        "timestamp": 5,
        "extra": [None, nested(50)],
    }
    done = apply(None, request)
    assert done.accepted == {
        "state": {"reported": {"a": 1}},
        "metadata": {"reported": {"a": STAMP}},
        "version": 1,
        "timestamp": NOW,
    }


def test_a_document_from_get_cannot_be_sent_back_with_its_delta() -> None:
    current = shadow_after({"desired": {"a": 1}, "reported": {"a": 2}})
    state = state_of(current)
    assert state["delta"] == {"a": 1}
    rejection = rejection_of({"state": state, "clientToken": "t"}, current)
    assert code_and_message(rejection) == (400, "State contains an invalid node: 'delta'")
    assert rejection.client_token == "t"


def test_metadata_has_the_time_of_each_leaf() -> None:
    first = patch(None, {"reported": {"a": 1, "b": {"c": [1, [2]], "d": 3}, "e": 4}}, 100).shadow
    second = patch(first, {"reported": {"a": 1, "b": {"d": None, "f": 5}}}, 200).shadow
    old, new = {"timestamp": 100}, {"timestamp": 200}
    # a gets a new timestamp although its value stays the same.
    assert second.document(NOW)["metadata"] == {
        "reported": {"a": new, "b": {"c": [old, [old]], "f": new}, "e": old}
    }


@pytest.mark.parametrize(
    "number", ["1", "1.0", "-0.0", "1e2", "66.2", "0.1", "12345678901234567890", "5e-324"]
)
def test_numbers_stay_as_sent(number: str) -> None:
    current = apply(None, b'{"state":{"reported":{"n":%s}}}' % number.encode()).shadow
    value = state_of(Shadow.from_json(current.to_json()))["reported"]["n"]
    assert (type(value), repr(value)) == (type(json.loads(number)), repr(json.loads(number)))


def test_untouched_branches_are_shared() -> None:
    first = shadow_after({"reported": {"big": {"x": 1}, "depth": 1.4}, "desired": {"y": 2}})
    second = patch(first, {"reported": {"depth": 1.5}}).shadow
    assert second.state["reported"]["big"] is first.state["reported"]["big"]
    assert second.state["desired"] is first.state["desired"]


# --- versions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ABSENT, 2, 2.0])
def test_update_of_the_current_version(version: Any) -> None:
    current = shadow_after({"reported": {"a": 1}}, {"reported": {"a": 2}})
    request = {"state": {"reported": {"a": 3}}}
    if version is not ABSENT:
        request["version"] = version
    assert apply(current, request).shadow.version == 3


@pytest.mark.parametrize("version", [0, 1, 3, 1e300, 2.5])
def test_version_conflict(version: Any) -> None:
    current = shadow_after({"reported": {"a": 1}}, {"reported": {"a": 2}})
    rejection = rejection_of({"state": {"reported": {"a": 3}}, "version": version}, current)
    assert code_and_message(rejection) == CONFLICT


@pytest.mark.parametrize("version", [-1, -0.5, "1", True, None, [1], {}])
@pytest.mark.parametrize("exists", [False, True])
def test_invalid_version(version: Any, exists: bool) -> None:
    current = shadow_after({"reported": {"a": 1}}) if exists else None
    rejection = rejection_of({"state": {}, "version": version}, current)
    assert code_and_message(rejection) == INVALID_VERSION


@pytest.mark.parametrize(
    ("version", "rules", "outcome"),
    [
        (1, ShadowLimits(), 1),
        (1, ShadowLimits(first_version="conflict"), 1),
        (7, ShadowLimits(), INVALID_VERSION),
        (0, ShadowLimits(), INVALID_VERSION),
        (7, ShadowLimits(first_version="conflict"), CONFLICT),
    ],
)
def test_version_for_a_new_shadow(version: int, rules: ShadowLimits, outcome: Any) -> None:
    request = {"state": {"reported": {"a": 1}}, "version": version}
    if isinstance(outcome, int):
        assert apply(None, request, limits=rules).shadow.version == outcome
    else:
        rejection = rejection_of(request, limits=rules)
        assert code_and_message(rejection) == outcome


@pytest.mark.parametrize("last_version", [0, 7])
def test_numbering_after_a_delete(last_version: int) -> None:
    """Numbering continues from the deleted version within 48 hours, and starts at 1 later."""
    done = apply(None, {"state": {"reported": {"a": 1}}}, last_version=last_version)
    assert done.shadow.version == done.accepted["version"] == last_version + 1
    assert done.documents["previous"] is None


def test_an_existing_shadow_ignores_the_last_version() -> None:
    current = shadow_after({"reported": {"a": 1}})
    assert apply(current, {"state": {}}, last_version=7).shadow.version == 2


# --- rejections ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "rejection"),
    [
        (b"", (400, "Missing update payload")),
        (b" ", INVALID_JSON),
        (b"{", INVALID_JSON),
        (b'{"state":{}} x', INVALID_JSON),
        (b"{'state':{}}", INVALID_JSON),
        (b'{"state":{"reported":{"a":1,}}}', INVALID_JSON),
        (b'{"state":{"reported":{"a":"\n"}}}', INVALID_JSON),
        (b"null", INVALID_JSON),
        (b"[]", INVALID_JSON),
        (b"3", INVALID_JSON),
        (b'{"state":{"reported":{"a":NaN}}}', INVALID_JSON),
        (b'{"state":{"reported":{"a":Infinity}}}', INVALID_JSON),
        (b'{"state":{"reported":{"a":-Infinity}}}', INVALID_JSON),
        (b'{"state":{"reported":{"a":1e999}}}', INVALID_JSON),
        (b'{"state":{"reported":{"a":%s}}}' % (b"9" * 5000), INVALID_JSON),
        (b'{"state":{"reported":{"a":"\\ud800"}}}', INVALID_JSON),
        (b'{"state":{"reported":{"\\uDC00":null}}}', INVALID_JSON),
        (b'{"state":{},"clientToken":"\\ud800"}', INVALID_JSON),
        (b'\xef\xbb\xbf{"state":{}}', INVALID_JSON),
        ('{"state":{}}'.encode("utf-16-le"), INVALID_JSON),
        ('{"state":{}}'.encode("utf-16"), NOT_UTF8),
        (b'{"state":{"reported":{"a":"\xe9"}}}', NOT_UTF8),
        (b'{"state":{"reported":{"a":"\xed\xa0\x80"}}}', NOT_UTF8),
        (b"[" * 100_000, TOO_DEEP),
        (b'{"a":' * 100_000, TOO_DEEP),
        (b'{"state":' + b"[" * 50_000 + b"]" * 50_000 + b"}", TOO_DEEP),
        (b"{}", NO_STATE),
        (b'{"version":-1}', NO_STATE),
        (b'{"state":[]}', (400, "State node must be an object")),
        (b'{"state":"x"}', (400, "State node must be an object")),
        (b'{"state":{"desired":1}}', NO_OBJECT),
        (b'{"state":{"desired":[]}}', NO_OBJECT),
        (b'{"state":{"reported":"x"}}', (400, "Reported node must be an object")),
        (b'{"state":{"reported":false}}', (400, "Reported node must be an object")),
        (b'{"state":{"repotred":{}}}', (400, f"{INVALID_NODE[1]}: 'repotred'")),
        (b'{"state":{"reported":{},"delta":null}}', (400, f"{INVALID_NODE[1]}: 'delta'")),
        (b'{"state":{"%s":1}}' % (b"x" * 9000), (400, f"{INVALID_NODE[1]}: '{'x' * 64}'")),
        (b'{"state":{"reported":{"a":[null]}}}', INVALID_NODE),
        (b'{"state":{"reported":{"a":[[1,null]]}}}', INVALID_NODE),
        (b'{"state":{"reported":{"a":[{"b":null}]}}}', INVALID_NODE),
        (b'{"state":{},"clientToken":1}', INVALID_TOKEN),
        (b'{"state":{},"clientToken":null}', INVALID_TOKEN),
        (b'{"state":{},"clientToken":"%s"}' % (b"x" * 65), INVALID_TOKEN),
        (b'{"state":{},"clientToken":"%s"}' % ("ü" * 33).encode(), INVALID_TOKEN),
    ],
    ids=short,
)  # fmt: skip
def test_rejected_requests(payload: bytes, rejection: tuple[int, str]) -> None:
    current = shadow_after({"reported": {"kept": 1}})
    before = current.to_json()
    for existing in (None, current):
        caught = rejection_of(payload, existing)
        assert code_and_message(caught) == rejection
        assert caught.document(NOW) == {
            "code": rejection[0],
            "message": rejection[1],
            "timestamp": NOW,
        }
    assert current.to_json() == before


ORDER: dict[str, tuple[Any, tuple[int, str]]] = {
    "state first": ({"version": "x"}, NO_STATE),
    "sections before version": ({"state": {"desired": 1}, "version": "x"}, NO_OBJECT),
    "nodes before version": (
        {"state": {"x": {}}, "version": "x"}, (400, "State contains an invalid node: 'x'")
    ),
    "version type before token": ({"state": {}, "version": "x", "clientToken": 1}, INVALID_VERSION),
    "token before depth": ({"state": {"desired": nested(7)}, "clientToken": 1}, INVALID_TOKEN),
    "depth before version": ({"state": {"desired": nested(7)}, "version": 9}, TOO_DEEP),
    "version before size": ({"state": {"desired": {"a": "x" * 9000}}, "version": 9}, CONFLICT),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "rejection"), ORDER.values(), ids=ORDER.keys())
def test_order_of_the_checks(request_: Any, rejection: tuple[int, str]) -> None:
    caught = rejection_of(request_, shadow_after({"reported": {"a": 1}}))
    assert code_and_message(caught) == rejection


def test_a_rejection_has_the_token_of_the_request() -> None:
    for request in ({}, {"state": 1}, {"state": {}, "version": -1}, {"state": {}, "version": 9}):
        rejection = rejection_of({**request, "clientToken": "req-1"}, shadow_after({}))
        assert rejection.document(NOW)["clientToken"] == "req-1"


def test_client_token_of_64_bytes() -> None:
    for token in ("x" * 64, "ü" * 32, ""):
        done = apply(None, json.dumps({"state": {}, "clientToken": token}).encode())
        assert done.accepted["clientToken"] == token


@pytest.mark.parametrize("kind", ["object", "array"])
@pytest.mark.parametrize("section", ["desired", "reported"])
@pytest.mark.parametrize("depth", [6, 3])
def test_depth(section: str, kind: str, depth: int) -> None:
    """The section is level 1; objects and arrays count, leaves do not."""
    rules = ShadowLimits(max_depth=depth)
    apply(None, {"state": {section: {"top": nested(depth - 1, kind)}}}, limits=rules)
    rejection = rejection_of({"state": {section: {"top": nested(depth, kind)}}}, limits=rules)
    assert rejection.code == 400
    assert rejection.message == f"JSON contains too many levels of nesting; maximum is {depth}"


@pytest.mark.parametrize("character", ["x", "ü", "\\u20ac", '\\"'])
def test_size_is_that_of_the_merged_sections(character: str) -> None:
    decoded = json.loads(f'"{character}"')
    width = len(json.dumps(decoded, ensure_ascii=False).encode()) - 2
    current = shadow_after({"desired": {"k": "v"}})  # 9 bytes

    def with_reported(room: int) -> bytes:
        count, rest = divmod(room - len('{"a":""}'), width)
        return f'{{"state": {{"reported": {{"a": "{character * count}{"y" * rest}"}}}}}}'.encode()

    done = apply(current, with_reported(8192 - 9))
    rejection = rejection_of(with_reported(8192 - 9 + 1), current)
    assert code_and_message(rejection) == TOO_LARGE
    # Metadata and spaces do not count; the existing state does.
    assert rejection_of({"state": {"desired": {"b": 1}}}, done.shadow).code == 413
    assert patch(done.shadow, {"desired": None}).shadow.version == 3
    larger = ShadowLimits(max_bytes=30 * 1024)
    assert apply(done.shadow, {"state": {"desired": {"b": 1}}}, limits=larger).shadow.version == 3


def test_the_last_of_equal_keys_wins() -> None:
    done = apply(None, b'{"state":1,"state":{"reported":{"a":1,"a":2}}}')
    assert state_of(done.shadow) == {"reported": {"a": 2}}


def test_surrogate_pairs_are_a_character() -> None:
    done = apply(None, b'{"state":{"reported":{"a":"\\ud83d\\udca7"}}}')
    assert state_of(done.shadow) == {"reported": {"a": "\N{DROPLET}"}}


# --- delta ---------------------------------------------------------------------------------------


# First update, the state after it, second update, the state after it.
MEASURED: list[tuple[Any, Any, Any, Any]] = [
    (
        {"desired": {"on": True}},
        {"desired": {"on": True}, "delta": {"on": True}},
        {"reported": {"on": False}},
        {"desired": {"on": True}, "reported": {"on": False}, "delta": {"on": True}},
    ),
    (
        {"desired": {"auto": True}},
        {"desired": {"auto": True}, "delta": {"auto": True}},
        {"reported": {"on": False, "auto": True}},
        {"desired": {"auto": True}, "reported": {"on": False, "auto": True}},
    ),
    ({}, {}, {"reported": {"on": None}}, {}),
    ({"desired": {}}, {}, {"reported": {"on": False}}, {"reported": {"on": False}}),
    (
        {"desired": {"auto": True}},
        {"desired": {"auto": True}, "delta": {"auto": True}},
        {"reported": {}},
        {"desired": {"auto": True}, "delta": {"auto": True}},
    ),
    (
        {"desired": {"auto": True}},
        {"desired": {"auto": True}, "delta": {"auto": True}},
        {"reported": {"on": True}},
        {"desired": {"auto": True}, "reported": {"on": True}, "delta": {"auto": True}},
    ),
    (
        {"reported": {"list": ["x", "y"]}},
        {"reported": {"list": ["x", "y"]}},
        {"desired": {"list": ["x"]}},
        {"reported": {"list": ["x", "y"]}, "desired": {"list": ["x"]}, "delta": {"list": ["x"]}},
    ),
    (
        {"reported": {"l": [["x"], ["y"]]}},
        {"reported": {"l": [["x"], ["y"]]}},
        {"desired": {"l": [["x"]]}},
        {"reported": {"l": [["x"], ["y"]]}, "desired": {"l": [["x"]]}, "delta": {"l": [["x"]]}},
    ),
    (
        {"reported": {"a": {"b": {"c": "d", "e": "f"}}}},
        {"reported": {"a": {"b": {"c": "d", "e": "f"}}}},
        {"desired": {"a": {"b": {"c": "d2"}}}},
        {
            "reported": {"a": {"b": {"c": "d", "e": "f"}}},
            "desired": {"a": {"b": {"c": "d2"}}},
            "delta": {"a": {"b": {"c": "d2"}}},
        },
    ),
    (
        {"reported": {"a": {"b1": {"c": "d"}}}},
        {"reported": {"a": {"b1": {"c": "d"}}}},
        {"desired": {"a": {"b1": {"c": "d"}, "b2": "e"}}},
        {
            "reported": {"a": {"b1": {"c": "d"}}},
            "desired": {"a": {"b1": {"c": "d"}, "b2": "e"}},
            "delta": {"a": {"b2": "e"}},
        },
    ),
    (
        {"desired": {"a": 1, "b": {"c": 3}}},
        {"desired": {"a": 1, "b": {"c": 3}}, "delta": {"a": 1, "b": {"c": 3}}},
        {"desired": {"a": 1, "b": {"c": {}}, "d": {}}},
        {"desired": {"a": 1, "b": {"c": {}}, "d": {}}, "delta": {"a": 1, "b": {"c": {}}, "d": {}}},
    ),
]


@pytest.mark.parametrize(("first", "state", "second", "next_state"), MEASURED)
def test_vectors_measured_on_aws(first: Any, state: Any, second: Any, next_state: Any) -> None:
    done = patch(None, first)
    assert text_of(state_of(done.shadow)) == text_of(state)
    done = patch(done.shadow, second)
    assert text_of(state_of(done.shadow)) == text_of(next_state)
    delta = next_state.get("delta")
    assert (done.delta and done.delta["state"]) == delta


DELTAS: dict[str, tuple[Any, Any, Any]] = {
    "numbers compare by value": ({"a": 1}, {"a": 1.0}, None),
    "true is not 1": ({"a": True}, {"a": 1}, {"a": True}),
    "0 is not false": ({"a": 0}, {"a": False}, {"a": 0}),
    "true in an array": ({"a": [True, 1]}, {"a": [1, 1]}, {"a": [True, 1]}),
    "numbers in an array": ({"a": [1, {"b": 2.0}]}, {"a": [1.0, {"b": 2}]}, None),
    "true deep in an array": ({"a": [{"b": True}]}, {"a": [{"b": 1}]}, {"a": [{"b": True}]}),
    "text is not a number": ({"a": "1"}, {"a": 1}, {"a": "1"}),
    "large integers are exact": ({"a": 2**53 + 1}, {"a": 2.0**53}, {"a": 2**53 + 1}),
    "order in an array": ({"a": [1, 2]}, {"a": [2, 1]}, {"a": [1, 2]}),
    "object against array": ({"a": {"b": 1}}, {"a": [1]}, {"a": {"b": 1}}),
    "object against scalar": ({"a": {"b": 1}}, {"a": 3}, {"a": {"b": 1}}),
    "scalar against object": ({"a": 3}, {"a": {"b": 1}}, {"a": 3}),
    "empty object asks for nothing": ({"a": {}}, {"a": {"b": 1}}, None),
    "empty object against nothing": ({"a": {}}, {"b": 1}, {"a": {}}),
    "only in reported": ({"a": 1}, {"a": 1, "b": 2}, None),
    "path from the root": ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a": {"c": 2}}),
}  # fmt: skip


@pytest.mark.parametrize(("desired", "reported", "delta"), DELTAS.values(), ids=DELTAS.keys())
def test_delta(desired: Any, reported: Any, delta: Any) -> None:
    done = patch(None, {"desired": desired, "reported": reported})
    if delta is None:
        assert done.delta is None
        assert "delta" not in state_of(done.shadow)
    else:
        assert done.delta is not None
        assert text_of(done.delta["state"]) == text_of(delta)
        assert text_of(state_of(done.shadow)["delta"]) == text_of(delta)


def test_delta_metadata_is_that_of_desired() -> None:
    first = patch(None, {"desired": {"a": {"b": 1, "c": [2, 3]}, "d": 4}}, 100).shadow
    done = patch(first, {"desired": {"d": 5}, "reported": {"a": {"b": 1}, "d": 4}}, 200)
    assert done.delta is not None
    assert done.delta["metadata"] == {
        "a": {"c": [{"timestamp": 100}, {"timestamp": 100}]},
        "d": {"timestamp": 200},
    }


def test_every_delta_has_all_differences() -> None:
    current = shadow_after({"desired": {"a": 1, "b": 2}})
    done = patch(current, {"reported": {"a": 1, "other": 3}})
    assert done.delta is not None
    assert done.delta["state"] == {"b": 2}


def test_removed_desired_key_leaves_the_delta() -> None:
    current = shadow_after({"desired": {"a": 1, "b": 2}, "reported": {"a": 0, "b": 2}})
    assert patch(current, {"desired": {"a": None}}).delta is None


def test_key_removed_from_reported_enters_the_delta() -> None:
    current = shadow_after({"desired": {"a": 1}, "reported": {"a": 1, "b": 2}})
    done = patch(current, {"reported": {"a": None}})
    assert done.delta is not None
    assert done.delta["state"] == {"a": 1}


# --- get and delete ------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"clientToken":"t"}', b'{"other":[1]}'])
@pytest.mark.parametrize("request_", [shadow.get, shadow.delete])
def test_missing_shadow(request_: Any, payload: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        request_(None, payload, NOW, label="thing1")
    expected: dict[str, Any] = {
        "code": 404,
        "message": "No shadow exists with name: 'thing1'",
        "timestamp": NOW,
    }
    if b"clientToken" in payload:
        expected["clientToken"] = "t"
    assert caught.value.document(NOW) == expected


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"other":[1]}'])
def test_get_without_token(payload: bytes) -> None:
    current = shadow_after({"reported": {"a": 1}})
    assert shadow.get(current, payload, NOW, label="x") == current.document(NOW)


@pytest.mark.parametrize(
    ("payload", "rejection"),
    [
        (b"{", INVALID_JSON),
        (b"[]", INVALID_JSON),
        (b"\xff", NOT_UTF8),
        (b"[" * 100_000, TOO_DEEP),
        (b'{"clientToken":1}', INVALID_TOKEN),
        (b'{"clientToken":"%s"}' % (b"x" * 65), INVALID_TOKEN),
    ],
    ids=short,
)
def test_get_rejected(payload: bytes, rejection: tuple[int, str]) -> None:
    for current in (None, shadow_after({})):
        with pytest.raises(Rejected) as caught:
            shadow.get(current, payload, NOW, label="x")
        assert code_and_message(caught.value) == rejection


@pytest.mark.parametrize(
    ("payload", "token"),
    [
        (b"", None),
        (b"{}", None),
        (b'{"clientToken":"t"}', "t"),
        (b'{"version":99,"clientToken":"t"}', "t"),
        (b'{"clientToken":1}', None),
        (b"not json", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
    ],
    ids=short,
)
def test_delete_ignores_its_payload_except_for_the_token(payload: bytes, token: str | None) -> None:
    response = shadow.delete(shadow_after({}, {}, {}), payload, NOW, label="x")
    expected: dict[str, Any] = {"version": 3, "timestamp": NOW}
    if token is not None:
        expected["clientToken"] = token
    assert response == expected


def test_an_uncaught_rejection_is_readable() -> None:
    assert str(Rejected(404, "Thing not found")) == "404: Thing not found"
