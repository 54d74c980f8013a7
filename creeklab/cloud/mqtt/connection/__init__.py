"""TODO creeklab/cloud/mqtt/connection."""
