"""The document that the error action of a rule receives."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import NamedTuple

from creeklab.cloud.rules.sql.functions.function import MessageContext


class Failure(NamedTuple):
    """An action that failed."""

    action: str
    resource: str
    message: str


def error_document(rule: str, message: MessageContext, failures: Iterable[Failure]) -> bytes:
    """Return one document for all failures of a rule and a message."""
    document = {
        "ruleName": rule,
        "topic": message.topic,
        "cloudwatchTraceId": message.trace_id,
        "clientId": message.client_id or "n/a",
        "sourceIp": message.source_ip,
        "base64OriginalPayload": base64.b64encode(message.payload).decode(),
        "failures": [
            {
                "failedAction": failure.action,
                "failedResource": failure.resource,
                "errorMessage": failure.message,
            }
            for failure in failures
        ],
    }
    return json.dumps(document, ensure_ascii=False).encode()
