"""AWS IoT Core in the tests of other projects: a pytest plugin, see ``plugin.py``."""
