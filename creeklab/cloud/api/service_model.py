"""Translate HTTP requests into calls of operations, and results into HTTP responses.

botocore has a model of each AWS service: operations with their method and path, and shapes with
their members, the place of each member in the HTTP message, and its valid values. `ServiceModel`
reads such a model and does the inverse of what a client does. Two protocols are enough here:
``rest-json`` (iot, iot-data) and, without maps, ``query`` (sts, iam).

The model is read directly from botocore's data file, because importing ``botocore.loaders`` and
``botocore.model`` takes 0.2 s and 13 MB, and reading all three models 0.01 s and 5 MB.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import botocore

from creeklab.cloud.api.validation import InvalidRequest, Shape, validate
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.transport.http_response import HttpResponse

STATUSES = {
    "AccessDeniedException": 403,
    "IncompleteSignatureException": 403,
    "InternalFailureException": 500,
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    "NotImplementedException": 501,
    "RequestEntityTooLargeException": 413,
    "UnknownOperationException": 404,
    "UnrecognizedClientException": 403,
}
"""HTTP statuses of the errors that any service can return and no model lists."""

MAX_FORM_DEPTH = 20
"""Levels of a form field's name; no shape is deeper."""

QUERY_CODES = {
    "IncompleteSignatureException": "IncompleteSignature",
    "InternalFailureException": "InternalFailure",
    "InvalidRequestException": "ValidationError",
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "MissingAuthenticationTokenException": "MissingAuthenticationToken",
    "UnknownOperationException": "InvalidAction",
    "UnrecognizedClientException": "InvalidClientTokenId",
}
"""Names of these errors in services of the query protocol."""

PATHS_WITH_SLASHES = {"/topics/{topic}": "/topics/{topic+}"}
"""Paths whose label also takes unencoded slashes, as in the developer guide's HTTPS example."""


@dataclass(frozen=True, slots=True)
class _Route:
    """Method and path of an operation; the path is split at its slashes."""

    operation: str
    method: str
    segments: list[str]

    def labels(self, segments: list[str]) -> dict[str, str] | None:
        """Return the label texts of a path's segments; None if the path does not match."""
        if self.segments[-1].endswith("+}"):  # greedy: takes the rest, including slashes
            last = len(self.segments) - 1
            segments = [*segments[:last], "/".join(segments[last:])]
        if len(segments) != len(self.segments):
            return None
        labels = {}
        for pattern, segment in zip(self.segments, segments, strict=True):
            if pattern.startswith("{") and segment:
                labels[pattern.strip("{+}")] = segment
            elif pattern != segment:
                return None
        return labels


VALIDATION_ERRORS = (
    "InvalidRequestException",
    "ValidationException",
    "InvalidParameterValueException",
)
"""Names of the error of an invalid request: an operation has one of them in its model."""


class ServiceModel:
    """One AWS service, according to botocore's newest model of it.

    Parameters
    ----------
    name
        botocore's name of the service, such as ``"iot-data"``.

    Attributes
    ----------
    full_name
        Its full name, such as ``"AWS IoT Data Plane"``.
    operations, shapes
        The operations and shapes of the model by name.
    """

    def __init__(self, name: str) -> None:
        model = _load_model(name)
        self.name = name
        self.full_name: str = model["metadata"]["serviceFullName"]
        self.operations: Mapping[str, Shape] = model["operations"]
        self.shapes: Mapping[str, Shape] = model["shapes"]
        self._version: str = model["metadata"]["apiVersion"]
        self._is_query: bool = model["metadata"]["protocol"] == "query"
        self._namespace: str = model["metadata"].get("xmlNamespace", "")
        self._routes = []
        for operation_name, operation in self.operations.items():
            path = operation["http"]["requestUri"]
            segments = PATHS_WITH_SLASHES.get(path, path).split("/")
            self._routes.append(_Route(operation_name, operation["http"]["method"], segments))

    # Requests

    def route(self, method: str, path: str, body: bytes) -> tuple[str, dict[str, str]]:
        """Return the operation of a request, and its labels.

        Labels are the variable segments of the path or, in the protocol ``query``, the form. The
        path is still percent-encoded.

        Raises
        ------
        ServiceError
            ``UnknownOperationException``, or ``MethodNotAllowedException`` for the path of another
            operation if the service has that exception.
        """
        return self._route_form(body) if self._is_query else self._route_path(method, path)

    def parse_request(
        self,
        operation: str,
        labels: Mapping[str, str],
        query: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> dict[str, Any]:
        """Return the members of a request; `route` returned its operation and labels.

        Strings are `str`, blobs `bytes`, timestamps seconds since the epoch (`float`). A member
        that is sent as encoded JSON in a header is its JSON text. Members that are missing or null
        are absent.

        Parameters
        ----------
        query, headers
            The query string, still percent-encoded, and the headers by lower-case name.

        Raises
        ------
        ServiceError
            ``InvalidRequestException``, or ``ValidationException`` if the operation has that, with
            all violations.
        """
        name = self.operations[operation]["input"]["shape"]
        try:
            if self._is_query:
                raw = self._from_form(name, _form_tree(labels), "")
            else:
                raw = self._collect(self.shapes[name], labels, query, headers, body)
            return validate(self.shapes, name, raw)
        except InvalidRequest as error:
            raise ServiceError(self._validation_code(operation), str(error)) from None

    def _validation_code(self, operation: str) -> str:
        """Return the name of a validation error, which differs in newer operations."""
        errors = {error["shape"] for error in self.operations[operation].get("errors", ())}
        return next((code for code in VALIDATION_ERRORS if code in errors), VALIDATION_ERRORS[0])

    def _route_path(self, method: str, path: str) -> tuple[str, dict[str, str]]:
        segments = path.split("/")
        code = "UnknownOperationException"
        for route in self._routes:
            labels = route.labels(segments)
            if labels is not None:
                if route.method == method:
                    return route.operation, labels
                if "MethodNotAllowedException" in self.shapes:
                    code = "MethodNotAllowedException"
        raise ServiceError(
            code,
            f"{self.full_name} has no operation with this method and path. Check the spelling, and "
            "percent-encode every name in the path.",
        )

    def _route_form(self, body: bytes) -> tuple[str, dict[str, str]]:
        try:
            form = dict(parse_qsl(body.decode(), keep_blank_values=True, errors="strict"))
        except ValueError:
            form = {}
        operation = form.get("Action", "")
        if operation not in self.operations:
            raise ServiceError(
                "UnknownOperationException",
                f"Could not find operation {operation} for version {self._version}",
            )
        return operation, form

    def _collect(
        self,
        shape: Shape,
        labels: Mapping[str, str],
        query: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> dict[str, Any]:
        """Collect the members of a request from their places, as JSON would have them."""
        payload = shape.get("payload")
        in_body = not payload and any("location" not in ref for ref in shape["members"].values())
        document = _json_object(body) if in_body else {}
        try:
            parameters = dict(parse_qsl(query, keep_blank_values=True, errors="strict"))
            paths = {name: unquote(text, errors="strict") for name, text in labels.items()}
        except UnicodeDecodeError:
            raise InvalidRequest("Path and query must be percent-encoded UTF-8.") from None
        raw: dict[str, Any] = {}
        for member, ref in shape["members"].items():
            name = ref.get("locationName", member)
            if member == payload:
                if self.shapes[ref["shape"]]["type"] == "structure":
                    raw[member] = _json_object(body) if body else None
                else:
                    raw[member] = body if body or member in shape.get("required", ()) else None
                continue
            match ref.get("location"):
                case "uri":
                    text = paths.get(name)
                case "querystring":
                    text = parameters.get(name)
                case "header":
                    text = headers.get(name.lower())
                case _:
                    raw[member] = document.get(name)
                    continue
            if text is not None and ref.get("jsonvalue"):
                text = _json_text(text, member)
            raw[member] = text if text is None else self._from_text(ref["shape"], text, member)
        return raw

    def _from_form(self, name: str, node: _FormNode, path: str) -> Any:
        """Convert a part of a form to the JSON value of a shape."""
        shape = self.shapes[name]
        match shape["type"]:
            case "structure":
                return {
                    member: self._from_form(ref["shape"], node.parts[member], member)
                    for member, ref in shape["members"].items()
                    if member in node.parts
                }
            case "list":
                items = node.parts.get("member", _FormNode()).parts
                element = shape["member"]["shape"]
                by_number = sorted(items, key=lambda number: (len(number), number))
                return [self._from_form(element, items[n], f"{path}.{n}") for n in by_number]
        return self._from_text(name, node.text, path)

    def _from_text(self, name: str, text: str, path: str) -> Any:
        """Convert the text of a path label, query parameter or header to its JSON value."""
        kind = self.shapes[name]["type"]
        if kind in ("integer", "long") and re.fullmatch("-?[0-9]{1,19}", text):
            return int(text)
        if kind == "boolean" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind == "timestamp":
            try:
                moment = datetime.fromisoformat(text)
                return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
            except (ValueError, OverflowError):
                raise InvalidRequest(f"'{path}' must be a time in ISO 8601 format.") from None
        return text

    # Responses

    def serialize(
        self, operation: str, result: Mapping[str, Any] | None, request_id: str
    ) -> HttpResponse:
        """Return the response with the result of an operation: the members of its output.

        Timestamps are seconds since the epoch or `datetime`, blobs `bytes`; members that are None
        are omitted. The result of an operation without output in the model is written as it is.

        Raises
        ------
        ValueError
            If the operation does not have an output member of this name.
        """
        output = self.operations[operation].get("output")
        if self._is_query:
            return self._xml_response(operation, output, result or {}, request_id)
        status = self.operations[operation]["http"].get("responseCode", 200)
        if output is None and not result:
            return HttpResponse(status, {"x-amzn-RequestId": request_id}, b"")
        if output is None:
            # Publish returns more than its model says (seen in responses of AWS IoT).
            body = {**(result or {}), "traceId": request_id}
            return json_response(200, json.dumps(body).encode(), request_id)
        members = self._output(output["shape"], result or {})
        shape = self.shapes[output["shape"]]
        headers: dict[str, str] = {}
        for member, ref in shape["members"].items():
            if ref.get("location") == "statusCode":
                status = members.pop(member, status)
            elif ref.get("location") == "header" and member in members:
                headers[ref["locationName"]] = str(members.pop(member))
        if "payload" in shape:
            text = members.get(shape["payload"], b"")
        elif status == 204:
            text = b""
        else:
            if "traceId" in shape["members"]:
                members.setdefault("traceId", request_id)
            text = json.dumps(members).encode()
        response = json_response(status, text, request_id)
        return replace(response, headers={**response.headers, **headers})

    def _xml_response(
        self, operation: str, output: Shape | None, result: Mapping[str, Any], request_id: str
    ) -> HttpResponse:
        inner = f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        if output is not None:
            wrapper = output["resultWrapper"]
            inner = f"<{wrapper}>{self._xml(output['shape'], result)}</{wrapper}>{inner}"
        return xml_response(200, operation + "Response", inner, request_id, self._namespace)

    def serialize_error(self, error: ServiceError, request_id: str) -> HttpResponse:
        """Return an error response; its status comes from the model, else `STATUSES`, else 400."""
        shape = self.shapes.get(error.code, {})
        status = shape.get("error", {}).get("httpStatusCode") or STATUSES.get(error.code, 400)
        if not self._is_query:
            return json_error(error, request_id, status)
        code = shape.get("error", {}).get("code") or QUERY_CODES.get(error.code, error.code)
        return xml_error(code, error.message, status, request_id, self._namespace)

    def _output(self, name: str, value: Any) -> Any:
        """Convert a result of shape `name` for `json.dumps`, but leave payload blobs as bytes."""
        shape = self.shapes[name]
        match shape["type"]:
            case "structure":
                self._check_known(name, value)
                return {
                    member: item
                    if member == shape.get("payload")
                    else self._output(shape["members"][member]["shape"], item)
                    for member, item in value.items()
                    if item is not None
                }
            case "list":
                return [self._output(shape["member"]["shape"], item) for item in value]
            case "map":
                element = shape["value"]["shape"]
                return {key: self._output(element, item) for key, item in value.items()}
            case "timestamp" if isinstance(value, datetime):
                return value.timestamp()
            case "blob":
                return base64.b64encode(value).decode()
        return value

    def _xml(self, name: str, value: Any) -> str:
        """Return a value as XML: text, or the elements of a structure or list."""
        shape = self.shapes[name]
        match shape["type"]:
            case "list":
                element = shape["member"]["shape"]
                return "".join(f"<member>{self._xml(element, item)}</member>" for item in value)
            case "timestamp":
                moment = (
                    value if isinstance(value, datetime) else datetime.fromtimestamp(value, UTC)
                )
                return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
            case "boolean":
                return str(value).lower()
            case "structure":
                self._check_known(name, value)
            case _:
                return _xml_text(str(value))
        return "".join(
            f"<{member}>{self._xml(shape['members'][member]['shape'], item)}</{member}>"
            for member, item in value.items()
            if item is not None
        )

    def _check_known(self, name: str, value: Mapping[str, Any]) -> None:
        if unknown := value.keys() - self.shapes[name]["members"].keys():
            raise ValueError(f"{name} of {self.name} has no member {sorted(unknown)}.")


@dataclass(slots=True)
class _FormNode:
    """The fields of a form below a name: ``Tags.member.1.Key`` is four levels deep."""

    text: str = ""
    parts: dict[str, _FormNode] = field(default_factory=dict)


def _form_tree(form: Mapping[str, str]) -> _FormNode:
    root = _FormNode()
    for name, text in form.items():
        node = root
        for part in name.split(".", MAX_FORM_DEPTH):
            node = node.parts.setdefault(part, _FormNode())
        node.text = text
    return root


def json_response(status: int, body: bytes, request_id: str) -> HttpResponse:
    """Return a response with a JSON body."""
    headers = {"x-amzn-RequestId": request_id, "Content-Type": "application/json"}
    return HttpResponse(status, headers, body)


def json_error(error: ServiceError, request_id: str, status: int | None = None) -> HttpResponse:
    """Return an error response of the protocol ``rest-json``."""
    body = json.dumps({"message": error.message, **error.members}).encode()
    response = json_response(status or STATUSES.get(error.code, 400), body, request_id)
    return replace(response, headers={**response.headers, "x-amzn-ErrorType": error.code})


def xml_response(
    status: int, root: str, inner: str, request_id: str, namespace: str
) -> HttpResponse:
    """Return a response with an XML body: the element `root` with the content `inner`."""
    headers = {"x-amzn-RequestId": request_id, "Content-Type": "text/xml"}
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{namespace}">{inner}</{root}>'
    return HttpResponse(status, headers, body.encode())


def xml_error(
    code: str, message: str, status: int, request_id: str, namespace: str
) -> HttpResponse:
    """Return an error response of the protocol ``query``."""
    fault = "Sender" if status < 500 else "Receiver"
    inner = (
        f"<Error><Type>{fault}</Type><Code>{_xml_text(code)}</Code>"
        f"<Message>{_xml_text(message)}</Message></Error><RequestId>{request_id}</RequestId>"
    )
    return xml_response(status, "ErrorResponse", inner, request_id, namespace)


def _xml_text(text: str) -> str:
    """Escape `text`, and replace the characters that XML 1.0 does not allow."""
    return html.escape(
        re.sub("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text), quote=False
    )


def _load_model(name: str) -> Any:
    """Load botocore's newest model of a service."""
    newest = max(Path(botocore.__file__).parent.glob(f"data/{name}/*/service-2.json.gz"))
    return json.loads(gzip.decompress(newest.read_bytes()))


def _json_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON body; an empty one is an empty object."""
    try:
        document = json.loads(body or b"{}")
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
    except ValueError as error:
        raise InvalidRequest(f"The body is not JSON: {error}.") from None
    if not isinstance(document, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return document


def _json_text(text: str, path: str) -> str:
    """Return the JSON text of a header that contains base64-encoded JSON.

    boto3 encodes its argument as JSON. If the argument is already JSON text, it sends that text as
    a JSON string. Both result in the same text here.
    """
    try:
        decoded = base64.b64decode(text, validate=True).decode()
        value = json.loads(decoded)
    except (ValueError, RecursionError):
        raise InvalidRequest(f"'{path}' must be base64-encoded JSON.") from None
    return value if isinstance(value, str) else decoded
