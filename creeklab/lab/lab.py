"""`Lab`, the facade that a notebook works with: a session, and every tool that takes one.

The tools are imported inside the methods that open them: imported here, they would more than double
the time that `open_lab` needs for its imports.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeVar, overload
from weakref import WeakValueDictionary

from creeklab.resources.lookup import similar_thing
from creeklab.session.lab_session import LabSession
from creeklab.session.reset import reset_account
from creeklab.targets.target import NotSupportedOnAws

if TYPE_CHECKING:
    import pandas as pd

    from creeklab.course.checks import Checks
    from creeklab.diagnosis.probe import CheckReport
    from creeklab.diagnosis.refusal import Refusal
    from creeklab.diagnosis.rule_report import RuleReport
    from creeklab.widgets.console import Console
    from creeklab.widgets.live_view import LiveView
    from creeklab.widgets.policy_lab import PolicyLab
    from creeklab.widgets.shadow_view import ShadowView
    from creeklab.widgets.test_client import MqttTestClient

T = TypeVar("T", bound="LiveView")

_WIDGETS: MutableMapping[tuple[Any, ...], LiveView] = WeakValueDictionary()
"""The latest widget of each kind on each account in this kernel, over all labs."""


class Lab(LabSession):
    """An open lab: a session on an account, and its tools; see `LabSession` for the attributes."""

    # --- the event log ----------------------------------------------------------------------------

    @overload
    def why(
        self, of: str | None = None, *, action: str | None = None, resource: str | None = None
    ) -> Refusal: ...

    @overload
    def why(self, *, rule: str, topic: str | None = None, payload: object = None) -> RuleReport: ...

    def why(
        self,
        of: str | None = None,
        *,
        action: str | None = None,
        resource: str | None = None,
        rule: str | None = None,
        topic: str | None = None,
        payload: object = None,
    ) -> Refusal | RuleReport:
        """Explain the last refusal, whether a Thing is allowed a request, or what a rule did.

        Parameters
        ----------
        of
            Only what was refused to this client ID, or to the certificate of this Thing.
        action, resource
            The request to decide, such as ``action="iot:Publish", resource="creek/depth"``. AWS
            does not report refusals, so there a request is always decided: without these two, the
            last one that was refused to a device of this lab, or with `of`, whether it can connect.
        rule
            Explain what this rule does with the latest messages instead. Local cloud only.
        topic, payload
            With `rule`: the message to explain it for. The payload is an object to send as JSON, or
            text.

        Raises
        ------
        ValueError
            If only one of `action` and `resource` is given, or `action` is not a device action.
        """
        if rule is not None:
            from creeklab.diagnosis.rule_report import why_rule

            return why_rule(self, rule, topic, payload)
        from creeklab.diagnosis.why import why

        return why(self, of, action=action, resource=resource)

    def events(
        self,
        after: int = 0,
        *,
        kind: str | None = None,
        thing: str | None = None,
        topic: str | None = None,
    ) -> pd.DataFrame:
        """Return the event log, oldest entry first, one row per entry, indexed by its number.

        The cloud keeps the last entries of each kind in memory: ten thousand messages, two thousand
        refusals, five thousand shadow versions, and so on.

        Parameters
        ----------
        after
            Only entries with a greater number.
        kind
            Only entries of this kind: ``"connect"``, ``"disconnect"``, ``"subscribe"``,
            ``"unsubscribe"``, ``"publish"`` (a message that came in; ``to`` lists the clients that
            it went to), ``"deliver"`` (a message that went out later, or a retained one),
            ``"receive"`` (a delivery that was refused), ``"dropped"``, ``"shadow"``, ``"call"``,
            ...
        thing
            Only what its client did or received, and what happened to its shadows.
        topic
            Only messages on this topic, or on topics that match this topic filter.
        """
        from creeklab.events.table import read_events

        return read_events(self, after, kind=kind, thing=thing, topic=topic)

    def metrics(self) -> pd.DataFrame:
        """Return CloudWatch's counters of the devices, minute by minute.

        Returns
        -------
        DataFrame
            A row for each of the last 180 minutes in which something was counted, indexed by the
            start of the minute (UTC); columns (name, protocol), such as ``("PublishIn.Success",
            "MQTT")``.
        """
        from creeklab.events.metrics import read_metrics

        return read_metrics(self)

    # --- the course -------------------------------------------------------------------------------

    @property
    def check(self) -> Checks:
        """The self-checks that end each step of a notebook."""
        from creeklab.course.checks import Checks

        self._require_running()
        return Checks(self)

    def catch_up(self, notebook: str | int) -> str:
        """Prepare the account for a notebook, such as ``"04-policy"`` or just 4.

        Returns a sentence that describes the new state.
        """
        from creeklab.course.catch_up import catch_up

        self._require_running()
        return catch_up(self, notebook)

    def _require_running(self) -> None:
        """Raise if the local cloud has stopped."""
        if self.target == "local":
            self.admin("why")

    def reset(self) -> None:
        """Empty the account: delete all Things, certificates, policies, shadows and key files.

        The cloud's certificate authority and the account's access key stay. Local cloud only.
        """
        if self.target == "aws":
            raise NotSupportedOnAws(
                "An AWS account is never emptied, because others may need what it contains. "
                "lab.ledger.tear_down() removes what this lab created there."
            )
        reset_account(self.home)

    def doctor(
        self,
        thing: str | None = None,
        *,
        client_id: str | None = None,
        publish: Iterable[str] = (),
        subscribe: Iterable[str] = (),
    ) -> CheckReport:
        """Check whether this machine is ready, or with `thing`, why its device cannot connect.

        Parameters
        ----------
        client_id
            MQTT client ID that the device would use. Defaults to the Thing's name. A device that is
            already connected under it stays connected.
        publish, subscribe
            Topics and topic filters that the device's policy must allow.
        """
        from creeklab.diagnosis.doctor import device_report, machine_report

        if thing is None:
            return machine_report(self.home, self)
        return device_report(self, thing, client_id or thing, publish=publish, subscribe=subscribe)

    # --- widgets ----------------------------------------------------------------------------------

    def console(self) -> Console:
        """Open the console: Things, certificates, policies, and what the devices did.

        Make it the last line of a cell to display it. `close` ends it. Opening it again closes
        the previous one.
        """
        from creeklab.widgets.console import Console

        return self._open(("console",), lambda: Console(self))

    def policy_lab(self, thing: str | None = None, policy: str | None = None) -> PolicyLab:
        """Open the policy lab: edit a policy and see its decisions while you type.

        Parameters
        ----------
        thing
            The Thing whose requests are decided. Defaults to the first Thing with saved files.
        policy
            The policy to edit. Defaults to the first policy of the Thing.
        """
        from creeklab.widgets.policy_lab import PolicyLab

        return self._open(("policy lab", thing, policy), lambda: PolicyLab(self, thing, policy))

    def test_client(self) -> MqttTestClient:
        """Open the MQTT test client: the console's *Test* page, in the notebook.

        It connects as the account itself. Make it the last line of a cell to display it. `close`
        ends it. Opening it again, for example by running the cell again, closes the previous one.
        """
        from creeklab.widgets.test_client import MqttTestClient

        return self._open(("test client",), lambda: MqttTestClient.of(self))

    def shadow_view(self, thing: str, name: str = "") -> ShadowView:
        """Open the view of a Thing's shadow: its state, its history, and who wrote it.

        It connects as the account itself. Make it the last line of a cell to display it. `close`
        ends it. Opening it again for the same shadow closes the previous one.

        Parameters
        ----------
        name
            Name of a named shadow. Defaults to the classic shadow.
        """
        from creeklab.widgets.shadow_view import ShadowView

        data = self.client("iot-data")
        shadow = {"thingName": thing, "shadowName": name} if name else {"thingName": thing}

        def read() -> dict[str, Any] | None:
            try:
                found: dict[str, Any] = json.load(data.get_thing_shadow(**shadow)["payload"])
            except data.exceptions.ResourceNotFoundException:
                return None
            return found

        def entries(after: int) -> list[dict[str, Any]]:
            return self.event_pages(kind="shadow", thing=thing, after=after)

        history = entries if self.target == "local" else None
        question = similar_thing(self.client, thing)
        return self._open(
            ("shadow view", thing, name),
            lambda: ShadowView(self.connect_account(), thing, name, read, history, question),
        )

    def _open(self, kind: tuple[str | None, ...], create: Callable[[], T]) -> T:
        """Open a widget and close its predecessor: a cell may run again."""
        key = (self.endpoint, self.mqtt_port, self.account, *kind)
        before = _WIDGETS.get(key)
        _WIDGETS[key] = widget = create()
        if before is not None:
            before.close()
        return widget
