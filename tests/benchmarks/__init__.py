"""Measurements of speed and memory, which ``python -m tests.benchmarks`` prints."""
