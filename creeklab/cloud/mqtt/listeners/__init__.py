"""The sockets: MQTT over mutual TLS, and over WebSocket for requests that the account signed."""
