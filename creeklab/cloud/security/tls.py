"""Failed TLS handshakes: noticed, and explained in words."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from creeklab.cloud.transport.listen import PROBE

STALLED_HANDSHAKE_SECONDS = 3.0


def watch_handshakes(
    context: ssl.SSLContext, refused: Callable[[ssl.SSLError | None], None]
) -> None:
    """Have `refused` called for each handshake of a context that fails; see `explain_handshake`."""

    class Watched(ssl.SSLObject):
        steps = 0  # of a handshake that goes on: the first step only waits for the client
        over = False

        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self.steps += 1
                if self.steps == 2:
                    asyncio.get_running_loop().call_later(
                        STALLED_HANDSHAKE_SECONDS, self._ask_if_over
                    )
                raise
            except ssl.SSLError as error:
                self.over = True
                self._tell(error)
                raise
            self.over = True

        def _ask_if_over(self) -> None:
            # A client that does not trust the server may say nothing, or hold it back for long.
            if not self.over:
                self._tell(None)

        def _tell(self, error: ssl.SSLError | None) -> None:
            if self.selected_alpn_protocol() != PROBE:
                refused(error)

    context.sslobject_class = Watched


def explain_handshake(error: ssl.SSLError | None) -> str:
    """Say in words why a TLS handshake failed; None stands for a client that went half way."""
    if error is None:
        return (
            "A device gave the TLS handshake up half way. It may not trust this cloud's "
            "certificate: give it this cloud's CA file, and connect to the host name that the "
            "endpoint has."
        )
    reason = error.reason or ""
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return (
            "The device sent no certificate. AWS IoT Core wants one of every device: give the "
            "client the certificate and the private key of a Thing."
        )
    if reason == "CERTIFICATE_VERIFY_FAILED":
        detail = getattr(error, "verify_message", "") or "it was not signed by this account's CA"
        return (
            f"The device's certificate was not accepted: {detail}. Use a certificate that "
            "create_keys_and_certificate or create_certificate_from_csr of this account made, or "
            "register yours with register_certificate_without_ca."
        )
    if "ALERT" in reason:
        return (
            f"The device broke the handshake off ({reason.lower()}): it does not trust this "
            "cloud's certificate. Give it this cloud's CA file, and connect to the host name "
            "that the endpoint has."
        )
    if reason in ("HTTP_REQUEST", "WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL"):
        return "What came in was not TLS. Without TLS there is no way into AWS IoT Core."
    return f"The TLS handshake failed ({reason or error})."
