"""TODO creeklab/cloud/transport."""
