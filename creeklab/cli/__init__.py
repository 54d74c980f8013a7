"""The command line: ``creeklab lab``, ``test``, ``cloud``, ``doctor``, ``clean-up``, ``report``."""
