"""A creek: sensor, readings, history, quality, analysis, plots and report; independent of AWS."""
