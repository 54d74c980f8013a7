"""Tools in the notebook: what the AWS console shows, and what it never shows.

Each tool has a model, which is thread-safe and knows no widget, and a view (`live_view.py`), which
draws the model with ipywidgets. The tools use no other widget library and load no files.
"""
