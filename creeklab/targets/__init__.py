"""TODO creeklab/targets."""
