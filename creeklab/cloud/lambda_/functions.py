"""The functions of an account, and their invocations.

A synchronous invocation waits for its result. An event of an asynchronous one is stored before it
is accepted, so it survives the death of the cloud; if the function fails, it is tried twice more.
An event can therefore be processed more than once, as on AWS.

A function runs in at most as many environments at a time as events are processed for it. Idle
environments are used again, and end after a while.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.lambda_ import resource_policy
from creeklab.cloud.lambda_.environment import Environment, Invocation
from creeklab.cloud.lambda_.function import LATEST, Function, parse_name
from creeklab.cloud.lambda_.resource_policy import Caller
from creeklab.cloud.lambda_.store import FunctionStore, StoredEvent
from creeklab.cloud.monitoring.event_log import MAX_LOGGED_PAYLOAD, EventLog

MAX_ENVIRONMENTS = 8
MAX_WAITING = 10_000
MAX_EVENT_BYTES = 262_144
IDLE_SECONDS = 60.0
ATTEMPTS = 3
RETRY_SECONDS = (1.0, 2.0)
"""Seconds before the second and the third attempt; AWS waits for 1 and 2 minutes."""

log = logging.getLogger(__name__)


class InvocationRefused(Exception):
    """A service is not allowed to invoke a function, or there is none.

    Attributes
    ----------
    status
        HTTP status of Lambda's answer.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Functions:
    """The functions of one account.

    Parameters
    ----------
    arn
        Returns the ARN of a function.
    variables
        Returns the variables of every environment: region, credentials, addresses.
    """

    def __init__(
        self,
        store: FunctionStore,
        event_log: EventLog,
        arn: Callable[[str], str],
        variables: Callable[[], Mapping[str, str]],
    ) -> None:
        self.arn = arn
        self._store = store
        self._event_log = event_log
        self._variables = variables
        self._functions = {function.name: function for function in store.load()}
        self._environments: dict[str, list[Environment]] = {}
        self._slots = asyncio.Semaphore(MAX_ENVIRONMENTS)
        self._tasks: set[asyncio.Task[None]] = set()

    # --- functions ----------------------------------------------------------------------------

    def find(self, name: str, qualifier: str | None = None) -> Function:
        """Return a function by name or ARN."""
        short, in_name = parse_name(name)
        function = self._functions.get(short)
        version = qualifier or in_name or LATEST
        if function is None or version != LATEST:
            suffix = "" if version == LATEST else f":{version}"
            raise ServiceError(
                "ResourceNotFoundException", f"Function not found: {self.arn(short)}{suffix}"
            )
        return function

    def all(self) -> list[Function]:
        """Return all functions by name."""
        return [self._functions[name] for name in sorted(self._functions)]

    def put(self, function: Function) -> None:
        """Store a function; environments of an older version end when they are idle."""
        self._store.save(function)
        self._functions[function.name] = function
        self._close_idle(function.name)

    def delete(self, name: str) -> None:
        """Delete a function, its waiting events and its environments."""
        self._store.delete(name)
        del self._functions[name]
        self._close_idle(name)

    # --- invocations --------------------------------------------------------------------------

    async def invoke(self, function: Function, payload: bytes) -> Invocation:
        """Run a function for an event, and return its result."""
        return await self._run(function, payload, str(uuid.uuid4()))

    def invoke_later(self, function: Function, payload: bytes) -> None:
        """Store an event, and run the function for it soon."""
        if len(payload) > MAX_EVENT_BYTES:
            raise ServiceError(
                "RequestTooLargeException",
                f"{len(payload)} byte payload is too large for the Event invocation type (limit "
                f"{MAX_EVENT_BYTES} bytes)",
            )
        if len(self._tasks) >= MAX_WAITING:
            raise ServiceError("TooManyRequestsException", "Rate Exceeded.")
        self._process_soon(self._store.add_event(function.name, payload, str(uuid.uuid4())))

    def invoke_for(self, caller: Caller, name: str, payload: bytes) -> None:
        """Store an event of a service that needs the permission of the function's policy.

        Raises
        ------
        InvocationRefused
            If there is no such function, or its resource policy does not allow the caller.
        """
        try:
            function = self.find(name)
            json.loads(payload)
            reason = resource_policy.refusal(function.statements, caller)
            if reason is None:
                return self.invoke_later(function, payload)
        except ServiceError as error:
            statuses = {"TooManyRequestsException": 429, "RequestTooLargeException": 413}
            raise InvocationRefused(statuses.get(error.code, 404), error.message) from None
        except ValueError:
            raise InvocationRefused(400, "The payload is not JSON.") from None
        raise InvocationRefused(
            403,
            f"{reason} Allow it with add_permission(FunctionName='{function.name}', "
            f"StatementId=..., Action='lambda:InvokeFunction', Principal='{caller.service}', "
            f"SourceArn='{caller.source_arn}').",
        )

    def resume(self) -> None:
        """Process the events that an earlier run of the cloud has accepted."""
        for event in self._store.events():
            self._process_soon(event)

    def _process_soon(self, event: StoredEvent) -> None:
        task = asyncio.get_running_loop().create_task(self._process(event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _process(self, event: StoredEvent) -> None:
        while event.attempts < ATTEMPTS:
            function = self._functions.get(event.function)
            if function is None:  # deleted meanwhile, with its events
                return
            if event.attempts:
                await asyncio.sleep(RETRY_SECONDS[event.attempts - 1])
            event = self._store.count_attempt(event)
            result = await self._run(function, event.payload, event.request_id)
            if not result.error:
                break
        self._store.remove_event(event)

    async def _run(self, function: Function, payload: bytes, request_id: str) -> Invocation:
        async with self._slots:
            environment = await self._environment(function)
            try:
                result = await environment.invoke(request_id, payload)
            finally:
                environment.busy = False
                if not environment.alive or self._functions.get(function.name) is not function:
                    await self._close(environment)
                else:
                    loop = asyncio.get_running_loop()
                    loop.call_later(IDLE_SECONDS, self._close_if_idle, environment, request_id)
                    environment.last_request = request_id
        self._log(function, result)
        return result

    async def _environment(self, function: Function) -> Environment:
        environments = self._environments.setdefault(function.name, [])
        for environment in environments:
            if not environment.busy and environment.alive:
                environment.busy = True
                return environment
        environment = Environment(function, self.arn(function.name), self._variables())
        environments.append(environment)
        try:
            await environment.start()
        except BaseException:
            environments.remove(environment)
            raise
        return environment

    def _close_idle(self, name: str) -> None:
        for environment in self._environments.get(name, []):
            if not environment.busy:
                environment.busy = True
                self._close_soon(environment)

    def _close_if_idle(self, environment: Environment, request_id: str) -> None:
        if not environment.busy and environment.last_request == request_id:
            environment.busy = True
            self._close_soon(environment)

    def _close_soon(self, environment: Environment) -> None:
        task = asyncio.get_running_loop().create_task(self._close(environment))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close(self, environment: Environment) -> None:
        environments = self._environments.get(environment.function.name, [])
        if environment in environments:
            environments.remove(environment)
        await environment.close()

    def close(self) -> None:
        """End all processes, because the account closes."""
        for environments in self._environments.values():
            for environment in environments:
                environment.kill()

    def _log(self, function: Function, result: Invocation) -> None:
        members: dict[str, Any] = {}
        if result.error:
            answer = json.loads(result.payload)
            text = f"The function '{function.name}' failed. {result.error}: "
            members["refusal"] = {"summary": text + str(answer.get("errorMessage"))}
        self._event_log.append(
            "function",
            function=function.name,
            request_id=result.request_id,
            duration=round(result.duration, 6),
            log=result.log[-MAX_LOGGED_PAYLOAD:],
            **members,
        )


def check_payload(payload: bytes) -> bytes:
    """Return the event of a call of Invoke; without a payload it is an empty object."""
    try:
        json.loads(payload or b"{}")
    except ValueError as error:
        raise ServiceError(
            "InvalidRequestContentException",
            f"Could not parse request body into json: {error}",
        ) from None
    return payload or b"{}"
