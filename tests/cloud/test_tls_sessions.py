"""No TLS session can be resumed: it would outlive the revocation of a certificate."""

from __future__ import annotations

import socket
import ssl
import sys
import threading

import pytest

from creeklab.cloud.security.ca import CertificateAuthority

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def visit(
    server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[ssl.SSLSession | None, bool | None]:
    """Connect once, and end TLS as both sides should; otherwise OpenSSL drops the session."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with server.wrap_socket(theirs, server_side=True) as secured:
            secured.sendall(b"hello")
            secured.recv(1)
            secured.unwrap().close()

    serving = threading.Thread(target=serve)
    serving.start()
    with client.wrap_socket(ours, server_hostname="localhost", session=session) as secured:
        secured.recv(5)
        found = secured.session, secured.session_reused
        secured.unwrap().close()
    serving.join()
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="OpenSSL's functions cannot be reached")
@pytest.mark.parametrize("version", VERSIONS)
def test_no_session_is_resumed(authority: CertificateAuthority, version: ssl.TLSVersion) -> None:
    server = authority.https_context()
    client = ssl.create_default_context(cafile=str(authority.ca_file))
    client.minimum_version = client.maximum_version = version
    session, reused = visit(server, client, None)
    assert not reused
    assert session is None or (session.id == b"" and not session.has_ticket)
    _, reused = visit(server, client, session)
    assert not reused
    assert server.session_stats()["number"] == 0
