"""TODO creeklab/lab."""
