"""The HTTP side of the broker: publish, retained messages, connections and subscriptions."""
