"""The program of an environment: loads a handler and calls it for each event.

It runs in a process of its own with the machine's Python, and uses only the standard library. It
gets events as lines of JSON on standard input, and answers with lines of JSON on standard output;
both are hidden from the function, whose own output goes to standard error, the log. The process
ends when its input does, even in the middle of an endless loop, so it never outlives the cloud.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

MAX_FILE_BYTES = 512 * 1024 * 1024
"""Largest file that a function can write; AWS's /tmp has the same size."""

END_OF_LOG = "\x00END "
"""Begins the line that ends the log of an invocation."""

Json = dict[str, Any]


class Context:
    """The second argument of a handler."""

    def __init__(self, event: Json) -> None:
        environment = os.environ
        self.function_name = environment["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = environment["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = environment["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = environment["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.invoked_function_arn = event["arn"]
        self.aws_request_id = event["id"]
        self.identity = None
        self.client_context = None
        self._deadline = time.monotonic() + event["timeout"]

    def get_remaining_time_in_millis(self) -> int:
        """Return how much time the invocation has left."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))


class _LogFormatter(logging.Formatter):
    """Formats records as Lambda does."""

    request_id = ""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line with level, time and request id."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        milliseconds = int(record.msecs)
        text = super().format(record)
        return f"[{record.levelname}]\t{now}.{milliseconds:03}Z\t{self.request_id}\t{text}"


def main() -> None:
    """Serve events until the input ends."""
    events = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    _limit_resources(int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]))
    formatter = _LogFormatter()
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.getLogger().addHandler(handler)
    waiting: queue.SimpleQueue[Json] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(events, waiting), daemon=True).start()
    started = time.perf_counter()
    function, failure = _load(os.environ["_HANDLER"], os.environ["LAMBDA_TASK_ROOT"])
    _answer(answers, {"init": (time.perf_counter() - started) * 1000})
    while True:
        event = waiting.get()
        formatter.request_id = event["id"]
        answer = failure if function is None else _invoke(function, event)
        sys.stdout.flush()
        sys.stderr.write(f"{END_OF_LOG}{event['id']}\n")
        sys.stderr.flush()
        _answer(answers, {**(answer or {}), "memory": _peak_memory()})


def _read(events: BinaryIO, waiting: queue.SimpleQueue[Json]) -> None:
    for line in events:
        waiting.put(json.loads(line))
    os._exit(0)


def _answer(answers: BinaryIO, answer: Json) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


def _load(name: str, root: str) -> tuple[Callable[..., Any] | None, Json | None]:
    """Return the handler, or the answer to every event if it cannot be loaded."""
    sys.path.insert(0, root)
    module_name, _, function_name = name.rpartition(".")
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except SyntaxError as error:
        text = f"Syntax error in module '{module_name}': {error}"
        return None, _failure("Runtime.UserCodeSyntaxError", text)
    except ImportError as error:
        text = f"Unable to import module '{module_name}': {error}"
        return None, _failure("Runtime.ImportModuleError", text)
    except Exception as error:
        return None, _exception(error)
    function = getattr(module, function_name, None)
    if function is None:
        text = f"Handler '{function_name}' missing on module '{module_name}'"
        return None, _failure("Runtime.HandlerNotFound", text)
    return function, None


def _invoke(function: Callable[..., Any], event: Json) -> Json:
    try:
        result = function(json.loads(event["payload"]), Context(event))
    except Exception as error:
        return _exception(error)
    try:
        return {"payload": json.dumps(result)}
    except (TypeError, ValueError, RecursionError) as error:
        return _failure("Runtime.MarshalError", f"Unable to marshal response: {error}")


def _exception(error: Exception) -> Json:
    frames = [
        line
        for line in traceback.format_tb(error.__traceback__)
        if __file__ not in line and "importlib" not in line
    ]
    print(f"[ERROR] {type(error).__name__}: {error}\nTraceback (most recent call last):")
    print("".join(frames), end="")
    return _failure(type(error).__name__, str(error), frames)


def _failure(error_type: str, message: str, frames: list[str] | None = None) -> Json:
    members = {"errorMessage": message, "errorType": error_type, "stackTrace": frames or []}
    return {"payload": json.dumps(members), "error": error_type}


def _limit_resources(megabytes: int) -> None:
    """Limit memory and the size of files, where the system can (not on Windows)."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        # The interpreter's own mappings do not count as the function's memory.
        size = (megabytes + 64) * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _peak_memory() -> int:
    """Return the most memory that the process has used, in megabytes; 0 if it is unknown."""
    with contextlib.suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(peak / (1024 * 1024 if sys.platform == "darwin" else 1024))
    return 0


if __name__ == "__main__":
    main()
