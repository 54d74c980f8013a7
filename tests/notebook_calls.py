"""Run a notebook's code cells in this process, and record every call to AWS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
import pytest
from botocore.response import StreamingBody
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from creeklab.targets import aws
from tests.notebook_exercises import solved

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


@dataclass
class Call:
    """One call of an operation, and its result.

    Attributes
    ----------
    answer
        The response from boto3, without ``ResponseMetadata``; a body that streams as bytes.
    error
        Code of the error; None if the call succeeded.
    """

    service: str
    operation: str
    asked: dict[str, Any]
    answer: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


class Recorder:
    """Records the calls of every session that is opened in the meantime."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    @contextmanager
    def listening(self) -> Iterator[Recorder]:
        opened = aws._session

        def session() -> Any:
            found = opened()
            # Last, so that the record includes what the lab adds to a call.
            found.events.register_last("before-parameter-build", self._asked, "recorder-asked")
            found.events.register_last("after-call", self._answered, "recorder-answered")
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(aws, "_session", session)
            yield self

    def _asked(self, params: Any, model: Any, context: Any, **_: Any) -> None:
        service = model.service_model.service_name
        context["recorded"] = Call(service, model.name, deepcopy(params))
        self.calls.append(context["recorded"])

    def _answered(self, http_response: Any, parsed: Any, context: Any, **_: Any) -> None:
        call: Call = context["recorded"]
        if http_response.status_code >= 300:
            call.error = parsed["Error"]["Code"]
            return
        for name, value in parsed.items():
            if isinstance(value, StreamingBody):
                whole = value.read()
                parsed[name] = StreamingBody(BytesIO(whole), len(whole))
                call.answer[name] = whole
            elif name != "ResponseMetadata":
                call.answer[name] = deepcopy(value)


def run_notebook(path: Path) -> Iterator[tuple[str, Mapping[str, Any], BaseException | None]]:
    """Run the code cells of a notebook, solved; yield source, metadata and error of each."""
    settings = Config()
    settings.HistoryManager.enabled = False
    shell = InteractiveShell(config=settings)
    for cell in solved(nbformat.read(path, as_version=4)):
        result = shell.run_cell(cell.source)
        yield cell.source, cell.metadata, result.error_before_exec or result.error_in_exec
