"""TODO creeklab/cli."""
