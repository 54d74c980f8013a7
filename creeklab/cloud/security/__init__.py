"""TODO creeklab/cloud/security."""
