"""The MQTT 3.1.1 and 5 broker.

Layers, from top to bottom: listeners (sockets), connection (one client's conversation), broker
(the path of every message), interfaces, routing and lifecycle, session, codec (bytes).
"""
