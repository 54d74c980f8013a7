"""TODO creeklab/creek/quality."""
