"""Device Shadow documents: the result of an update, and the responses of the service.

A shadow has two sections, ``desired`` (the requested state) and ``reported`` (the device's state),
each a JSON object or absent, and a version that every accepted update increments. An update is a
patch as in RFC 7386: objects merge key by key, ``null`` removes a key, and anything else, including
a whole array, replaces the value. Each section has metadata: the same tree, with
``{"timestamp": s}`` in place of each leaf. The two trees are always walked together, so a key that
happens to be called ``timestamp`` is never mistaken for one. The delta is the part of ``desired``
that differs from ``reported``; it is computed on demand and never stored.

There are two invariants. A stored section is never empty and contains no ``null``. A tree is never
changed: an update copies the objects on the path to a change and shares all others with the
previous shadow and with the responses. Serialize the responses, but do not edit them.

Everything here is a function of its arguments, without topics, policies, database or clock. Times
are whole seconds since the epoch. Rules and messages follow the AWS IoT developer guide (Device
Shadow service documents, Device Shadow error messages) or, where it is silent, AWS's own shadow
engine for Greengrass.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal, NoReturn, TypeAlias

__all__ = ["Rejected", "Shadow", "ShadowLimits", "Update", "delete", "failed", "get", "update"]

JsonObject: TypeAlias = dict[str, Any]

CLIENT_TOKEN_BYTES = 64
SECTIONS = ("desired", "reported")
MAX_SHOWN = 64
"""Characters of a node's name in an error."""


class Rejected(Exception):
    """A request was rejected by the shadow service.

    Parameters
    ----------
    code
        HTTP status of the error.
    message
        AWS's text.
    client_token
        Valid token of the request, if any, by which its sender recognizes the response.
    """

    def __init__(self, code: int, message: str, client_token: str | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.client_token = client_token

    def document(self, now: int) -> JsonObject:
        """Return the body of the ``rejected`` message at the time `now`."""
        return _with_token(
            {"code": self.code, "message": self.message, "timestamp": now}, self.client_token
        )


@dataclass(frozen=True, slots=True)
class ShadowLimits:
    """Quotas of the shadow service, and points that public sources leave open.

    Attributes
    ----------
    max_depth
        Maximum depth of objects and arrays; ``desired`` and ``reported`` are level 1.
    max_bytes
        Maximum size of ``desired`` plus ``reported`` after the merge, in bytes of compact UTF-8
        JSON, without metadata. AWS raises it to 30720 on request.
    first_previous
        ``previous`` in the ``documents`` message of a shadow's first update: JSON ``null``, or a
        document with empty state and no version.
    first_version
        Response to an update with a version other than 1 for a shadow that does not exist:
        ``"invalid"`` is 400 ``Invalid version``, ``"conflict"`` is 409 ``Version conflict``.
    """

    max_depth: int = 6
    max_bytes: int = 8192
    first_previous: Literal["null", "empty"] = "null"
    first_version: Literal["invalid", "conflict"] = "invalid"


_DEFAULT_LIMITS = ShadowLimits()


@dataclass(frozen=True, slots=True)
class Shadow:
    """A stored shadow, as an immutable value.

    Attributes
    ----------
    state
        The sections that the document has, ``desired`` before ``reported``.
    metadata
        ``{"timestamp": s}`` for each leaf of `state`, in the same place.
    version
        Number of the last accepted update.
    """

    state: JsonObject
    metadata: JsonObject
    version: int

    def to_json(self) -> str:
        """Return the text that is stored; `from_json` restores the shadow."""
        return _encode(self.snapshot())

    @classmethod
    def from_json(cls, text: str) -> Shadow:
        """Return the shadow of a text from `to_json`."""
        return cls(**json.loads(text))

    def document(self, now: int) -> JsonObject:
        """Return the full document for GET at the time `now`, with ``state.delta`` if there is one.

        The metadata has no ``delta``, because its timestamps are those of ``desired``.
        """
        document = self.snapshot()
        delta, _ = self._delta()
        if delta:
            document["state"]["delta"] = delta
        document["timestamp"] = now
        return document

    def snapshot(self) -> JsonObject:
        """Return state, metadata and version, without delta, as in a ``documents`` message."""
        return {
            "state": self.state.copy(),
            "metadata": self.metadata.copy(),
            "version": self.version,
        }

    def _delta(self) -> tuple[JsonObject, JsonObject]:
        """Return the delta and its metadata; both are empty if there is none."""
        desired, metadata = self.state.get("desired", {}), self.metadata.get("desired", {})
        return _difference(desired, metadata, self.state.get("reported", {}))


@dataclass(frozen=True, slots=True)
class Update:
    """An accepted update: the shadow to store and the messages to publish.

    Attributes
    ----------
    shadow
        The shadow after the update.
    accepted, documents
        Bodies of ``update/accepted`` (also the response over HTTP) and ``update/documents``.
    delta
        Body of ``update/delta``; None if reported and desired agree, so that none is sent.
    """

    shadow: Shadow
    accepted: JsonObject
    delta: JsonObject | None
    documents: JsonObject


def update(
    current: Shadow | None,
    payload: bytes,
    now: int,
    *,
    last_version: int = 0,
    limits: ShadowLimits = _DEFAULT_LIMITS,
) -> Update:
    """Apply an update request to the stored shadow, which is not changed.

    Parameters
    ----------
    now
        Time of the update; it becomes the timestamp of every leaf that the request sets.
    last_version
        Version at which a shadow of this name was deleted less than 48 hours ago, otherwise 0;
        version numbers continue from there (AWS IoT developer guide, Interacting with shadows).

    Raises
    ------
    Rejected
        400, 409, 413 or 415 (AWS IoT developer guide, Device Shadow error messages).
    """
    if not payload:
        raise Rejected(400, "Missing update payload")
    request = _parse(payload, limits)
    token = _client_token(request)
    state = _checked(request, current, token, limits)
    stamp = {"timestamp": now}
    shadow = _patched(current, state, stamp, current.version if current else last_version)
    if _size(shadow) > limits.max_bytes:
        raise Rejected(413, "The payload exceeds the maximum size allowed", token)

    accepted = {
        "state": state,
        "metadata": _stamped(state, stamp),
        "version": shadow.version,
        "timestamp": now,
    }
    delta, delta_metadata = shadow._delta()
    delta_message = {
        "version": shadow.version,
        "timestamp": now,
        "state": delta,
        "metadata": delta_metadata,
    }
    previous: JsonObject | None = None
    if current is not None:
        previous = current.snapshot()
    elif limits.first_previous == "empty":
        previous = {"state": {}, "metadata": {}}
    documents = {"previous": previous, "current": shadow.snapshot(), "timestamp": now}
    return Update(
        shadow=shadow,
        accepted=_with_token(accepted, token),
        delta=_with_token(delta_message, token) if delta else None,
        documents=_with_token(documents, token),
    )


def get(current: Shadow | None, payload: bytes, now: int, *, label: str) -> JsonObject:
    """Return the full document for a get request.

    Parameters
    ----------
    payload
        Empty, ``{}``, or an object with a ``clientToken``.
    label
        Name in a 404: the Thing's for its classic shadow, otherwise the shadow's.

    Raises
    ------
    Rejected
        404 if there is no shadow; 400 or 415 if the payload is invalid.
    """
    request = _parse(payload, _DEFAULT_LIMITS) if payload else {}
    token = _client_token(request)
    if "clientToken" in request and token is None:
        raise Rejected(400, "Invalid clientToken")
    return _with_token(_existing(current, label, token).document(now), token)


def delete(current: Shadow | None, payload: bytes, now: int, *, label: str) -> JsonObject:
    """Return the deleted version for a delete request.

    The payload, including its ``version``, is ignored (AWS IoT developer guide, Device Shadow MQTT
    topics), except that a ``clientToken`` is echoed, because the SDKs wait for theirs. `label` is
    the name in a 404, as for `get`.

    Raises
    ------
    Rejected
        404 if there is no shadow.
    """
    token = _find_token(payload)
    version = _existing(current, label, token).version
    return _with_token({"version": version, "timestamp": now}, token)


def failed(payload: bytes) -> Rejected:
    """Return the rejection of a request that could not be served, whatever its payload."""
    return Rejected(500, "Internal service failure", _find_token(payload))


# --- requests ------------------------------------------------------------------------------------


def _finite(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise ValueError(digits)
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


_decode = json.JSONDecoder(parse_float=_finite, parse_constant=_no_constant).decode
_encode = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, separators=(",", ":"), allow_nan=False
).encode


def _parse(payload: bytes, limits: ShadowLimits) -> JsonObject:
    """Parse a JSON object that can be encoded again; the last of equal keys wins."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise Rejected(
            415, "Unsupported documented encoding; supported encoding is UTF-8"
        ) from None
    try:
        request = _decode(text)
        if "\\u" in text:
            # An escape can contain half of a surrogate pair, which cannot be encoded as UTF-8.
            _encode(request).encode()
    except RecursionError:
        raise _too_deep(limits, None) from None
    except ValueError:
        raise Rejected(400, "Invalid JSON") from None
    if type(request) is not dict:
        raise Rejected(400, "Invalid JSON")
    return request


def _client_token(request: JsonObject) -> str | None:
    """Return the token of a request; None if it is missing or invalid."""
    token = request.get("clientToken")
    if type(token) is str and len(token.encode()) <= CLIENT_TOKEN_BYTES:
        return token
    return None


def _find_token(payload: bytes) -> str | None:
    """Return the token of a payload that might not be a request; None if there is none."""
    try:
        return _client_token(_parse(payload, _DEFAULT_LIMITS))
    except Rejected:
        return None


def _checked(
    request: JsonObject, current: Shadow | None, token: str | None, limits: ShadowLimits
) -> JsonObject | None:
    """Return the state node of an update request, after AWS's checks in AWS's order.

    Every rejection carries `token`, even before the token itself is checked: without it, the SDKs
    would not recognize the response and wait for it in vain.
    """
    if "state" not in request:
        raise Rejected(400, "Missing required node: state", token)
    state: JsonObject | None = request["state"]
    if state is not None:
        if type(state) is not dict:
            raise Rejected(400, "State node must be an object", token)
        for section in SECTIONS:
            if not isinstance(state.get(section), dict | None):
                raise Rejected(400, f"{section.title()} node must be an object", token)
        for node in state:
            if node not in SECTIONS:
                # AWS names the node; a document from GET, sent back, fails on its delta.
                raise Rejected(400, f"State contains an invalid node: '{node[:MAX_SHOWN]}'", token)
    version = request.get("version", 0)
    if type(version) not in (int, float) or version < 0:
        raise Rejected(400, "Invalid version", token)
    if "clientToken" in request and token is None:
        raise Rejected(400, "Invalid clientToken")
    for section in (state or {}).values():
        if section:
            _check_content(section, token, limits)
    if "version" in request:
        _check_version(version, current, token, limits)
    return state


def _check_content(section: JsonObject, token: str | None, limits: ShadowLimits) -> None:
    """Reject excessive depth, and ``null`` in an array, where it cannot mean removal."""
    pending: list[tuple[Any, int, bool]] = [(section, 1, False)]
    while pending:
        node, level, in_array = pending.pop()
        if level > limits.max_depth:
            raise _too_deep(limits, token)
        for value in node.values() if type(node) is dict else node:
            kind = type(value)
            if kind is dict or kind is list:
                pending.append((value, level + 1, in_array or kind is list))
            elif value is None and in_array:
                raise Rejected(400, "State contains an invalid node", token)


def _check_version(
    version: float, current: Shadow | None, token: str | None, limits: ShadowLimits
) -> None:
    """Reject the version of an update unless it is current, or 1 for a new shadow."""
    if version == (current.version if current else 1):
        return
    if current is None and limits.first_version == "invalid":
        raise Rejected(400, "Invalid version", token)
    raise Rejected(409, "Version conflict", token)


def _too_deep(limits: ShadowLimits, token: str | None) -> Rejected:
    levels = limits.max_depth
    return Rejected(400, f"JSON contains too many levels of nesting; maximum is {levels}", token)


def _existing(current: Shadow | None, label: str, token: str | None) -> Shadow:
    if current is None:
        raise Rejected(404, f"No shadow exists with name: '{label}'", token)
    return current


def _with_token(document: JsonObject, token: str | None) -> JsonObject:
    """Return `document` with the token of the request, if it had one."""
    if token is not None:
        document["clientToken"] = token
    return document


# --- trees ---------------------------------------------------------------------------------------


def _patched(
    current: Shadow | None, state: JsonObject | None, stamp: JsonObject, version: int
) -> Shadow:
    """Return the shadow after merging `state` into `current`; a null state removes everything."""
    merged = Shadow({}, {}, version + 1)
    if state is None:
        return merged
    for name in SECTIONS:
        tree, stamps = {}, {}
        if current is not None:
            tree, stamps = current.state.get(name, {}), current.metadata.get(name, {})
        if name in state:
            patch = state[name]
            tree, stamps = ({}, {}) if patch is None else _merge(tree, stamps, patch, stamp)
        if tree:
            merged.state[name], merged.metadata[name] = tree, stamps
    return merged


def _merge(
    tree: JsonObject, metadata: JsonObject, patch: JsonObject, stamp: JsonObject
) -> tuple[JsonObject, JsonObject]:
    """Merge `patch` into copies of an object and its metadata."""
    tree, metadata = tree.copy(), metadata.copy()
    for key, value in patch.items():
        if value is None:
            tree.pop(key, None)
            metadata.pop(key, None)
        elif type(value) is dict:
            old = tree.get(key)
            if type(old) is dict:
                tree[key], metadata[key] = _merge(old, metadata[key], value, stamp)
            else:
                # Merged, not stored as it is, because it might contain nulls.
                tree[key], metadata[key] = _merge({}, {}, value, stamp)
        else:
            tree[key], metadata[key] = value, _stamped(value, stamp)
    return tree, metadata


def _stamped(value: Any, stamp: JsonObject) -> Any:
    """Return the metadata of a new value: `stamp` in place of each leaf."""
    if type(value) is dict:
        return {key: _stamped(child, stamp) for key, child in value.items()}
    if type(value) is list:
        return [_stamped(child, stamp) for child in value]
    return stamp


def _difference(
    desired: JsonObject, metadata: JsonObject, reported: JsonObject
) -> tuple[JsonObject, JsonObject]:
    """Return the part of `desired`, and of its metadata, that differs from `reported`."""
    delta: JsonObject = {}
    delta_metadata: JsonObject = {}
    for key, wanted in desired.items():
        stamps = metadata[key]
        if key in reported:
            actual = reported[key]
            if type(wanted) is dict and type(actual) is dict:
                wanted, stamps = _difference(wanted, stamps, actual)
                if not wanted:
                    continue
            elif _same(wanted, actual):
                continue
        delta[key], delta_metadata[key] = wanted, stamps
    return delta, delta_metadata


def _same(one: Any, other: Any) -> bool:
    """Return whether two JSON values are equal, as in Python, except that ``true`` is not 1."""
    if one != other:
        return False
    if type(one) is dict:
        return all(_same(value, other[key]) for key, value in one.items())
    if type(one) is list:
        return all(map(_same, one, other))
    return (type(one) is bool) is (type(other) is bool)


def _size(shadow: Shadow) -> int:
    """Return the bytes of the two sections, as the quota counts them."""
    return sum(len(_encode(section).encode()) for section in shadow.state.values())
