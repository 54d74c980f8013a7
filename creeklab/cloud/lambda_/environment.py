"""An environment: the process in which a function runs, one event at a time.

It is not a sandbox: the function has the rights of the cloud's user. But it cannot harm others by
accident: an event that takes too long, writes too much or answers too much ends the process and
everything in its process group; the next event starts a new one, as on AWS. Memory and file sizes
are limited where the system can (`runtime.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from asyncio.subprocess import Process
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from creeklab.cloud.lambda_ import runtime
from creeklab.cloud.lambda_.function import LATEST, RUNTIME, Function

INIT_TIMEOUT = 10.0
MAX_ANSWER = 6 * 1024 * 1024
MAX_LOG = 256 * 1024
"""Bytes of the log of one invocation that are kept."""

MAX_OUTPUT = 16 * 1024 * 1024
"""Bytes that one invocation can write to its log before it is stopped."""

_LINE_LIMIT = 4 * MAX_ANSWER


class Invocation(NamedTuple):
    """The result of one event.

    Attributes
    ----------
    error
        Type of the error; empty if the function returned.
    log
        Everything that it wrote, between the lines START and REPORT.
    duration
        In seconds.
    """

    request_id: str
    payload: bytes
    error: str
    log: str
    duration: float


class Environment:
    """One process that runs a function.

    Parameters
    ----------
    variables
        Variables of the process besides those of the function: region, credentials, addresses.

    Attributes
    ----------
    busy
        Whether it is reserved for an event, or about to end.
    last_request
        Request ID of its latest event.
    """

    def __init__(self, function: Function, arn: str, variables: Mapping[str, str]) -> None:
        self.function = function
        self.busy = True
        self.last_request = ""
        self._arn = arn
        self._variables = variables
        self._folder = Path()
        self._process: Process | None = None
        self._log = bytearray()
        self._written = 0
        self._logged = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._init_milliseconds: float | None = None
        self.log_stream = f"{datetime.now(UTC):%Y/%m/%d}/[{LATEST}]{secrets.token_hex(16)}"

    @property
    def alive(self) -> bool:
        """Whether it can run another event."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Unpack the code, start the process, and load the handler."""
        self._folder = await asyncio.to_thread(_unpack, self.function.code)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-B",
            runtime.__file__,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._folder / "task",
            env=self._environment(),
            start_new_session=True,
            limit=_LINE_LIMIT,
        )
        self._reader = asyncio.get_running_loop().create_task(self._read_log())
        with contextlib.suppress(TimeoutError):
            answer = await self._answer(INIT_TIMEOUT)
            self._init_milliseconds = answer.get("init") if answer else None
            return
        self.kill()

    def _environment(self) -> dict[str, str]:
        function, task = self.function, str(self._folder / "task")
        inherited = {
            name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ
        }
        return {
            **inherited,
            **self._variables,
            "_HANDLER": function.handler,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{RUNTIME}",
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": LATEST,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": self.log_stream,
            "LAMBDA_TASK_ROOT": task,
            "LAMBDA_RUNTIME_DIR": str(Path(runtime.__file__).parent),
            "TMPDIR": str(self._folder / "tmp"),
            "HOME": str(self._folder / "tmp"),
            "TZ": "UTC",
            "LANG": "en_US.UTF-8",
            "PYTHONUTF8": "1",
            **function.variables,
        }

    async def invoke(self, request_id: str, payload: bytes) -> Invocation:
        """Run the function for an event; end the process if it exceeds a limit."""
        timeout = self.function.timeout
        self._log.clear()
        self._written = 0
        self._logged.clear()
        started = time.perf_counter()
        event = {
            "id": request_id,
            "arn": self._arn,
            "payload": payload.decode(),
            "timeout": timeout,
        }
        memory, error = 0, ""
        try:
            answer = await self._exchange(event, timeout)
        except TimeoutError:
            error, text = "Sandbox.Timedout", f"Task timed out after {timeout:.2f} seconds"
        except ValueError:
            error = "Function.ResponseSizeTooLarge"
            text = f"The response has more than {MAX_ANSWER} bytes."
        else:
            if answer is None:
                error, text = await self._exit_reason()
            else:
                memory, error = int(answer["memory"]), str(answer.get("error", ""))
                result = str(answer["payload"]).encode()
                if len(result) <= MAX_ANSWER:
                    return self._done(request_id, result, error, started, memory)
                error = "Function.ResponseSizeTooLarge"
                text = f"The response has more than {MAX_ANSWER} bytes."
        self.kill()
        if error == "Sandbox.Timedout":
            now = datetime.now(UTC)
            text = f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03}Z {request_id} {text}"
        else:
            text = f"RequestId: {request_id} Error: {text}"
        self._log += text.encode() + b"\n"
        members = {"errorType": error, "errorMessage": text}
        return self._done(request_id, json.dumps(members).encode(), error, started, memory)

    async def _exchange(self, event: dict[str, Any], timeout: float) -> dict[str, Any] | None:
        process = self._process
        if process is None or process.stdin is None:
            return None
        try:
            process.stdin.write(json.dumps(event).encode() + b"\n")
            async with asyncio.timeout(timeout):
                await process.stdin.drain()
        except ConnectionError:
            return None
        answer = await self._answer(timeout)
        if answer is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._logged.wait()
        return answer

    async def _answer(self, timeout: float) -> dict[str, Any] | None:
        """Return the next answer of the process; None if it has ended."""
        process = self._process
        if process is None or process.stdout is None:
            return None
        async with asyncio.timeout(timeout):
            line = await process.stdout.readline()
        answer: dict[str, Any] | None = json.loads(line) if line.endswith(b"\n") else None
        return answer

    async def _exit_reason(self) -> tuple[str, str]:
        if self._written > MAX_OUTPUT:
            return "Runtime.OutputLimit", f"The function wrote more than {MAX_OUTPUT} bytes."
        code: int | None = None
        await self._end_of_log()
        if self._process is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    code = await self._process.wait()
        if code is not None and code < 0:
            return "Runtime.ExitError", f"Runtime exited with error: signal: {-code}"
        return "Runtime.ExitError", f"Runtime exited with error: exit status {code}"

    def _done(
        self, request_id: str, payload: bytes, error: str, started: float, memory: int
    ) -> Invocation:
        duration = time.perf_counter() - started
        milliseconds = duration * 1000
        init = ""
        if self._init_milliseconds is not None:
            init = f"\tInit Duration: {self._init_milliseconds:.2f} ms"
            self._init_milliseconds = None
        text = self._log.decode(errors="replace")
        if self._written > MAX_LOG:
            text += f"[{self._written - MAX_LOG} further bytes were discarded]\n"
        if text and not text.endswith("\n"):
            text += "\n"
        log = (
            f"START RequestId: {request_id} Version: {LATEST}\n{text}"
            f"END RequestId: {request_id}\n"
            f"REPORT RequestId: {request_id}\tDuration: {milliseconds:.2f} ms\t"
            f"Billed Duration: {int(milliseconds) + 1} ms\tMemory Size: {self.function.memory} MB\t"
            f"Max Memory Used: {memory} MB{init}\n"
        )
        return Invocation(request_id, payload, error, log, duration)

    async def _read_log(self) -> None:
        process = self._process
        if process is None or process.stderr is None:
            return
        marker, tail = runtime.END_OF_LOG.encode(), b""
        while data := await process.stderr.read(65_536):
            tail += data
            before, found, _ = tail.partition(marker)
            # What could be the beginning of a marker waits for the next data.
            kept = 0 if found else max(0, len(tail) - len(marker))
            text = before if found else tail[:kept]
            self._written += len(text)
            self._log += text[: max(0, MAX_LOG - len(self._log))]
            if found:
                tail = b""
                self._logged.set()
            else:
                tail = tail[kept:]
            if self._written > MAX_OUTPUT:
                self.kill()
        self._log += tail[: max(0, MAX_LOG - len(self._log))]

    async def _end_of_log(self) -> None:
        """Wait for the rest of the log, unless a child of the process keeps it open."""
        if self._reader is not None:
            await asyncio.wait([self._reader], timeout=1.0)
            self._reader.cancel()

    def kill(self) -> None:
        """End the process and everything in its process group."""
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if hasattr(os, "killpg"):
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.kill()

    async def close(self) -> None:
        """End the process and delete its folder."""
        self.kill()
        if self._process is not None:
            await self._process.wait()
        await self._end_of_log()
        if self._folder != Path():
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)


def _unpack(code: bytes) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="creeklab-function-"))
    (folder / "tmp").mkdir()
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        archive.extractall(folder / "task")
    return folder
