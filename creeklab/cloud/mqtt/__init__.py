"""MQTT 3.1.1 and 5: bytes, subscriptions, sessions, routing, sockets."""
