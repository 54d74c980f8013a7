"""TODO creeklab/cloud/monitoring."""
