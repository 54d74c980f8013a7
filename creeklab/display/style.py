"""The style sheets of the tools, in JupyterLab's own colors, so that both themes work.

Each variable has a fallback for pages outside JupyterLab, such as exported or printed pages. Sizes
are relative and rows wrap, so that everything is readable at 200 % zoom.
"""

from __future__ import annotations

from creeklab.display.html import PAGE, tag

_LINE = """
.creeklab { color: var(--jp-ui-font-color1, #1a1a1a);
  font-family: var(--jp-ui-font-family, system-ui, sans-serif);
  font-size: var(--jp-ui-font-size1, 13px); line-height: 1.45; }
.creeklab-mark { display: inline-block; padding: 0 0.4em; border-radius: 2px;
  border: 1px solid var(--jp-border-color1, #777); border-left-width: 4px; font-size: 0.95em;
  white-space: nowrap; }
.creeklab-good { border-color: var(--jp-success-color1, #2e7d32); }
.creeklab-bad { border-color: var(--jp-error-color1, #c62828); }
.creeklab-new { border-color: var(--jp-warn-color1, #ef6c00); }
"""

_STATIC = (
    _LINE
    + """
.creeklab-heading { font-weight: 600; font-size: 1.1em; margin: 0.3em 0; }
.creeklab-muted { color: var(--jp-ui-font-color1, #444); opacity: 0.8; }
.creeklab pre { font-family: var(--jp-code-font-family, monospace); font-size: 1em;
  color: inherit; background: var(--jp-layout-color2, #eee); border-radius: 2px;
  margin: 0.2em 0; padding: 0.3em 0.5em; white-space: pre-wrap; overflow-wrap: anywhere;
  line-height: 1.35; }
.creeklab.creeklab code { font-family: var(--jp-code-font-family, monospace); color: inherit;
  background: none; padding: 0; overflow-wrap: anywhere; }
.creeklab-table { border-collapse: collapse; max-width: 100%; margin: 0.2em 0; }
.creeklab-table caption { text-align: left; padding: 0.2em 0; }
.creeklab .creeklab-table th, .creeklab .creeklab-table td { text-align: left; vertical-align: top;
  padding: 0.25em 0.7em 0.25em 0; border-bottom: 1px solid var(--jp-border-color2, #ccc);
  color: inherit; background: none; white-space: normal; overflow-wrap: anywhere; }
.creeklab-table th { font-weight: 600; }
.creeklab .creeklab-table thead th { overflow-wrap: normal; }
/* JupyterLab draws stripes in tables. */
.creeklab .creeklab-table tbody tr:nth-child(n) { background: none; }
.creeklab-notice { border-left: 4px solid var(--jp-info-color1, #0277bd);
  background: var(--jp-layout-color2, #eee); padding: 0.3em 0.6em; overflow-wrap: anywhere; }
.creeklab-alert { border-left-color: var(--jp-error-color1, #c62828); }
.creeklab-time { white-space: nowrap; }
.creeklab-property { margin-left: 0.5em; }
"""
)

# ipywidgets cuts off long text and gives its rows a fixed height.
_LIVE = """
.creeklab { border: 1px solid var(--jp-border-color2, #ccc); border-radius: 3px;
  padding: 0.6em; background: var(--jp-layout-color1, #fff); }
.creeklab .widget-html, .creeklab .widget-html-content { line-height: 1.45; height: auto;
  min-height: 0; color: inherit; overflow-wrap: anywhere; }
.creeklab .widget-label { color: inherit; }
.creeklab .jupyter-button { width: auto; height: auto; min-height: 2.1em; line-height: 1.3;
  white-space: normal; text-align: left; color: var(--jp-ui-font-color1, #1a1a1a);
  background: var(--jp-layout-color2, #eee); border: 1px solid var(--jp-border-color1, #777);
  border-radius: 2px; overflow-wrap: anywhere; }
.creeklab .jupyter-button.mod-primary { color: #fff; background: #1565c0; border-color: #1565c0; }
.creeklab .jupyter-button.mod-active, .creeklab .jupyter-button.mod-info { box-shadow: none;
  border-left: 5px solid var(--jp-brand-color1, #1976d2); background: var(--jp-layout-color3, #ddd);
  color: var(--jp-ui-font-color1, #1a1a1a); }
.creeklab .jupyter-button.creeklab-link { background: none; border-color: transparent; padding: 0;
  min-height: 0; text-decoration: underline; color: var(--jp-content-link-color, #0b57a4); }
.creeklab .creeklab-code textarea { font-family: var(--jp-code-font-family, monospace);
  line-break: anywhere; }
.creeklab .jupyter-button:disabled { opacity: 0.55; }
.creeklab .jupyter-button:focus-visible, .creeklab input:focus-visible,
.creeklab select:focus-visible, .creeklab textarea:focus-visible,
.creeklab [tabindex]:focus-visible {
  outline: 2px solid var(--jp-brand-color1, #1976d2) !important; outline-offset: 1px; }
.creeklab article { border-top: 1px solid var(--jp-border-color2, #ccc); padding: 0.4em 0; }
.creeklab-tree { list-style: none; margin: 0.2em 0; padding: 0; }
.creeklab-sparkline { display: flex; align-items: center; gap: 0.5em; }
.creeklab-sparkline svg { flex: 0 0 auto; color: var(--jp-brand-color1, #1976d2); }
.creeklab .jupyter-button.creeklab-subscription { flex: 1 1 auto; font-weight: 700; }
/* A cross for the eye, a sentence for screen readers. */
.creeklab .jupyter-button.creeklab-cross { font-size: 0; flex: 0 0 auto; padding: 0 0.6rem; }
.creeklab .jupyter-button.creeklab-cross::before { content: "✕" / ""; font-size: 1rem; }
"""


def static_style() -> str:
    """Return the style sheet of a static page."""
    return tag("style", _STATIC)


def static_line(*content: str) -> str:
    """Return a line of HTML, such as a mark and a sentence, with the few styles that it needs."""
    return tag("div", tag("style", _LINE), " ".join(content), class_=PAGE)


def static_page(*content: str) -> str:
    """Return HTML as a complete page with its style sheet, for a notebook without a kernel."""
    return tag("div", static_style(), *content, class_=PAGE)


def live_style() -> str:
    """Return the style sheet of a live view."""
    return tag("style", _STATIC + _LIVE)
