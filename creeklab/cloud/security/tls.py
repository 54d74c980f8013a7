"""Detect failed TLS handshakes, and explain them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from creeklab.cloud.transport.listen import PROBE

STALLED_HANDSHAKE_TIMEOUT = 3.0
NO_CERTIFICATE = (
    "The device sent no certificate. AWS IoT Core requires one from every device: give the client "
    "the certificate and private key of a Thing."
)


def watch_handshakes(
    context: ssl.SSLContext, on_failure: Callable[[ssl.SSLError | None], None]
) -> None:
    """Call `on_failure` for each failed handshake of a context; see `explain_handshake`."""

    class WatchedSocket(ssl.SSLObject):
        steps = 0  # of an unfinished handshake; the first one only waits for the client
        over = False

        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self.steps += 1
                if self.steps == 2:
                    asyncio.get_running_loop().call_later(
                        STALLED_HANDSHAKE_TIMEOUT, self._report_if_stalled
                    )
                raise
            except ssl.SSLError as error:
                self.over = True
                self._report(error)
                raise
            self.over = True

        def _report_if_stalled(self) -> None:
            # A client that does not trust the server might send no alert, or send it late.
            if not self.over:
                self._report(None)

        def _report(self, error: ssl.SSLError | None) -> None:
            if self.selected_alpn_protocol() != PROBE:
                on_failure(error)

    context.sslobject_class = WatchedSocket


def explain_handshake(error: ssl.SSLError | None) -> str:
    """Explain why a TLS handshake failed; None means that the client did not finish it."""
    if error is None:
        return (
            "A device abandoned the TLS handshake. It may not trust this cloud's certificate: give "
            "it this cloud's CA file, and connect to the host name of the endpoint."
        )
    reason = error.reason or ""
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return NO_CERTIFICATE
    if reason == "CERTIFICATE_VERIFY_FAILED":
        detail = getattr(error, "verify_message", "") or "it was not signed by this account's CA"
        return (
            f"The device's certificate was rejected: {detail}. Use a certificate from "
            "create_keys_and_certificate or create_certificate_from_csr in this account, or "
            "register yours with register_certificate_without_ca."
        )
    if "ALERT" in reason:
        return (
            f"The device aborted the handshake ({reason.lower()}): it does not trust this cloud's "
            "certificate. Give it this cloud's CA file, and connect to the host name of the "
            "endpoint."
        )
    if reason in ("HTTP_REQUEST", "WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL"):
        return "A client connected without TLS. AWS IoT Core requires TLS on every connection."
    return f"The TLS handshake failed ({reason or error})."
