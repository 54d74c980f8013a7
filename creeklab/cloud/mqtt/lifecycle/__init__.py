"""TODO creeklab/cloud/mqtt/lifecycle."""
