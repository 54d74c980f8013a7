"""Page tokens of lists that are ordered by name: the token holds the last name of a page."""

from __future__ import annotations

import base64

from creeklab.cloud.errors import ServiceError


def encode_token(last: str) -> str:
    """Return the token of the page that follows the name `last`."""
    return base64.urlsafe_b64encode(last.encode()).decode()


def decode_token(token: str) -> str:
    """Return the name that a token holds.

    Raises
    ------
    ServiceError
        ``InvalidRequestException`` if it is not such a token.
    """
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise ServiceError("InvalidRequestException", "Invalid nextToken") from None
