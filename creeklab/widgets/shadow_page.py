"""The HTML of the shadow view: a document next to the one before it, the versions, a conflict.

Nothing here knows a widget or a thread. The live form has times and complete client IDs; the static
form has neither, so that a stored notebook looks the same after each run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from creeklab.display.html import block, code, escape, heading, mark, muted, pretty, table, tag
from creeklab.widgets.shadow_document import (
    JsonObject,
    Path,
    changes,
    delta,
    dotted,
    leaves,
    short,
    stamp,
)
from creeklab.widgets.shadow_history import Version, update_document

MAX_ROWS = 100
STATIC_VERSIONS = 10
ACCOUNT = re.compile(r"account-[0-9a-f-]{36}")


def title(thing: str, name: str) -> str:
    """Return the title of the view."""
    return f"Shadow '{name}' of {thing}" if name else f"Shadow of {thing}"


def writer(version: Version, own: str | None) -> str:
    """Return the writer of a version.

    Parameters
    ----------
    own
        The client ID of the view; None in the static form, which must not contain random IDs.
    """
    if version.writer is None:
        return "unknown"
    if not version.writer:
        return "a call over HTTP"
    if version.writer == own:
        return "this view"
    if own is None and ACCOUNT.fullmatch(version.writer):
        return "the account"
    return version.writer


def clock(seconds: float) -> str:
    """Return a time of day."""
    return datetime.fromtimestamp(seconds).strftime("%H:%M:%S") if seconds else "unknown"


def status(version: Version, position: int, count: int, own: str) -> str:
    """Return a sentence about the version shown."""
    place = "the newest" if position == count - 1 else f"an earlier one, {position + 1} of {count}"
    text = f"Version {version.version}, {place}. "
    if version.document is None:
        text = f"The shadow was deleted at version {version.version}. "
    if version.time:
        written = "Deleted" if version.document is None else "Written"
        by = "; the writer is unknown" if version.writer is None else f" by {writer(version, own)}"
        text += f"{written} at {clock(version.time)}{by}."
    else:
        text += "Its writer and time are unknown."
    return tag("div", escape(text), role="status")


def document(version: Version, before: Version | None, *, times: bool = True) -> str:
    """Return desired, reported and delta of a version side by side, one line per leaf.

    Text marks each change since the version before.
    """
    if version.document is None:
        return muted("There is no document: the shadow was deleted.")
    sections = {name: version.section(name) for name in ("desired", "reported")}
    sections["delta"] = delta(sections["desired"], sections["reported"])
    found = {name: leaves(part) for name, part in sections.items()}
    changed: dict[str, dict[Path, str]] = {
        name: {} if before is None else changes(before.section(name), sections[name])
        for name in ("desired", "reported")
    }
    paths = sorted({path for part in (*found.values(), *changed.values()) for path in part})
    rows = []
    for path in paths[:MAX_ROWS]:
        cells = [code(dotted(path))]
        for name in ("desired", "reported"):
            at = stamp(version.document, name, path) if times else None
            cells.append(_leaf(found[name], path, changed[name].get(path), at))
        differs = path in found["delta"]
        cells.append(
            code(short(found["delta"][path])) + " " + mark("differs", "bad") if differs else ""
        )
        rows.append(cells)
    more = muted(f"and {len(paths) - MAX_ROWS:,} more keys") if len(paths) > MAX_ROWS else ""
    if not rows:
        return muted("The document is empty.")
    return table(("Key", "Desired", "Reported", "Delta"), rows) + more


def _leaf(found: dict[Path, object], path: Path, change: str | None, at: int | None) -> str:
    cell = code(short(found[path])) if path in found else ""
    if change is not None:
        cell += " " + mark(change, "new" if path in found else "plain")
    if at is not None:
        cell += " " + _at(at)
    return cell


def _at(seconds: float) -> str:
    return tag("span", escape(clock(seconds)), class_="creeklab-muted creeklab-time")


def whole(version: Version) -> str:
    """Return the whole document, folded."""
    if version.document is None:
        return ""
    text = block(pretty(version.document), clip=20_000)
    return tag("details", tag("summary", "Whole document with metadata"), text)


def history(versions: Sequence[Version], position: int | None, own: str | None) -> str:
    """Return the versions as a table, newest first, with their writers and changes.

    Parameters
    ----------
    position, own
        The version shown, and the client ID of the view; None in the static form.
    """
    times = own is not None
    limit = MAX_ROWS if times else STATIC_VERSIONS
    rows = []
    for at in range(len(versions) - 1, max(-1, len(versions) - 1 - limit), -1):
        one = versions[at]
        cells = [escape(one.version) + (" " + mark("shown", "plain") if at == position else "")]
        if times:
            cells.append(_at(one.time))
        cells.append(escape(writer(one, own)))
        cells.append(escape(_changes(one, versions[at - 1] if at else None)))
        rows.append(cells)
    columns = ["Version", *(["Time"] if times else []), "Written by", "Changes"]
    more = muted(f"and {len(versions) - limit:,} older ones") if len(versions) > limit else ""
    return table(columns, rows) + more


def _changes(version: Version, before: Version | None) -> str:
    if version.document is None:
        return "deleted"
    if before is None:
        return "the first known version"
    found = [
        f"{name} {dotted(path)} {change}"
        for name in ("desired", "reported")
        for path, change in changes(before.section(name), version.section(name)).items()
    ]
    if not found:
        return "only the timestamps"
    return "; ".join(found[:4]) + (f"; and {len(found) - 4} more" if len(found) > 4 else "")


def preview(topic: str, update: JsonObject) -> str:
    """Return the message that *Send* would publish."""
    return tag("div", "To be published to ", code(topic), ":") + block(pretty(update))


class Conflict(NamedTuple):
    """A version conflict between two writers.

    Attributes
    ----------
    stale
        The version that the first writer knows.
    newer, before
        The version that the second writer wrote, and the one that it followed.
    answer
        The answer of the service to the first writer.
    """

    stale: Version
    newer: Version
    before: Version
    answer: str

    @property
    def request(self) -> JsonObject:
        """The first writer's update: everything in the version it knows."""
        sections = {name: self.stale.section(name) for name in ("desired", "reported")}
        given = {name: part for name, part in sections.items() if part}
        return update_document(given.get("desired"), given.get("reported"), self.stale.version)


def conflict(replayed: Conflict, own: str | None) -> str:
    """Return the steps of a version conflict."""
    stale, newer, before, answer = replayed
    steps = [
        f"One writer reads version {stale.version} and continues from it.",
        f"Meanwhile, another writer ({writer(newer, own)}) creates version {newer.version}: "
        f"{_changes(newer, before)}.",
        f"The first writer sends its state for version {stale.version}:",
    ]
    fix = (
        "Nothing was overwritten. To resolve the conflict, get the shadow, look at the changes, "
        f"and send the update again with the version from get, now {newer.version}. Without a "
        "version in the request, the last writer would have won."
    )
    return tag(
        "section",
        heading("A version conflict, replayed", 4),
        *(tag("p", escape(step)) for step in steps),
        block(pretty(replayed.request), clip=4_000),
        tag("p", "The service answers on ", code("update/rejected"), ":"),
        block(answer),
        tag("p", escape(fix)),
        aria_label="A version conflict, replayed",
    )


def missing(thing: str, name: str, question: str) -> str:
    """Return the static form of a shadow that does not exist."""
    return heading(title(thing, name)) + muted(f"This shadow does not exist yet.{question}")


def static(
    thing: str,
    name: str,
    versions: Sequence[Version],
    position: int,
    replayed: Conflict | None = None,
) -> str:
    """Return the shadow and its versions, for a notebook without a kernel."""
    shown = versions[position]
    before = versions[position - 1] if position else None
    return (
        heading(f"{title(thing, name)}, version {shown.version}")
        + document(shown, before, times=False)
        + heading("Versions", 4)
        + history(versions, None, None)
        + ("" if replayed is None else conflict(replayed, None))
    )
