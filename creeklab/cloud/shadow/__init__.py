"""The Device Shadow service: the last reported and the desired state of a Thing."""
