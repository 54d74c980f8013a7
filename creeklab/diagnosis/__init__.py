"""TODO creeklab/diagnosis."""
