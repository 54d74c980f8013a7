"""How fast, and how large: ``python -m tests.benchmarks`` prints it. Nothing here is asserted."""
