"""TODO creeklab/display."""
