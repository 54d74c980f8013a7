"""The widgets of a closed tool: one box on the page with its last state."""

from __future__ import annotations

from creeklab.widgets.live_view import LiveView


def remaining_widgets(view: LiveView) -> set[str]:
    """Return the ids of the widgets that a closed view still has."""
    (page,) = view.widget.children
    assert "This tool is closed" in page.value
    parts = (view.widget, view.widget.layout, page, page.layout, page.style)
    return {part.model_id for part in parts}
