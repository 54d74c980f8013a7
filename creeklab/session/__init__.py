"""An open session on one account: everything that a tool of the lab works with."""
