"""Client of the admin API, which only the local cloud has: JSON over signed HTTPS."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session

from creeklab.cloud.account import AccountIdentity

RESPONSE_TIMEOUT = 15.0


class AdminRequestRefused(RuntimeError):
    """The local cloud refused a request, with the exception `code` and its own `message`."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"The local cloud answered {status}: {message}")
        self.code = code
        self.message = message


def call_admin(
    url: str, ca_file: Path, account: AccountIdentity, endpoint: str, request: Mapping[str, Any]
) -> dict[str, Any]:
    """Call an endpoint of a cloud's admin API, signed by `account`, and return its response.

    Raises
    ------
    AdminRequestRefused
        If the cloud refuses the request.
    botocore.exceptions.BotoCoreError
        If no cloud answers, or `ca_file` did not sign its certificate.
    """
    signed = AWSRequest(
        "POST",
        f"{url}/_creeklab/{endpoint}",
        headers={"Content-Type": "application/json"},
        data=json.dumps(request),
    )
    credentials = Credentials(account.access_key, account.secret_key)
    SigV4Auth(credentials, "creeklab", account.region).add_auth(signed)
    # The stubs lack both arguments. Without TCP_NODELAY each request would take 40 ms.
    session = cast(Any, URLLib3Session)(
        verify=str(ca_file),
        timeout=RESPONSE_TIMEOUT,
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )
    try:
        response = session.send(signed.prepare())
    finally:
        session.close()
    try:
        document = json.loads(response.content)
    except (ValueError, RecursionError):
        document = None
    if response.status_code == 200 and isinstance(document, dict):
        return document
    code = response.headers.get("x-amzn-ErrorType", "")
    message = document.get("message") if isinstance(document, dict) else None
    raise AdminRequestRefused(response.status_code, code, str(message or response.text))
