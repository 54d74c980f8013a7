"""The executor: runs the actions of executions, off the publish path.

Executions wait in a bounded queue; those that do not fit are dropped and counted as throttled. A
limited number of them runs at the same time, in tasks, so that a slow action delays nobody. The
actions of a rule are independent of each other. When all are done, the error action receives one
document with all failures.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

from creeklab.cloud.monitoring.event_log import MAX_LOGGED_PAYLOAD, EventLog
from creeklab.cloud.rules.actions.action import Action, ActionFailed
from creeklab.cloud.rules.engine import Execution, RuleEngine, attribute_to
from creeklab.cloud.rules.error_document import Failure, error_document
from creeklab.cloud.rules.pending import PendingExecutions
from creeklab.cloud.rules.sql.values import EvaluationStopped

MAX_WAITING = 10_000
MAX_WAITING_BYTES = 32_000_000
MAX_RUNNING = 50

log = logging.getLogger(__name__)


class Executor:
    """Runs the executions of one account.

    Parameters
    ----------
    pending
        Stores the executions that have to survive a restart.

    Attributes
    ----------
    engine
        The engine that submits the executions; set once it exists.
    """

    engine: RuleEngine
    _loop: asyncio.AbstractEventLoop | None = None

    def __init__(self, event_log: EventLog, pending: PendingExecutions) -> None:
        self._event_log = event_log
        self._pending = pending
        self._waiting: deque[Execution] = deque()
        self._waiting_bytes = 0
        self._running: set[asyncio.Task[None]] = set()

    def submit(self, execution: Execution) -> None:
        """Run an execution soon."""
        size = _size(execution)
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes + size > MAX_WAITING_BYTES:
            self.engine.count(execution.rule, "RuleMessageThrottled")
            return
        self._waiting.append(execution)
        self._waiting_bytes += size
        # First, because an execution that is done before the commit need not be stored.
        self._start_waiting()
        if execution.durable:
            self._pending.add(execution)

    def start(self) -> None:
        """Begin to run executions; call it on the event loop."""
        self._loop = asyncio.get_running_loop()
        self._start_waiting()

    def _start_waiting(self) -> None:
        while self._waiting and self._loop is not None and len(self._running) < MAX_RUNNING:
            execution = self._waiting.popleft()
            self._waiting_bytes -= _size(execution)
            task = self._loop.create_task(self._run(execution))
            self._running.add(task)
            task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start_waiting()

    async def _run(self, execution: Execution) -> None:
        attribute_to(execution)
        actions = execution.rule.actions
        if len(actions) == 1:
            results = [await self._run_action(actions[0], execution, execution.payload)]
        else:
            results = await asyncio.gather(
                *(self._run_action(each, execution, execution.payload) for each in actions)
            )
        for result in results:
            self.engine.count(execution.rule, "Failure" if result.message else "Success")
        failures = [result for result in results if result.message]
        error_action = execution.rule.error_action
        if failures and error_action is not None:
            document = error_document(execution.rule.name, execution.message, failures)
            result = await self._run_action(error_action, execution, document)
            failed = bool(result.message)
            self.engine.count(
                execution.rule, "ErrorActionFailure" if failed else "ErrorActionSuccess"
            )
            results.append(result._replace(action=f"error action {result.action}"))
        self._pending.remove(execution)
        self._log(execution, results)

    async def _run_action(self, action: Action, execution: Execution, payload: bytes) -> Failure:
        """Run an action; return a `Failure` without a message if it succeeded."""
        resource = ""
        try:
            prepared = action.prepare(execution.scope, payload)
            resource = prepared.resource
            await prepared.run()
        except (ActionFailed, EvaluationStopped) as failure:
            return Failure(action.name, resource, str(failure))
        except Exception as error:
            log.exception("An action of the rule '%s' failed.", execution.rule.name)
            return Failure(action.name, resource, f"Internal error of the cloud: {error}")
        return Failure(action.name, resource, "")

    def _log(self, execution: Execution, results: list[Failure]) -> None:
        message, payload = execution.message, execution.payload
        members: dict[str, Any] = {}
        if len(payload) <= MAX_LOGGED_PAYLOAD:
            members["payload"] = payload.decode(errors="replace")
        failures = [result for result in results if result.message]
        if failures:
            first = failures[0]
            where = f" on '{first.resource}'" if first.resource else ""
            summary = f"{first.action}{where} of the rule failed. {first.message}"
            members["refusal"] = {"summary": summary}
        self._event_log.append(
            "rule",
            rule=execution.rule.name,
            client_id=message.client_id,
            topic=message.topic,
            trace_id=message.trace_id,
            actions=[
                {"action": result.action, "resource": result.resource, "error": result.message}
                for result in results
            ],
            **members,
        )


def _size(execution: Execution) -> int:
    return len(execution.message.payload) + len(execution.payload)
