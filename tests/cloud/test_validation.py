"""Every constraint with AWS's message, Java's patterns, and arbitrary JSON values."""

from __future__ import annotations

import base64
import re
import unicodedata
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creeklab.cloud.api.service_model import ServiceModel
from creeklab.cloud.api.validation import InvalidRequest, matches, validate

SHAPES: dict[str, dict[str, Any]] = {
    "Name": {"type": "string", "min": 1, "max": 5, "pattern": "[a-z]+"},
    "Text": {"type": "string"},
    "Color": {"type": "string", "enum": ["RED", "BLUE"]},
    "Size": {"type": "integer", "min": 1, "max": 250},
    "Long": {"type": "long"},
    "Rate": {"type": "double", "max": 1.5},
    "Flag": {"type": "boolean"},
    "Time": {"type": "timestamp"},
    "Blob": {"type": "blob", "min": 2},
    "Names": {"type": "list", "member": {"shape": "Name"}, "max": 2},
    "Tag": {
        "type": "structure",
        "required": ["key"],
        "members": {"key": {"shape": "Name"}, "value": {"shape": "Text"}},
    },
    "Tags": {"type": "list", "member": {"shape": "Tag"}},
    "Attributes": {"type": "map", "key": {"shape": "Name"}, "value": {"shape": "Color"}},
    "TagMap": {"type": "map", "key": {"shape": "Text"}, "value": {"shape": "Tag"}},
    "Input": {
        "type": "structure",
        "required": ["name"],
        "members": {
            "name": {"shape": "Name"},
            "text": {"shape": "Text"},
            "color": {"shape": "Color"},
            "size": {"shape": "Size"},
            "long": {"shape": "Long"},
            "rate": {"shape": "Rate"},
            "flag": {"shape": "Flag"},
            "time": {"shape": "Time"},
            "blob": {"shape": "Blob"},
            "names": {"shape": "Names"},
            "tag": {"shape": "Tag"},
            "tags": {"shape": "Tags"},
            "attributes": {"shape": "Attributes"},
            "tagmap": {"shape": "TagMap"},
        },
    },
}
PATTERN = "Member must satisfy regular expression pattern: [a-z]+"
NAME = f"Member must have length less than or equal to 5, Member must have length greater than or equal to 1, {PATTERN}"  # noqa: E501
ENUM = "Member must satisfy enum value set: [RED, BLUE]"


def test_values_of_every_type() -> None:
    raw: dict[str, Any] = {
        "name": "abc",
        "text": "",
        "color": "RED",
        "size": 250,
        "long": -(2**63),
        "rate": 1,
        "flag": False,
        "time": 1535716800,
        "blob": base64.b64encode(b"\0\xff").decode(),
        "names": ["a", "b"],
        "tag": {"key": "k", "value": None, "unknown": 1},
        "tags": [{"key": "k", "value": "v"}],
        "attributes": {"a": "BLUE"},
        "tagmap": {"Any key": {"key": "k"}},
        "unknown": object(),
    }
    members = validate(SHAPES, "Input", raw)
    del raw["unknown"], raw["tag"]["value"], raw["tag"]["unknown"]
    assert members == {**raw, "blob": b"\0\xff"}
    assert type(members["time"]) is type(members["rate"]) is float


@pytest.mark.parametrize("name", [{}, {"name": None}])
def test_null_is_absent(name: dict[str, None]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate(SHAPES, "Input", name)
    assert str(caught.value) == (
        "1 validation error detected: Value null at 'name' failed to satisfy constraint: "
        "Member must not be null"
    )


VIOLATIONS: list[tuple[dict[str, Any], list[tuple[str, str, str]]]] = [
    ({"name": "A b"}, [("'A b'", "name", PATTERN)]),
    ({"name": "a\n"}, [("'a\n'", "name", PATTERN)]),
    ({"name": "abcdef"}, [("'abcdef'", "name", "Member must have length less than or equal to 5")]),
    (
        {"name": ""},
        [
            ("''", "name", "Member must have length greater than or equal to 1"),
            ("''", "name", PATTERN),
        ],
    ),
    ({"size": 0}, [("'0'", "size", "Member must have value greater than or equal to 1")]),
    ({"size": 251}, [("'251'", "size", "Member must have value less than or equal to 250")]),
    ({"rate": 1.6}, [("'1.6'", "rate", "Member must have value less than or equal to 1.5")]),
    ({"color": "red"}, [("'red'", "color", ENUM)]),
    ({"blob": b"x"}, [("'b'x''", "blob", "Member must have length greater than or equal to 2")]),
    ({"tag": {}}, [("null", "tag.key", "Member must not be null")]),
    (
        {"tags": [{"key": "k"}, {"key": "K"}, None]},
        [
            ("'K'", "tags.2.member.key", PATTERN),
            ("null", "tags.3.member", "Member must not be null"),
        ],
    ),
    ({"tagmap": {"x": {}}}, [("null", "tagmap.x.member.key", "Member must not be null")]),
    (
        {"names": ["a", "B", "C"]},
        [
            ("'[a, B, C]'", "names", "Member must have length less than or equal to 2"),
            ("'[a, B, C]'", "names", f"Member must satisfy constraint: [{NAME}]"),
        ],
    ),
    (
        {"attributes": {"A": "RED", "b": "GREEN", "c": None}},
        [
            (
                "'{A=RED, b=GREEN, c=None}'",
                "attributes",
                f"Map keys must satisfy constraint: [{NAME}]",
            ),
            ("null", "attributes.c.member", "Member must not be null"),
            (
                "'{A=RED, b=GREEN, c=None}'",
                "attributes",
                f"Map value must satisfy constraint: [{ENUM}]",
            ),
        ],
    ),
    (
        {"size": 0, "color": "x"},
        [
            ("'x'", "color", ENUM),
            ("'0'", "size", "Member must have value greater than or equal to 1"),
        ],
    ),
]


@pytest.mark.parametrize(("members", "expected"), VIOLATIONS)
def test_broken_constraints(members: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate(SHAPES, "Input", {"name": "abc", **members})
    head = f"{len(expected)} validation error{'s' if len(expected) > 1 else ''} detected: "
    assert str(caught.value) == head + "; ".join(
        f"Value {value} at '{place}' failed to satisfy constraint: {sentence}"
        for value, place, sentence in expected
    )


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"name": 5}, "'name' must be a Unicode string."),
        ({"text": "half \ud83d"}, "'text' must be a Unicode string."),
        ({"size": "5"}, "'size' must be a 32-bit integer."),
        ({"size": True}, "'size' must be a 32-bit integer."),
        ({"size": 1.0}, "'size' must be a 32-bit integer."),
        ({"size": 2**31}, "'size' must be a 32-bit integer."),
        ({"long": 2**63}, "'long' must be a 64-bit integer."),
        ({"rate": float("nan")}, "'rate' must be a number."),
        ({"rate": 10**400}, "'rate' must be a number."),
        ({"rate": True}, "'rate' must be a number."),
        ({"flag": 1}, "'flag' must be true or false."),
        ({"time": "2018-08-31"}, "'time' must be a time in seconds."),
        ({"blob": "not base64!"}, "'blob' must be base64 text."),
        ({"blob": 1}, "'blob' must be base64 text."),
        ({"names": "ab"}, "'names' must be a list."),
        ({"tag": []}, "'tag' must be an object."),
        ({"tags": [{"key": 1}]}, "'tags.1.member.key' must be a Unicode string."),
        ({"attributes": 1}, "'attributes' must be an object."),
    ],
)
def test_wrong_types(members: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate(SHAPES, "Input", {"name": "abc", **members})
    assert str(caught.value) == message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.sampled_from(sorted(SHAPES["Input"]["members"])), JSON))
def test_any_json_is_valid_or_rejected(raw: dict[str, Any]) -> None:
    try:
        members = validate(SHAPES, "Input", raw)
    except InvalidRequest:
        return
    assert members.keys() == {name for name, value in raw.items() if value is not None}


# Java's patterns

CASES = [
    ("[a-z]", "ab", False),
    (r"\w+", "aZ_9", True),
    (r"\w+", "ü", False),
    (r"\d{2}", "12", True),
    (r"\d{2}", "१२", False),
    (r"[\p{Upper}\p{Digit}_]+", "A_1", True),
    (r"[\p{Upper}\p{Digit}_]+", "Ü", False),
    (r"[\p{Upper}\p{Digit}_]+", "a", False),
    (r"[\p{Graph}\x20]*", "a b~!", True),
    (r"[\p{Graph}\x20]*", "a\tb", False),
    (r"[\p{Graph}\x20]*", "ü", False),
    (r"[^\p{Cntrl}]*", "any ü 😀", True),
    (r"[^\p{Cntrl}]*", "a\x7f", False),
    (r"[^\p{C}]+", "any ü 😀", True),
    (r"[^\p{C}]+", "", False),
    (r"[^\p{C}]+", "zero\u200bwidth", False),
    (r"[^\p{C}]+", "\n", False),
    (r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$", "Ünï 水 ٣-x@y", True),
    (r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$", "", True),
    (r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$", "a!b", False),
    (r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$", "a\n", False),
    (r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$", "]^\\", False),
    (r"[\p{L}]", "]", False),
]


@pytest.mark.parametrize(("pattern", "text", "expected"), CASES)
def test_patterns_match_as_in_java(pattern: str, text: str, expected: bool) -> None:
    assert matches(pattern, text) is expected


@given(st.text(st.characters(codec="utf-8")))
def test_a_class_contains_exactly_its_category(text: str) -> None:
    for name in "CLNZ":
        inside = [unicodedata.category(char).startswith(name) for char in text]
        assert matches(rf"[\p{{{name}}}]*", text) is all(inside)
        assert matches(rf"[^\p{{{name}}}]*", text) is not any(inside)


@pytest.mark.parametrize(("service", "least", "least_java"), [("iot", 120, 20), ("iot-data", 3, 0)])
def test_every_pattern_of_the_models_compiles(service: str, least: int, least_java: int) -> None:
    """botocore 1.44.5 has 127 patterns in iot, 26 of them with ``\\p``, and 3 in iot-data."""
    found = [
        shape["pattern"] for shape in ServiceModel(service).shapes.values() if "pattern" in shape
    ]
    java = [pattern for pattern in found if r"\p" in pattern]
    assert len(found) >= least
    assert len(java) >= least_java
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for pattern in found:
            assert matches(pattern, "aZ5 -_ü水\t\n\u200b😀[]^\\") in (True, False)
            assert matches(pattern, "") in (True, False)
    # `matches` knows these classes, and relies on their position inside a character class.
    assert {name for pattern in java for name in re.findall(r"\\p\{(\w+)\}", pattern)} <= {
        *("Upper", "Digit", "Graph", "Cntrl"),
        *("C", "L", "N", "Z"),
    }
    assert not any(r"\p" in re.sub(r"\[(\\.|[^\]\\])*\]", "", pattern) for pattern in java)
