"""Functions without HTTP: accepted events survive the cloud, and workshops have one owner."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.lambda_ import functions as functions_module
from creeklab.cloud.lambda_.function import Function, parse_name
from creeklab.cloud.lambda_.functions import Functions
from creeklab.cloud.lambda_.operations import LambdaOperations
from creeklab.cloud.lambda_.resource_policy import Caller, refusal, statement
from creeklab.cloud.lambda_.store import MIGRATIONS, FunctionStore
from creeklab.cloud.monitoring.event_log import EventLog
from creeklab.cloud.storage.database import Database
from tests.cloud.lambda_.test_lambda import ROLE, zipped

TIMEOUT = 30.0
ARN = "arn:aws:lambda:us-east-1:123456789012:function:"


def opened(folder: Path) -> tuple[Functions, FunctionStore, EventLog]:
    database = Database(folder / "cloud.db")
    database.migrate("lambda", MIGRATIONS)
    store, log = FunctionStore(database), EventLog()
    return Functions(store, log, lambda name: ARN + name, dict), store, log


async def until_processed(store: FunctionStore) -> None:
    async with asyncio.timeout(TIMEOUT):
        while store.events():
            await asyncio.sleep(0.01)


async def end(functions: Functions) -> None:
    for environments in functions._environments.values():
        for environment in list(environments):
            await environment.close()


def test_an_accepted_event_survives_the_cloud(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    source = f"""
        def lambda_handler(event, context):
            open({str(mark)!r}, "a").write(f"{{event}} ")
    """

    async def first() -> None:
        functions, store, _ = opened(tmp_path)
        function = Function("f", ROLE, "lambda_function.lambda_handler", zipped(source))
        functions.put(function)
        functions._process_soon = lambda event: None  # type: ignore[method-assign]
        functions.invoke_later(function, b'{"n":1}')
        assert [event.attempts for event in store.events()] == [0]
        # The cloud is killed before the event is processed.

    async def second() -> None:
        functions, store, log = opened(tmp_path)
        functions.resume()
        await until_processed(store)
        await end(functions)
        assert mark.read_text() == "{'n': 1} "
        assert [entry["function"] for entry in log.entries()] == ["f"]

    asyncio.run(first())
    asyncio.run(second())


def test_attempts_are_counted_across_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functions_module, "RETRY_SECONDS", (0.0, 0.0))

    async def run() -> None:
        functions, store, _ = opened(tmp_path)
        source = "def lambda_handler(event, context): raise ValueError"
        functions.put(Function("f", ROLE, "lambda_function.lambda_handler", zipped(source)))
        event = store.add_event("f", b"{}", "id")
        store.count_attempt(store.count_attempt(event))
        again, store, log = opened(tmp_path)
        again.resume()
        await until_processed(store)
        await end(again)
        assert len(log.entries()) == 1  # the third attempt is the last

    asyncio.run(run())


def test_a_deleted_function_takes_its_events_with_it(tmp_path: Path) -> None:
    async def run() -> None:
        functions, store, _ = opened(tmp_path)
        source = "def lambda_handler(event, context): pass"
        function = Function("f", ROLE, "lambda_function.lambda_handler", zipped(source))
        functions.put(function)
        store.add_event("f", b"{}", "id")
        functions.delete("f")
        assert store.events() == []

    asyncio.run(run())


def test_only_the_owner_of_a_workshop_creates_functions(tmp_path: Path) -> None:
    functions, _, _ = opened(tmp_path)
    operations = LambdaOperations(functions, lambda: 1.0, owner=False)
    with pytest.raises(ServiceError, match="only the instructor can create functions"):
        operations.create_function(FunctionName="f", Role=ROLE, Code={"ZipFile": b""})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("creek", ("creek", None)),
        ("creek:$LATEST", ("creek", "$LATEST")),
        ("123456789012:function:creek", ("creek", None)),
        (ARN + "creek", ("creek", None)),
        (ARN + "creek:live", ("creek", "live")),
    ],
)
def test_names_of_functions(text: str, found: tuple[str, str | None]) -> None:
    assert parse_name(text) == found


RULE = "arn:aws:iot:us-east-1:123456789012:rule/"


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({}, None),
        ({"source_arn": RULE + "flood", "source_account": "123456789012"}, None),
        ({"source_arn": RULE + "*"}, None),
        ({"source_arn": RULE + "other"}, f"is for {RULE}other, not {RULE}flood"),
        ({"source_account": "1" * 12}, "is for the account 111111111111, not 123456789012"),
        ({"principal": "s3.amazonaws.com"}, "allows s3.amazonaws.com, not iot.amazonaws.com"),
        ({"action": "lambda:GetFunction"}, "allows lambda:GetFunction, not lambda:InvokeFunction"),
    ],
)
def test_a_resource_policy_allows_or_says_why_not(
    members: dict[str, Any], reason: str | None
) -> None:
    parts = {
        "sid": "rule",
        "action": "lambda:InvokeFunction",
        "principal": "iot.amazonaws.com",
        "resource": ARN + "creek",
        "source_arn": "",
        "source_account": "",
        **members,
    }
    caller = Caller("iot.amazonaws.com", RULE + "flood", "123456789012")
    found = refusal([statement(**parts)], caller)
    assert found == (None if reason is None else f"Statement 'rule' {reason}.")
    assert refusal([], caller) == "The function has no resource policy."
