"""Answer `lab.why()`: find the last refusal, or decide a request, and explain it.

On the local cloud, the event log holds the last refusal as it was decided then. The current state
of the account (`creeklab.diagnosis.effective_access`) shows whether the same request would still be
refused, and which policy change would allow it. AWS keeps no event log; there, the question is
about an action and a resource, and ``TestAuthorization`` decides. The local cloud answers the same
question.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Any

from creeklab.client.topics import shadow_topic
from creeklab.cloud.policy import explain, suggest
from creeklab.cloud.policy.explain import PolicyNeighborhood
from creeklab.diagnosis.effective_access import (
    EffectiveAccess,
    find_certificate,
    load_effective_access,
    resource_arn,
    test_authorization,
)
from creeklab.diagnosis.refusal import CurrentDecision, Refusal
from creeklab.resources.lookup import or_none, paginate
from creeklab.resources.similar_name import did_you_mean
from creeklab.session.lab_session import ACCOUNT_CLIENT_PREFIX, LabSession

_CERTIFICATE = re.compile(r"[0-9a-f]{64}")
MAX_NAMES = 10
REJECTIONS = {
    "404": "Update it first: the first update creates it.",
    "409": (
        "Get the shadow, look at the changes, and send the update with the version from get. "
        "Without a version, the last writer wins."
    ),
    "413": "Send a smaller document.",
}
"""What to do after the shadow service rejected a request, by the code of its answer."""


def why(
    lab: LabSession,
    of: str | None = None,
    *,
    action: str | None = None,
    resource: str | None = None,
) -> Refusal:
    """Explain the last refusal, or decide a request; see `Lab.why`."""
    if action is None and resource is None and lab.target == "local":
        answer = _last_refusal(lab, of)
        refusal = explain_entry(lab, answer["entry"])
        refusal.failure, refusal.dropped = answer["failure"], answer["dropped"]
        if refusal.entry is None and of is not None:
            if _is_known(lab, of):
                refusal.nothing = f"Nothing was refused to '{of}'."
            else:
                refusal.nothing = unknown_client(of, _clients_and_things(lab))
        return refusal
    if lab.target == "aws" and (of, action, resource) == (None, None, None):
        if lab.ledger.last_refusal is None:
            return Refusal(None)
        of, action, resource = lab.ledger.last_refusal
    return explain_request(lab, of, action, resource)


def _last_refusal(lab: LabSession, of: str | None) -> dict[str, Any]:
    request: dict[str, Any] = {"client_id": of}
    if of is not None:
        attached = or_none(lambda: lab.client("iot").list_thing_principals(thingName=of))
        arns = [] if attached is None else attached["principals"]
        request["principals"] = [arn.rpartition("/")[2] for arn in arns]
    answer = lab.admin("why", request)
    entry = answer["entry"]
    if entry is not None and entry["kind"] == "disconnect":
        # The next entry says why the connection ended.
        after, client_id = entry["number"], entry["client_id"]
        for end in lab.event_pages(after=after, kind="disconnect", thing=client_id)[:1]:
            entry["reason"] = end["reason"]
    return answer


def _is_known(lab: LabSession, name: str) -> bool:
    """Return whether a Thing has this name, or a client had this id."""
    if or_none(lambda: lab.client("iot").describe_thing(thingName=name)) is not None:
        return True
    return bool(lab.event_pages(thing=name))


def _clients_and_things(lab: LabSession) -> set[str]:
    """Return all Things, and all clients in the event log except the account's own."""
    things = {each["thingName"] for each in paginate(lab.client("iot").list_things, "things")}
    # A connect entry has no client ID if the connection failed before sending one.
    clients = {entry.get("client_id") for entry in lab.event_pages(kind="connect")}
    return things | {
        each for each in clients if each and not each.startswith(ACCOUNT_CLIENT_PREFIX)
    }


def unknown_client(of: str, known: Iterable[str]) -> str:
    """Return a text that says a name is unknown, and lists known ones, the most similar first."""
    known = list(known)
    text = f"{of!r} is unknown: no client in the event log and no Thing has that name."
    text += did_you_mean(of, known)

    def unlike(name: str) -> tuple[float, str]:
        return -SequenceMatcher(None, of.lower(), name.lower()).ratio(), name

    names = sorted(known, key=unlike)
    if not names:
        return f"{text} No clients or Things are known yet."
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"{text} Known names: {', '.join(map(repr, names[:MAX_NAMES]))}{more}."


def explain_entry(lab: LabSession, entry: dict[str, Any] | None) -> Refusal:
    """Explain an entry of the event log that has a refusal, and the decision now."""
    if entry is not None and entry["kind"] == "shadow":
        entry["refusal"]["summary"] = _explain_rejection(lab, entry)
    if entry is None or not _CERTIFICATE.fullmatch(entry.get("principal", "")):
        # No policy applies to a shadow's rejection, a TLS failure or the account itself.
        return Refusal(entry)
    iot = lab.client("iot")
    arn = f"arn:aws:iot:{lab.region}:{lab.account}:cert/{entry['principal']}"
    access = load_effective_access(
        iot, entry.get("client_id"), arn, source_ip=entry.get("source_ip", "")
    )
    refusal = entry["refusal"]
    if "outcome" not in refusal:
        return Refusal(entry, CurrentDecision(access, None))
    return Refusal(entry, _decide(iot, access, refusal["action"], refusal["resource"]))


def _explain_rejection(lab: LabSession, entry: dict[str, Any]) -> str:
    """Explain why the shadow service rejected a request: topic, current version, what to do."""
    thing, shadow, rejection = entry["thing"], entry["shadow"], entry["refusal"]["summary"]
    named = {"shadowName": shadow} if shadow else {}
    data = lab.client("iot-data")
    current = or_none(lambda: data.get_thing_shadow(thingName=thing, **named))
    rejection = rejection.rstrip(".")
    state = "The shadow does not exist."
    if current is not None:
        state = f"The shadow is now at version {json.load(current['payload'])['version']}."
    topic = shadow_topic(thing, entry["request"], shadow)
    advice = REJECTIONS.get(rejection[:3], "Correct the document and send it again.")
    return f"The shadow service rejected the message on {topic}: {rejection}. {state} {advice}"


def explain_request(
    lab: LabSession, of: str | None, action: str | None, resource: str | None
) -> Refusal:
    """Decide whether a Thing is allowed a request, and explain why not."""
    if of is None or (action is None) != (resource is None):
        raise ValueError(
            "Name the Thing, the action and the resource, as in lab.why('Test2', "
            "action='iot:Publish', resource='creek/depth')."
        )
    action, resource = action or "iot:Connect", of if resource is None else resource
    iot = lab.client("iot")
    certificate = find_certificate(lab, of)
    access = load_effective_access(iot, of, certificate)
    prefix = f"arn:aws:iot:{lab.region}:{lab.account}"
    if certificate is not None:
        prefix = certificate.rpartition(":")[0]
    arn = resource_arn(prefix, action, resource)
    entry = {
        "kind": action.partition(":")[2].lower(),
        "client_id": of,
        "action": action,
        "resource": arn.split(":", 5)[-1],
    }
    if certificate is None:
        problem = "no certificate is attached to a Thing with that name. Create and attach one."
    elif access.status != "ACTIVE":
        problem = f"its certificate is {access.status}, and only an ACTIVE one can. Activate it."
    else:
        neighborhood = PolicyNeighborhood(things=access.things)
        found = explain(access.authorizer(), action, arn, neighborhood).as_dict()
        now = _decide(iot, access, action, arn)
        if now.decision != found["outcome"]:
            found["summary"] += (
                f" But TestAuthorization answers {now.decision}, and its answer counts: a change "
                "may not have arrived everywhere yet, or something besides these policies decides."
            )
        return Refusal({**entry, "refusal": {**found, "outcome": now.decision}}, now)
    summary = f"{of!r} cannot even connect: {problem}"
    return Refusal({**entry, "refusal": {"summary": summary}}, CurrentDecision(access, None))


def _decide(iot: Any, access: EffectiveAccess, action: str, resource: str) -> CurrentDecision:
    decision = test_authorization(iot, access, action, resource)
    if decision is None:
        decision = access.authorizer().decide(action, resource).outcome
    if decision == "ALLOWED":
        return CurrentDecision(access, decision)
    changes = suggest(access.documents, access.context, action, resource)
    return CurrentDecision(access, decision, changes)
