"""A policy that is being edited, and its decisions: the policy lab without its widgets.

While the user types, the decisions are made here, by the policy engine of the local cloud
(`creeklab.cloud.policy`). ``TestAuthorization`` cannot do that: it knows policies by name, so every
keystroke would need a new version in the account, and AWS keeps only five. `check` compares the
decisions with those of ``TestAuthorization``, through a temporary policy, and so shows that AWS
decides the same.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from creeklab.cloud.policy import MalformedPolicy, explain, parse
from creeklab.cloud.policy.explain import PolicyNeighborhood
from creeklab.diagnosis.effective_access import KINDS, TESTED, EffectiveAccess, resource_arn

NEW_DOCUMENT = """{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": "iot:Connect",
      "Resource": "%s:client/${iot:Connection.Thing.ThingName}"
    }
  ]
}"""
_POSITION = re.compile(r"line (\d+), column (\d+)")


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the list: an action and a resource ARN, or why the line is invalid."""

    line: str
    action: str = ""
    resource: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision of the policies about one request.

    Attributes
    ----------
    decision
        ``"ALLOWED"``, ``"IMPLICIT_DENY"``, ``"EXPLICIT_DENY"``.
    before
        The decision with the policy as it is in the account; None if it is not there.
    reason
        The statement that decides, or how the closest one differs.
    """

    request: Request
    decision: str
    before: str | None
    reason: str

    @property
    def changed(self) -> bool:
        """Whether the edited policy decides differently from the one in the account."""
        return self.before is not None and self.before != self.decision


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a document is not a policy, and where the fault is, if it is at one position."""

    message: str
    line: int | None = None
    column: int | None = None
    text: str = ""


def find_fault(document: str) -> Fault | None:
    """Return why AWS IoT would reject a document; None if it is a policy."""
    try:
        parse(document)
    except MalformedPolicy as error:
        message = str(error)
        position = _POSITION.search(message)
        if position is None:
            return Fault(message)
        line, column = int(position[1]), int(position[2])
        lines = document.split("\n")
        return Fault(message, line, column, lines[line - 1] if line <= len(lines) else "")
    return None


def parse_requests(text: str, prefix: str) -> list[Request]:
    """Parse the list of requests: on each line, an action and a resource."""
    found = []
    for line in filter(None, map(str.strip, text.split("\n"))):
        action, _, resource = line.partition(" ")
        if ":" not in action:
            action = f"iot:{action}"
        known = next((each for each in KINDS if each.lower() == action.lower()), None)
        if known is None:
            fault = f"{action!r} is not a device action. Use one of {', '.join(KINDS)}."
            found.append(Request(line, fault=fault))
        elif not resource.strip():
            names = {"topicfilter": "topic filter", "client": "client ID", "thing": "Thing"}
            kind = names.get(KINDS[known], KINDS[known])
            found.append(Request(line, fault=f"Add a {kind} after {known}."))
        else:
            found.append(Request(line, known, resource_arn(prefix, known, resource.strip())))
    return found


def usual_requests(name: str) -> str:
    """Return the usual requests of a Thing's device, as a list to edit."""
    return "\n".join(
        [
            f"iot:Connect {name}",
            "iot:Publish creek/depth",
            f"iot:Publish $aws/things/{name}/shadow/update",
            f"iot:Subscribe $aws/things/{name}/shadow/update/delta",
            f"iot:Receive $aws/things/{name}/shadow/update/delta",
            "iot:Subscribe creek/#",
        ]
    )


def verdicts(
    requests: Iterable[Request], access: EffectiveAccess, policy: str, document: str
) -> list[Verdict]:
    """Decide requests as if the policy had this document and applied to the connection.

    The connection's other policies still apply. Invalid requests are left out.
    """
    now = access.authorizer({**access.documents, policy: document})
    before = access.authorizer()
    known = policy in access.documents
    found = []
    for request in requests:
        if request.fault:
            continue
        explanation = explain(
            now, request.action, request.resource, PolicyNeighborhood(things=access.things)
        )
        closest = explanation.closest
        reason = "no statement covers it"
        if closest is not None:
            label = f"{closest.policy}, statement {closest.statement + 1}"
            effect = {"ALLOWED": "allows it", "EXPLICIT_DENY": "denies it"}
            differs = "; ".join(closest.differs)
            reason = f"{label}: {effect.get(explanation.outcome, differs)}"
        was = before.decide(request.action, request.resource).outcome if known else None
        found.append(Verdict(request, explanation.outcome, was, reason))
    return found


def check(
    iot: Any, access: EffectiveAccess, policy: str, document: str, found: Sequence[Verdict]
) -> str:
    """Return whether ``TestAuthorization`` decides the same.

    It needs a temporary policy, which is attached to nothing and deleted afterward.
    """
    asked = [verdict for verdict in found if verdict.request.action in TESTED]
    if not asked:
        return "TestAuthorization supports none of these actions."
    scratch = f"creeklab-policy-lab-{secrets.token_hex(4)}"
    iot.create_policy(policyName=scratch, policyDocument=document)
    try:
        wrong = [
            f"{verdict.request.line}: {answer}, not {verdict.decision}"
            for batch in (asked[at : at + 10] for at in range(0, len(asked), 10))  # AWS's limit
            for verdict, answer in zip(
                batch, _test_authorization(iot, access, policy, scratch, batch), strict=True
            )
            if answer != verdict.decision
        ]
    finally:
        with suppress(ClientError):
            iot.delete_policy(policyName=scratch)
    left = len(found) - len(asked)
    more = f" It does not support the actions of {left} more." if left else ""
    if wrong:
        return f"TestAuthorization decides differently: {'; '.join(wrong)}.{more}"
    return f"TestAuthorization decides all {len(asked)} the same.{more}"


def _test_authorization(
    iot: Any, access: EffectiveAccess, policy: str, scratch: str, asked: Sequence[Verdict]
) -> list[str]:
    infos = [
        {"actionType": TESTED[each.request.action], "resources": [each.request.resource]}
        for each in asked
    ]
    principal = {} if access.certificate is None else {"principal": access.certificate}
    skip = {"policyNamesToSkip": [policy]} if policy in access.documents else {}
    answer = iot.test_authorization(
        **principal, **skip, clientId=access.client_id, policyNamesToAdd=[scratch], authInfos=infos
    )
    return [each["authDecision"] for each in answer["authResults"]]


def save(iot: Any, policy: str, document: str, *, exists: bool) -> str:
    """Create the policy, or a new default version of it; return a message about it."""
    if not exists:
        iot.create_policy(policyName=policy, policyDocument=document)
        return f"Created policy {policy}. It takes effect when it is attached to a certificate."
    answer = iot.create_policy_version(
        policyName=policy, policyDocument=document, setAsDefault=True
    )
    return f"Created version {answer['policyVersionId']} of {policy}, which is now the default."


def pretty(document: str) -> str:
    """Return a document on several lines, or unchanged if it is not JSON."""
    try:
        return json.dumps(json.loads(document), indent=2, ensure_ascii=False)
    except ValueError:
        return document
