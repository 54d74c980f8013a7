"""Explain a refusal (`why`), and check a machine or a device (`doctor`)."""
