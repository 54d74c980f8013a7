"""A function: its configuration and code, and the checks of both."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import sys
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from creeklab.cloud.errors import ServiceError

RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
"""The only runtime: the machine's own Python."""

LATEST = "$LATEST"
MAX_TIMEOUT, MIN_MEMORY, MAX_MEMORY = 900, 128, 10_240
MAX_ENVIRONMENT_BYTES = 4_096
MAX_ZIP_BYTES = 50 * 1024 * 1024
MAX_CODE_BYTES = 250 * 1024 * 1024

_RESERVED_TEXT = (
    "_HANDLER _X_AMZN_TRACE_ID AWS_DEFAULT_REGION AWS_REGION AWS_EXECUTION_ENV "
    "AWS_LAMBDA_FUNCTION_NAME AWS_LAMBDA_FUNCTION_MEMORY_SIZE AWS_LAMBDA_FUNCTION_VERSION "
    "AWS_LAMBDA_INITIALIZATION_TYPE AWS_LAMBDA_LOG_GROUP_NAME AWS_LAMBDA_LOG_STREAM_NAME "
    "AWS_ACCESS_KEY AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN "
    "AWS_LAMBDA_RUNTIME_API LAMBDA_TASK_ROOT LAMBDA_RUNTIME_DIR"
)
_RESERVED = frozenset(_RESERVED_TEXT.split())
_NAME = re.compile(
    r"(?:arn:aws[a-z-]*:lambda:)?(?:[a-z0-9-]+:)?(?:(?P<account>\d{12}):)?(?:function:)?"
    r"(?P<name>[a-zA-Z0-9-_]+)(?::(?P<qualifier>\$LATEST|[a-zA-Z0-9-_]+))?"
)
_HANDLER = re.compile(r"[\w/]+(\.[\w/]+)*\.\w+")


@dataclass(frozen=True, slots=True)
class Function:
    """A function.

    Attributes
    ----------
    code
        The zip file.
    variables
        Environment variables.
    statements
        Resource policy: who is allowed to invoke it.
    modified
        Seconds since the epoch.
    """

    name: str
    role: str
    handler: str
    code: bytes
    description: str = ""
    timeout: int = 3
    memory: int = MIN_MEMORY
    variables: Mapping[str, str] = field(default_factory=dict)
    statements: tuple[Mapping[str, Any], ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    modified: float = 0.0

    @property
    def code_sha256(self) -> str:
        """Hash of the zip file, as the API shows it."""
        return base64.b64encode(hashlib.sha256(self.code).digest()).decode()

    def configuration(self, arn: str) -> dict[str, Any]:
        """Return ``FunctionConfiguration`` of the API."""
        modified = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.modified))
        configuration: dict[str, Any] = {
            "FunctionName": self.name,
            "FunctionArn": arn,
            "Runtime": RUNTIME,
            "Role": self.role,
            "Handler": self.handler,
            "CodeSize": len(self.code),
            "Description": self.description,
            "Timeout": self.timeout,
            "MemorySize": self.memory,
            "LastModified": f"{modified}.{int(self.modified * 1000) % 1000:03}+0000",
            "CodeSha256": self.code_sha256,
            "Version": LATEST,
            "TracingConfig": {"Mode": "PassThrough"},
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "PackageType": "Zip",
            "Architectures": ["x86_64"],
            "EphemeralStorage": {"Size": 512},
        }
        if self.variables:
            configuration["Environment"] = {"Variables": dict(self.variables)}
        return configuration


def parse_name(text: str) -> tuple[str, str | None]:
    """Return name and qualifier of a function's name, partial ARN or ARN."""
    match = _NAME.fullmatch(text)
    if match is None:
        raise invalid(f"'{text}' is not the name or ARN of a function.")
    return match["name"], match["qualifier"]


def check(function: Function) -> None:
    """Raise `ServiceError` if a function is not valid."""
    if not 1 <= function.timeout <= MAX_TIMEOUT:
        raise invalid(f"Timeout is from 1 to {MAX_TIMEOUT} seconds, not {function.timeout}.")
    if not MIN_MEMORY <= function.memory <= MAX_MEMORY:
        raise invalid(f"MemorySize is from {MIN_MEMORY} to {MAX_MEMORY}, not {function.memory}.")
    if _HANDLER.fullmatch(function.handler) is None:
        raise invalid(
            f"'{function.handler}' is not a handler. Write <module>.<function>, such as "
            "lambda_function.lambda_handler."
        )
    reserved = sorted(_RESERVED & function.variables.keys())
    if reserved:
        raise invalid(
            "Lambda was unable to configure your environment variables because the environment "
            f"variables you have provided contains reserved keys: {', '.join(reserved)}"
        )
    if len(json.dumps(dict(function.variables))) > MAX_ENVIRONMENT_BYTES:
        raise invalid(
            f"The environment variables have more than {MAX_ENVIRONMENT_BYTES} bytes together."
        )


def check_code(code: bytes) -> None:
    """Raise `ServiceError` if this is not a zip file that can be unpacked."""
    if len(code) > MAX_ZIP_BYTES:
        raise ServiceError(
            "RequestEntityTooLargeException", f"The zip file has more than {MAX_ZIP_BYTES} bytes."
        )
    try:
        with zipfile.ZipFile(io.BytesIO(code)) as archive:
            size = sum(each.file_size for each in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise invalid("Could not unzip uploaded file. Please check your file, then try to upload "
                      "again.") from None  # fmt: skip
    if size > MAX_CODE_BYTES:
        raise invalid(f"Unzipped size must be smaller than {MAX_CODE_BYTES} bytes")


def check_runtime(runtime: str | None) -> None:
    """Raise `ServiceError` for any runtime but the machine's own Python."""
    if runtime not in (None, RUNTIME):
        raise invalid(
            f"This cloud runs functions with the Python of this machine, so the only runtime is "
            f"{RUNTIME}, not {runtime}."
        )


def refuse_options(options: Mapping[str, Any]) -> None:
    """Raise `ServiceError` if a call uses an option that this cloud does not have."""
    for name, value in options.items():
        if value and (name, value) not in _HARMLESS:
            raise invalid(
                f"This cloud does not have {name} of Lambda functions. Omit it. AWS has it."
            )


_HARMLESS: tuple[tuple[str, Any], ...] = (
    ("PackageType", "Zip"),
    ("Architectures", ["x86_64"]),
    ("TracingConfig", {"Mode": "PassThrough"}),
    ("EphemeralStorage", {"Size": 512}),
)


def invalid(message: str) -> ServiceError:
    """Return ``InvalidParameterValueException``."""
    return ServiceError("InvalidParameterValueException", message)
