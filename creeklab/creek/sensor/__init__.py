"""TODO creeklab/creek/sensor."""
