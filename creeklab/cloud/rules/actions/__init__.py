"""The actions of rules: what receives the outgoing payload."""
