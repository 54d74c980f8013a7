"""The console's first page: the activity of the devices, minute by minute, as bar charts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from creeklab.display.html import escape, muted, tag

if TYPE_CHECKING:
    import pandas as pd

MINUTES = 60
WIDTH, HEIGHT = 300.0, 64.0

SERIES: dict[str, Callable[[str], bool]] = {
    "Connections": lambda name: name == "Connect.Success",
    "Messages in": lambda name: name == "PublishIn.Success",
    "Messages out": lambda name: name == "PublishOut.Success",
    "Refusals": lambda name: name.endswith((".AuthError", ".ClientError")),
    "Shadow updates": lambda name: name == "UpdateThingShadow.Accepted",
}
"""The charts, and the CloudWatch metrics that each adds up, over MQTT and HTTP."""


@dataclass(frozen=True, slots=True)
class Series:
    """Counts of one kind for each of the last `MINUTES` minutes, oldest first."""

    name: str
    counts: tuple[int, ...]


def series(metrics: pd.DataFrame, now: pd.Timestamp) -> list[Series]:
    """Return the series that the charts show, from the table of `Lab.metrics`."""
    import pandas as pd

    minutes = pd.date_range(end=now.floor("min"), periods=MINUTES, freq="min")
    found = []
    for name, belongs in SERIES.items():
        columns = [column for column in metrics.columns if belongs(column[0])]
        summed = metrics[columns].sum(axis=1).reindex(minutes, fill_value=0)
        found.append(Series(name, tuple(int(count) for count in summed)))
    return found


def page(charts: list[Series]) -> str:
    """Return the charts next to each other, as many as fit."""
    style = "display:flex;flex-wrap:wrap;gap:0.8em 1.2em"
    return tag("div", *map(_card, charts), style=style)


def _card(each: Series) -> str:
    total, last = sum(each.counts), each.counts[-1]
    head = tag("div", tag("b", escape(each.name)))
    text = tag("div", f"{total:,} in the last hour, {last:,} in this minute")
    return tag("div", head, chart(each), text, style="flex:0 1 20em;min-width:14em")


def chart(each: Series) -> str:
    """Return the bars of a series as SVG, with a title and a description."""
    highest = max(1, *each.counts)
    step = WIDTH / len(each.counts)
    bars = "".join(
        tag(
            "rect",
            x=f"{n * step:.1f}",
            y=f"{HEIGHT - HEIGHT * count / highest:.1f}",
            width=f"{step - 1:.1f}",
            height=f"{HEIGHT * count / highest:.1f}",
            fill="currentColor",
        )
        for n, count in enumerate(each.counts)
        if count
    )
    base = tag(
        "line", x1="0", x2=f"{WIDTH:g}", y1=f"{HEIGHT:g}", y2=f"{HEIGHT:g}", stroke="currentColor"
    )
    busiest = max(range(len(each.counts)), key=each.counts.__getitem__)
    ago = len(each.counts) - 1 - busiest
    summary = f"{sum(each.counts)} in {len(each.counts)} minutes"
    if sum(each.counts):
        summary += f"; highest count in one minute: {max(each.counts)}, {ago} minutes ago"
    svg = tag(
        "svg",
        tag("title", escape(f"{each.name} in each of the last {len(each.counts)} minutes")),
        tag("desc", escape(f"{summary}.")),
        bars,
        base,
        viewBox=f"0 -2 {WIDTH:g} {HEIGHT + 4:g}",
        role="img",
        aria_label=f"{each.name}: {summary}",
        style="width:100%;max-width:20em;display:block;color:var(--jp-info-color1, #0277bd)",
    )
    return svg + tag("div", muted(f"highest count in a minute: {max(each.counts):,}"))
