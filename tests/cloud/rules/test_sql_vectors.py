"""The SQL against vectors: one expression, or one statement and its outgoing payload, a line."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from creeklab.cloud.rules.sql.evaluate import CompiledStatement
from creeklab.cloud.rules.sql.functions.function import MessageContext
from creeklab.cloud.rules.sql.parser import parse_statement
from creeklab.cloud.rules.sql.tokens import SqlError
from creeklab.cloud.rules.sql.values import VERSION_2015, VERSION_2016

HERE = Path(__file__).parent
PAYLOAD = {
    "color": "red",
    "n": 7,
    "d": 2.888,
    "neg": -5,
    "s": "-5.123",
    "t": True,
    "nul": None,
    "arr": ["a", "b", "c"],
    "nums": [1, 2, 3],
    "o": {"a": "b", "my-key": 1},
    "enc": "eyJ0IjoxfQ==",
}
PROPERTIES = {
    "content_type": "application/json",
    "payload_format_indicator": 1,
    "correlation_data": b"cid",
    "user_properties": [("k", "v1"), ("k", "v2")],
}


def vectors(name: str) -> list[str]:
    return [line for line in (HERE / name).read_text().splitlines() if line]


def message(payload: bytes, topic: str) -> MessageContext:
    return MessageContext(
        topic, payload, "Test2", "0a1b", "127.0.0.1", "123456789012", "7e14", 1535758200000,
        PROPERTIES,
    )  # fmt: skip


def evaluate(
    statement: str, payload: bytes, topic: str = "device/32/data", version: str = VERSION_2016
) -> bytes | None:
    compiled = CompiledStatement(parse_statement(statement, version), version)
    scope = compiled.open(message(payload, topic))
    return compiled.result(scope) if compiled.condition(scope) is True else None


def parsed(text: bytes | str) -> Any:
    return json.loads(text, parse_float=Decimal)


@pytest.mark.parametrize("vector", vectors("function_vectors.txt"))
def test_expression(vector: str) -> None:
    expression, _, expected = vector.partition("=>")
    found = evaluate(f"SELECT VALUE {expression} FROM 'a/b'", json.dumps(PAYLOAD).encode())
    assert found is not None
    if not expected.strip():
        assert found == b""
    else:
        # repr tells true from 1, and 2 from 2.0.
        assert repr(parsed(found)) == repr(parsed(expected))


@pytest.mark.parametrize("vector", vectors("statement_vectors.tsv"))
def test_statement(vector: str) -> None:
    payload, statement, expected = vector.split("\t")
    topic = "$aws/things/Test2/shadow/update" if "'$aws" in statement else "a/b"
    found = evaluate(statement, payload.encode(), topic)
    if expected == "NO ACTION":
        assert found is None
    else:
        assert found is not None
        assert repr(parsed(found)) == repr(parsed(expected))


REFUSED = [
    ("", "Line 1, column 1: Found the end of the statement. Valid here: SET or SELECT."),
    ("SELECT", "Line 1, column 7: Found the end of the statement. Valid here: '.' or an expr"),
    ("SELECT FROM 't'", "column 8: Found 'FROM'. Valid here: '.' or an expression.$"),
    ("FROM 't'", "column 1: Found 'FROM'. Valid here: SET or SELECT"),
    ("SELECT * FROM 't", "column 15: ''' is not valid here. The string that starts here has no"),
    ("SELECT * FROM 't' WHERE", "column 24: Found the end of the statement. Valid here: an expr"),
    ("SELECT * FROM 't' WHERE a >", "column 28: Found the end"),
    ("SELECT * FROM 't' GROUP BY x", "Found 'GROUP'. .* has no GROUP BY"),
    ("SELECT (1+2 FROM 't'", r"column 13: Found 'FROM'. Valid here: .* '\)'"),
    ("SELECT CASE a END FROM 't'", "Found 'END'. Valid here: .*WHEN"),
    ("SELECT VALUE a, b FROM 't'", "SELECT VALUE has exactly one value"),
    ("SELECT a b FROM 't'", "column 10: Found 'b'. Valid here: .*'.', .*AS, .*',', FROM.*A comma"),
    ("SELECT my-key.0 FROM 't'", "Found '0'. .* needs get"),
    ("SELECT * FROM 't' -- c", "'--' is not valid here. .*has no comments"),
    ("SELECT * FROM 't' /* c */", "has no comments"),
    ("SELECT * FROM 't';", "column 18: ';' is not valid here. A statement has no ';'"),
    ("SELECT @x FROM 't'", "The variable @x is not set"),
    ("SET @a = 1, @a = 2 SELECT @a FROM 't'", "column 13: The variable @a is set twice"),
    ("SET @a = @a SELECT @a FROM 't'", "The variable @a is not set"),
    ("SELECT nosuchfunction(1) FROM 't'", "There is no function nosuchfunction"),
    ("SELECT uper(color) FROM 't'", r"no function uper\(\). Did you mean upper\(\)"),
    (
        "SELECT arr[0] FROM 't'",
        r"column 11: AWS IoT SQL has no index syntax. Write get\(array, 0\)",
    ),
    ("SELECT * FROM 't' WHERE a == 1", "Compare with a single '='"),
    ("SELECT * FROM 't' WHERE a LIKE 'x%'", "has no LIKE. Use startswith"),
    ("SELECT * FROM 't' WHERE a BETWEEN 1 AND 2", "has no BETWEEN"),
    ("SELECT * FROM 't' WHERE a IS NULL", "has no IS. Use isNull"),
    ("SELECT * FROM 't' WHERE a NOT IN b", "Write NOT before the whole comparison"),
    ("SELECT * FROM 't' WHERE a && b", "Write AND"),
    ("SELECT * FROM 't' WHERE a || b", "Write OR"),
    ("SELECT * FROM 't' WHERE !a", "Write NOT"),
    ("SELECT * FROM creek/#", "FROM needs a topic filter in single quotes"),
    ('SELECT * FROM "creek/#"', "FROM needs a topic filter in single quotes"),
    ("SELECT * FROM 'a', 'b'", "column 18: Found ','. Valid here: WHERE"),
    ("SELECT ${topic()} FROM 't'", "Substitution templates .* belong into actions"),
    ("SELECT depth AS water-level FROM 't'", "An alias cannot contain a hyphen"),
    ("SELECT depth AS 'level' FROM 't'", "Found ''level''. Valid here: an alias without quotes"),
    ("SELECT CASE WHEN a > 1 THEN 2 END FROM 't'", "write CASE condition WHEN true"),
    ("SELECT upper(color,) FROM 't'", r"Found '\)'. Valid here: .*an expression"),
    ("SELECT cast(a AS Float) FROM 't'", "There is no type Float. Types of CAST: bool"),
    ("SELECT * + 1 FROM 't'", "Found '\\+'"),
    ("SELECT (SELECT * FROM 'a') FROM 't'", "A nested query reads an attribute or a variable"),
    ("SELECT EXISTS (a) FROM 't'", "EXISTS needs a nested query"),
    ("SELECT {a: 1} FROM 't'", "Found 'a'. Valid here: .* a key in quotes"),
    ("SELECT decode(x, 'proto', 'b', 'k', 'f', 'm') FROM 't'", "decodes only 'base64'"),
    ("SELECT aws_lambda('arn', *) FROM 't'", r"does not have aws_lambda\(\): .*lambda action"),
    ("SELECT machinelearning_predict('m', 'r', *) FROM 't'", "does not have machinelearning"),
    ("SELECT \u201ca\u201d FROM 't'", "Use straight quotes"),
    ("SELECT\n  depth,\n  FROM 't'", "Line 3, column 3: Found 'FROM'"),
    ("SELECT " + "(" * 60 + "1" + ")" * 60 + " FROM 't'", "More than 40 expressions are nested"),
    ("SELECT " + "+".join("a" * 500) + " FROM 't'", "more than 150 levels"),
    ("SELECT @" + "a" * 65 + " FROM 't'", "at most 64 characters"),
]


@pytest.mark.parametrize(("statement", "message"), REFUSED)
def test_a_wrong_statement_is_refused_with_its_place(statement: str, message: str) -> None:
    with pytest.raises(SqlError, match=message):
        parse_statement(statement, VERSION_2016)


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("SELECT {'a': 1} AS x FROM 't'", "An object literal"),
        ("SELECT [1] AS x FROM 't'", "An array literal"),
        ("SELECT (SELECT a FROM b) AS x FROM 't'", "A nested query"),
        ("SELECT isUndefined(a) FROM 't'", "isUndefined()"),
        ("SELECT cast(a AS Decimal) FROM 't'", "CAST(... AS Decimal)"),
    ],
)
def test_the_old_version_refuses_what_is_new(statement: str, what: str) -> None:
    parse_statement(statement, VERSION_2016)
    with pytest.raises(SqlError) as refused:
        parse_statement(statement, VERSION_2015)
    assert refused.value.problem.startswith(f"{what} needs the SQL version 2016-03-23")


def test_the_old_version_keeps_decimals() -> None:
    statement, payload = "SELECT t, (t - 32) * 5 / 9 AS c FROM 'x'", b'{"t": 71.0}'
    assert evaluate(statement, payload, version=VERSION_2016) == b'{"t":71,"c":21}'
    assert evaluate(statement, payload, version=VERSION_2015) == (
        b'{"t":71.0,"c":21.66666666666666666666666666666667}'
    )


@pytest.mark.parametrize(
    ("item", "key"),
    [
        ("depth", "depth"),
        ("state.depth", "depth"),
        ("get(arr, 0).depth", "depth"),
        ("clientId()", "clientId"),
        ("Cast(1 AS Int)", "Cast"),
        ("@v", "v"),
        ("1 + 2", "1 + 2"),
        ("(1 + 2) * 3", "(1 + 2) * 3"),
        ("'x'", "'x'"),
    ],
)
def test_an_item_without_an_alias_has_a_name(item: str, key: str) -> None:
    payload = b'{"depth": 1, "state": {"depth": 1}, "arr": [{"depth": 1}]}'
    found = evaluate(f"SET @v = 1 SELECT {item}, 2 AS other FROM 'x'", payload)
    assert found is not None
    assert list(parsed(found)) == [key, "other"]


def test_undefined_items_of_literals_are_left_out() -> None:
    found = evaluate("SELECT [1, gone] AS a, {'b': gone, 'c': null} AS o FROM 'x'", b"{}")
    assert found == b'{"a":[1],"o":{"c":null}}'


@pytest.mark.parametrize("text", ["'it''s'", '"it\'s"'])
def test_quotes_in_strings(text: str) -> None:
    assert evaluate(f"SELECT VALUE {text} FROM 'x'", b"{}") == b'"it\'s"'
