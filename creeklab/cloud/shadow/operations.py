"""Operations of ``iot-data`` on shadows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from creeklab.cloud.api.paging import decode_token, encode_token
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.shadow.document import Rejected
from creeklab.cloud.shadow.shadows import Shadows

EXCEPTIONS = {
    400: "InvalidRequestException",
    404: "ResourceNotFoundException",
    409: "ConflictException",
    413: "RequestEntityTooLargeException",
    415: "UnsupportedDocumentEncodingException",
}

Members = dict[str, Any]


class ShadowOperations:
    """The operations for one account."""

    def __init__(self, shadows: Shadows) -> None:
        self._shadows = shadows

    def get_thing_shadow(self, *, thingName: str, shadowName: str = "") -> Members:
        """Return the document of a shadow."""
        return _respond(self._shadows.get, thingName, shadowName)

    def update_thing_shadow(
        self, *, thingName: str, payload: bytes, shadowName: str = ""
    ) -> Members:
        """Update a shadow."""
        return _respond(self._shadows.update, thingName, shadowName, payload)

    def delete_thing_shadow(self, *, thingName: str, shadowName: str = "") -> Members:
        """Delete a shadow."""
        return _respond(self._shadows.delete, thingName, shadowName)

    def list_named_shadows_for_thing(
        self, *, thingName: str, nextToken: str = "", pageSize: int = 25
    ) -> Members:
        """Return the names of a Thing's named shadows, a page at a time."""
        names = self._shadows.names(thingName, decode_token(nextToken), pageSize + 1)
        return {
            "results": names[:pageSize],
            "timestamp": self._shadows.now(),
            "nextToken": encode_token(names[pageSize - 1]) if len(names) > pageSize else None,
        }


def _respond(request: Callable[..., Members], *arguments: Any) -> Members:
    """Return the document of a request as a response of the REST API, or raise its exception."""
    try:
        document = request(*arguments)
    except Rejected as rejected:
        raise ServiceError(EXCEPTIONS[rejected.code], rejected.message) from None
    return {"payload": json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()}
