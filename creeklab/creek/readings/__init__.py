"""TODO creeklab/creek/readings."""
