"""The policy lab: a policy next to a list of requests, with decisions while you type.

The decisions are made in `policy_model.py`, which says why. The account is read only when it has
to be, and changed only by *Save*.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ipywidgets import (  # type: ignore[import-untyped]
    HTML,
    Box,
    Dropdown,
    Layout,
    Text,
    Textarea,
    VBox,
)

from creeklab.diagnosis.effective_access import find_certificate, load_effective_access
from creeklab.display.html import code, escape, heading, mark, muted, table, tag
from creeklab.widgets import policy_model as model
from creeklab.widgets.live_view import LiveView, row

if TYPE_CHECKING:
    from creeklab.session.lab_session import LabSession

NEW = "(a new policy)"
TYPING_PAUSE = 0.3
"""Seconds without a keystroke after which the text is evaluated."""

MAX_POLICIES = 200

_DECISION_KINDS = {"ALLOWED": "good", "IMPLICIT_DENY": "bad", "EXPLICIT_DENY": "bad"}


class PolicyLab(LiveView):
    """Edit a policy and see what it decides. Created by `Lab.policy_lab`."""

    def __init__(
        self, lab: LabSession, thing: str | None = None, policy: str | None = None
    ) -> None:
        self._iot = lab.client("iot")
        self._lab = lab
        self._prefix = f"arn:aws:iot:{lab.region}:{lab.account}"
        self._typed = 0.0
        name = thing or next(iter(lab.keys.things()), "Test2")
        self._access = load_effective_access(self._iot, name, find_certificate(lab, name))
        names = self._names()
        chosen = policy or next(iter(self._access.documents), NEW)
        if chosen not in (NEW, *names):
            self._iot.get_policy(policyName=chosen)  # raises an error if there is none
            names.append(chosen)
        super().__init__(self._build(name, names, chosen))
        self._choose()

    # --- for a cell -----------------------------------------------------------------------------

    @property
    def document(self) -> str:
        """The document of the policy as typed; a cell can set it, too."""
        return str(self._document.value)

    @document.setter
    def document(self, text: str) -> None:
        self._document.value = text

    @property
    def requests(self) -> str:
        """The requests as typed, one per line: an action and a resource."""
        return str(self._requests.value)

    @requests.setter
    def requests(self, text: str) -> None:
        self._requests.value = text

    @property
    def policy(self) -> str:
        """The name of the policy."""
        return str(self._name.value)

    def verdicts(self) -> list[model.Verdict]:
        """Return the decision about each valid request.

        Raises
        ------
        creeklab.cloud.policy.MalformedPolicy
            If the document is not a policy.
        """
        return self._decide(model.parse_requests(self.requests, self._prefix))

    def _decide(self, requests: list[model.Request]) -> list[model.Verdict]:
        return model.verdicts(requests, self._access, self.policy, self.document)

    def check(self) -> str:
        """Return whether ``TestAuthorization`` decides the same about the requests."""
        return model.check(self._iot, self._access, self.policy, self.document, self.verdicts())

    def save(self) -> str:
        """Create the policy, or a new default version of it; return a message about it."""
        exists = self.policy in self._names()
        message = model.save(self._iot, self.policy, self.document, exists=exists)
        self._look_up()
        if not exists:
            self._chosen.options = [*self._chosen.options, self.policy]
            self._chosen.value = self.policy
        return message

    def settle(self, timeout: float = 5.0) -> None:
        """Wait until the view shows the text typed so far, without the typing pause."""
        self._typed = 0.0
        self.changed()
        super().settle(timeout)

    # --- widgets --------------------------------------------------------------------------------

    def _build(self, name: str, names: list[str], chosen: str) -> Box:
        style = {"description_width": "initial"}
        wide = {"style": style, "layout": Layout(width="auto")}
        self._chosen = Dropdown(description="Policy", options=[NEW, *names], value=chosen, **wide)
        self._name = Text(description="Name", **wide)
        self._document = Textarea(description="Document", rows=18, continuous_update=True, **wide)
        self._client = Text(description="Thing or client ID", value=name, **wide)
        self._client.continuous_update = False
        self._requests = Textarea(
            description="Requests", rows=7, value=model.usual_requests(name), **wide
        )
        self._fault = HTML()
        self._table = HTML()
        self._save = self._button(
            "Save as default version", lambda: self.notify(self.save()), "primary"
        )
        self._check = self._button(
            "Check with TestAuthorization", lambda: self.notify(self.check())
        )
        reload = self._button("Reload from the account", self._choose)
        self._chosen.observe(lambda _: self.act(self._choose), "value")
        self._client.observe(lambda _: self.act(self._look_up), "value")
        for text in (self._document, self._requests, self._name):
            text.observe(lambda _: self._on_typing(), "value")
        side = Layout(flex="1 1 26em", min_width="0")
        left = VBox([self._chosen, self._name, self._document, self._fault], layout=side)
        right = VBox([self._client, self._requests, self._table], layout=side)
        for text in (self._document, self._requests):
            text.add_class("creeklab-code")
        buttons = row([self._save, self._check, reload])
        sides = Box(
            [left, right], layout=Layout(display="flex", flex_flow="row wrap", grid_gap="0.5em 1em")
        )
        return VBox([HTML(heading("Policy lab")), sides, buttons])

    def _on_typing(self) -> None:
        self._typed = time.monotonic()
        self.changed()

    def _choose(self) -> None:
        """Show the document of the chosen policy."""
        self._look_up()
        chosen = self._chosen.value
        if chosen == NEW:
            self._name.value, self._name.disabled = "MyPolicy", False
            self._document.value = model.NEW_DOCUMENT % self._prefix
        else:
            answer = self._iot.get_policy(policyName=chosen)
            self._name.value, self._name.disabled = chosen, True
            self._document.value = model.pretty(answer["policyDocument"])

    def _look_up(self) -> None:
        """Read the access of the connection from the account again."""
        name = str(self._client.value).strip() or "Test2"
        self._access = load_effective_access(self._iot, name, find_certificate(self._lab, name))
        self.changed()

    def _names(self) -> list[str]:
        answer = self._iot.list_policies(pageSize=MAX_POLICIES, ascendingOrder=True)
        return [each["policyName"] for each in answer["policies"]]

    # --- drawing --------------------------------------------------------------------------------

    def _draw(self) -> None:
        if time.monotonic() - self._typed < TYPING_PAUSE:
            self.changed()  # check again until the typing pauses
            return
        fault = model.find_fault(self.document)
        if fault is None:
            self.show(self._fault, mark("valid policy", "good"))
            self.show(self._table, self._decisions())
        else:
            self.show(self._fault, _fault_page(fault))
            self.show(self._table, muted("Fix the document to see the decisions."))

    def _decisions(self) -> str:
        requests = model.parse_requests(self.requests, self._prefix)
        decided = {verdict.request.line: verdict for verdict in self._decide(requests)}
        rows = []
        for request in requests:
            verdict = decided.get(request.line)
            if verdict is None:
                marks, reason = mark("invalid request", "plain"), request.fault
            else:
                marks = mark(verdict.decision, _DECISION_KINDS[verdict.decision])
                reason = verdict.reason
                if verdict.changed:
                    marks += " " + mark(f"was {verdict.before}", "new")
            rows.append((_breakable(request.line), marks + tag("div", escape(reason))))
        allowed = sum(verdict.decision == "ALLOWED" for verdict in decided.values())
        others = [name for name in self._access.documents if name != self.policy]
        also = f", with {', '.join(others)}" if others else ""
        caption = (
            f"{allowed} of {len(decided)} allowed for client ID {self._access.client_id!r} by "
            f"{self.policy}{also}"
        )
        note = (
            ""
            if self._access.certificate
            else "It has no certificate in this account, so only this policy applies."
        )
        return table(("Request", "Decision"), rows, caption=caption) + tag("p", muted(note))

    def _static(self) -> str:
        fault = model.find_fault(self.document)
        below = self._decisions() if fault is None else _fault_page(fault)
        return heading(f"Policy lab: {self.policy}") + tag("pre", escape(self.document)) + below

    def _summary(self) -> str:
        try:
            decided = self.verdicts()
        except ValueError:
            return f"Policy lab: the document of {self.policy} is not a policy"
        allowed = sum(verdict.decision == "ALLOWED" for verdict in decided)
        return f"Policy lab: {self.policy} allows {allowed} of {len(decided)} requests"


def _breakable(request: str) -> str:
    """Return a request as code whose topic can wrap at its slashes."""
    return code(request).replace("/", "/<wbr>").replace("</<wbr>", "</")


def _fault_page(fault: model.Fault) -> str:
    """Return the fault and, if it has a position, the line with a pointer to it."""
    text = tag("div", escape(fault.message))
    if fault.line is not None and fault.column is not None:
        # Show a long line only around the fault.
        start = max(0, fault.column - 60)
        before = f"{fault.line}: "
        pointer = " " * (len(before) + fault.column - 1 - start) + "^"
        text += tag("pre", escape(f"{before}{fault.text[start : start + 100]}\n{pointer}"))
    return tag("div", text, class_="creeklab-notice creeklab-alert", role="alert")
