"""The pages of the shadow view: a document beside the one before it, the versions, a conflict.

Nothing here knows a widget or a thread. What is shown live has times and whole client ids; the
static form has neither, so that a notebook looks the same at each run.
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

SHOWN = 100
STATIC_VERSIONS = 10
ACCOUNT = re.compile(r"account-[0-9a-f-]{36}")


def title(thing: str, name: str) -> str:
    """Return what the view is called."""
    return f"Shadow '{name}' of {thing}" if name else f"Shadow of {thing}"


def writer(version: Version, own: str | None) -> str:
    """Return who wrote a version.

    Parameters
    ----------
    own
        Client id of the view itself; None in the static form, where no id differs at each run.
    """
    if version.writer is None:
        return "not known"
    if not version.writer:
        return "a call over HTTP"
    if version.writer == own:
        return "this view"
    if own is None and ACCOUNT.fullmatch(version.writer):
        return "the account"
    return version.writer


def clock(seconds: float) -> str:
    """Return a time of day."""
    return datetime.fromtimestamp(seconds).strftime("%H:%M:%S") if seconds else "not known"


def status(version: Version, position: int, count: int, own: str) -> str:
    """Return which version is on show."""
    place = "the newest" if position == count - 1 else f"an earlier one, {position + 1} of {count}"
    said = f"Version {version.version}, {place}. "
    if version.document is None:
        said = f"The shadow was deleted at version {version.version}. "
    if version.time:
        done = "Deleted" if version.document is None else "Written"
        by = "; by whom is not told" if version.writer is None else f" by {writer(version, own)}"
        said += f"{done} at {clock(version.time)}{by}."
    else:
        said += "Who wrote it, and when, is not known."
    return tag("div", escape(said), role="status")


def document(version: Version, before: Version | None, *, times: bool = True) -> str:
    """Return a version side by side: desired, reported and delta, a line for each leaf.

    What is not as it was in the version before is marked in words.
    """
    if version.document is None:
        return muted("There is no document: the shadow was deleted.")
    sections = {name: version.section(name) for name in ("desired", "reported")}
    sections["delta"] = delta(sections["desired"], sections["reported"])
    found = {name: leaves(part) for name, part in sections.items()}
    became: dict[str, dict[Path, str]] = {
        name: {} if before is None else changes(before.section(name), sections[name])
        for name in ("desired", "reported")
    }
    paths = sorted({path for part in (*found.values(), *became.values()) for path in part})
    rows = []
    for path in paths[:SHOWN]:
        cells = [code(dotted(path))]
        for name in ("desired", "reported"):
            at = stamp(version.document, name, path) if times else None
            cells.append(_leaf(found[name], path, became[name].get(path), at))
        differs = path in found["delta"]
        words = code(short(found["delta"][path])) + " " + mark("differs", "bad") if differs else ""
        cells.append(words)
        rows.append(cells)
    more = muted(f"and {len(paths) - SHOWN:,} more keys") if len(paths) > SHOWN else ""
    if not rows:
        return muted("The document is empty.")
    return table(("Key", "Desired", "Reported", "Delta"), rows) + more


def _leaf(found: dict[Path, object], path: Path, became: str | None, at: int | None) -> str:
    words = code(short(found[path])) if path in found else ""
    if became is not None:
        kind = "new" if path in found else "plain"
        words += " " + mark(became, kind)
    if at is not None:
        words += " " + _at(at)
    return words


def _at(seconds: float) -> str:
    return tag("span", escape(clock(seconds)), class_="creeklab-muted creeklab-time")


def whole(version: Version) -> str:
    """Return the whole document, to be unfolded."""
    if version.document is None:
        return ""
    text = block(pretty(version.document), clip=20_000)
    return tag("details", tag("summary", "The whole document, with its metadata"), text)


def history(versions: Sequence[Version], position: int | None, own: str | None) -> str:
    """Return the versions as a table, the newest first, with who wrote them and what they changed.

    Parameters
    ----------
    position, own
        Which of them is on show, and the client id of the view itself; None in the static form.
    """
    times = own is not None
    most = SHOWN if times else STATIC_VERSIONS
    rows = []
    for at in range(len(versions) - 1, max(-1, len(versions) - 1 - most), -1):
        one = versions[at]
        cells = [escape(one.version) + (" " + mark("on show", "plain") if at == position else "")]
        if times:
            cells.append(_at(one.time))
        cells.append(escape(writer(one, own)))
        cells.append(escape(_what(one, versions[at - 1] if at else None)))
        rows.append(cells)
    columns = ["Version", *(["Time"] if times else []), "Written by", "What changed"]
    more = muted(f"and {len(versions) - most:,} older ones") if len(versions) > most else ""
    return table(columns, rows) + more


def _what(version: Version, before: Version | None) -> str:
    if version.document is None:
        return "deleted"
    if before is None:
        return "the first that is known"
    found = [
        f"{name} {dotted(path)} {words}"
        for name in ("desired", "reported")
        for path, words in changes(before.section(name), version.section(name)).items()
    ]
    if not found:
        return "nothing but the times"
    return "; ".join(found[:4]) + (f"; and {len(found) - 4} more" if len(found) > 4 else "")


def preview(prefix: str, update: JsonObject) -> str:
    """Return what would be published, or that nothing would."""
    topic = code(f"{prefix}/update")
    return tag("div", "To be published to ", topic, ":") + block(pretty(update))


class Conflict(NamedTuple):
    """A version conflict: what one writer knew, what another wrote meanwhile, and what came of it.

    Attributes
    ----------
    before
        The version that `newer` followed.
    """

    stale: Version
    newer: Version
    before: Version
    answer: str

    @property
    def request(self) -> JsonObject:
        """What the writer who knows an old version sends: all of it, as it was."""
        sections = {name: self.stale.section(name) for name in ("desired", "reported")}
        given = {name: part for name, part in sections.items() if part}
        return update_document(given.get("desired"), given.get("reported"), self.stale.version)


def conflict(told_of: Conflict, own: str | None) -> str:
    """Return the story of a version conflict."""
    stale, newer, before, answer = told_of
    by, what = writer(newer, own), _what(newer, before)
    steps = [
        f"Somebody read version {stale.version} and goes on from it.",
        f"Meanwhile version {newer.version} was written, by {by}: {what}.",
        f"The first one sends what it has, and says that it knows version {stale.version}:",
    ]
    told = [tag("p", escape(step)) for step in steps]
    mend = (
        "Nothing was overwritten. To mend it: get the shadow, look at what has changed, and send "
        f"again with the version that get answered, which is {newer.version} now. Without a "
        "version in the request, the last one to write would have won."
    )
    return tag(
        "section",
        heading("A version conflict, replayed", 4),
        *told,
        block(pretty(told_of.request), clip=4_000),
        tag("p", "The service answers on ", code("update/rejected"), ":"),
        block(answer),
        tag("p", escape(mend)),
        aria_label="A version conflict, replayed",
    )


def static(
    thing: str,
    name: str,
    versions: Sequence[Version],
    position: int,
    told_of: Conflict | None = None,
) -> str:
    """Return the shadow and its versions, for where no kernel runs."""
    if not versions:
        return heading(title(thing, name)) + muted("There is no such shadow yet.")
    shown = versions[position]
    before = versions[position - 1] if position else None
    return (
        heading(f"{title(thing, name)}, version {shown.version}")
        + document(shown, before, times=False)
        + heading("Versions", 4)
        + history(versions, None, None)
        + ("" if told_of is None else conflict(told_of, None))
    )
