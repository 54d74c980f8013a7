"""TODO creeklab/course."""
