"""One client's conversation with the broker: states, packets, limits and permissions.

A connection holds no socket: listeners pass bytes to it and send what it writes.
"""
