"""TODO creeklab/cloud/mqtt/codec."""
