"""The HTTPS port of the local cloud: one way in for all its services.

A request goes the same way whatever it asks for: read who claims to have signed it, which also
names the service; check the signature; let the service's model turn it into a call of an operation;
run that; write the answer. A request that isn't signed may come from a device: then it is its
certificate that counts, and what its policies allow of ``iot-data``. Nothing is said to who is
neither, not even whether the path exists. Every answer, a refusal too, has the form that the
caller's client library reads.

Besides AWS's services there are two doors: ``/mqtt`` hands a WebSocket on, and
``/_creeklab/<verb>`` is a plain JSON call of this cloud's own, signed like any other.
"""

from __future__ import annotations

import html
import inspect
import json
import logging
import sqlite3
import ssl
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
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
from creeklab.cloud.transport.http_server import HttpServer, Request

logger = logging.getLogger(__name__)

INTERNAL_FAILURE = "The local cloud failed here; its log says where."
UNAUTHENTICATED_MESSAGE = (
    "Missing Authentication Token: a request was neither signed with the account's access key nor "
    "did a Thing's certificate come with it. Use boto3 with the account's credentials, or give "
    "the client a certificate and its private key."
)
STORAGE_MESSAGE = (
    "The local cloud could not use its database ({error}), and nothing was changed. Free space on "
    "the disk, and end other programs that have the database open."
)
ADMIN_SERVICE = "creeklab"
DATA_SERVICE = "iotdata"
ADMIN_PATH = "/_creeklab/"
MQTT_PATH = "/mqtt"
MQTT_SERVICES = ("iotdevicegateway", DATA_SERVICE)

AdminEndpoint = Callable[[dict[str, Any]], dict[str, Any]]
ErrorSerializer = Callable[[ServiceError, str], HttpResponse]


class AccountBackend(Protocol):
    """What an account has behind the doors."""

    @property
    def services(self) -> Mapping[str, HttpService]:
        """AWS services, by the name that a request is signed for (``"iot"``, ``"iotdata"``)."""

    @property
    def admin_endpoints(self) -> Mapping[str, AdminEndpoint]:
        """The verbs of ``POST /_creeklab/<verb>``: JSON object in, JSON object out.

        They are signed for the service ``creeklab``.
        """

    def record_call(self, **call: Any) -> None:
        """Take note of a request, once for each.

        Parameters
        ----------
        **call
            ``service``, ``operation``, ``status``, ``error`` (None if it went well) and
            ``duration`` in seconds; of a device's request also ``principal`` and ``source_ip``;
            ``refusal``, with its explanation, if it was a device that was refused, or nobody.
        """

    async def open_websocket(self, request: Request) -> None:
        """Take over a request for ``/mqtt`` that was signed; refuses with `ServiceError`."""

    def device_authorization(self, certificate_id: str, source_ip: str) -> ConnectionAuthorization:
        """Return the rights of a certificate."""


class AccountDirectory(Protocol):
    """Whose doors these are."""

    @property
    def secrets(self) -> Mapping[str, str]:
        """Secret access keys by access key id."""

    def by_access_key(self, access_key: str) -> AccountBackend:
        """Return the account that has this access key."""

    def by_certificate(self, certificate_id: str, address: str) -> AccountBackend:
        """Return the account that has this certificate, else that of `of_address`."""

    def guess_by_address(self, address: str) -> AccountBackend:
        """Return the account that is told of nobody's requests from an IP address."""

    def record_source(self, access_key: str, address: str) -> None:
        """Take note that a request signed with this access key came from an address."""


@dataclass(slots=True)
class _Call:
    """What is known of a request so far: for its answer, and for the record."""

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
    """Serves the operations of several services, for several accounts, on one port.

    Parameters
    ----------
    clock
        Gives seconds since the epoch.
    """

    def __init__(
        self, accounts: AccountDirectory, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._accounts = accounts
        self._clock = clock
        self._http = HttpServer(self._handle, _unreadable_request)

    async def start(
        self, hosts: Sequence[str], port: int, ssl_context: ssl.SSLContext | None
    ) -> int:
        """Listen on `port` of every host, on a free port if it is 0; return the port.

        Raises
        ------
        OSError
            If the port is taken.
        """
        return await self._http.start(hosts, port, ssl_context)

    async def stop(self) -> None:
        """Stop listening, let requests under way finish, close every connection."""
        await self._http.stop()

    async def _handle(self, request: Request) -> HttpResponse | None:
        began = time.perf_counter()
        account = self._accounts.guess_by_address(request.remote)
        call = _Call(str(uuid.uuid4()), account, request.remote)
        try:
            answer = await self._answer(request, call)
        except ServiceError as error:
            call.error = error.code
            if call.explained:
                call.details.setdefault("refusal", {"summary": error.message})
            answer = call.serialize_error(error, call.request_id)
        except sqlite3.Error as error:
            logger.error("%s %s: %s", call.service, call.operation, error)
            call.error = "InternalFailureException"
            message = STORAGE_MESSAGE.format(error=error)
            answer = call.serialize_error(ServiceError(call.error, message), call.request_id)
        except Exception:
            logger.exception("%s %s failed", call.service, call.operation)
            call.error = "InternalFailureException"
            answer = call.serialize_error(
                ServiceError(call.error, INTERNAL_FAILURE), call.request_id
            )
        if answer is None:
            return None
        call.account.record_call(
            service=call.service,
            operation=call.operation,
            status=answer.status,
            error=call.error,
            duration=time.perf_counter() - began,
            **call.details,
        )
        return answer

    async def _answer(self, request: Request, call: _Call) -> HttpResponse | None:
        """Answer a request; None if it opened a WebSocket, which is over."""
        path, query, headers = request.path, request.query, request.headers
        call.explained = path == MQTT_PATH
        if not sigv4.is_signed(query, headers):
            certificate = request.certificate
            if certificate is not None:
                return await self._answer_device(request, certificate, call)
            call.details["refusal"] = {"summary": UNAUTHENTICATED_MESSAGE}
        claimed = sigv4.parse_caller(query, headers)
        call.service = claimed.service
        services = call.account.services
        if claimed.service in services:
            call.serialize_error = services[claimed.service].model.serialize_error
        elif claimed.service != ADMIN_SERVICE:
            call.serialize_error = _error_serializer_for(claimed.service, headers)
            served = ", ".join(sorted({service.model.name for service in services.values()}))
            raise ServiceError(
                "NotImplementedException",
                f"This local cloud has no service '{claimed.service}', only {served}. "
                "AWS itself has it.",
                __type="NotImplementedException",  # where the protocol json has the code
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
            return self._answer_admin(request.method, path, body, call)
        if caller.service not in account.services:
            raise ServiceError(
                "AccessDeniedException",
                "A join key opens the way into a workshop and nothing else. Join with creeklab "
                "cloud join FILE --name NAME, and use the account that you get.",
            )
        service = account.services[caller.service]
        call.operation, labels = service.model.route(request.method, path, body)
        method = service.method(call.operation)
        members = service.model.parse_request(call.operation, labels, query, headers, body)
        return await _run(service, method, members, call)

    async def _answer_device(
        self, request: Request, certificate: bytes, call: _Call
    ) -> HttpResponse:
        """Answer who has shown a certificate, and signed nothing."""
        principal, source_ip = certificate_id(certificate), call.address
        account = call.account = self._accounts.by_certificate(principal, source_ip)
        call.service, call.explained = DATA_SERVICE, True
        call.details = {"principal": principal, "source_ip": source_ip}
        service = account.services[DATA_SERVICE]
        call.serialize_error = lambda error, request_id: service.model.serialize_error(
            ServiceError(error.code, error.message, **error.members, traceId=request_id), request_id
        )
        access = account.device_authorization(principal, source_ip)
        _refuse_if(device_authorization.check_certificate_status(access), call)
        body = await request.body()
        call.operation, labels = service.model.route(request.method, request.path, body)
        method = service.method(call.operation)
        members = service.model.parse_request(
            call.operation, labels, request.query, request.headers, body
        )
        actions = service.device_actions(call.operation, members)
        _refuse_if(device_authorization.check_policy(access, call.operation, actions), call)
        return await _run(service, method, members, call)

    def _answer_admin(self, method: str, path: str, body: bytes, call: _Call) -> HttpResponse:
        """Call a verb of this cloud's own door."""
        verb = path.removeprefix(ADMIN_PATH)
        if (
            method != "POST"
            or not path.startswith(ADMIN_PATH)
            or verb not in call.account.admin_endpoints
        ):
            raise ServiceError("UnknownOperationException", "There is no such verb.")
        call.operation = verb
        try:
            request = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            raise ServiceError("InvalidRequestException", "The body must be a JSON object.")
        answer = json.dumps(call.account.admin_endpoints[verb](request)).encode()
        return json_response(200, answer, call.request_id)


async def _run(
    service: HttpService, method: Callable[..., Any], members: Mapping[str, Any], call: _Call
) -> HttpResponse:
    result = method(**members)
    if inspect.isawaitable(result):
        result = await result
    return service.model.serialize(str(call.operation), result, call.request_id)


def _refuse_if(told: device_authorization.RefusalDetails | None, call: _Call) -> None:
    """Refuse a device for a reason that only the tape is told, as AWS does it."""
    if told is not None:
        call.details |= told
        raise ServiceError("ForbiddenException", "Forbidden")


def _error_serializer_for(service: str, headers: Mapping[str, str]) -> ErrorSerializer:
    """Return the way to refuse that boto3's client of a service not served here understands."""

    def refuse(error: ServiceError, request_id: str) -> HttpResponse:
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
    return refuse


def _unreadable_request(failed: bool) -> HttpResponse:
    """Refuse what is no request, or say that answering one has failed."""
    if failed:
        error = ServiceError("InternalFailureException", INTERNAL_FAILURE)
    else:
        error = ServiceError("InvalidRequestException", "This is not a readable HTTP request.")
    return json_error(error, str(uuid.uuid4()))
