"""Targets that a lab opens on: the local cloud, a workshop's, or an AWS account."""
