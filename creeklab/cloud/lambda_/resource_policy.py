"""The resource policy of a function: which service is allowed to invoke it, and for what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from creeklab.cloud.policy import wildcards

Statement = Mapping[str, Any]
INVOKE = "lambda:InvokeFunction"


class Caller(NamedTuple):
    """A service that invokes a function, with the resource and account for which it does."""

    service: str
    source_arn: str
    source_account: str


def statement(
    sid: str, action: str, principal: str, resource: str, source_arn: str, source_account: str
) -> dict[str, Any]:
    """Return the statement that AddPermission creates."""
    condition: dict[str, Any] = {}
    if source_account:
        condition["StringEquals"] = {"AWS:SourceAccount": source_account}
    if source_arn:
        condition["ArnLike"] = {"AWS:SourceArn": source_arn}
    is_service = "." in principal
    made: dict[str, Any] = {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"Service": principal} if is_service else {"AWS": principal},
        "Action": action,
        "Resource": resource,
    }
    return {**made, "Condition": condition} if condition else made


def refusal(statements: Iterable[Statement], caller: Caller) -> str | None:
    """Return why no statement allows a caller to invoke the function; None if one does."""
    reasons = []
    for each in statements:
        reason = _mismatch(each, caller)
        if reason is None:
            return None
        reasons.append(f"Statement '{each['Sid']}' {reason}.")
    return " ".join(reasons) or "The function has no resource policy."


def _mismatch(each: Statement, caller: Caller) -> str | None:
    condition = each.get("Condition", {})
    arn = condition.get("ArnLike", {}).get("AWS:SourceArn")
    account = condition.get("StringEquals", {}).get("AWS:SourceAccount")
    service = each["Principal"].get("Service")
    if service != caller.service:
        return f"allows {service or each['Principal']['AWS']}, not {caller.service}"
    if each["Action"] not in (INVOKE, "lambda:*", "*"):
        return f"allows {each['Action']}, not {INVOKE}"
    if account not in (None, caller.source_account):
        return f"is for the account {account}, not {caller.source_account}"
    if arn is not None and not wildcards.covers(arn, caller.source_arn):
        return f"is for {arn}, not {caller.source_arn}"
    return None
