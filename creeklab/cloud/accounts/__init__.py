"""Accounts of one cloud: who they belong to, their services, and the workshop that adds them."""
