"""The HTML elements of the flood report, and its style.

They load nothing from the network and run no script. A figure or a table that is wider than the
screen scrolls sideways.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape

import pandas as pd

from creeklab.creek.plots.figure_style import STAGE_NOTE, CaptionedFigure


def section(title: str, *body: str) -> str:
    """Return a section with a heading."""
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(body) + "\n</section>"


def facts(entries: dict[str, str]) -> str:
    """Return a list of terms and their descriptions."""
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in entries.items())
    return f"<dl>{rows}</dl>"


def bullets(items: list[str]) -> str:
    """Return a list of items."""
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{escape(text)}</p>"


def figure(drawn: CaptionedFigure) -> str:
    """Return a figure that a narrow screen scrolls sideways instead of shrinking its text."""
    data = base64.b64encode(drawn.png()).decode()
    width, height = (round(each * 100) for each in drawn.figure.get_size_inches())
    title = escape(drawn.title)
    description = drawn.description.replace(STAGE_NOTE, "")  # A section of the page says this.
    return (
        f'<figure><div class="wide" role="region" tabindex="0" aria-label="{title}">'
        f'<img alt="{title}: described below." width="{width}" height="{height}"'
        f' src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{escape(' '.join(description.split()))}</figcaption></figure>"
    )


def table(rows: pd.DataFrame, caption: str) -> str:
    """Return a table that a narrow screen scrolls sideways."""
    head = "".join(
        f'<th scope="col">{escape(str(each))}</th>' for each in [rows.index.name, *rows.columns]
    )
    body = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th>{_cells(cells)}</tr>'
        for name, *cells in rows.itertuples()
    )
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _cells(cells: Iterable[object]) -> str:
    return "".join(f"<td>{escape(str(each))}</td>" for each in cells)


STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --line: #8a8a8a; --quiet: #4a4a4a }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #16191d; --line: #6f7a85; --quiet: #b9c0c7 }
}
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1.05rem/1.55 system-ui, sans-serif }
main { max-width: 56rem; margin: 0 auto; padding: 1rem; overflow-wrap: break-word }
h1 { font-size: 1.7rem; line-height: 1.2 }
h2 { font-size: 1.3rem; margin-top: 2.2rem; border-top: 1px solid var(--line); padding-top: 1rem }
p, li, dd { max-width: 44rem }
dl { display: grid; grid-template-columns: minmax(8rem, 14rem) 1fr; gap: .35rem 1rem }
dt { font-weight: 600 } dd { margin: 0; min-width: 0 }
figure { margin: 1.2rem 0 }
figcaption { color: var(--quiet); font-size: .92rem; max-width: 44rem; margin-top: .4rem }
.wide { overflow-x: auto }
.wide:focus-visible { outline: 3px solid #3b8fc4; outline-offset: 2px }
img { display: block; width: 100%; min-width: 38rem; max-width: 56.25rem; height: auto;
  background: #fff }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: 600; padding: .3rem 0 }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top }
td, tbody th { white-space: nowrap }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr } dd { margin-bottom: .5rem } }
@media print {
  :root { color-scheme: light; --ink: #000; --paper: #fff; --line: #666; --quiet: #222 }
  body { font-size: 10pt } main { max-width: none; padding: 0 }
  .wide { overflow: visible } img { min-width: 0; max-width: 100% }
  figure, tr, li { break-inside: avoid } h2 { break-after: avoid }
}
"""
