"""A policy that is being edited, and what it would decide: the playground without its widgets.

While one types, the decisions are worked out here, with the same reading of policies that the local
cloud has (`creeklab.cloud.policy`). ``TestAuthorization`` could not do that: it knows policies by
their names, so every letter would need a new version in the account, of which AWS keeps five.
What has been worked out can be checked with it, by a policy made for the purpose and deleted again
(`check`); so one sees that AWS decides the same.
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
_PLACE = re.compile(r"line (\d+), column (\d+)")


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the list: an action and the ARN it is about, or why it is none."""

    written: str
    action: str = ""
    resource: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policies say to one request.

    Attributes
    ----------
    decision
        ``"ALLOWED"``, ``"IMPLICIT_DENY"``, ``"EXPLICIT_DENY"``.
    before
        The same with the policy as it is in the account; None if it is not there.
    why
        Which statement decides, or what differs in the closest.
    """

    request: Request
    decision: str
    before: str | None
    why: str

    @property
    def changed(self) -> bool:
        """Whether the edited policy decides otherwise than the one in the account."""
        return self.before is not None and self.before != self.decision


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a document is no policy, and the line that is at fault, if one is."""

    message: str
    line: int | None = None
    column: int | None = None
    text: str = ""


def fault_of(document: str) -> Fault | None:
    """Say why AWS IoT would not take a document; None if it would."""
    try:
        parse(document)
    except MalformedPolicy as error:
        words = str(error)
        place = _PLACE.search(words)
        if place is None:
            return Fault(words)
        line, column = int(place[1]), int(place[2])
        lines = document.split("\n")
        return Fault(words, line, column, lines[line - 1] if line <= len(lines) else "")
    return None


def requests(text: str, prefix: str) -> list[Request]:
    """Read the list of requests: on each line an action, and what it is about.

    Parameters
    ----------
    prefix
        What the account's ARNs begin with.
    """
    found = []
    for line in filter(None, map(str.strip, text.split("\n"))):
        action, _, what = line.partition(" ")
        if ":" not in action:
            action = f"iot:{action}"
        known = next((each for each in KINDS if each.lower() == action.lower()), None)
        if known is None:
            words = f"{action!r} is none of {', '.join(KINDS)}."
            found.append(Request(line, fault=words))
        elif not what.strip():
            kind = {"topicfilter": "topic filter", "client": "client id", "thing": "Thing"}
            need = kind.get(KINDS[known], KINDS[known])
            found.append(Request(line, fault=f"{known} needs a {need} after it."))
        else:
            found.append(Request(line, known, resource_arn(prefix, known, what.strip())))
    return found


def usual_requests(name: str) -> str:
    """Return what the device of a Thing usually asks for, as a list to be edited."""
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
    asked: Iterable[Request], of: EffectiveAccess, policy: str, document: str
) -> list[Verdict]:
    """Decide requests as if the policy had this document and applied to the connection.

    The other policies that apply to it go on to do so. Requests with a fault are left out.
    """
    now = of.authorizer({**of.documents, policy: document})
    before = of.authorizer()
    known = policy in of.documents
    found = []
    for request in asked:
        if request.fault:
            continue
        explanation = explain(
            now, request.action, request.resource, PolicyNeighborhood(things=of.things)
        )
        closest = explanation.closest
        why = "no statement is about it"
        if closest is not None:
            label = f"{closest.policy}, statement {closest.statement + 1}"
            verb = {"ALLOWED": "allows it", "EXPLICIT_DENY": "denies it"}
            differs = "; ".join(closest.differs)
            why = f"{label}: {verb.get(explanation.outcome, differs)}"
        was = before.decide(request.action, request.resource).outcome if known else None
        found.append(Verdict(request, explanation.outcome, was, why))
    return found


def check(
    iot: Any, of: EffectiveAccess, policy: str, document: str, found: Sequence[Verdict]
) -> str:
    """Have ``TestAuthorization`` decide the same, and say whether it does.

    A policy is made for the purpose, attached to nothing, and deleted again.
    """
    asked = [verdict for verdict in found if verdict.request.action in TESTED]
    if not asked:
        return "There is nothing that TestAuthorization could be asked."
    scratch = f"creeklab-playground-{secrets.token_hex(4)}"
    iot.create_policy(policyName=scratch, policyDocument=document)
    try:
        wrong = [
            f"{verdict.request.written}: {answer}, not {verdict.decision}"
            for part in _tens(asked)
            for verdict, answer in zip(part, _tested(iot, of, policy, scratch, part), strict=True)
            if answer != verdict.decision
        ]
    finally:
        with suppress(ClientError):
            iot.delete_policy(policyName=scratch)
    left = len(found) - len(asked)
    more = f" {left} of another action cannot be asked there." if left else ""
    if wrong:
        return f"TestAuthorization decides otherwise: {'; '.join(wrong)}.{more}"
    return f"TestAuthorization decides all {len(asked)} the same.{more}"


def _tens(asked: Sequence[Verdict]) -> list[Sequence[Verdict]]:
    """Cut a list into parts as large as one call of TestAuthorization takes."""
    return [asked[at : at + 10] for at in range(0, len(asked), 10)]


def _tested(
    iot: Any, of: EffectiveAccess, policy: str, scratch: str, asked: Sequence[Verdict]
) -> list[str]:
    infos = [
        {"actionType": TESTED[each.request.action], "resources": [each.request.resource]}
        for each in asked
    ]
    whom = {} if of.certificate is None else {"principal": of.certificate}
    skip = {"policyNamesToSkip": [policy]} if policy in of.documents else {}
    answer = iot.test_authorization(
        **whom, **skip, clientId=of.client_id, policyNamesToAdd=[scratch], authInfos=infos
    )
    return [each["authDecision"] for each in answer["authResults"]]


def save(iot: Any, policy: str, document: str, *, exists: bool) -> str:
    """Make the policy, or a new version of it that is its default; say what was done.

    Raises
    ------
    botocore.exceptions.ClientError
        If the account does not take it: five versions are the most, for one.
    """
    if not exists:
        iot.create_policy(policyName=policy, policyDocument=document)
        return f"Policy {policy!r} is made. It acts when it is attached to a certificate."
    made = iot.create_policy_version(policyName=policy, policyDocument=document, setAsDefault=True)
    return f"Version {made['policyVersionId']} of policy {policy!r} is made, and is the default."


def pretty(document: str) -> str:
    """Return a document laid out on several lines, as it is if it is not JSON."""
    try:
        return json.dumps(json.loads(document), indent=2, ensure_ascii=False)
    except ValueError:
        return document
