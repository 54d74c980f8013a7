"""A `Dispatcher` on a thread of its own, with operations whose results a test sets."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar, cast

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from creeklab.cloud.account import AccountIdentity
from creeklab.cloud.api.dispatcher import Dispatcher
from creeklab.cloud.api.http_api import HttpApi, HttpService
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.sts.operations import StsOperations
from creeklab.cloud.transport.http_server import Request
from creeklab.cloud.transport.websocket import WebSocket

T = TypeVar("T")
KEY = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
ACCOUNT = "123456789012"
USER = f"arn:aws:iam::{ACCOUNT}:user/creeklab"


SERVED = {
    *("create_thing", "describe_thing", "list_things", "list_principal_things"),
    *("list_attached_policies", "attach_policy", "get_policy", "list_audit_tasks"),
    *("register_certificate_without_ca", "publish", "get_thing_shadow", "update_thing_shadow"),
}


class Operations:
    """Returns the result that a test sets, and records the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answer: Any = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in SERVED:
            raise AttributeError(name)

        def operation(**members: Any) -> Any:
            self.calls.append((name, members))
            if isinstance(self.answer, BaseException):
                raise self.answer
            return self.answer(**members) if callable(self.answer) else self.answer

        return operation


class DispatcherFixture:
    """A `Dispatcher` on its own event loop, with fake operations and a clock that can be set."""

    def __init__(self, context: ssl.SSLContext, ca: Path) -> None:
        self.ca = str(ca)
        self.offset = 0.0
        self.operations = Operations()
        self.records: list[dict[str, Any]] = []
        data = HttpService("iot-data", [HttpApi("iot-data", ("iotdata",), self.operations)])
        sts = StsOperations(AccountIdentity(ACCOUNT, "us-east-1", KEY, SECRET))
        self.http_services = {
            "iot": HttpService("iot", [HttpApi("iot", ("iot",), self.operations)]),
            "iotdata": data,
            "iotdevicegateway": data,
            "sts": HttpService("sts", [HttpApi("sts", ("sts",), sts)]),
        }
        self.admin_endpoints = {
            "echo": lambda request: {"you said": request},
            "refuse": self._refuse,
        }
        self.secrets = {KEY: SECRET}
        self.server = Dispatcher(cast(Any, self), clock=lambda: time.time() + self.offset)
        started: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(context, started)))
        self._thread.start()
        self.port = started.result(30)

    async def _serve(self, context: ssl.SSLContext, started: Future[int]) -> None:
        self.loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        started.set_result(await self.server.start(["127.0.0.1"], 0, context))
        await self._stopping.wait()
        await self.server.stop()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(30)

    @staticmethod
    def _refuse(request: dict[str, Any]) -> dict[str, Any]:
        raise ServiceError("ResourceNotFoundException", "Nothing there.")

    # The fixture is also the only account.

    def guess_by_address(self, address: str) -> DispatcherFixture:
        return self

    def record_source(self, access_key: str, address: str) -> None:
        assert (access_key, address) == (KEY, "127.0.0.1")

    def by_access_key(self, access_key: str) -> DispatcherFixture:
        assert access_key == KEY
        return self

    def admin_endpoint(self, name: str, address: str) -> Any:
        assert address == "127.0.0.1"
        return self.admin_endpoints.get(name)

    def record_call(self, **entry: Any) -> None:
        self.records.append(entry)

    async def open_websocket(self, request: Request) -> None:
        opened = WebSocket(request, "mqtt", 100)
        await opened.send(b"welcome")
        await opened.close()

    def client(self, service: str, *, key: str = KEY, secret: str = SECRET) -> Any:
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=f"https://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            verify=self.ca,
            config=Config(retries={"total_max_attempts": 1}),
        )

    def send(self, raw: bytes) -> bytes:
        """Send raw bytes; return everything that is received."""
        context = ssl.create_default_context(cafile=self.ca)
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            secured.sendall(raw)
            received = bytearray()
            while chunk := secured.recv(65536):
                received += chunk
        return bytes(received)

    def request(
        self, method: str, path: str, body: bytes = b"", service: str | None = "iot", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request, signed if it names a service; return status, headers and body."""
        url = f"https://127.0.0.1:{self.port}{path}"
        aws = AWSRequest(method, url, headers, body)
        if service:
            SigV4Auth(Credentials(KEY, SECRET), service, "us-east-1").add_auth(aws)
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in aws.headers.items()]
        lines += [f"Content-Length: {len(body)}", "", ""]
        return parse(self.send("\r\n".join(lines).encode() + body))


def parse(raw: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return int(first.split()[1]), {name.lower(): value for name, _, value in pairs}, body


def assert_typed(status: int, headers: dict[str, str], body: bytes, code: str) -> None:
    assert headers["x-amzn-errortype"] == code
    assert headers["content-type"] == "application/json"
    assert headers["x-amzn-requestid"]
    assert json.loads(body)["message"]
    assert 400 <= status < 500


def make_certificate(folder: Path) -> Path:
    """Create a self-signed certificate for 127.0.0.1, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "local")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    file.write_bytes(
        built.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file
