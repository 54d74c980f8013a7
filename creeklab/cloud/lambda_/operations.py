"""Operations of ``lambda``."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from creeklab.cloud.api.paging import decode_token, encode_token
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.lambda_ import resource_policy
from creeklab.cloud.lambda_.function import (
    LATEST,
    MIN_MEMORY,
    Function,
    check,
    check_code,
    check_runtime,
    invalid,
    parse_name,
    refuse_options,
)
from creeklab.cloud.lambda_.functions import Functions, check_payload

Members = dict[str, Any]

MAX_POLICY_BYTES = 20_480
MAX_LOG_RESULT = 4_096
DEFAULT_PAGE = 50


class LambdaOperations:
    """The operations for one account.

    Parameters
    ----------
    owner
        Whether the account is that of the cloud's owner.
    clock
        Seconds since the epoch.
    """

    def __init__(self, functions: Functions, clock: Callable[[], float], *, owner: bool) -> None:
        self._functions = functions
        self._clock = clock
        self._owner = owner

    # --- functions ----------------------------------------------------------------------------

    def create_function(
        self,
        *,
        FunctionName: str,
        Role: str,
        Code: Members,
        Runtime: str | None = None,
        Handler: str = "",
        Description: str = "",
        Timeout: int = 3,
        MemorySize: int = MIN_MEMORY,
        Environment: Members | None = None,
        Tags: Members | None = None,
        **options: Any,
    ) -> Members:
        """Create a function from a zip file."""
        if not self._owner:
            raise invalid(
                "In a workshop, only the instructor can create functions, because they run on the "
                "instructor's machine. Start a cloud of your own to create one."
            )
        refuse_options(options)
        check_runtime(Runtime)
        name, _ = parse_name(FunctionName)
        if any(each.name == name for each in self._functions.all()):
            raise ServiceError("ResourceConflictException", f"Function already exist: {name}")
        function = Function(
            name,
            Role,
            Handler,
            _zip_file(Code),
            Description,
            Timeout,
            MemorySize,
            (Environment or {}).get("Variables", {}),
            tags=Tags or {},
        )
        return self._put(function)

    def get_function(self, *, FunctionName: str, Qualifier: str | None = None) -> Members:
        """Return a function's configuration and tags."""
        function = self._functions.find(FunctionName, Qualifier)
        found: Members = {"Configuration": self._configuration(function)}
        return {**found, "Tags": dict(function.tags)} if function.tags else found

    def get_function_configuration(
        self, *, FunctionName: str, Qualifier: str | None = None
    ) -> Members:
        """Return a function's configuration."""
        return self._configuration(self._functions.find(FunctionName, Qualifier))

    def list_functions(
        self, *, Marker: str | None = None, MaxItems: int = DEFAULT_PAGE, **_: Any
    ) -> Members:
        """List the functions by name, a page at a time."""
        after = decode_token(Marker) if Marker else ""
        following = [each for each in self._functions.all() if each.name > after]
        page = following[: min(MaxItems, DEFAULT_PAGE)]
        answer: Members = {"Functions": [self._configuration(each) for each in page]}
        if len(following) > len(page):
            answer["NextMarker"] = encode_token(page[-1].name)
        return answer

    def update_function_code(
        self,
        *,
        FunctionName: str,
        Publish: bool = False,
        DryRun: bool = False,
        RevisionId: str | None = None,
        Architectures: list[str] | None = None,
        **code: Any,
    ) -> Members:
        """Replace a function's code."""
        refuse_options(
            {"Publish": Publish, "RevisionId": RevisionId, "Architectures": Architectures}
        )
        function = replace(self._functions.find(FunctionName), code=_zip_file(code))
        if DryRun:
            check_code(function.code)
            return self._configuration(function)
        return self._put(function)

    def update_function_configuration(
        self,
        *,
        FunctionName: str,
        Runtime: str | None = None,
        Environment: Members | None = None,
        **changes: Any,
    ) -> Members:
        """Change a function's configuration."""
        function = self._functions.find(FunctionName)
        check_runtime(Runtime)
        names = {
            "Role": "role",
            "Handler": "handler",
            "Description": "description",
            "Timeout": "timeout",
            "MemorySize": "memory",
        }
        refuse_options({name: value for name, value in changes.items() if name not in names})
        members = {names[name]: value for name, value in changes.items() if name in names}
        if Environment is not None:
            members["variables"] = Environment.get("Variables", {})
        return self._put(replace(function, **members))

    def delete_function(self, *, FunctionName: str, Qualifier: str | None = None) -> Members:
        """Delete a function."""
        self._functions.delete(self._functions.find(FunctionName, Qualifier).name)
        return {"StatusCode": 204}

    def _put(self, function: Function) -> Members:
        check(function)
        check_code(function.code)
        function = replace(function, modified=self._clock())
        self._functions.put(function)
        return self._configuration(function)

    def _configuration(self, function: Function) -> Members:
        return function.configuration(self._functions.arn(function.name))

    # --- invocations --------------------------------------------------------------------------

    async def invoke(
        self,
        *,
        FunctionName: str,
        InvocationType: str = "RequestResponse",
        LogType: str = "None",
        Payload: bytes = b"",
        Qualifier: str | None = None,
        **options: Any,
    ) -> Members:
        """Run a function for an event, or accept the event."""
        refuse_options(options)
        function = self._functions.find(FunctionName, Qualifier)
        payload = check_payload(Payload)
        if InvocationType == "DryRun":
            return {"StatusCode": 204}
        if InvocationType == "Event":
            self._functions.invoke_later(function, payload)
            return {"StatusCode": 202, "Payload": b""}
        result = await self._functions.invoke(function, payload)
        answer: Members = {
            "StatusCode": 200,
            "Payload": result.payload,
            "ExecutedVersion": LATEST,
        }
        if result.error:
            answer["FunctionError"] = "Unhandled"
        if LogType == "Tail":
            tail = result.log.encode()[-MAX_LOG_RESULT:]
            answer["LogResult"] = base64.b64encode(tail).decode()
        return answer

    # --- resource policy ----------------------------------------------------------------------

    def add_permission(
        self,
        *,
        FunctionName: str,
        StatementId: str,
        Action: str,
        Principal: str,
        SourceArn: str = "",
        SourceAccount: str = "",
        **options: Any,
    ) -> Members:
        """Allow a service to invoke a function."""
        refuse_options(options)
        function = self._functions.find(FunctionName)
        if any(each["Sid"] == StatementId for each in function.statements):
            raise ServiceError(
                "ResourceConflictException",
                f"The statement id ({StatementId}) provided already exists. Please provide a new "
                "statement id, or remove the existing statement.",
            )
        made = resource_policy.statement(
            StatementId,
            Action,
            Principal,
            self._functions.arn(function.name),
            SourceArn,
            SourceAccount,
        )
        changed = replace(function, statements=(*function.statements, made))
        if len(_policy(changed)) > MAX_POLICY_BYTES:
            raise ServiceError(
                "PolicyLengthExceededException",
                f"The final policy size is bigger than the limit ({MAX_POLICY_BYTES}).",
            )
        self._functions.put(changed)
        return {"Statement": json.dumps(made)}

    def remove_permission(
        self, *, FunctionName: str, StatementId: str, Qualifier: str | None = None, **options: Any
    ) -> None:
        """Remove a statement of a function's policy."""
        refuse_options(options)
        function = self._functions.find(FunctionName, Qualifier)
        left = tuple(each for each in function.statements if each["Sid"] != StatementId)
        if len(left) == len(function.statements):
            raise ServiceError(
                "ResourceNotFoundException",
                f"Statement {StatementId} is not found in resource policy.",
            )
        self._functions.put(replace(function, statements=left))

    def get_policy(self, *, FunctionName: str, Qualifier: str | None = None) -> Members:
        """Return a function's policy."""
        function = self._functions.find(FunctionName, Qualifier)
        if not function.statements:
            raise ServiceError(
                "ResourceNotFoundException", "The resource you requested does not exist."
            )
        return {"Policy": _policy(function)}


def _zip_file(code: Members) -> bytes:
    refuse_options({name: value for name, value in code.items() if name != "ZipFile"})
    if not code.get("ZipFile"):
        raise invalid("Give the code as a zip file: Code={'ZipFile': ...}.")
    return bytes(code["ZipFile"])


def _policy(function: Function) -> str:
    return json.dumps(
        {"Version": "2012-10-17", "Id": "default", "Statement": list(function.statements)}
    )
