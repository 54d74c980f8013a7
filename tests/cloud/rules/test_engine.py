"""The engine and the executor without sockets: limits, sources, durability."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from creeklab.cloud.monitoring.event_log import EventLog
from creeklab.cloud.mqtt.interfaces import PublishedMessage
from creeklab.cloud.rules import executor as executor_module
from creeklab.cloud.rules.actions.action import Prepared
from creeklab.cloud.rules.engine import Execution, RuleEngine
from creeklab.cloud.rules.executor import Executor
from creeklab.cloud.rules.pending import PendingExecutions
from creeklab.cloud.rules.rule import Rule, compile_rule
from creeklab.cloud.rules.rules import resume
from creeklab.cloud.rules.service import METRICS
from creeklab.cloud.rules.sql.evaluate import MAX_STEPS, CompiledStatement, Scope
from creeklab.cloud.rules.sql.functions.function import MessageContext
from creeklab.cloud.rules.sql.parser import parse_statement
from creeklab.cloud.rules.sql.values import EvaluationStopped
from creeklab.cloud.rules.store import MIGRATIONS
from creeklab.cloud.storage.database import Database
from creeklab.cloud.storage.group_commit import GroupCommit

TIMEOUT = 20.0
ARN = "arn:aws:iot:us-east-1:123456789012:rule/r"


class FakeAction:
    """Records what it is run for; waits if `gate` is closed."""

    name = "FakeAction"

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.done = asyncio.Event()

    def prepare(self, scope: Scope, payload: bytes) -> Prepared:
        async def run() -> None:
            await self.gate.wait()
            self.payloads.append(payload)
            self.done.set()

        return Prepared("fake", run)


class Account:
    """The engine of one account, with a database in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.log = EventLog()
        for name in METRICS:
            self.log.metrics.add_group(name, ())
        self.database = Database(folder / "cloud.db")
        self.database.migrate("rules", MIGRATIONS)
        self.commits = GroupCommit(self.database, lambda: 0.0)
        self.pending = PendingExecutions(self.database, self.commits)
        self.executor = Executor(self.log, self.pending)
        self.engine = RuleEngine(
            "123456789012", "aws", self.log, self.executor.submit, lambda: 1.0, lambda: 1.0
        )
        self.executor.engine = self.engine
        self.action = FakeAction()

    def add(self, sql: str, actions: int = 1, name: str = "alarm") -> None:
        payload = {
            "sql": sql,
            "actions": [{"fake": {}}] * actions,
            "awsIotSqlVersion": "2016-03-23",
        }
        rule = Rule(name, payload, 0.0)
        self.engine.put(compile_rule(rule, ARN, {"fake": lambda *_: self.action}))

    def start(self) -> None:
        resume(self.pending, self.engine, self.executor.submit)
        self.executor.start()

    def publish(self, payload: bytes, qos: int = 1) -> None:
        self.engine.on_message(PublishedMessage("creek/a", payload, qos, source="client"))

    def stored(self) -> int:
        return int(self.database.execute("SELECT count(*) FROM rule_executions").fetchone()[0])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not condition():
            await asyncio.sleep(0)


def test_an_acknowledged_message_survives_the_cloud(tmp_path: Path) -> None:
    async def first() -> None:
        account = Account(tmp_path)
        account.add("SELECT * FROM 'creek/#'")
        account.start()
        account.action.gate.clear()
        account.publish(b'{"depth":1}')
        account.publish(b'{"depth":2}', qos=0)
        assert account.commits.promises
        assert account.commits.commit() is None
        assert account.stored() == 1
        # The cloud is killed: nothing is finished or closed.

    async def second() -> None:
        account = Account(tmp_path)
        account.add("SELECT * FROM 'creek/#'")
        account.start()
        async with asyncio.timeout(TIMEOUT):
            await account.action.done.wait()
        assert account.action.payloads == [b'{"depth":1}']
        await until(lambda: not account.executor._running)
        account.commits.commit()
        assert account.stored() == 0

    asyncio.run(first())
    asyncio.run(second())


def test_a_stored_execution_of_a_deleted_rule_is_forgotten(tmp_path: Path) -> None:
    async def run() -> None:
        account = Account(tmp_path)
        account.add("SELECT * FROM 'creek/#'")
        account.start()
        account.action.gate.clear()
        account.publish(b"{}")
        account.commits.commit()
        assert account.stored() == 1
        again = Account(tmp_path)
        again.start()
        again.commits.commit()
        assert again.stored() == 0

    asyncio.run(run())


def test_what_is_done_before_the_commit_is_not_stored(tmp_path: Path) -> None:
    async def run() -> None:
        account = Account(tmp_path)
        account.add("SELECT * FROM 'creek/#'")
        account.start()
        account.publish(b"{}")
        await until(lambda: not account.executor._running)
        account.commits.commit()
        assert (account.stored(), account.action.payloads) == (0, [b"{}"])

    asyncio.run(run())


def test_a_slow_action_delays_no_other_message(tmp_path: Path) -> None:
    async def run() -> None:
        account = Account(tmp_path)
        account.add("SELECT * FROM 'creek/#'")
        slow, account.action = account.action, FakeAction()
        slow.gate.clear()
        account.add("SELECT 'fast' AS rule FROM 'creek/#'", name="fast")
        account.start()
        account.publish(b"{}")
        await until(account.action.done.is_set)
        assert not slow.payloads
        slow.gate.set()
        await until(lambda: bool(slow.payloads))

    asyncio.run(run())


def test_executions_that_do_not_fit_are_throttled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor_module, "MAX_WAITING", 5)

    async def run() -> None:
        account = Account(tmp_path)  # not started, so nothing leaves the queue
        account.add("SELECT * FROM 'creek/#'")
        for number in range(8):
            account.publish(str(number).encode(), qos=0)
        totals = {row["name"]: row["sum"] for row in account.log.metrics.totals()}
        assert (totals["TopicMatch"], totals["RuleMessageThrottled"]) == (8, 3)
        account.start()
        await until(lambda: len(account.action.payloads) == 5)
        assert account.action.payloads == [b"0", b"1", b"2", b"3", b"4"]

    asyncio.run(run())


def test_a_bug_in_an_action_is_a_failure_of_the_rule(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        account = Account(tmp_path)
        account.add("SELECT * FROM 'creek/#'")
        account.action.prepare = lambda *_: 1 / 0  # type: ignore[assignment, method-assign]
        account.start()
        account.publish(b"{}")
        await until(lambda: not account.executor._running)
        [entry] = account.log.entries()
        assert "Internal error of the cloud: division by zero" in entry["refusal"]["summary"]

    asyncio.run(run())
    assert "division by zero" in caplog.text


def test_many_rules_that_trigger_one_another_are_bounded(tmp_path: Path) -> None:
    async def run() -> None:
        account = Account(tmp_path)

        def republishing(*_: Any) -> Any:
            async def publish() -> None:
                account.publish(b"{}", qos=0)

            account.action.prepare = lambda scope, payload: Prepared("x", publish)  # type: ignore[method-assign]
            return account.action

        for number in range(5):
            payload = {"sql": "SELECT * FROM 'creek/#'", "actions": [{"fake": {}}]}
            rule = Rule(f"r{number}", payload, 0.0)
            account.engine.put(compile_rule(rule, ARN, {"fake": republishing}))
        account.start()
        account.publish(b"{}", qos=0)
        await until(lambda: not account.executor._running and not account.executor._waiting)
        totals = {row["name"]: row["sum"] for row in account.log.metrics.totals()}
        # 5 rules would make 5 ** 10 executions within ten hops.
        assert totals["RulesExecuted"] == 100
        assert any("result of 100 executions" in str(entry) for entry in account.log.entries())

    asyncio.run(run())


# --- a statement cannot run away ------------------------------------------------------------------

LONG = "[" + ",".join(["1"] * 2000) + "]"


@pytest.mark.parametrize(
    ("sql", "payload", "message"),
    [
        (
            "SET @a = arr SELECT (SELECT (SELECT VALUE x FROM @a) AS y FROM @a) AS z FROM 'x'",
            '{"arr": ' + LONG + "}",
            f"more than {MAX_STEPS} steps",
        ),
        (
            "SELECT (SELECT VALUE 1 FROM @a WHERE 2 IN @a) AS z FROM 'x'",
            '{"arr": ' + LONG + "}",
            f"more than {MAX_STEPS} steps",
        ),
        ("SELECT replace(t, '', t) AS z FROM 'x'", '{"t": "' + "x" * 600 + '"}', "A string has"),
        ("SELECT regexp_replace(t, 'x', t) AS z FROM 'x'", '{"t": "' + "x" * 600 + '"}', "A str"),
        ("SELECT [" + "*," * 3000 + "] AS z FROM 'x'", '{"a": "' + "x" * 600 + '"}', "The result"),
        ("SELECT md2(t) AS z FROM 'x'", '{"t": "' + "x" * 5000 + '"}', "md2.. accepts at most"),
        (
            "SET @a = t + t, @b = @a + @a, @c = @b + @b, @d = @c + @c SELECT @d + @d AS z FROM 'x'",
            '{"t": "' + "x" * 20_000 + '"}',
            "A string has more than",
        ),
    ],
)
def test_an_evaluation_that_grows_is_stopped(sql: str, payload: str, message: str) -> None:
    if "@a" in sql and not sql.startswith("SET"):
        sql = f"SET @a = arr {sql}"
    version = "2016-03-23"
    statement = CompiledStatement(parse_statement(sql, version), version)
    with pytest.raises(EvaluationStopped, match=message):
        statement.result(statement.open(MessageContext("x", payload.encode())))


@pytest.mark.parametrize("payload", [b"[" * 100_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000])
def test_deeply_nested_json_is_not_parsed(payload: bytes) -> None:
    version = "2016-03-23"
    statement = CompiledStatement(parse_statement("SELECT *, 1 AS one FROM 'x'", version), version)
    scope = statement.open(MessageContext("x", payload))
    assert statement.result(scope) == b'{"one":1}'


def test_numbers_stay_within_34_digits() -> None:
    version = "2016-03-23"
    nines = "9" * 34
    sql = f"SELECT VALUE [{nines} * {nines}, 1E999 * 10, a] FROM 'x'"
    statement = CompiledStatement(parse_statement(sql, version), version)
    scope = statement.open(MessageContext("x", b'{"a": 1e400}'))
    assert statement.result(scope) == b"[9.999999999999999999999999999999998E+67,1E+400]"


def test_the_payload_is_never_changed() -> None:
    version = "2016-03-23"
    sql = "SELECT *, 1 AS state.depth FROM 'x'"
    statement = CompiledStatement(parse_statement(sql, version), version)
    message = MessageContext("x", b'{"state":{"unit":"ft"}}')
    parsed: Any = {}
    scope = statement.open(message, parsed)
    assert statement.result(scope) == b'{"state":{"unit":"ft","depth":1}}'
    assert scope.root == {"state": {"unit": "ft"}}
    assert statement.open(message, parsed).root is scope.root


def test_an_execution_knows_its_message() -> None:
    submitted: list[Execution] = []
    log = EventLog()
    for name in METRICS:
        log.metrics.add_group(name, ())
    engine = RuleEngine("1", "aws", log, submitted.append, lambda: 2.5, lambda: 0.0)
    payload = {"sql": "SELECT * FROM 'creek/#'", "actions": []}
    engine.put(compile_rule(Rule("r", payload, 0.0), ARN, {}))
    engine.on_message(PublishedMessage("creek/a", b"{}", 1))
    [execution] = submitted
    assert (execution.message.time, execution.message.topic) == (2500, "creek/a")
    assert not execution.durable  # the cloud itself gets no acknowledgment
