"""The HTTPS port rejects callers with a wrong signature or certificate, and smuggled requests.

Beside the strangers of `test_unauthenticated`, who show wrong certificates, here are those whose
signature is wrong or old, and those who send what is not quite HTTP.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from http.client import HTTPSConnection
from typing import Any, NamedTuple

import boto3
import pytest
from awscrt import auth as crt_auth
from awscrt import http as crt_http
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from creeklab import Lab
from tests.cloud.test_unauthenticated import (
    HANGUP,
    OWN_NAME,
    SECONDS,
    STRANGERS,
    WELCOME,
    Forger,
    Pair,
    explained,
    heard,
    in_the_handshake,
    last_refusal,
    pair_of,
)
from tests.conftest import NewThing, make_thing


@pytest.fixture(scope="module")
def dressed(session_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair | None]:
    forger = Forger(session_lab, tmp_path_factory.mktemp("forged"))
    return {name: stranger.dress(session_lab, forger) for name, stranger in STRANGERS.items()}


@pytest.fixture(scope="module")
def good(session_lab: Lab) -> NewThing:
    return make_thing(session_lab, OWN_NAME)


# --- signatures -----------------------------------------------------------------------------------


CALLS: dict[str, Callable[[Any], Any]] = {
    "iot": lambda client: client.list_things(),
    "iot-data": lambda client: client.publish(topic="a/b", qos=1, payload=b""),
    "sts": lambda client: client.get_caller_identity(),
}


class Wrong(NamedTuple):
    """Wrong signatures, and the error codes of IoT and STS for each."""

    codes: set[str]
    access_key: str = ""
    secret: str = ""
    minutes: int = 0


BAD_SIGNATURE = {"InvalidSignatureException", "SignatureDoesNotMatch"}
WRONG = {
    "secret": Wrong(BAD_SIGNATURE, secret="x" * 40),
    "access key": Wrong(
        {"UnrecognizedClientException", "InvalidClientTokenId"}, access_key="AKIA" + "X" * 16
    ),
    "date, late": Wrong(BAD_SIGNATURE, minutes=-20),
    "date, early": Wrong(BAD_SIGNATURE, minutes=20),
}


Signed = tuple[str, dict[str, str]]


def _credentials(lab: Lab, wrong: Wrong) -> Credentials:
    own = lab.session.get_credentials()
    assert own is not None
    return Credentials(wrong.access_key or own.access_key, wrong.secret or own.secret_key)


def presigned(
    lab: Lab,
    wrong: Wrong,
    *,
    service: str = "iotdevicegateway",
    path: str = "/mqtt",
    region: str | None = None,
    token: str | None = None,
) -> Signed:
    request = AWSRequest("GET", f"https://{lab.endpoint}:{lab.https_port}{path}")
    credentials = _credentials(lab, wrong)
    credentials.token = token
    SigV4QueryAuth(credentials, service, region or lab.region, expires=60).add_auth(request)
    return request.url.partition(str(lab.https_port))[2], {}


def signed_in_the_header(lab: Lab, wrong: Wrong) -> Signed:
    request = AWSRequest("GET", f"https://{lab.endpoint}:{lab.https_port}/mqtt")
    SigV4Auth(_credentials(lab, wrong), "iotdevicegateway", lab.region).add_auth(request)
    return "/mqtt", dict(request.headers)


def presigned_without_expiry(lab: Lab, wrong: Wrong) -> Signed:
    """Sign as the SDK's builder does it."""
    key = _credentials(lab, wrong)
    config = crt_auth.AwsSigningConfig(
        algorithm=crt_auth.AwsSigningAlgorithm.V4,
        signature_type=crt_auth.AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS,
        credentials_provider=crt_auth.AwsCredentialsProvider.new_static(
            key.access_key, key.secret_key
        ),
        region=lab.region,
        service="iotdevicegateway",
        date=importlib.import_module("botocore.auth").get_current_datetime(remove_tzinfo=False),
    )
    host = crt_http.HttpHeaders([("Host", f"{lab.endpoint}:{lab.https_port}")])
    request = crt_http.HttpRequest("GET", "/mqtt", host)
    crt_auth.aws_sign_request(request, config).result(SECONDS)
    return request.path, {}


SIGNERS: dict[str, Callable[[Lab, Wrong], Signed]] = {
    "URL": presigned,
    "URL without expiry": presigned_without_expiry,
    "header": signed_in_the_header,
}


def upgrade(lab: Lab, path: str, headers: dict[str, str]) -> tuple[int, str]:
    """Request a WebSocket; return the status and the message."""
    context = ssl.create_default_context(cafile=lab.ca_file)
    connection = HTTPSConnection(lab.endpoint, lab.https_port, timeout=SECONDS, context=context)
    with contextlib.closing(connection):
        asked = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Protocol": "mqtt",
        }
        connection.request("GET", path, headers={**asked, **headers})
        answer = connection.getresponse()
        said = "" if answer.status == 101 else answer.read().decode()
    return answer.status, json.loads(said)["message"] if said[:1] == "{" else said


class TestHttps:
    @pytest.mark.parametrize("service", CALLS)
    @pytest.mark.parametrize("wrong", WRONG)
    def test_wrong_signature(
        self, lab: Lab, monkeypatch: pytest.MonkeyPatch, service: str, wrong: str
    ) -> None:
        what = WRONG[wrong]
        own = lab.session.get_credentials()
        assert own is not None
        client = boto3.client(
            service,  # type: ignore[call-overload]
            aws_access_key_id=what.access_key or own.access_key,
            aws_secret_access_key=what.secret or own.secret_key,
            region_name=lab.region,
            endpoint_url=f"https://{lab.endpoint}:{lab.https_port}",
            verify=str(lab.ca_file),
            config=Config(proxies={}, retries={"total_max_attempts": 1}),
        )
        with monkeypatch.context() as patch:
            set_clock(patch, what.minutes)
            with pytest.raises(ClientError) as raised:
                CALLS[service](client)
        assert raised.value.response["Error"]["Code"] in what.codes
        assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        CALLS[service](lab.client(service))

    @pytest.mark.parametrize(
        "path", ["/things", "/things/any/shadow", "/topics/a", "/_creeklab/events", "/", "/nowhere"]
    )
    def test_no_signature(self, lab: Lab, path: str) -> None:
        request = urllib.request.Request(
            f"https://{lab.endpoint}:{lab.https_port}{path}", data=b"{}", method="POST"
        )
        context = ssl.create_default_context(cafile=lab.ca_file)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with pytest.raises(urllib.error.HTTPError) as raised:
            opener.open(request, timeout=SECONDS)
        with raised.value as answer:
            assert answer.code == 403
            assert json.loads(answer.read())["message"] == "Missing Authentication Token"
        lab.client("iot").list_things()


def over_https(lab: Lab, pair: Pair | None, path: str = "/topics/a%2Fb") -> str:
    """Publish with a client certificate; return the result."""
    context = ssl.create_default_context(cafile=lab.ca_file)
    if pair is not None:
        context.load_cert_chain(*pair)
    connection = HTTPSConnection(lab.endpoint, lab.https_port, timeout=SECONDS, context=context)
    with contextlib.closing(connection):
        try:
            connection.request("POST", path, b"x")
            answer = connection.getresponse()
        except (ssl.SSLError, ConnectionError):
            return HANGUP
        said = json.loads(answer.read())
        return WELCOME if answer.status == 200 else f"{answer.status} {said['message']}"


class TestHttpsDevice:
    @pytest.mark.parametrize("stranger", STRANGERS)
    def test_strangers(
        self, lab: Lab, dressed: dict[str, Pair | None], good: NewThing, stranger: str
    ) -> None:
        before = last_refusal(lab)
        outcome = over_https(lab, dressed[stranger])
        refusal = explained(lab, before)
        if stranger == "no certificate":
            assert outcome == "403 Missing Authentication Token"
            assert "without the certificate of a Thing" in refusal.summary
        elif in_the_handshake(stranger):
            assert outcome == HANGUP
            assert STRANGERS[stranger].explanation in refusal.summary
        else:
            # Without a connection there is no client ID, and iot:Connect is not evaluated.
            assert outcome == "403 Forbidden"
            if stranger != "another client ID":
                assert STRANGERS[stranger].explanation in refusal.summary

    def test_a_good_thing_has_no_more_than_its_policy(self, lab: Lab) -> None:
        may = {"Effect": "Allow", "Action": "iot:Publish", "Resource": "ARN:topic/mine"}
        pair = pair_of(make_thing(lab, [may]))
        assert over_https(lab, pair, "/topics/mine") == WELCOME
        with lab.connect_account() as account:
            inbox = account.subscribe("#")
            for path in (
                "/topics/yours",
                "/topics/%79ours",
                "/topics/mine/../yours",
                "/topics/mine%2F..%2Fyours",
                "/topics/mine%2Fyours",
                "/topics/./yours",
                "//topics/yours",
                "/topics//yours",
                "/topics/yours/",
                "/topics/mine%00",
                "/topics/mine%0d%0a",
                "/topics/%ff",
                "/topics/MINE",
                "/topics/mine;yours",
                "/topics/",
                "/topics",
            ):
                assert over_https(lab, pair, path)[0] == "4", path
            assert over_https(lab, pair, "/topics/mine?topic=yours&topic=hers") == WELCOME
            account.publish("last", "")
            inbox.wait_for(2)
            published = [topic for topic in inbox.topics if not topic.startswith("$aws/")]
        assert published == ["mine", "last"]


HEAD = b"Host: localhost\r\n"
SMUGGLED = b"GET /things HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
LAST = SMUGGLED

TRICKS = {
    "dots": b"GET /things/../policies HTTP/1.1\r\n" + HEAD,
    "encoded dots": b"GET /things/%2e%2e/policies HTTP/1.1\r\n" + HEAD,
    "encoded slashes": b"GET /%2F_creeklab%2Ftape HTTP/1.1\r\n" + HEAD,
    "double slashes": b"POST //_creeklab//events HTTP/1.1\r\n" + HEAD,
    "backslashes": b"GET \\things HTTP/1.1\r\n" + HEAD,
    "not UTF-8": b"GET /\xff\xfe HTTP/1.1\r\n" + HEAD,
    "half an escape": b"GET /things/%zz%2 HTTP/1.1\r\n" + HEAD,
    "a null byte": b"GET /things\0 HTTP/1.1\r\n" + HEAD,
    "an absolute target": b"GET https://iot.amazonaws.com/things HTTP/1.1\r\n" + HEAD,
    "a target that is a host": b"CONNECT localhost:8883 HTTP/1.1\r\n" + HEAD,
    "a star": b"OPTIONS * HTTP/1.1\r\n" + HEAD,
    "no target": b"GET  HTTP/1.1\r\n" + HEAD,
    "an endless path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HEAD,
    "no host": b"GET /things HTTP/1.1\r\n",
    "two hosts": b"GET /things HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
    "two authorizations": b"GET /things HTTP/1.1\r\n"
    + HEAD
    + b"Authorization: AWS4-HMAC-SHA256 Credential=a/b/c/iot/aws4_request, SignedHeaders=host, "
    b"Signature=0\r\nAuthorization: Basic YTpi\r\n",
    "an empty authorization": b"GET /things HTTP/1.1\r\n" + HEAD + b"Authorization:\r\n",
    "a large header": b"GET /things HTTP/1.1\r\n" + HEAD + b"X: " + b"x" * 100_000 + b"\r\n",
    "many headers": b"GET /things HTTP/1.1\r\n"
    + HEAD
    + b"".join(b"X-%d: x\r\n" % n for n in range(20_000)),
    "a folded header": b"GET /things HTTP/1.1\r\n" + HEAD + b"X: a\r\n b\r\n",
    "a space before the colon": b"GET /things HTTP/1.1\r\n" + HEAD + b"X : a\r\n",
    "a null byte in a header": b"GET /things HTTP/1.1\r\n" + HEAD + b"X: a\0b\r\n",
    "a new version": b"PRI * HTTP/2.0\r\n",
    "an old version": b"GET /things HTTP/1.0\r\n",
    "length and chunks": b"POST /things/a HTTP/1.1\r\n"
    + HEAD
    + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "two lengths": b"POST /things/a HTTP/1.1\r\n"
    + HEAD
    + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED)
    + SMUGGLED,
    "chunks in disguise": b"POST /things/a HTTP/1.1\r\n"
    + HEAD
    + b"Transfer-Encoding: xchunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "two encodings": b"POST /things/a HTTP/1.1\r\n"
    + HEAD
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "a chunk without a size": b"POST /things/a HTTP/1.1\r\n"
    + HEAD
    + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"
    + SMUGGLED,
    "a chunk of endless size": b"POST /things/a HTTP/1.1\r\n"
    + HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"f" * 100
    + b"\r\n"
    + SMUGGLED,
    "a negative length": b"POST /things/a HTTP/1.1\r\n" + HEAD + b"Content-Length: -1\r\n",
    "a length with a sign": b"POST /things/a HTTP/1.1\r\n" + HEAD + b"Content-Length: +4\r\n",
    "lines without carriage return": b"GET /things HTTP/1.1\nHost: localhost\n",
    "a body that nobody asked for": b"GET /things HTTP/1.1\r\n"
    + HEAD
    + b"Content-Length: 3\r\n\r\nabc",
}


def statuses(lab: Lab, data: bytes, pair: Pair | None = None) -> list[int]:
    """Send bytes and then a last request over TLS; return the status of each response."""
    context = ssl.create_default_context(cafile=lab.ca_file)
    if pair is not None:
        context.load_cert_chain(*pair)
    with (
        socket.create_connection((lab.endpoint, lab.https_port), SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=lab.endpoint) as secured,
    ):
        with contextlib.suppress(ConnectionError, ssl.SSLError):  # it may be closed before the end
            secured.sendall(data + b"\r\n" + LAST)
        answered = heard(secured)
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] ([0-9]{3}) ", answered)]


class TestTricks:
    """Malformed requests are rejected or the connection is closed; nothing else happens."""

    @pytest.mark.parametrize("trick", TRICKS)
    @pytest.mark.parametrize("who", ["nobody", "a Thing without rights"])
    def test_on_http(self, lab: Lab, dressed: dict[str, Pair | None], trick: str, who: str) -> None:
        pair = None if who == "nobody" else dressed["no policy"]
        log = lab.home / "cloud" / "cloud.log"
        before = log.read_text()
        answers = statuses(lab, TRICKS[trick], pair)
        assert all(400 <= status < 500 for status in answers), answers
        assert log.read_text() == before
        lab.client("sts").get_caller_identity()

    @pytest.mark.parametrize("trick", ["length and chunks", "two lengths", "two encodings"])
    def test_what_is_smuggled_along_with_a_signed_request(self, lab: Lab, trick: str) -> None:
        """One request is signed; it gets at most one response, and the other gets none."""
        target = f"https://{lab.endpoint}:{lab.https_port}/things/smuggler"
        request = AWSRequest("POST", target, {"Host": "localhost"}, b"{}")
        SigV4Auth(_credentials(lab, Wrong(set())), "iot", lab.region).add_auth(request)
        signature = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        first, _, rest = TRICKS[trick].partition(b"Host: localhost\r\n")
        answers = statuses(lab, first + signature.encode() + rest)
        assert all(400 <= status < 500 for status in answers), answers
        names = [thing["thingName"] for thing in lab.client("iot").list_things()["things"]]
        assert "smuggler" not in names


class TestLabDoor:
    @pytest.mark.parametrize("verb", ["events", "why", "metrics", "nothing"])
    @pytest.mark.parametrize("wrong", WRONG)
    def test_wrong_signature(
        self, lab: Lab, monkeypatch: pytest.MonkeyPatch, wrong: str, verb: str
    ) -> None:
        what = WRONG[wrong]
        with monkeypatch.context() as patch:
            set_clock(patch, what.minutes)
            assert knock_at_the_lab(lab, f"/_creeklab/{verb}", what) == 403
        assert knock_at_the_lab(lab, "/_creeklab/events", Wrong(set())) == 200

    @pytest.mark.parametrize("service", ["iot", "iotdata", "sts", "iotdevicegateway"])
    def test_signed_for_another_service(self, lab: Lab, service: str) -> None:
        assert knock_at_the_lab(lab, "/_creeklab/events", Wrong(set()), service) in (400, 404)

    @pytest.mark.parametrize(
        "path",
        [
            "//_creeklab/events",
            "/_creeklab//events",
            "/_creeklab/%65vents",
            "/x/../_creeklab/events",
        ],
    )
    def test_another_path(self, lab: Lab, path: str) -> None:
        assert knock_at_the_lab(lab, path, Wrong(set())) in (403, 404)

    def test_with_a_certificate(self, lab: Lab, good: NewThing) -> None:
        for verb in ("events", "why", "metrics"):
            assert over_https(lab, pair_of(good), f"/_creeklab/{verb}")[:3] == "404"


def knock_at_the_lab(lab: Lab, path: str, wrong: Wrong, service: str = "creeklab") -> int:
    request = AWSRequest("POST", f"https://{lab.endpoint}:{lab.https_port}{path}", data=b"{}")
    SigV4Auth(_credentials(lab, wrong), service, lab.region).add_auth(request)
    context = ssl.create_default_context(cafile=lab.ca_file)
    connection = HTTPSConnection(lab.endpoint, lab.https_port, timeout=SECONDS, context=context)
    with contextlib.closing(connection):
        connection.request("POST", path, b"{}", dict(request.headers))
        return connection.getresponse().status


class TestWebSocket:
    """Without the account's signature, the response and the event log say why ``/mqtt`` fails."""

    @pytest.mark.parametrize("kind", SIGNERS)
    @pytest.mark.parametrize("wrong", WRONG)
    def test_wrong_signature(
        self, lab: Lab, monkeypatch: pytest.MonkeyPatch, wrong: str, kind: str
    ) -> None:
        what = WRONG[wrong]
        with monkeypatch.context() as patch:
            set_clock(patch, what.minutes)
            path, headers = SIGNERS[kind](lab, what)
        status, answer = upgrade(lab, path, headers)
        assert status == 403
        assert answer in lab.why().summary
        path, headers = SIGNERS[kind](lab, Wrong(set()))
        assert upgrade(lab, path, headers) == (101, "")

    @pytest.mark.parametrize("minutes", [-6, 6])
    def test_five_minutes_are_the_most(
        self, lab: Lab, monkeypatch: pytest.MonkeyPatch, minutes: int
    ) -> None:
        """A signature in the header, or a URL without an expiry time."""
        for kind in ("header", "URL without expiry"):
            for wrong, status in ((minutes, 403), (minutes // 2, 101)):
                with monkeypatch.context() as patch:
                    set_clock(patch, wrong)
                    path, headers = SIGNERS[kind](lab, Wrong(set()))
                assert upgrade(lab, path, headers)[0] == status

    def test_replayed(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        """A URL is valid until it expires, for any number of connections."""
        url = SIGNERS["URL"](lab, Wrong(set()))
        assert [upgrade(lab, *url)[0] for _ in range(3)] == [101] * 3
        with monkeypatch.context() as patch:
            set_clock(patch, -61)
            status, answer = upgrade(lab, *SIGNERS["URL"](lab, Wrong(set())))
        assert status == 403
        assert "Signature expired" in answer

    def test_changed(self, lab: Lab) -> None:
        """A signature is valid only for the request that was signed."""
        path, _ = SIGNERS["URL"](lab, Wrong(set()))
        for changed in (
            path.replace("X-Amz-Expires=60", "X-Amz-Expires=600000"),
            path.replace("iotdevicegateway", "iotdata"),
            path.replace("us-east-1", "eu-west-1"),
            path + "&more=1",
            path.replace("/mqtt?", "/mqtt/?"),
            path[:-1] + ("0" if path[-1] != "0" else "1"),
        ):
            assert upgrade(lab, changed, {})[0] == 403, changed

    @pytest.mark.parametrize("path", ["/mqtt", "/mqtt?X-Amz-Algorithm=AWS4-HMAC-SHA256"])
    def test_no_signature(self, lab: Lab, path: str) -> None:
        assert upgrade(lab, path, {}) == (403, "Missing Authentication Token")
        assert "Missing Authentication Token" in lab.why().summary

    @pytest.mark.parametrize("service", ["iot", "creeklab", "sts", "execute-api"])
    def test_signed_for_another_service(self, lab: Lab, service: str) -> None:
        path, _ = presigned(lab, Wrong(set()), service=service)
        message = "Credential should be scoped to correct service: 'iotdevicegateway'."
        assert upgrade(lab, path, {}) == (403, message)
        assert f"is signed for the service '{service}'" in lab.why().summary

    def test_signed_for_another_region(self, lab: Lab) -> None:
        path, _ = presigned(lab, Wrong(set()), region="ap-south-1")
        message = "Credential should be scoped to a valid region, not 'ap-south-1'."
        assert upgrade(lab, path, {}) == (403, message)
        assert f"this account is in '{lab.region}'" in lab.why().summary

    @pytest.mark.parametrize("signed", [True, False], ids=["signed", "added after signing"])
    def test_an_invented_session_token(self, lab: Lab, signed: bool) -> None:
        path, _ = presigned(lab, Wrong(set()), token="invented" if signed else None)
        if not signed:
            path += "&X-Amz-Security-Token=invented"
        message = "The security token included in the request is invalid."
        assert upgrade(lab, path, {}) == (403, message)
        assert "AWS_SESSION_TOKEN" in lab.why().summary

    def test_boto3_with_another_region_or_a_session_token(self, lab: Lab) -> None:
        own = _credentials(lab, Wrong(set()))

        def publish(region: str, token: str | None) -> None:
            boto3.client(
                "iot-data",
                region_name=region,
                endpoint_url=f"https://{lab.endpoint}:{lab.https_port}",
                aws_access_key_id=own.access_key,
                aws_secret_access_key=own.secret_key,
                aws_session_token=token,
                verify=str(lab.ca_file),
            ).publish(topic="a", payload=b"")

        with pytest.raises(ClientError, match="not 'ap-south-1'"):
            publish("ap-south-1", None)
        assert "signed for the region 'ap-south-1'" in lab.why().summary
        with pytest.raises(ClientError, match="security token included in the request is invalid"):
            publish(lab.region, "invented")
        assert "has a session token" in lab.why().summary
        publish(lab.region, None)

    @pytest.mark.parametrize("path", ["//mqtt", "/./mqtt", "/x/../mqtt", "/%6dqtt", "/MQTT"])
    def test_another_path(self, lab: Lab, path: str) -> None:
        signed, _ = presigned(lab, Wrong(set()), path=path)
        assert upgrade(lab, signed, {})[0] in (400, 403, 404)


def set_clock(patch: pytest.MonkeyPatch, minutes: int) -> None:
    """Set the clock that boto3 signs with forward."""
    for module in ("botocore.auth", "botocore.crt.auth"):  # the second, as awscrt is installed
        clock = importlib.import_module(module).get_current_datetime
        patch.setattr(
            f"{module}.get_current_datetime",
            lambda *given, clock=clock, **named: (
                clock(*given, **named) + timedelta(minutes=minutes)
            ),
        )
