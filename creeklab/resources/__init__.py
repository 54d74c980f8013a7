"""TODO creeklab/resources."""
