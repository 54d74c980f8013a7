"""HTML of the tools: what comes from outside is escaped, and shown as what it is.

Payloads, topics, names and attributes come from anybody who may publish or call. Each goes through
`escape` on its way into a page, or through a function of this file that does so.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

CLIP = 2_000
PAGE = "creeklab tex2jax_ignore mathjax_ignore"
"""The classes of a page. Without the last two a notebook takes what stands between two ``$`` for a
formula, and topics have them."""
# What would look like nothing, or turn the text around it, is shown by its number; so is half a
# character, which JSON can hold and UTF-8 cannot.
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


def escape(text: object) -> str:
    """Return text that shows as it is, between tags as well as in a quoted attribute."""
    seen = _UNSEEN.sub(lambda match: f"\\x{ord(match[0]):02x}", str(text).replace("\r\n", "\n"))
    return html.escape(seen)


def tag(name: str, *content: str, **attributes: object) -> str:
    """Return an element around content that is HTML already.

    Attributes are escaped; ``class_`` stands for ``class``, ``aria_label`` for ``aria-label``. One
    that is None or False is left out.
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape("" if value is True else value)}"'
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    return f"<{name}{written}>{''.join(content)}</{name}>"


def code(text: object) -> str:
    """Return text, such as a topic or an ARN, in the letters of code."""
    return tag("code", escape(text))


def block(text: str, clip: int = CLIP) -> str:
    """Return text of several lines as it is, and of a very long one the beginning."""
    shown = text if len(text) <= clip else text[:clip]
    more = "" if shown is text else muted(f"… and {len(text) - clip:,} more characters")
    return tag("pre", escape(shown)) + more


def muted(text: object) -> str:
    """Return text that is less important."""
    return tag("span", escape(text), class_="creeklab-muted")


def mark(text: object, kind: str) -> str:
    """Return a short word in a frame: `kind` is ``good``, ``bad``, ``new``, ``gone`` or ``plain``.

    The word says it; the colour only helps to find it.
    """
    return tag("span", escape(text), class_=f"creeklab-mark creeklab-{kind}")


def heading(text: object, level: int = 3) -> str:
    """Return a heading that is none in the notebook's own table of contents."""
    return tag(
        "div", escape(text), class_="creeklab-heading", role="heading", aria_level=str(level)
    )


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "", class_: str = ""
) -> str:
    """Return a table; the cells are HTML already, the first of each row is its heading."""
    head = tag("tr", *(tag("th", escape(column), scope="col") for column in columns))
    body = [
        tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:]))
        for row in rows
    ]
    said = tag("caption", escape(caption)) if caption else ""
    return tag(
        "table", said, tag("thead", head), tag("tbody", *body), class_=f"creeklab-table {class_}"
    )


def pretty(value: Any) -> str:
    """Return a JSON value as text of several lines."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def payload_text(payload: bytes) -> tuple[str, str]:
    """Return what a payload is, and text that shows it.

    Returns
    -------
    tuple of str
        ``"JSON"`` and the document on several lines, ``"text"`` and the text, ``"binary"`` and the
        bytes in hexadecimal, or ``"empty"`` and nothing.
    """
    if not payload:
        return "empty", ""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return "binary", payload.hex(" ")
    try:
        return "JSON", pretty(json.loads(text))
    except (ValueError, RecursionError):
        # Text that is meant for a person has none of these; a sensor's bytes may have.
        plain = all(character.isprintable() or character in "\t\r\n" for character in text)
        return ("text", text) if plain else ("binary", payload.hex(" "))
