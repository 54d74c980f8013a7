"""Tools in the notebook: what the AWS console shows, and what it never shows.

Each has a model, which any thread may touch and which knows no widget, and a view (`view.py`),
which draws the model with ipywidgets. Nothing else may be needed to show them: no other widget
library, no file from elsewhere.
"""
