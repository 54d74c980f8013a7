"""A creek: sensor, readings, history, quality, analysis, plots and report."""
