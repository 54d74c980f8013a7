"""Verify request signatures: AWS Signature Version 4, on the server's side.

The client brings the request into a canonical form, hashes it, and signs the hash with a key
derived from its secret access key, the day, the region and the service. A server that knows the
secret does the same and compares. The signature is in the header ``Authorization`` or, for a
presigned URL such as the one that opens MQTT over WebSocket, in the query string.

The rules follow the IAM user guide, "Signature Version 4 for API requests"; error names and
messages are AWS's. As on AWS, a signature can be used again for five minutes.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote, unquote_to_bytes

from creeklab.cloud.errors import ServiceError

ALGORITHM = "AWS4-HMAC-SHA256"
WINDOW_SECONDS = 300
MAX_PRESIGNED_SECONDS = 7 * 24 * 3600
"""Longest lifetime of a presigned URL."""

_IN_HEADER = ("Credential", "SignedHeaders", "Signature")
_FIELDS = ("Algorithm", *_IN_HEADER, "Date")
_TOKEN = "X-Amz-Security-Token"
_INVALID_TOKEN = "The security token included in the request is invalid."
_WRONG_SIGNATURE = (
    "The request signature we calculated does not match the signature you provided. Check your "
    "AWS Secret Access Key and signing method. Consult the service documentation for details."
)


@dataclass(frozen=True, slots=True)
class Caller:
    """The access key that signed a request, and the region and service that it signed for.

    `has_token` tells whether the request has a session token, signed or not.
    """

    access_key: str
    region: str
    service: str
    has_token: bool = False


class ScopeError(ServiceError):
    """A correct signature for the wrong service, region or session; `explanation` says which."""

    def __init__(self, code: str, message: str, explanation: str) -> None:
        super().__init__(code, message)
        self.explanation = explanation


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a request states about its signature, unverified."""

    caller: Caller
    day: str
    date: str
    lifetime: int
    signed_headers: list[str]
    signature: str
    presigned: bool


def is_signed(query: str, headers: Mapping[str, str]) -> bool:
    """Return whether a request has a signature, right or wrong."""
    return "authorization" in headers or "Signature" in _query_fields(query)


def parse_caller(query: str, headers: Mapping[str, str]) -> Caller:
    """Return the caller that a request states, unverified; it decides the form of an error.

    It raises `ServiceError` like `verify` if the request is not signed or cannot be read.
    """
    return _claim(query, headers).caller


def verify(
    secrets: Mapping[str, str],
    *,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body: bytes,
    now: float,
) -> Caller:
    """Verify the signature of a request and return its caller.

    Parameters
    ----------
    secrets
        Secret access keys by access key ID.
    method, path, query
        The request line as received: path and query still percent-encoded.
    headers
        By lower-case name; the values of a repeated header joined by commas.
    body
        The body as received.
    now
        Seconds since the epoch.

    Raises
    ------
    ServiceError
        ``MissingAuthenticationTokenException``, ``IncompleteSignatureException``,
        ``UnrecognizedClientException`` (unknown access key) or ``InvalidSignatureException``
        (wrong, too old, or from the future).
    """
    claim = _claim(query, headers)
    secret = secrets.get(claim.caller.access_key)
    if secret is None:
        raise ServiceError("UnrecognizedClientException", _INVALID_TOKEN)
    _check_date(claim, now)
    if "host" not in claim.signed_headers:
        raise _invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    digest = sha256(body).hexdigest()
    if headers.get("x-amz-content-sha256", digest) != digest:
        raise _invalid(
            "The provided 'x-amz-content-sha256' header does not match what was computed."
        )
    names = claim.signed_headers
    given = claim.signature.encode("utf-8", "surrogateescape")
    for canonical_query in _canonical_queries(query, claim.presigned):
        lines = [method, _canonical_path(path), canonical_query]
        lines += [f"{name}:{' '.join(headers.get(name, '').split())}" for name in names]
        lines += ["", ";".join(names), digest]
        if hmac.compare_digest(_sign(secret, claim, "\n".join(lines)).encode(), given):
            return claim.caller
    raise _invalid(_WRONG_SIGNATURE)


def check_scope(caller: Caller, *, region: str | None, services: Collection[str]) -> None:
    """Raise `ScopeError`, in AWS's words, if a verified request was signed for something else.

    Parameters
    ----------
    region
        Region that it must be signed for; None for any.
    services
        Services that it can be signed for; empty for any.
    """
    if caller.has_token:
        raise ScopeError(
            "UnrecognizedClientException",
            _INVALID_TOKEN,
            "The request has a session token (X-Amz-Security-Token), but the access key of this "
            "account is permanent and has none. Remove the token from the client's credentials: "
            "aws_session_token, or the variable AWS_SESSION_TOKEN.",
        )
    if services and caller.service not in services:
        expected = next(iter(services))
        raise ScopeError(
            "InvalidSignatureException",
            f"Credential should be scoped to correct service: '{expected}'.",
            f"The request is signed for the service '{caller.service}', and MQTT over WebSocket "
            f"needs '{expected}'. Sign the URL for that service.",
        )
    if region is not None and caller.region != region:
        raise ScopeError(
            "InvalidSignatureException",
            f"Credential should be scoped to a valid region, not '{caller.region}'.",
            f"The request is signed for the region '{caller.region}', and this account is in "
            f"'{region}'. Set the region of the client to '{region}'.",
        )


def _claim(query: str, headers: Mapping[str, str]) -> _Claim:
    """Read the parts of the signature from the header or the query string."""
    presigned = "authorization" not in headers
    fields = _query_fields(query) if presigned else _header_fields(headers)
    if presigned and "Signature" not in fields:
        raise ServiceError("MissingAuthenticationTokenException", "Missing Authentication Token")
    missing = [name for name in _FIELDS if not fields.get(name)]
    if missing:
        sentence = (
            "AWS query-string parameters must include 'X-Amz-{}'."
            if presigned
            else "Authorization header requires '{}' parameter."
        )
        raise _incomplete(" ".join(sentence.format(name) for name in missing))
    if fields["Algorithm"] != ALGORITHM:
        raise _incomplete(f"Unsupported AWS 'algorithm': '{fields['Algorithm']}'; use {ALGORITHM}.")
    scope = fields["Credential"].split("/")
    if len(scope) != 5 or scope[4] != "aws4_request":
        raise _incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. "
            f"keyid/date/region/service/aws4_request, got '{fields['Credential']}'."
        )
    has_token = bool("Security-Token" in fields if presigned else headers.get(_TOKEN.lower()))
    lifetime = fields.get("Expires", str(WINDOW_SECONDS))
    if not re.fullmatch("[0-9]{1,6}", lifetime) or not 1 <= int(lifetime) <= MAX_PRESIGNED_SECONDS:
        raise _incomplete(f"X-Amz-Expires must be from 1 to {MAX_PRESIGNED_SECONDS} seconds.")
    return _Claim(
        Caller(scope[0], region=scope[2], service=scope[3], has_token=has_token),
        day=scope[1],
        date=fields["Date"],
        lifetime=int(lifetime),
        signed_headers=fields["SignedHeaders"].split(";"),
        signature=fields["Signature"],
        presigned=presigned,
    )


def _header_fields(headers: Mapping[str, str]) -> dict[str, str]:
    algorithm, _, rest = headers["authorization"].partition(" ")
    parts = (part.strip().partition("=") for part in rest.split(","))
    fields = {name: value for name, _, value in parts if name in _IN_HEADER}
    return {**fields, "Algorithm": algorithm, "Date": headers.get("x-amz-date", "")}


def _query_fields(query: str) -> dict[str, str]:
    return {
        name.decode("utf-8", "replace").removeprefix("X-Amz-"): value.decode("utf-8", "replace")
        for name, value in _pairs(query)
        if name.startswith(b"X-Amz-")
    }


def _incomplete(message: str) -> ServiceError:
    return ServiceError("IncompleteSignatureException", message)


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidSignatureException", message)


def _check_date(claim: _Claim, now: float) -> None:
    try:
        if not re.fullmatch("[0-9]{8}T[0-9]{6}Z", claim.date):
            raise ValueError
        date = datetime.fromisoformat(claim.date).timestamp()
    except ValueError:
        message = f"Date must be in ISO-8601 'basic format'. Got '{claim.date}'."
        raise _incomplete(message) from None
    if not claim.date.startswith(claim.day + "T"):
        raise _invalid(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from "
            f"HTTP: '{claim.day}' != '{claim.date[:8]}', from '{claim.date}'."
        )
    if date < now - claim.lifetime:
        raise _invalid(
            f"Signature expired: {claim.date} is now earlier than {_text(now - claim.lifetime)} "
            f"({_text(now)} - {claim.lifetime / 60:g} min.)"
        )
    if date > now + WINDOW_SECONDS:
        raise _invalid(
            f"Signature not yet current: {claim.date} is still later than "
            f"{_text(now + WINDOW_SECONDS)} ({_text(now)} + {WINDOW_SECONDS // 60} min.)"
        )


def _text(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y%m%dT%H%M%SZ")


def _sign(secret: str, claim: _Claim, canonical_request: str) -> str:
    key = b"AWS4" + secret.encode()
    scope = (claim.day, claim.caller.region, claim.caller.service, "aws4_request")
    for part in scope:
        key = hmac.digest(key, _bytes(part), "sha256")
    hashed = sha256(_bytes(canonical_request)).hexdigest()
    text = "\n".join((ALGORITHM, claim.date, "/".join(scope), hashed))
    return hmac.digest(key, _bytes(text), "sha256").hex()


def _canonical_path(path: str) -> str:
    """Drop empty and dot segments, and percent-encode the encoded path again."""
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    end = "/" if segments and path.endswith("/") else ""
    return quote(_bytes("/" + "/".join(segments) + end), safe="/")


def _canonical_queries(query: str, presigned: bool) -> list[str]:
    """Return the canonical forms that may have been signed.

    A presigned URL with a security token has two: AWS IoT requires the token to be added after
    signing, other services sign it too.
    """
    pairs = sorted((quote(name, safe=""), quote(value, safe="")) for name, value in _pairs(query))
    if presigned:
        pairs = [pair for pair in pairs if pair[0] != "X-Amz-Signature"]
    without_token = [pair for pair in pairs if pair[0] != _TOKEN]
    forms = [pairs, without_token] if presigned and without_token != pairs else [pairs]
    return ["&".join("=".join(pair) for pair in form) for form in forms]


def _pairs(query: str) -> list[tuple[bytes, bytes]]:
    """Split a query string; unlike in a form, a plus sign is not a space."""
    parts = (part.partition(b"=") for part in _bytes(query).split(b"&") if part)
    return [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in parts]


def _bytes(text: str) -> bytes:
    """Return the bytes of a part of a request; invalid UTF-8 arrives as surrogates."""
    return text.encode("utf-8", "surrogateescape")
