"""HTTP/1.1 and WebSocket over TLS, without any knowledge of AWS."""
