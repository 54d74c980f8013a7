"""TODO creeklab/cloud/shadow."""
