"""TODO creeklab/cloud/mqtt/routing."""
