"""TODO creeklab/creek/analysis."""
