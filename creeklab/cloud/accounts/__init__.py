"""TODO creeklab/cloud/accounts."""
