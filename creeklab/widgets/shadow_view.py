"""The shadow view: a shadow side by side, its earlier versions, and their writers.

The console shows only the document of a shadow. This view shows differences and changes, steps
through the versions, sends a desired state, and replays a conflict between two writers.
"""

from __future__ import annotations

from typing import Any

from ipywidgets import (  # type: ignore[import-untyped]
    HTML,
    Box,
    Checkbox,
    HBox,
    Layout,
    Textarea,
    VBox,
)

from creeklab.client.device import Device
from creeklab.client.device_shadow import ShadowRejected
from creeklab.display.html import heading, muted, pretty
from creeklab.widgets import shadow_page
from creeklab.widgets.live_view import LiveView, row
from creeklab.widgets.shadow_document import JsonObject, smallest_update
from creeklab.widgets.shadow_history import (
    Entries,
    Read,
    ShadowHistory,
    Version,
    parse_section,
    update_document,
)


class ShadowView(LiveView):
    """See a shadow, change its desired state, and step through its versions.

    Created by `Lab.shadow_view`.

    Parameters
    ----------
    device
        The connection; it is closed with the view.
    thing, name
        The Thing, and the name of a named shadow; empty for the classic one.
    read
        Returns the current document, or None if there is none.
    entries
        Returns the log's entries of this Thing's shadows after an entry number; None if there is no
        event log, as on AWS.
    question
        Shown while the shadow does not exist, if the name of the Thing is nearly that of another.

    Attributes
    ----------
    update, delete
        Change the shadow as the account; see `ShadowHistory`.

    Raises
    ------
    creeklab.client.RequestRefused
        If AWS refuses the subscription to the shadow's topics.
    """

    def __init__(
        self,
        device: Device,
        thing: str,
        name: str,
        read: Read,
        entries: Entries | None = None,
        question: str = "",
    ) -> None:
        self._device = device
        self._question = question
        try:
            self._history = ShadowHistory(
                device, thing, name, read, entries, lambda: self.changed()
            )
        except BaseException:
            device.close()
            raise
        self.update, self.delete = self._history.update, self._history.delete
        self._position: int | None = None  # None follows the newest version
        # The text that the view itself put into the input; None once the user has changed it.
        self._offered: str | None = "{}"
        self._conflict: shadow_page.Conflict | None = None
        super().__init__(*self._build())

    # --- for a cell -----------------------------------------------------------------------------

    @property
    def versions(self) -> list[Version]:
        """The known versions, oldest first; on AWS, those since the view was opened."""
        self._history.refresh(force=True)
        return self._history.versions

    @property
    def shown(self) -> Version | None:
        """The version shown; None if there is no shadow yet."""
        versions, position = self._current()
        return versions[position] if versions else None

    def wait_for(self, version: int, timeout: float = 5.0) -> Version:
        """Wait up to `timeout` seconds until the shadow reaches a version; return the newest."""
        self._history.wait_for(version, timeout)
        return self._history.versions[-1]

    def earlier(self) -> Version | None:
        """Step to the previous version, and return it."""
        return self._step(-1)

    def later(self) -> Version | None:
        """Step to the next version, and return it."""
        return self._step(1)

    def newest(self) -> Version | None:
        """Show the newest version, and follow newer ones; return it."""
        self._position = None
        self._history.refresh(force=True)
        self.changed()
        return self.shown

    def replay_conflict(self) -> str:
        """Send the version shown again, or the last but one, like a writer who missed the newest.

        The service rejects it, so nothing changes. The view shows each step; the return value is
        the service's answer.

        Raises
        ------
        LookupError
            If there are no two versions that can conflict.
        """
        versions, position = self._current()
        if len(versions) < 2 or versions[-1].document is None:
            raise LookupError(
                "Cannot replay a conflict: it needs two versions of an existing shadow. Update the "
                "shadow twice and try again."
            )
        at = min(position, len(versions) - 2)
        stale, newer = versions[at], versions[-1]
        if stale.document is None or stale.version >= newer.version:
            raise LookupError(
                "Cannot replay a conflict with this version. Step to an earlier version that has a "
                "document and try again."
            )
        replayed = shadow_page.Conflict(stale, newer, versions[-2], "accepted")
        try:
            self._history.update(**replayed.request["state"], version=stale.version)
        except ShadowRejected as rejected:
            replayed = replayed._replace(answer=str(rejected))
        self._conflict = replayed
        self.changed()
        return replayed.answer

    def _current(self) -> tuple[list[Version], int]:
        """Return the versions, and the position of the one shown."""
        self._history.refresh()
        versions = self._history.versions
        last = len(versions) - 1
        position = self._position
        return versions, last if position is None else max(0, min(position, last))

    def _step(self, by: int) -> Version | None:
        versions, position = self._current()
        position = max(0, min(position + by, len(versions) - 1))
        self._position = position if position < len(versions) - 1 else None
        self.changed()
        return versions[position] if versions else None

    def _end(self) -> None:
        self._device.close()

    # --- widgets --------------------------------------------------------------------------------

    def _build(self) -> list[Any]:
        self._status, self._document, self._whole = HTML(), HTML(), HTML()
        self._versions, self._preview, self._steps = HTML(), HTML(), HTML()
        self._desired = Textarea(
            description="Desired",
            value=self._offered,
            rows=6,
            layout=Layout(width="auto"),
            style={"description_width": "initial"},
            continuous_update=False,  # otherwise a click could overtake the last keys
        )
        self._checked = Checkbox(
            description="Only if the shadow is still at the version shown",
            indent=False,
            layout=Layout(width="auto"),
        )
        self._earlier = self._button("Earlier", self.earlier)
        self._later = self._button("Later", self.later)
        self._newest = self._button("Newest", self.newest)
        for control in (self._desired, self._checked):
            control.observe(lambda _: self.changed(), "value")
        steps = [self._earlier, self._later, self._newest]
        sending = [
            self._button("Send", self._send, "primary"),
            self._button("Copy from the version shown", self._copy_shown),
        ]
        left = [
            HTML(heading("Edit the desired state", 4)),
            self._desired,
            self._checked,
            row(sending),
            self._preview,
        ]
        # Browsers make a scrolling box reachable by keyboard.
        past = Box([self._versions], layout=Layout(max_height="18em", overflow="auto"))
        right = [
            HTML(heading("Versions", 4)),
            past,
            self._button("Replay a version conflict", self.replay_conflict),
            self._steps,
        ]
        columns = [
            VBox(left, layout=Layout(flex="1 1 18em", min_width="14em")),
            VBox(right, layout=Layout(flex="1 1 22em", min_width="14em")),
        ]
        return [
            HTML(heading(shadow_page.title(self._history.thing, self._history.name))),
            self._status,
            row(steps),
            self._document,
            self._whole,
            HBox(columns, layout=Layout(flex_flow="row wrap", grid_gap="0 1.2em")),
        ]

    # --- clicks ---------------------------------------------------------------------------------

    def _to_send(self) -> JsonObject:
        """Return the update for the desired state as typed; raise if there is nothing to send."""
        desired = parse_section(self._desired.value)
        versions, position = self._current()
        before = versions[-1].section("desired") if versions else {}
        update = smallest_update(before, desired)
        if not update:
            raise ValueError(
                "There is nothing to send: the desired state already has these values."
            )
        known = versions[position].version if versions and self._checked.value else None
        return update_document(update, None, known)

    def _send(self) -> None:
        update = self._to_send()
        version = update.get("version")
        accepted = self._history.update(desired=update["state"]["desired"], version=version)
        self._position = None
        self.notify(f"The service accepted the update as version {accepted['version']}.")

    def _copy_shown(self) -> None:
        shown = self.shown
        self._offered = None  # the text belongs to the user from now on
        self._desired.value = pretty(shown.section("desired") if shown else {})

    # --- drawing, on the renderer's thread ------------------------------------------------------

    def _draw(self) -> None:
        versions, position = self._current()
        last, own = len(versions) - 1, self._device.client_id
        self._earlier.disabled = position <= 0
        self._later.disabled = self._newest.disabled = position >= last
        if versions:
            shown = versions[position]
            before = versions[position - 1] if position else None
            self.show(self._status, shadow_page.status(shown, position, len(versions), own))
            self.show(self._document, shadow_page.document(shown, before))
            self.show(self._whole, shadow_page.whole(shown))
            self.show(self._versions, shadow_page.history(versions, position, own))
        else:
            text = f"This shadow does not exist yet.{self._question} The first update creates it."
            self.show(self._status, muted(text))
        if self._desired.value == self._offered:  # the user has not typed yet
            newest = versions[-1].section("desired") if versions else {}
            self._offered = self._desired.value = pretty(newest)
        try:
            preview = shadow_page.preview(self._history.topic("update"), self._to_send())
        except ValueError as error:
            preview = muted(error)
        self.show(self._preview, preview)
        conflict = self._conflict
        self.show(self._steps, "" if conflict is None else shadow_page.conflict(conflict, own))

    def _static(self) -> str:
        versions, position = self._current()
        history = self._history
        if not versions:
            return shadow_page.missing(history.thing, history.name, self._question)
        return shadow_page.static(history.thing, history.name, versions, position, self._conflict)

    def _summary(self) -> str:
        shown = self.shown
        title = shadow_page.title(self._history.thing, self._history.name)
        if shown is None:
            return f"{title}: does not exist yet"
        if shown.document is None:
            return f"{title}: deleted"
        return f"{title}, version {shown.version}"
