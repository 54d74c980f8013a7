"""The shadow view: a shadow as it is, side by side, and as it was, with who wrote it.

The console shows a shadow's document. This shows what differs and what has changed in it, steps
back through its versions, sends what is desired, and replays the conflict of two writers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ipywidgets import (  # type: ignore[import-untyped]
    HTML,
    Box,
    Button,
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
from creeklab.widgets.live_view import LiveView
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
    """See a shadow, change what is desired, and step through its versions.

    Made by `Lab.shadow_view`.

    Parameters
    ----------
    device
        The connection; it is closed with the view.
    thing, name
        Whose shadow; `name` is that of a named one, empty for the classic one.
    read
        Gives the document that is there now, None if there is none.
    entries
        Gives the tape's entries of this Thing's shadows after a number; None where there is no
        tape, as on AWS.

    Raises
    ------
    creeklab.client.device.Refused
        If AWS refused to listen to the shadow.
    """

    def __init__(
        self, device: Device, thing: str, name: str, read: Read, entries: Entries | None = None
    ) -> None:
        self._device = device
        try:
            self._history = ShadowHistory(
                device, thing, name, read, entries, lambda: self.changed()
            )
        except BaseException:
            device.close()
            raise
        self._position: int | None = None  # None is the newest, whichever that is
        # What was put where a person types, so long as it follows what is desired.
        self._offered: str | None = "{}"
        self._conflict: shadow_page.Conflict | None = None
        super().__init__(*self._make())

    # --- for a cell -----------------------------------------------------------------------------

    @property
    def versions(self) -> list[Version]:
        """The versions that are known, oldest first: on AWS, those since the view was opened."""
        self._history.refresh(ask=True)
        return self._history.versions

    @property
    def shown(self) -> Version | None:
        """The version that is on show; None if there is no shadow yet."""
        versions, position = self._now()
        return versions[position] if versions else None

    def wait_for(self, version: int, timeout: float = 5.0) -> Version:
        """Wait until the shadow has come to a version, and return the newest.

        Raises
        ------
        TimeoutError
            If it has not within `timeout` seconds.
        """
        self._history.wait_for(version, timeout)
        return self._history.versions[-1]

    def update(
        self,
        *,
        desired: JsonObject | None = None,
        reported: JsonObject | None = None,
        version: int | None = None,
    ) -> JsonObject:
        """Update the shadow as the account; return what the service accepted.

        Raises
        ------
        creeklab.client.device_shadow.ShadowRejected
            With code 409 if the shadow is not at `version`, 400 if the document is not right, ...
        TimeoutError
            If no answer came.
        """
        return self._history.update(desired=desired, reported=reported, version=version)

    def delete(self) -> JsonObject:
        """Delete the shadow as the account; return the version that was deleted.

        Raises
        ------
        creeklab.client.device_shadow.ShadowRejected
            With code 404 if there is no such shadow.
        TimeoutError
            If no answer came.
        """
        return self._history.delete()

    def earlier(self) -> Version | None:
        """Step to the version before the one on show, and return it."""
        return self._step(-1)

    def later(self) -> Version | None:
        """Step to the version after the one on show, and return it."""
        return self._step(1)

    def newest(self) -> Version | None:
        """Show the newest version, also when newer ones come; return it."""
        self._position = None
        self._history.refresh(ask=True)
        self.changed()
        return self.shown

    def replay_conflict(self) -> str:
        """Send the version on show again, or the last but one, as somebody who missed the newest.

        The service rejects it, so that nothing is changed. Returns the service's answer; the view
        shows the whole story.

        Raises
        ------
        LookupError
            If there are no two versions that could be in conflict.
        """
        versions, position = self._now()
        if len(versions) < 2 or versions[-1].document is None:
            raise LookupError(
                "A conflict takes two versions of a shadow that is there. Update it twice, then "
                "replay."
            )
        at = min(position, len(versions) - 2)
        stale, newer = versions[at], versions[-1]
        if stale.document is None or stale.version >= newer.version:
            raise LookupError("Step to an earlier version that has a document, then replay.")
        replayed = shadow_page.Conflict(stale, newer, versions[-2], "accepted")
        try:
            self._history.update(**replayed.request["state"], version=stale.version)
        except ShadowRejected as rejected:
            replayed = replayed._replace(answer=str(rejected))
        self._conflict = replayed
        self.changed()
        return replayed.answer

    def _now(self) -> tuple[list[Version], int]:
        """Return the versions, and which of them is on show."""
        self._history.refresh()
        versions = self._history.versions
        last = len(versions) - 1
        position = self._position
        return versions, last if position is None else max(0, min(position, last))

    def _step(self, by: int) -> Version | None:
        versions, position = self._now()
        position = max(0, min(position + by, len(versions) - 1))
        self._position = position if position < len(versions) - 1 else None
        self.changed()
        return versions[position] if versions else None

    def _end(self) -> None:
        self._device.close()

    # --- what is on the page --------------------------------------------------------------------

    def _make(self) -> list[Any]:
        self._status, self._document, self._whole = HTML(), HTML(), HTML()
        self._versions, self._preview, self._told = HTML(), HTML(), HTML()
        self._desired = Textarea(
            description="Desired",
            value=self._offered,
            rows=6,
            layout=Layout(width="auto"),
            style={"description_width": "initial"},
            continuous_update=False,  # else a click could overtake the last keys
        )
        self._checked = Checkbox(
            description="Only if the shadow is still at the version on show",
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
            self._button("Take over from the version on show", self._take_over),
        ]
        left = [
            HTML(heading("Edit what is desired", 4)),
            self._desired,
            self._checked,
            _row(sending),
            self._preview,
        ]
        # The browser lets the keyboard into what scrolls.
        past = Box([self._versions], layout=Layout(max_height="18em", overflow="auto"))
        right = [
            HTML(heading("Versions", 4)),
            past,
            self._button("Replay a version conflict", self.replay_conflict),
            self._told,
        ]
        columns = [
            VBox(left, layout=Layout(flex="1 1 18em", min_width="14em")),
            VBox(right, layout=Layout(flex="1 1 22em", min_width="14em")),
        ]
        return [
            HTML(heading(shadow_page.title(self._history.thing, self._history.name))),
            self._status,
            _row(steps),
            self._document,
            self._whole,
            HBox(columns, layout=Layout(flex_flow="row wrap", grid_gap="0 1.2em")),
        ]

    def _button(self, words: str, action: Callable[[], object], style: str = "") -> Button:
        made = Button(description=words, button_style=style)

        def clicked(_: Button) -> None:
            self.say("")
            self.act(action)

        made.on_click(clicked)
        return made

    # --- clicks ---------------------------------------------------------------------------------

    def _to_send(self) -> JsonObject:
        """Return the update that what was typed amounts to.

        Raises
        ------
        ValueError
            If it is not a JSON object, or asks for nothing.
        """
        wanted = parse_section(self._desired.value)
        versions, position = self._now()
        before = versions[-1].section("desired") if versions else {}
        update = smallest_update(before, wanted)
        if not update:
            raise ValueError("This is what is desired already: there is nothing to send.")
        known = versions[position].version if versions and self._checked.value else None
        return update_document(update, None, known)

    def _send(self) -> None:
        update = self._to_send()
        version = update.get("version")
        accepted = self._history.update(desired=update["state"]["desired"], version=version)
        self._position = None
        self.say(f"The service accepted it, as version {accepted['version']}.")

    def _take_over(self) -> None:
        shown = self.shown
        self._offered = None  # it is that person's from now on
        self._desired.value = pretty(shown.section("desired") if shown else {})

    # --- drawing, on the renderer's thread ------------------------------------------------------

    def _draw(self) -> None:
        versions, position = self._now()
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
            self.show(
                self._status, muted("There is no such shadow yet: its first update makes it.")
            )
        if self._desired.value == self._offered:  # nobody has typed there yet
            newest = versions[-1].section("desired") if versions else {}
            self._offered = self._desired.value = pretty(newest)
        try:
            preview = shadow_page.preview(self._history.prefix, self._to_send())
        except ValueError as error:
            preview = muted(error)
        self.show(self._preview, preview)
        conflict = self._conflict
        self.show(self._told, "" if conflict is None else shadow_page.conflict(conflict, own))

    def _static(self) -> str:
        versions, position = self._now()
        history = self._history
        return shadow_page.static(history.thing, history.name, versions, position, self._conflict)

    def _words(self) -> str:
        shown = self.shown
        title = shadow_page.title(self._history.thing, self._history.name)
        if shown is None:
            return f"{title}: there is none yet"
        if shown.document is None:
            return f"{title}: deleted"
        return f"{title}, version {shown.version}"


def _row(children: list[Any]) -> HBox:
    return HBox(children, layout=Layout(flex_flow="row wrap", align_items="center"))
