"""TODO creeklab/cloud/mqtt/session."""
