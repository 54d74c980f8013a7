"""Signatures: AWS's own examples, botocore, the AWS common runtime, and invalid ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote, urlencode, urlsplit

import pytest
from awscrt import auth as crt_auth
from awscrt import http as crt_http
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.security.sigv4 import Caller, ScopeError, check_scope, parse_caller, verify

KEY = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
HOST = "localhost:8443"


@dataclass
class Request:
    method: str = "GET"
    path: str = "/"
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def verify(self, now: float = NOW.timestamp(), secrets: dict[str, str] | None = None) -> Caller:
        return verify(
            {KEY: SECRET} if secrets is None else secrets,
            method=self.method,
            path=self.path,
            query=self.query,
            headers=self.headers,
            body=self.body,
            now=now,
        )


def signed_by_botocore(
    request: Request, auth: type[SigV4Auth] = SigV4Auth, service: str = "iot"
) -> Request:
    url = f"https://{HOST}{request.path}" + (f"?{request.query}" if request.query else "")
    aws = AWSRequest(request.method, url, dict(request.headers), request.body)
    auth(Credentials(KEY, SECRET), service, "us-east-1").add_auth(aws)
    headers = {"host": HOST, **{name.lower(): value for name, value in aws.headers.items()}}
    return replace(request, query=urlsplit(str(aws.url)).query, headers=headers)


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: NOW.replace(tzinfo=None))


def authorization(signature: str, signed_headers: str, service: str) -> str:
    return (
        f"AWS4-HMAC-SHA256 Credential={KEY}/20150830/us-east-1/{service}/aws4_request, "
        f"SignedHeaders={signed_headers}, Signature={signature}"
    )


VECTORS = [
    # The test suite of Signature Version 4, get-vanilla.
    Request(
        headers={
            "host": "example.amazonaws.com",
            "x-amz-date": "20150830T123600Z",
            "authorization": authorization(
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
                "host;x-amz-date",
                "service",
            ),
        },
    ),
    # The worked example of the general reference, IAM ListUsers.
    Request(
        query="Action=ListUsers&Version=2010-05-08",
        headers={
            "content-type": "application/x-www-form-urlencoded; charset=utf-8",
            "host": "iam.amazonaws.com",
            "x-amz-date": "20150830T123600Z",
            "authorization": authorization(
                "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
                "content-type;host;x-amz-date",
                "iam",
            ),
        },
    ),
]


@pytest.mark.parametrize("request_", VECTORS)
def test_published_examples(request_: Request) -> None:
    service = "iam" if request_.query else "service"
    assert request_.verify() == Caller(KEY, "us-east-1", service)
    assert parse_caller(request_.query, request_.headers) == request_.verify()


ODD = [
    "",
    "plain",
    "$aws/things/T/shadow/update",
    "a b+c",
    "a//b/",
    "..",
    "ü/水/😀",
    "100%",
    "%2F",
    "?x=1&y=2#z",
    "~-_.!*'()",
]


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("text", ODD)
def test_odd_characters_in_path_query_header_and_body(text: str) -> None:
    request = Request(
        "POST",
        "/topics/" + quote(text, safe=""),
        urlencode({"b": text, "a": text, "a b": ""}, quote_via=quote),
        {"x-amzn-principal": "  two   blanks "},
        text.encode(),
    )
    assert signed_by_botocore(request).verify().service == "iot"


@given(
    st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"]),
    st.lists(st.text()),
    st.lists(st.tuples(st.text(min_size=1), st.text())),
    st.binary(),
)
def test_requests_signed_by_botocore_are_accepted(
    method: str, labels: list[str], parameters: list[tuple[str, str]], body: bytes
) -> None:
    path = "/" + "/".join(quote(label, safe="") for label in labels)
    query = urlencode(parameters, quote_via=quote)
    request = signed_by_botocore(Request(method, path, query, {}, body))
    now = datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%S%z").timestamp()
    assert request.verify(now).access_key == KEY


CHANGES: list[Callable[[Request], Request]] = [
    lambda r: replace(r, method="PUT"),
    lambda r: replace(r, path="/topics/a%2Fc"),
    lambda r: replace(r, path="/topics/a/b"),
    lambda r: replace(r, query="qos=1&retain=true"),
    lambda r: replace(r, query="qos=1"),
    lambda r: replace(r, body=r.body + b"."),
    lambda r: replace(r, headers={**r.headers, "host": "elsewhere"}),
    lambda r: replace(r, headers={**r.headers, "x-amz-m": "other"}),
    lambda r: replace(r, headers={k: v for k, v in r.headers.items() if k != "x-amz-m"}),
]


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("change", CHANGES)
def test_any_change_of_a_signed_request_is_rejected(change: Callable[[Request], Request]) -> None:
    request = Request(
        "POST", "/topics/a%2Fb", "qos=1&retain=false", {"x-amz-m": "text"}, b"payload"
    )
    request = signed_by_botocore(request)
    assert request.verify()
    with pytest.raises(ServiceError, match="does not match the signature you provided"):
        change(request).verify()


def with_headers(**changes: str) -> Callable[[Request], Request]:
    def change(request: Request) -> Request:
        headers = {**request.headers, **{k.replace("_", "-"): v for k, v in changes.items()}}
        return replace(request, headers=headers)

    return change


def in_authorization(old: str, new: str) -> Callable[[Request], Request]:
    def change(request: Request) -> Request:
        text = request.headers["authorization"]
        assert old in text
        return with_headers(authorization=text.replace(old, new))(request)

    return change


REFUSALS: list[tuple[Callable[[Request], Request], str, str]] = [
    (lambda r: replace(r, headers={}), "MissingAuthenticationToken", "Missing Authentication Tok"),
    (
        with_headers(authorization=""),
        "IncompleteSignature",
        "Authorization header requires 'Algorithm' parameter. Authorization header requires 'Cred",
    ),
    (
        with_headers(authorization="Basic dXNlcjpwYXNz"),
        "IncompleteSignature",
        "Authorization header requires 'Credential' parameter.",
    ),
    (in_authorization("AWS4-HMAC-SHA256", "AWS5"), "IncompleteSignature", "Unsupported AWS 'algo"),
    (
        in_authorization("Signature=", "Sign="),
        "IncompleteSignature",
        "Authorization header requires 'Signature' parameter.",
    ),
    (in_authorization("aws4_request", "aws"), "IncompleteSignature", "exactly 5 slash-delimited"),
    (in_authorization("/iot", ""), "IncompleteSignature", "exactly 5 slash-delimited"),
    (with_headers(x_amz_date=""), "IncompleteSignature", "requires 'Date' parameter"),
    (with_headers(x_amz_date="yesterday"), "IncompleteSignature", "Got 'yesterday'."),
    (with_headers(x_amz_date="20150832T123600Z"), "IncompleteSignature", "ISO-8601 'basic format'"),
    (
        in_authorization(KEY, "AKIDOTHER"),
        "UnrecognizedClient",
        "The security token included in the request is invalid.",
    ),
    (
        in_authorization("20150830", "20150829"),
        "InvalidSignature",
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
        "'20150829' != '20150830', from '20150830T123600Z'.",
    ),
    (in_authorization("us-east-1", "eu-west-1"), "InvalidSignature", "does not match the signatu"),
    (in_authorization("/iot/", "/sts/"), "InvalidSignature", "does not match the signature"),
    (
        in_authorization("SignedHeaders=host;", "SignedHeaders="),
        "InvalidSignature",
        "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
    ),
    (in_authorization("Signature=", "Signature=ü"), "InvalidSignature", "does not match the sig"),
    (
        in_authorization("Signature=", "Signature=\udcff"),
        "InvalidSignature",
        "does not match the sig",
    ),
    (
        with_headers(x_amz_content_sha256=sha256(b"other").hexdigest()),
        "InvalidSignature",
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    ),
]


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize(("change", "code", "text"), REFUSALS)
def test_rejections(change: Callable[[Request], Request], code: str, text: str) -> None:
    request = signed_by_botocore(Request("GET", "/things"))
    assert request.verify()
    with pytest.raises(ServiceError) as caught:
        change(request).verify()
    assert caught.value.code == code + "Exception"
    assert text in caught.value.message


@pytest.mark.usefixtures("frozen")
def test_a_different_secret_is_rejected() -> None:
    with pytest.raises(ServiceError, match="does not match the signature you provided"):
        signed_by_botocore(Request()).verify(secrets={KEY: "another"})


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize(
    ("offset", "text"),
    [
        (0, None),
        (-300, None),
        (300, None),
        (
            301,
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z "
            "(20150830T124101Z - 5 min.)",
        ),
        (
            -301,
            "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z "
            "(20150830T123059Z + 5 min.)",
        ),
    ],
)
def test_clock_skew(offset: float, text: str | None) -> None:
    request = signed_by_botocore(Request())
    if text is None:
        assert request.verify(NOW.timestamp() + offset)
        return
    with pytest.raises(ServiceError) as caught:
        request.verify(NOW.timestamp() + offset)
    assert (caught.value.code, caught.value.message) == ("InvalidSignatureException", text)


@pytest.mark.usefixtures("frozen")
def test_an_expiry_in_the_header_is_ignored() -> None:
    change = in_authorization("Credential=", "Expires=604800, Credential=")
    request = change(signed_by_botocore(Request()))
    assert request.verify()
    with pytest.raises(ServiceError, match="Signature expired"):
        request.verify(NOW.timestamp() + 301)


@pytest.mark.usefixtures("frozen")
def test_a_correct_body_hash() -> None:
    headers = {"x-amz-content-sha256": sha256(b"{}").hexdigest()}
    assert signed_by_botocore(Request("POST", headers=headers, body=b"{}")).verify()


def presigned(
    *, token: str | None = None, omit_token: bool = False, seconds: int | None = None
) -> Request:
    """Presign the request that opens MQTT over WebSocket, with the AWS common runtime."""
    config = crt_auth.AwsSigningConfig(
        algorithm=crt_auth.AwsSigningAlgorithm.V4,
        signature_type=crt_auth.AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS,
        credentials_provider=crt_auth.AwsCredentialsProvider.new_static(KEY, SECRET, token),
        region="us-east-1",
        service="iotdevicegateway",
        date=NOW,
        omit_session_token=omit_token,
        expiration_in_seconds=seconds,
    )
    request = crt_http.HttpRequest("GET", "/mqtt", crt_http.HttpHeaders([("Host", HOST)]))
    crt_auth.aws_sign_request(request, config).result(10)
    path, _, query = request.path.partition("?")
    headers = {name.lower(): value for name, value in request.headers}
    return Request("GET", path, query, headers)


@pytest.mark.parametrize("token", [None, "a+b/c=="])
@pytest.mark.parametrize("omit_token", [False, True])
def test_presigned_by_the_common_runtime(token: str | None, omit_token: bool) -> None:
    request = presigned(token=token, omit_token=omit_token)
    assert ("X-Amz-Security-Token" in request.query) == (token is not None)
    assert request.verify() == Caller(KEY, "us-east-1", "iotdevicegateway", token is not None)
    assert parse_caller(request.query, request.headers) == request.verify()
    for query in (request.query + "&x=1", request.query.replace("iotdevicegateway", "iot")):
        with pytest.raises(ServiceError, match="does not match the signature you provided"):
            replace(request, query=query).verify()


@pytest.mark.usefixtures("frozen")
def test_presigned_by_botocore() -> None:
    request = signed_by_botocore(Request("GET", "/things", "maxResults=5"), SigV4QueryAuth)
    assert "authorization" not in request.headers
    assert request.verify().service == "iot"
    assert request.verify(NOW.timestamp() + 3600)
    with pytest.raises(ServiceError, match=r"is now earlier than 20150830T123601Z .* - 60 min\.\)"):
        request.verify(NOW.timestamp() + 3601)


def test_a_presigned_request_expires_after_its_lifetime() -> None:
    request = presigned(seconds=86400)
    assert request.verify(NOW.timestamp() + 86400)
    with pytest.raises(ServiceError, match="Signature expired"):
        request.verify(NOW.timestamp() + 86401)
    with pytest.raises(ServiceError, match="Signature expired"):
        presigned().verify(NOW.timestamp() + 301)
    for seconds in ("0", "604801", "-1", "soon"):
        query = request.query.replace("X-Amz-Expires=86400", f"X-Amz-Expires={seconds}")
        with pytest.raises(ServiceError, match="X-Amz-Expires must be from 1 to 604800 seconds"):
            replace(request, query=query).verify()


@pytest.mark.parametrize(
    ("caller", "code", "message", "explanation"),
    [
        (
            Caller(KEY, "us-east-1", "iotdevicegateway", has_token=True),
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
            "has a session token (X-Amz-Security-Token)",
        ),
        (
            Caller(KEY, "us-west-2", "iotdevicegateway"),
            "InvalidSignatureException",
            "Credential should be scoped to a valid region, not 'us-west-2'.",
            "signed for the region 'us-west-2', and this account is in 'us-east-1'",
        ),
        (
            Caller(KEY, "us-east-1", "iot"),
            "InvalidSignatureException",
            "Credential should be scoped to correct service: 'iotdevicegateway'.",
            "signed for the service 'iot', and MQTT over WebSocket needs 'iotdevicegateway'",
        ),
    ],
)
def test_a_wrong_scope(caller: Caller, code: str, message: str, explanation: str) -> None:
    services = ("iotdevicegateway", "iotdata")
    with pytest.raises(ScopeError) as caught:
        check_scope(caller, region="us-east-1", services=services)
    assert (caught.value.code, caught.value.message) == (code, message)
    assert explanation in caught.value.explanation
    for service in services:
        check_scope(Caller(KEY, "us-east-1", service), region="us-east-1", services=services)
    check_scope(Caller(KEY, "eu-west-1", "sts"), region=None, services=())


@pytest.mark.usefixtures("frozen")
def test_a_session_token_in_the_headers() -> None:
    request = signed_by_botocore(Request("GET", "/things"))
    assert not request.verify().has_token
    with_token = {**request.headers, "x-amz-security-token": "invented"}
    assert replace(request, headers=with_token).verify().has_token


def test_a_presigned_request_must_be_complete() -> None:
    request = presigned()
    query = request.query.replace("X-Amz-Date", "X-Amz-Day").replace("Algorithm", "Rule")
    with pytest.raises(ServiceError) as caught:
        replace(request, query=query).verify()
    assert caught.value.message == (
        "AWS query-string parameters must include 'X-Amz-Algorithm'. "
        "AWS query-string parameters must include 'X-Amz-Date'."
    )


@given(st.text(), st.dictionaries(st.sampled_from(["authorization", "host"]), st.text()))
def test_malformed_requests_are_rejected(query: str, headers: dict[str, str]) -> None:
    query = "X-Amz-Signature=0&" + query.encode("utf-8", "replace").decode()
    headers = {name: value.encode("utf-8", "replace").decode() for name, value in headers.items()}
    with pytest.raises(ServiceError):
        Request(query=query, headers=headers).verify()
