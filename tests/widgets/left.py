"""What a tool that was closed leaves: one box on the page, with what it showed last in it."""

from __future__ import annotations

from creeklab.widgets.live_view import LiveView


def left_by(view: LiveView) -> set[str]:
    """Return the ids of the widgets that a closed view still has."""
    (page,) = view.widget.children
    assert "It is closed" in page.value
    parts = (view.widget, view.widget.layout, page, page.layout, page.style)
    return {part.model_id for part in parts}
