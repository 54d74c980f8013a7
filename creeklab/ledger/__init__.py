"""The resources that a lab created and still owns, their usage and cost, and their teardown."""
