"""TODO creeklab/cloud/storage."""
