"""The door that only the local cloud has: one signed question, one answer, both JSON."""

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
    """The local cloud refused a question.

    Attributes
    ----------
    code
        Name of the exception, as of AWS's.
    said
        What it said about it.
    """

    def __init__(self, status: int, code: str, said: str) -> None:
        super().__init__(f"The local cloud answered {status}: {said}")
        self.code = code
        self.said = said


def ask(
    url: str, ca_file: Path, account: AccountIdentity, verb: str, question: Mapping[str, Any]
) -> dict[str, Any]:
    """Ask a cloud something that AWS would not answer.

    Parameters
    ----------
    url
        Of its HTTPS port.
    account
        Whose access key signs.

    Raises
    ------
    DoorRefused
        If the cloud does not answer it.
    botocore.exceptions.BotoCoreError
        If there is no cloud, or not one whose certificate `ca_file` has signed.
    """
    request = AWSRequest(
        "POST",
        f"{url}/_creeklab/{verb}",
        headers={"Content-Type": "application/json"},
        data=json.dumps(question),
    )
    credentials = Credentials(account.access_key, account.secret_key)
    SigV4Auth(credentials, "creeklab", account.region).add_auth(request)
    # Its stubs know neither of these. Without TCP_NODELAY each question would take 40 ms.
    session = cast(Any, URLLib3Session)(
        verify=str(ca_file),
        timeout=RESPONSE_TIMEOUT,
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )
    try:
        answer = session.send(request.prepare())
    finally:
        session.close()
    if answer.status_code != 200:
        code = answer.headers.get("x-amzn-ErrorType", "")
        try:
            said = json.loads(answer.content)["message"]
        except (ValueError, KeyError, TypeError):
            said = answer.text
        raise AdminRequestRefused(answer.status_code, code, said)
    document: dict[str, Any] = json.loads(answer.content)
    return document
