"""TODO creeklab/client."""
