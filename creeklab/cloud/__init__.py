"""The local AWS IoT Core: a program of its own that any MQTT device can use.

Nothing in this folder imports the rest of creeklab, so it can be lifted out whole.
"""
