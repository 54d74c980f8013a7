"""The HTTPS port of the local cloud, which serves all its services.

Every request takes the same path: read the stated caller, which also names the service; verify the
signature; let the service's model translate the request into a call of an operation; run it; write
the response. A request without a signature can come from a device: then its certificate counts, and
its policies decide which operations of ``iot-data`` it can call. Unauthenticated callers learn
nothing, not even whether the path exists. Every response, including an error, has the form that
the caller's client library expects.

There are two paths that are not AWS services: ``/mqtt`` opens a WebSocket, and
``/_creeklab/<endpoint>`` is a JSON call of the admin API, signed like any other call.
"""

from __future__ import annotations

import html
import inspect
import json
import logging
import sqlite3
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from creeklab.cloud.api import device_authorization
from creeklab.cloud.api.http_api import HttpService
from creeklab.cloud.api.service_model import STATUSES, json_error, json_response, xml_error
from creeklab.cloud.authorization import ConnectionAuthorization
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.security import sigv4
from creeklab.cloud.security.ca import certificate_id
from creeklab.cloud.transport.http_response import HttpResponse
from creeklab.cloud.transport.http_server import HttpServer, Request, Unreadable

logger = logging.getLogger(__name__)

INTERNAL_FAILURE = "The local cloud failed with an internal error. See its log for details."
UNAUTHENTICATED_MESSAGE = (
    "Missing Authentication Token: a request was not signed with the account's access key and came "
    "without the certificate of a Thing. Use boto3 with the account's credentials, or give the "
    "client a certificate and its private key."
)
MQTT_ON_HTTPS_MESSAGE = (
    "This is MQTT, on the HTTPS port. Connect to the MQTT port, which `creeklab cloud status` "
    "shows, or give the client the ALPN protocol x-amzn-mqtt-ca."
)
STORAGE_MESSAGE = (
    "The local cloud could not use its database ({error}), and nothing was changed. Free disk "
    "space, and stop other programs that have the database open."
)
ADMIN_SERVICE = "creeklab"
DATA_SERVICE = "iotdata"
ADMIN_PATH = "/_creeklab/"
MQTT_PATH = "/mqtt"
MQTT_SERVICES = ("iotdevicegateway", DATA_SERVICE)

AdminEndpoint = Callable[[dict[str, Any]], dict[str, Any]]
ErrorSerializer = Callable[[ServiceError, str], HttpResponse]


class AccountBackend(Protocol):
    """An account, as the dispatcher needs it."""

    @property
    def http_services(self) -> Mapping[str, HttpService]:
        """AWS services, by the name that a request is signed for (``"iot"``, ``"iotdata"``)."""

    def admin_endpoint(self, name: str, address: str) -> AdminEndpoint | None:
        """Return an endpoint of ``POST /_creeklab/<name>`` for a caller at an IP address.

        Its request and response are JSON objects, and the request is signed for ``creeklab``.
        """

    def record_call(self, **call: Any) -> None:
        """Record a request: its service, operation, status, error and duration in seconds.

        The request of a device also has ``principal`` and ``source_ip``, and a refusal of a device
        or an unauthenticated caller has ``refusal`` with its explanation.
        """

    async def open_websocket(self, request: Request) -> None:
        """Serve a signed request for ``/mqtt``; raise `ServiceError` to refuse it."""

    def device_authorization(self, certificate_id: str, source_ip: str) -> ConnectionAuthorization:
        """Return what the policies of a certificate allow."""


class AccountDirectory(Protocol):
    """The accounts of the cloud, as the dispatcher needs them."""

    @property
    def secrets(self) -> Mapping[str, str]:
        """Secret access keys by access key ID."""

    def by_access_key(self, access_key: str) -> AccountBackend:
        """Return the account of an access key."""

    def by_certificate(self, certificate_id: str, address: str) -> AccountBackend:
        """Return the account that has a certificate, otherwise that of `guess_by_address`."""

    def guess_by_address(self, address: str) -> AccountBackend:
        """Return the account that logs unauthenticated requests from an IP address."""

    def record_source(self, access_key: str, address: str) -> None:
        """Record that a request signed with this access key came from an address."""


@dataclass(slots=True)
class _Call:
    """What is known about a request so far, for its response and the event log."""

    request_id: str
    account: AccountBackend
    address: str
    service: str | None = None
    operation: str | None = None
    error: str | None = None
    serialize_error: ErrorSerializer = json_error
    explained: bool = False
    details: dict[str, Any] = field(default_factory=dict)


class Dispatcher:
    """Serves the operations of several services, for several accounts, on one port."""

    def __init__(
        self, accounts: AccountDirectory, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._accounts = accounts
        self._clock = clock
        http = HttpServer(self._handle, _internal_failure, self._on_unreadable)
        self.start, self.stop = http.start, http.stop

    async def _handle(self, request: Request) -> HttpResponse | None:
        started = time.perf_counter()
        account = self._accounts.guess_by_address(request.remote)
        call = _Call(str(uuid.uuid4()), account, request.remote)
        try:
            response = await self._respond(request, call)
        except ServiceError as error:
            call.error = error.code
            if call.explained and "denial" not in call.details:
                call.details.setdefault("refusal", {"summary": error.message})
            elif "refusal" not in call.details:
                call.details["message"] = error.message
            response = call.serialize_error(error, call.request_id)
        except sqlite3.Error as error:
            logger.error("%s %s: %s", call.service, call.operation, error)
            call.error = "InternalFailureException"
            message = STORAGE_MESSAGE.format(error=error)
            response = call.serialize_error(ServiceError(call.error, message), call.request_id)
        except Exception:
            logger.exception("%s %s failed", call.service, call.operation)
            call.error = "InternalFailureException"
            internal = ServiceError(call.error, INTERNAL_FAILURE)
            response = call.serialize_error(internal, call.request_id)
        if response is None:
            return None
        call.account.record_call(
            service=call.service,
            operation=call.operation,
            status=response.status,
            error=call.error,
            duration=time.perf_counter() - started,
            **call.details,
        )
        return response

    def _on_unreadable(self, sent: Unreadable) -> HttpResponse:
        """Return the response to bytes that are not HTTP; log MQTT, whose client cannot read it."""
        error = ServiceError("InvalidRequestException", "The HTTP request cannot be parsed.")
        if sent.data[:1] == b"\x10" and sent.data[2:16].lstrip(b"\x00\x04\x06").startswith(b"MQ"):
            error = ServiceError(error.code, MQTT_ON_HTTPS_MESSAGE)
            principal = "" if sent.certificate is None else certificate_id(sent.certificate)
            self._accounts.by_certificate(principal, sent.remote).record_call(
                service=None,
                operation=None,
                status=400,
                error=error.code,
                duration=0.0,
                principal=principal,
                source_ip=sent.remote,
                refusal={"summary": MQTT_ON_HTTPS_MESSAGE},
            )
        return json_error(error, str(uuid.uuid4()))

    async def _respond(self, request: Request, call: _Call) -> HttpResponse | None:
        """Return the response; None if the request opened a WebSocket, which has closed."""
        path, query, headers = request.path, request.query, request.headers
        call.explained = path == MQTT_PATH
        if not sigv4.is_signed(query, headers):
            certificate = request.certificate
            if certificate is not None:
                return await self._respond_to_device(request, certificate, call)
            call.details["refusal"] = {"summary": UNAUTHENTICATED_MESSAGE}
        claimed = sigv4.parse_caller(query, headers)
        call.service = claimed.service
        services = call.account.http_services
        if claimed.service in services:
            call.serialize_error = services[claimed.service].model.serialize_error
        elif claimed.service != ADMIN_SERVICE:
            call.serialize_error = _error_serializer_for(claimed.service, headers)
            served = ", ".join(sorted({service.model.name for service in services.values()}))
            raise ServiceError(
                "NotImplementedException",
                f"The service '{claimed.service}' is not available in this local cloud, which "
                f"serves only {served}. Use it on AWS.",
                __type="NotImplementedException",  # the protocol json has the code here
            )
        body = await request.body()
        caller = sigv4.verify(
            self._accounts.secrets,
            method=request.method,
            path=path,
            query=query,
            headers=headers,
            body=body,
            now=self._clock(),
        )
        account = call.account = self._accounts.by_access_key(caller.access_key)
        self._accounts.record_source(caller.access_key, call.address)
        if path == MQTT_PATH and caller.service in MQTT_SERVICES:
            await account.open_websocket(request)
            return None
        if caller.service == ADMIN_SERVICE:
            return self._respond_to_admin(request.method, path, body, call)
        if caller.service not in account.http_services:
            raise ServiceError(
                "AccessDeniedException",
                "A join key can only be used to join a workshop. Run creeklab cloud join FILE "
                "--name NAME, and use the account that you receive.",
            )
        service = account.http_services[caller.service]
        method, members = _find_operation(service, request, body, call)
        return await _run(service, method, members, call)

    async def _respond_to_device(
        self, request: Request, certificate: bytes, call: _Call
    ) -> HttpResponse:
        """Return the response to a client with a certificate and without a signature."""
        principal, source_ip = certificate_id(certificate), call.address
        account = call.account = self._accounts.by_certificate(principal, source_ip)
        call.service, call.explained = DATA_SERVICE, True
        call.details = {"principal": principal, "source_ip": source_ip}
        service = account.http_services[DATA_SERVICE]
        call.serialize_error = lambda error, request_id: service.model.serialize_error(
            ServiceError(error.code, error.message, **error.members, traceId=request_id), request_id
        )
        access = account.device_authorization(principal, source_ip)
        _refuse_if(device_authorization.check_certificate_status(access), call)
        device_authorization.check_available(request.path)
        body = await request.body()
        method, members = _find_operation(service, request, body, call)
        operation = str(call.operation)
        actions = service.device_actions(operation, members)
        _refuse_if(device_authorization.check_policy(access, operation, actions), call)
        return await _run(service, method, members, call)

    def _respond_to_admin(self, method: str, path: str, body: bytes, call: _Call) -> HttpResponse:
        """Call an endpoint of the admin API."""
        name = path.removeprefix(ADMIN_PATH)
        endpoint = call.account.admin_endpoint(name, call.address)
        if method != "POST" or not path.startswith(ADMIN_PATH) or endpoint is None:
            raise ServiceError("UnknownOperationException", f"There is no admin endpoint '{name}'.")
        call.operation = name
        try:
            request = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            raise ServiceError("InvalidRequestException", "The body must be a JSON object.")
        response = json.dumps(endpoint(request)).encode()
        return json_response(200, response, call.request_id)


def _find_operation(
    service: HttpService, request: Request, body: bytes, call: _Call
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the method of the requested operation, and its arguments."""
    call.operation, labels = service.model.route(request.method, request.path, body)
    return service.method(call.operation), service.model.parse_request(
        call.operation, labels, request.query, request.headers, body
    )


async def _run(
    service: HttpService, method: Callable[..., Any], members: Mapping[str, Any], call: _Call
) -> HttpResponse:
    result = method(**members)
    if inspect.isawaitable(result):
        result = await result
    return service.model.serialize(str(call.operation), result, call.request_id)


def _refuse_if(details: device_authorization.RefusalDetails | None, call: _Call) -> None:
    """Refuse a device if there are details, which only the event log learns, as on AWS."""
    if details is not None:
        call.details |= details
        raise ServiceError("ForbiddenException", "Forbidden")


def _error_serializer_for(service: str, headers: Mapping[str, str]) -> ErrorSerializer:
    """Return the error serializer that boto3's client of an unknown service understands."""

    def serialize(error: ServiceError, request_id: str) -> HttpResponse:
        status = STATUSES[error.code]
        if service == "s3":
            message = html.escape(error.message, quote=False)
            text = f"<Code>{error.code}</Code><Message>{message}</Message>"
            headers = {"x-amzn-RequestId": request_id, "Content-Type": "application/xml"}
            return HttpResponse(status, headers, f"<Error>{text}</Error>".encode())
        if is_form:
            return xml_error(error.code, error.message, status, request_id, "")
        return json_error(error, request_id)

    is_form = headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    return serialize


def _internal_failure() -> HttpResponse:
    """Return the response to a request that failed outside its service."""
    error = ServiceError("InternalFailureException", INTERNAL_FAILURE)
    return json_error(error, str(uuid.uuid4()))
