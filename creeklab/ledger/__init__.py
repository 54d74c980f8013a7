"""TODO creeklab/ledger."""
