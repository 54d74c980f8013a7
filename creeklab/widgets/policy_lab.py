"""The policy playground: a policy beside a list of requests, and each decision as one types.

The decisions are those of `policy_model.py`, which says why they are worked out here; the account
is asked only when a person asks for it, and changed only by *Save*.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ipywidgets import (  # type: ignore[import-untyped]
    HTML,
    Box,
    Button,
    Dropdown,
    HBox,
    Layout,
    Text,
    Textarea,
    VBox,
)

from creeklab.diagnosis.effective_access import find_certificate, load_effective_access
from creeklab.display.html import code, escape, heading, mark, muted, table, tag
from creeklab.widgets import policy_model as model
from creeklab.widgets.live_view import LiveView

if TYPE_CHECKING:
    from creeklab.session.lab_session import LabSession

NEW = "(a new policy)"
PAUSE = 0.3
"""Seconds without a letter after which what was typed is read."""

MAX_POLICIES = 200

_LOOKS = {"ALLOWED": "good", "IMPLICIT_DENY": "bad", "EXPLICIT_DENY": "bad"}


class PolicyLab(LiveView):
    """Edit a policy and see what it decides. Made by `Lab.policy_lab`.

    Attributes
    ----------
    document, requests
        The two texts, as they are typed; a cell may set them too.
    """

    def __init__(
        self, lab: LabSession, thing: str | None = None, policy: str | None = None
    ) -> None:
        self._iot = lab.client("iot")
        self._lab = lab
        self._prefix = f"arn:aws:iot:{lab.region}:{lab.account}"
        self._typed = 0.0
        name = thing or next(iter(lab.keys.things()), "Test2")
        self._of = load_effective_access(self._iot, name, find_certificate(lab, name))
        names = self._names()
        chosen = policy or next(iter(self._of.documents), NEW)
        if chosen not in (NEW, *names):
            self._iot.get_policy(policyName=chosen)  # says so if there is none
            names.append(chosen)
        super().__init__(self._make(name, names, chosen))
        self._choose()

    # --- for a cell -----------------------------------------------------------------------------

    @property
    def document(self) -> str:
        """The document of the policy, as it stands there."""
        return str(self._document.value)

    @document.setter
    def document(self, text: str) -> None:
        self._document.value = text

    @property
    def requests(self) -> str:
        """The requests, one a line: an action, and what it is about."""
        return str(self._requests.value)

    @requests.setter
    def requests(self, text: str) -> None:
        self._requests.value = text

    @property
    def policy(self) -> str:
        """Name of the policy."""
        return str(self._name.value)

    def verdicts(self) -> list[model.Verdict]:
        """Return what the policies say to each request that can be read.

        Raises
        ------
        creeklab.cloud.policy.MalformedPolicy
            If the document is no policy.
        """
        asked = model.requests(self.requests, self._prefix)
        return model.verdicts(asked, self._of, self.policy, self.document)

    def check(self) -> str:
        """Have ``TestAuthorization`` decide the same requests; say whether it agrees."""
        return model.check(self._iot, self._of, self.policy, self.document, self.verdicts())

    def save(self) -> str:
        """Make the policy, or a new version of it that is its default; say what was done."""
        exists = self.policy in self._names()
        said = model.save(self._iot, self.policy, self.document, exists=exists)
        self._look_up()
        if not exists:
            self._chosen.options = [*self._chosen.options, self.policy]
            self._chosen.value = self.policy
        return said

    def settle(self, timeout: float = 5.0) -> None:
        """Wait until the view shows what has been typed so far, without the pause."""
        self._typed = 0.0
        self.changed()
        super().settle(timeout)

    # --- what is on the page --------------------------------------------------------------------

    def _make(self, name: str, names: list[str], chosen: str) -> Box:
        style = {"description_width": "initial"}
        wide = {"style": style, "layout": Layout(width="auto")}
        self._chosen = Dropdown(description="Policy", options=[NEW, *names], value=chosen, **wide)
        self._name = Text(description="Name", **wide)
        self._document = Textarea(description="Document", rows=18, continuous_update=True, **wide)
        self._client = Text(description="Thing or client id", value=name, **wide)
        self._client.continuous_update = False
        self._requests = Textarea(
            description="Requests", rows=7, value=model.usual_requests(name), **wide
        )
        self._fault = HTML()
        self._table = HTML()
        self._save = Button(description="Save as the default version", button_style="primary")
        self._check = Button(description="Check with TestAuthorization")
        self._again = Button(description="Read the account again")
        self._chosen.observe(lambda _: self.act(self._choose), "value")
        self._client.observe(lambda _: self.act(self._look_up), "value")
        for text in (self._document, self._requests, self._name):
            text.observe(lambda _: self._on_typing(), "value")
        self._save.on_click(lambda _: self.act(lambda: self.say(self.save())))
        self._check.on_click(lambda _: self.act(lambda: self.say(self.check())))
        self._again.on_click(lambda _: self.act(self._choose))
        left = VBox(
            [self._chosen, self._name, self._document, self._fault],
            layout=Layout(flex="1 1 26em", min_width="0"),
        )
        right = VBox(
            [self._client, self._requests, self._table],
            layout=Layout(flex="1 1 26em", min_width="0"),
        )
        for text in (self._document, self._requests):
            text.add_class("creeklab-code")
        buttons = HBox([self._save, self._check, self._again], layout=Layout(flex_flow="row wrap"))
        sides = Box(
            [left, right], layout=Layout(display="flex", flex_flow="row wrap", grid_gap="0.5em 1em")
        )
        return VBox([HTML(heading("Policy playground")), sides, buttons])

    def _on_typing(self) -> None:
        self._typed = time.monotonic()
        self.changed()

    def _choose(self) -> None:
        """Show the document of the policy that was chosen."""
        self._look_up()
        chosen = self._chosen.value
        if chosen == NEW:
            self._name.value, self._name.disabled = "MyPolicy", False
            self._document.value = model.NEW_DOCUMENT % self._prefix
        else:
            answer = self._iot.get_policy(policyName=chosen)
            self._name.value, self._name.disabled = chosen, True
            self._document.value = model.pretty(answer["policyDocument"])
        self.say("")

    def _look_up(self) -> None:
        """Read anew what the account says of the connection."""
        name = str(self._client.value).strip() or "Test2"
        self._of = load_effective_access(self._iot, name, find_certificate(self._lab, name))
        self.changed()

    def _names(self) -> list[str]:
        answer = self._iot.list_policies(pageSize=MAX_POLICIES, ascendingOrder=True)
        return [each["policyName"] for each in answer["policies"]]

    # --- drawing --------------------------------------------------------------------------------

    def _draw(self) -> None:
        if time.monotonic() - self._typed < PAUSE:
            self.changed()  # once the typing has paused
            return
        fault = model.fault_of(self.document)
        if fault is None:
            self.show(self._fault, mark("This is a policy", "good"))
            self.show(self._table, self._decisions())
        else:
            self.show(self._fault, _fault_page(fault))
            self.show(self._table, muted("Decisions come when the document is a policy again."))

    def _decisions(self) -> str:
        asked = model.requests(self.requests, self._prefix)
        decided = {
            verdict.request.written: verdict
            for verdict in model.verdicts(asked, self._of, self.policy, self.document)
        }
        rows = []
        for request in asked:
            verdict = decided.get(request.written)
            if verdict is None:
                words, why = mark("cannot be asked", "plain"), request.fault
            else:
                words, why = mark(verdict.decision, _LOOKS[verdict.decision]), verdict.why
                if verdict.changed:
                    words += " " + mark(f"was {verdict.before}", "new")
            rows.append((_breakable(request.written), words + tag("div", escape(why))))
        allowed = sum(verdict.decision == "ALLOWED" for verdict in decided.values())
        others = [name for name in self._of.documents if name != self.policy]
        also = f", with {', '.join(others)}" if others else ""
        caption = (
            f"{allowed} of {len(decided)} allowed to client id {self._of.client_id!r} by "
            f"{self.policy}{also}"
        )
        bound = (
            ""
            if self._of.certificate
            else tag("p", muted("It has no certificate in this account: only this policy counts."))
        )
        return table(("Request", "Decision"), rows, caption=caption) + bound

    def _static(self) -> str:
        fault = model.fault_of(self.document)
        below = self._decisions() if fault is None else _fault_page(fault)
        return (
            heading(f"Policy playground: {self.policy}") + tag("pre", escape(self.document)) + below
        )

    def _words(self) -> str:
        try:
            found = self.verdicts()
        except ValueError:
            return f"Policy playground: {self.policy} is no policy as it stands"
        allowed = sum(verdict.decision == "ALLOWED" for verdict in found)
        return f"Policy playground: {self.policy} allows {allowed} of {len(found)} requests"


def _breakable(request: str) -> str:
    """Return a request in the letters of code, whose topic may be broken at its slashes."""
    return code(request).replace("/", "/<wbr>").replace("</<wbr>", "</")


def _fault_page(fault: model.Fault) -> str:
    """Say what is wrong, and show the line with a pointer to the place."""
    said = tag("div", escape(fault.message))
    if fault.line is not None and fault.column is not None:
        # A long line is shown around the place.
        start = max(0, fault.column - 60)
        before = f"{fault.line}: "
        pointer = " " * (len(before) + fault.column - 1 - start) + "^"
        said += tag("pre", escape(f"{before}{fault.text[start : start + 100]}\n{pointer}"))
    return tag("div", said, class_="creeklab-notice creeklab-alert", role="alert")
