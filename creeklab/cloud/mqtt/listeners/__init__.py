"""TODO creeklab/cloud/mqtt/listeners."""
