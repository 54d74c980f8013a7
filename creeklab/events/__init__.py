"""TODO creeklab/events."""
