"""TODO creeklab/creek/history."""
