"""Certificates, TLS handshakes and request signatures."""
