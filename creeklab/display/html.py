"""HTML building blocks, which escape everything that comes from outside.

Anyone who is allowed to publish or to make calls can choose payloads, topics, names and attributes.
Each of them reaches a page only through `escape`, or through a function here that uses it.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

CLIP = 2_000
PAGE = "creeklab tex2jax_ignore mathjax_ignore"
"""The classes of a page. The last two stop a notebook from rendering text between two ``$``, which
topics contain, as a formula."""
# Invisible characters, characters that reverse the text direction, and lone surrogates, which JSON
# can contain and UTF-8 cannot, are shown as their code points.
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


def escape(text: object) -> str:
    """Return text that is safe between tags and in a quoted attribute."""
    visible = _INVISIBLE.sub(
        lambda match: f"\\x{ord(match[0]):02x}", str(text).replace("\r\n", "\n")
    )
    return html.escape(visible)


def tag(name: str, *content: str, **attributes: object) -> str:
    """Return an element around content that is already HTML.

    Attributes are escaped; ``class_`` means ``class``, ``aria_label`` means ``aria-label``. An
    attribute that is None or False is left out.
    """
    attribute_text = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape("" if value is True else value)}"'
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    return f"<{name}{attribute_text}>{''.join(content)}</{name}>"


def code(text: object) -> str:
    """Return text, such as a topic or an ARN, as code."""
    return tag("code", escape(text))


def block(text: str, clip: int = CLIP) -> str:
    """Return preformatted text, cut off if it is very long."""
    shown = text if len(text) <= clip else text[:clip]
    more = "" if shown is text else muted(f"… and {len(text) - clip:,} more characters")
    return tag("pre", escape(shown)) + more


def muted(text: object) -> str:
    """Return text that is less important."""
    return tag("span", escape(text), class_="creeklab-muted")


def mark(text: object, kind: str) -> str:
    """Return a short text in a frame: `kind` is ``good``, ``bad``, ``new`` or ``plain``.

    The text carries the meaning; the color only helps to find it.
    """
    return tag("span", escape(text), class_=f"creeklab-mark creeklab-{kind}")


def heading(text: object, level: int = 3) -> str:
    """Return a heading that does not appear in the notebook's table of contents."""
    return tag(
        "div", escape(text), class_="creeklab-heading", role="heading", aria_level=str(level)
    )


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "", class_: str = ""
) -> str:
    """Return a table; cells are already HTML, and the first cell of a row is its heading."""
    head = tag("tr", *(tag("th", escape(column), scope="col") for column in columns))
    body = [
        tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:]))
        for row in rows
    ]
    title = tag("caption", escape(caption)) if caption else ""
    return tag(
        "table", title, tag("thead", head), tag("tbody", *body), class_=f"creeklab-table {class_}"
    )


def pretty(value: Any) -> str:
    """Return a JSON value as indented text."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def payload_text(payload: bytes) -> tuple[str, str]:
    """Return the kind of a payload, and text that shows it.

    Returns
    -------
    tuple of str
        ``"JSON"`` and the indented document, ``"text"`` and the text, ``"binary"`` and the bytes in
        hexadecimal, or ``"empty"`` and an empty string.
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
        # Binary data can be valid UTF-8 by chance, but text for people has no control characters.
        readable = all(character.isprintable() or character in "\t\r\n" for character in text)
        return ("text", text) if readable else ("binary", payload.hex(" "))
