"""The HTTPS port with real boto3 clients over TLS, and with requests that boto3 never sends."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import gzip
import io
import json
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import websocket
from awscrt import auth as crt_auth
from awscrt import http as crt_http
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from creeklab.cloud.api.dispatcher import Dispatcher
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.transport import http_server
from creeklab.cloud.transport.http_server import BODY_LIMIT
from tests.cloud.dispatcher_fixture import (
    ACCOUNT,
    KEY,
    SECRET,
    USER,
    DispatcherFixture,
    assert_typed,
    make_certificate,
    parse,
)

ARN = f"arn:aws:iot:us-east-1:{ACCOUNT}:cert/" + "0a" * 32
MOMENT = datetime.datetime(2018, 8, 31, 23, 30, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DispatcherFixture]:
    certificate = make_certificate(tmp_path_factory.mktemp("tls"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    cloud = DispatcherFixture(context, certificate)
    yield cloud
    cloud.close()


@pytest.fixture
def cloud(running: DispatcherFixture) -> DispatcherFixture:
    running.offset = 0.0
    running.operations.calls.clear()
    running.operations.answer = None
    running.records.clear()
    return running


@pytest.fixture
def client(cloud: DispatcherFixture) -> Iterator[Callable[..., Any]]:
    made = []

    def make(service: str, **arguments: str) -> Any:
        made.append(cloud.client(service, **arguments))
        return made[-1]

    yield make
    for each in made:
        each.close()


# Requests of boto3


def test_path_and_body(cloud: DispatcherFixture, client: Callable[..., Any]) -> None:
    cloud.operations.answer = {"thingName": "T", "thingArn": "arn", "thingId": "id"}
    answer = client("iot").create_thing(
        thingName="T", attributePayload={"attributes": {"site": "01581920"}, "merge": False}
    )
    assert cloud.operations.calls == [
        (
            "create_thing",
            {
                "thingName": "T",
                "attributePayload": {"attributes": {"site": "01581920"}, "merge": False},
            },
        )
    ]
    metadata = answer.pop("ResponseMetadata")
    assert answer == cloud.operations.answer
    assert metadata["HTTPStatusCode"] == 200
    assert metadata["RequestId"] == metadata["HTTPHeaders"]["x-amzn-requestid"]


def test_query_parameters_and_pages(cloud: DispatcherFixture, client: Callable[..., Any]) -> None:
    def page(**members: Any) -> dict[str, Any]:
        token = None if "nextToken" in members else "a+b/c="
        return {"things": [{"thingName": "T", "version": 1}], "nextToken": token}

    cloud.operations.answer = page
    paginator = client("iot").get_paginator("list_things")
    found = paginator.paginate(usePrefixAttributeValue=True, maxResults=1).build_full_result()
    assert found == {"things": [{"thingName": "T", "version": 1}] * 2}
    first = {"usePrefixAttributeValue": True, "maxResults": 1}
    assert cloud.operations.calls == [
        ("list_things", first),
        ("list_things", {**first, "nextToken": "a+b/c="}),
    ]


def test_headers_arns_and_times(cloud: DispatcherFixture, client: Callable[..., Any]) -> None:
    iot = client("iot")
    iot.list_principal_things(principal=ARN, maxResults=25)
    iot.list_attached_policies(target=ARN, recursive=True)
    iot.attach_policy(policyName="a+b=c,d.e@f-g", target=ARN)
    iot.list_audit_tasks(startTime=MOMENT, endTime=MOMENT)
    iot.register_certificate_without_ca(certificatePem="pem")
    assert cloud.operations.calls == [
        ("list_principal_things", {"principal": ARN, "maxResults": 25}),
        ("list_attached_policies", {"target": ARN, "recursive": True}),
        ("attach_policy", {"policyName": "a+b=c,d.e@f-g", "target": ARN}),
        ("list_audit_tasks", {"startTime": MOMENT.timestamp(), "endTime": MOMENT.timestamp()}),
        ("register_certificate_without_ca", {"certificatePem": "pem"}),
    ]
    cloud.operations.answer = {"policyName": "p", "creationDate": MOMENT.timestamp()}
    assert iot.get_policy(policyName="p")["creationDate"] == MOMENT


@pytest.mark.parametrize("topic", ["a/b", "$aws/things/T", "a b+ü/#?", "//", "..", "%2F", "a/../b"])
def test_payload_in(cloud: DispatcherFixture, client: Callable[..., Any], topic: str) -> None:
    user_properties = [{"site": "01581920"}]
    client("iot-data").publish(
        topic=topic,
        payload=b"\x00\xff",
        qos=1,
        retain=False,
        contentType="text/plain; ü",
        userProperties=user_properties,
        payloadFormatIndicator="UTF8_DATA",
    )
    [(name, members)] = cloud.operations.calls
    assert name == "publish"
    assert json.loads(members.pop("userProperties")) == user_properties
    assert members == {
        "topic": topic,
        "payload": b"\x00\xff",
        "qos": 1,
        "retain": False,
        "contentType": "text/plain; ü",
        "payloadFormatIndicator": "UTF8_DATA",
    }


def test_payload_in_and_out(cloud: DispatcherFixture, client: Callable[..., Any]) -> None:
    document = '{"state": {"reported": {"depth": 6.63, "note": "ü"}}}'.encode()
    cloud.operations.answer = {"payload": document}
    answer = client("iot-data").update_thing_shadow(
        thingName="T", shadowName="s", payload=io.BytesIO(document)
    )
    with answer["payload"] as stream:
        assert stream.read() == document
    assert cloud.operations.calls == [
        ("update_thing_shadow", {"thingName": "T", "shadowName": "s", "payload": document})
    ]


def test_who_am_i(client: Callable[..., Any]) -> None:
    identity = client("sts").get_caller_identity()
    assert identity["Account"] == ACCOUNT
    assert identity["Arn"] == USER
    assert identity["UserId"].startswith("AIDA")
    assert len(identity["UserId"]) == 21
    assert identity["ResponseMetadata"]["RequestId"]


# Refusals


def refused(call: Callable[[], Any]) -> tuple[str, int, str]:
    """Return code, status and message of the ClientError that a call raises."""
    with pytest.raises(ClientError) as caught:
        call()
    answer: Any = caught.value.response
    assert answer["ResponseMetadata"]["RequestId"]
    status = answer["ResponseMetadata"]["HTTPStatusCode"]
    return answer["Error"]["Code"], status, answer["Error"]["Message"]


def test_an_error_with_members(cloud: DispatcherFixture, client: Callable[..., Any]) -> None:
    cloud.operations.answer = ServiceError(
        "ResourceAlreadyExistsException", "It exists.", resourceId="T", resourceArn="arn"
    )
    iot = client("iot")
    with pytest.raises(iot.exceptions.ResourceAlreadyExistsException) as caught:
        iot.create_thing(thingName="T")
    assert caught.value.response["resourceId"] == "T"
    assert caught.value.response["resourceArn"] == "arn"
    assert caught.value.response["Error"]["Message"] == "It exists."
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409


def test_a_validation_error(cloud: DispatcherFixture, client: Callable[..., Any]) -> None:
    iot = client("iot")
    assert refused(lambda: iot.create_thing(thingName="my thing")) == (
        "InvalidRequestException",
        400,
        "1 validation error detected: Value 'my thing' at 'thingName' failed to satisfy "
        "constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9:_-]+",
    )
    assert cloud.operations.calls == []


def test_an_operation_that_is_not_there(client: Callable[..., Any]) -> None:
    code, status, message = refused(lambda: client("iot").list_policies())
    assert (code, status) == ("NotImplementedException", 501)
    assert message == (
        "ListPolicies is an operation of AWS IoT that is not available in this local cloud. "
        "Use it on AWS."
    )
    code, status, message = refused(lambda: client("sts").get_session_token())
    assert (code, status) == ("NotImplementedException", 501)
    assert "GetSessionToken is an operation of AWS Security Token Service" in message


def test_a_defect_in_an_operation(
    cloud: DispatcherFixture, client: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    iot = client("iot")
    cloud.operations.answer = KeyError("secret detail")
    code, status, message = refused(lambda: iot.describe_thing(thingName="T"))
    assert (code, status) == ("InternalFailureException", 500)
    assert "secret detail" not in message
    assert "KeyError: 'secret detail'" in caplog.text
    cloud.operations.answer = {"thing_name": "misspelt"}
    assert refused(lambda: iot.describe_thing(thingName="T"))[1] == 500


@pytest.mark.parametrize(
    ("service", "call", "code"),
    [
        ("s3", lambda s3: s3.list_buckets(), "NotImplementedException"),
        ("s3", lambda s3: s3.put_object(Bucket="b", Key="k", Body=b"x"), "NotImplementedException"),
        ("dynamodb", lambda dynamodb: dynamodb.list_tables(), "NotImplementedException"),
        ("iam", lambda iam: iam.list_users(), "NotImplementedException"),
        ("ec2", lambda ec2: ec2.describe_instances(), "NotImplementedException"),
        ("lambda", lambda lambda_: lambda_.list_functions(), "NotImplementedException"),
        ("cloudwatch", lambda cloudwatch: cloudwatch.list_metrics(), "NotImplementedException"),
    ],
)
def test_a_service_that_is_not_there(
    client: Callable[..., Any], service: str, call: Callable[[Any], Any], code: str
) -> None:
    seen, status, message = refused(lambda: call(client(service)))
    assert (seen, status) == (code, 501)
    signed_for = {"cloudwatch": "monitoring"}.get(service, service)
    assert message == (
        f"The service '{signed_for}' is not available in this local cloud, which serves only iot, "
        "iot-data, sts. Use it on AWS."
    )


INVALID = ("InvalidSignatureException", "SignatureDoesNotMatch")


@pytest.mark.parametrize("service", ["iot", "sts"])
@pytest.mark.parametrize(
    ("arguments", "offset", "codes", "text"),
    [
        ({"secret": "x"}, 0, INVALID, "The request signature we calculated does not match"),
        ({}, 400, INVALID, "Signature expired: "),
        ({}, -400, INVALID, "Signature not yet current: "),
        (
            {"key": "AKIDOTHER"},
            0,
            ("UnrecognizedClientException", "InvalidClientTokenId"),
            "The security token included in the request is invalid.",
        ),
    ],
)
def test_bad_signatures(
    cloud: DispatcherFixture,
    client: Callable[..., Any],
    service: str,
    arguments: dict[str, str],
    offset: float,
    codes: tuple[str, str],
    text: str,
) -> None:
    cloud.offset = offset
    call = {"iot": "list_things", "sts": "get_caller_identity"}[service]
    code, status, message = refused(getattr(client(service, **arguments), call))
    assert (code, status) == (codes[service == "sts"], 403)
    assert message.startswith(text)
    assert cloud.operations.calls == []


@pytest.mark.parametrize("path", ["/things", "/nothing", "/_creeklab/echo", "/mqtt", "/"])
def test_nothing_is_said_to_who_does_not_sign(cloud: DispatcherFixture, path: str) -> None:
    url = f"https://127.0.0.1:{cloud.port}{path}"
    context = ssl.create_default_context(cafile=cloud.ca)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url, context=context)
    with caught.value as error:
        assert error.code == 403
        assert error.headers["x-amzn-ErrorType"] == "MissingAuthenticationTokenException"
        assert json.loads(error.read()) == {"message": "Missing Authentication Token"}


def test_too_large(cloud: DispatcherFixture, client: Callable[..., Any]) -> None:
    data = client("iot-data")
    data.publish(topic="t", payload=b"x" * BODY_LIMIT)
    assert len(cloud.operations.calls) == 1
    code, status, _ = refused(lambda: data.publish(topic="t", payload=b"x" * (BODY_LIMIT + 1)))
    assert (code, status) == ("RequestEntityTooLargeException", 413)
    assert len(cloud.operations.calls) == 1


# Requests that boto3 never sends


def test_an_unknown_path(cloud: DispatcherFixture) -> None:
    status, headers, body = cloud.request("GET", "/nothing")
    assert status == 404
    assert_typed(status, headers, body, "UnknownOperationException")


def test_an_answer_may_be_awaited_before_the_body_is_sent(cloud: DispatcherFixture) -> None:
    raw = cloud.request("POST", "/topics/t", b"x", "iotdata", Expect="100-continue")
    assert raw[0] == 100
    assert b"HTTP/1.1 200 OK" in raw[2]


def test_a_compressed_body_is_passed_on_as_it_is(cloud: DispatcherFixture) -> None:
    body = gzip.compress(b"x" * 100)
    path, headers = "/topics/t", {"Content-Encoding": "gzip"}
    assert cloud.request("POST", path, body, "iotdata", **headers)[0] == 200
    assert cloud.operations.calls == [("publish", {"topic": "t", "payload": body})]


def test_as_many_user_properties_as_mqtt_has_room_for(
    cloud: DispatcherFixture, client: Callable[..., Any]
) -> None:
    properties = [{"name": "x" * 8 * 1024}]
    client("iot-data").publish(topic="t", userProperties=properties)
    [(_, members)] = cloud.operations.calls
    assert json.loads(members["userProperties"]) == properties


def test_a_body_that_does_not_come(
    cloud: DispatcherFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "BODY_TIMEOUT", 0.2)
    signature = (
        f"AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/iot/aws4_request, "
        "SignedHeaders=host, Signature=0"
    )
    lines = ["POST /things/T HTTP/1.1", "Host: h", f"Authorization: {signature}"]
    lines += ["X-Amz-Date: 20260101T000000Z", "Connection: close", "Content-Length: 9", "", "{}"]
    status, headers, body = parse(cloud.send("\r\n".join(lines).encode()))
    assert_typed(status, headers, body, "InvalidRequestException")
    assert b"was not received within 0.2 s" in body


def test_a_head_that_does_not_come(
    cloud: DispatcherFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "FIRST_REQUEST_TIMEOUT", 0.2)
    assert cloud.send(b"GET /things HTTP/1.1\r\nHost: h\r\nX: ") == b""


def test_a_body_that_ends_too_early(cloud: DispatcherFixture) -> None:
    aws = AWSRequest("POST", f"https://127.0.0.1:{cloud.port}/topics/t", {}, b"")
    SigV4Auth(Credentials(KEY, SECRET), "iotdata", "us-east-1").add_auth(aws)
    lines = ["POST /topics/t HTTP/1.1", f"Host: 127.0.0.1:{cloud.port}"]
    lines += [f"{name}: {value}" for name, value in aws.headers.items()]
    lines += ["Transfer-Encoding: chunked", "", "no chunk\r\n\r\n"]
    status, headers, body = parse(cloud.send("\r\n".join(lines).encode()))
    assert_typed(status, headers, body, "InvalidRequestException")
    assert cloud.operations.calls == []


def signed(cloud: DispatcherFixture, method: str, path: str, *more: str) -> bytes:
    """Return the head of a signed request without a body, with additional lines."""
    aws = AWSRequest(method, f"https://127.0.0.1:{cloud.port}{path}", {}, b"")
    SigV4Auth(Credentials(KEY, SECRET), "iot", "us-east-1").add_auth(aws)
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{cloud.port}"]
    lines += [f"{name}: {value}" for name, value in aws.headers.items()]
    return "\r\n".join([*lines, *more, "", ""]).encode()


def statuses(raw: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", raw)]


def test_requests_sent_at_once_are_answered_one_after_the_other(cloud: DispatcherFixture) -> None:
    refused = b"POST /things/T HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"
    several = [signed(cloud, "GET", "/things"), refused, signed(cloud, "GET", "/nothing")]
    last = signed(cloud, "GET", "/things", "Connection: close")
    assert statuses(cloud.send(b"".join([*several, last]))) == [200, 403, 404, 200]
    assert [name for name, _ in cloud.operations.calls] == ["list_things"] * 2


def test_who_is_refused_may_send_the_rest_and_ask_again(cloud: DispatcherFixture) -> None:
    context = ssl.create_default_context(cafile=cloud.ca)
    with (
        socket.create_connection(("127.0.0.1", cloud.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        secured.sendall(b"POST /topics/t HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
        assert statuses(secured.recv(65536)) == [403]
        secured.sendall(b"x" * 100_000 + signed(cloud, "GET", "/things"))
        assert statuses(secured.recv(65536)) == [200]


def test_who_asks_before_sending_a_body_and_is_refused_is_told_that_it_is_over(
    cloud: DispatcherFixture,
) -> None:
    lines = ["POST /topics/t HTTP/1.1", "Host: h", "Content-Length: 9", "Expect: 100-continue"]
    status, headers, body = parse(cloud.send("\r\n".join([*lines, "", ""]).encode()))
    assert_typed(status, headers, body, "MissingAuthenticationTokenException")
    assert headers["connection"] == "close"


def test_the_answer_to_head_has_no_body(cloud: DispatcherFixture) -> None:
    status, headers, body = parse(cloud.send(signed(cloud, "HEAD", "/x", "Connection: close")))
    assert (status, body) == (404, b"")
    assert int(headers["content-length"]) > 0


@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: -1",
        "Content-Length: 4_0",
        "Transfer-Encoding: gzip, chunked",
        "Host: other",
        "Na me: x",
        "Name : x",
        "X: a\0b",
    ],
)
def test_a_head_that_two_programs_may_read_differently(
    cloud: DispatcherFixture, lines: str
) -> None:
    head = f"GET /things HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n".encode()
    status, headers, body = parse(cloud.send(head))
    assert_typed(status, headers, body, "InvalidRequestException")
    assert cloud.records == []


def test_a_head_without_end(cloud: DispatcherFixture) -> None:
    # The connection may be closed before everything is sent.
    with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
        raw = cloud.send(b"GET /things HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 1_000_000)
        assert_typed(*parse(raw), "InvalidRequestException")


@pytest.mark.parametrize("raw", [b"\x16\x03\x01\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n"])
def test_what_is_not_http(cloud: DispatcherFixture, raw: bytes) -> None:
    assert_typed(*parse(cloud.send(raw)), "InvalidRequestException")


@settings(deadline=None)
@given(target=st.binary(), body=st.binary())
def test_any_unsigned_bytes(running: DispatcherFixture, target: bytes, body: bytes) -> None:
    head = b"POST /" + target.replace(b"\n", b"") + b" HTTP/1.1\r\nHost: x\r\nConnection: close"
    raw = head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    status, headers, answer = parse(running.send(raw))
    assert_typed(status, headers, answer, headers["x-amzn-errortype"])


@settings(deadline=None)
@given(
    st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"]),
    st.sampled_from(["/", "/things/", "/topics/", "/things/T/shadow?name=", "/things?nextToken="]),
    st.text("abAB/%?&=+.;:@~0", max_size=20),
    st.binary() | st.dictionaries(st.text(), st.text()).map(json.dumps).map(str.encode),
    st.sampled_from(["iot", "iotdata", "iotdevicegateway", "sts", "creeklab"]),
)
def test_any_signed_request(
    running: DispatcherFixture, method: str, path: str, rest: str, body: bytes, service: str
) -> None:
    running.operations.answer = None
    status, headers, answer = running.request(method, path + rest, body, service)
    assert headers["x-amzn-requestid"]
    assert status in (200, 501) or 400 <= status < 500
    if status != 200 and service != "sts":
        assert headers["x-amzn-errortype"]
        assert json.loads(answer)["message"]


# The admin API


def test_the_own_door(cloud: DispatcherFixture) -> None:
    status, _, body = cloud.request("POST", "/_creeklab/echo", b'{"a": [1]}', "creeklab")
    assert (status, json.loads(body)) == (200, {"you said": {"a": [1]}})
    status, _, body = cloud.request("POST", "/_creeklab/echo", b"", "creeklab")
    assert (status, json.loads(body)) == (200, {"you said": {}})


@pytest.mark.parametrize(
    ("method", "path", "body", "service", "code"),
    [
        ("GET", "/_creeklab/echo", b"", "creeklab", "UnknownOperationException"),
        ("POST", "/_creeklab/none", b"", "creeklab", "UnknownOperationException"),
        ("POST", "/echo", b"", "creeklab", "UnknownOperationException"),
        ("POST", "/things/T", b"", "creeklab", "UnknownOperationException"),
        ("POST", "/_creeklab/echo", b"{}", "iot", "UnknownOperationException"),
        ("POST", "/_creeklab/echo", b"{", "creeklab", "InvalidRequestException"),
        ("POST", "/_creeklab/echo", b"[]", "creeklab", "InvalidRequestException"),
        ("POST", "/_creeklab/refuse", b"", "creeklab", "ResourceNotFoundException"),
        ("POST", "/_creeklab/echo", b"{}", None, "MissingAuthenticationTokenException"),
        ("GET", "/mqtt", b"", "iot", "InvalidSignatureException"),
        ("GET", "/mqtt", b"", "execute-api", "InvalidSignatureException"),
    ],
)
def test_refusals_at_the_own_doors(
    cloud: DispatcherFixture, method: str, path: str, body: bytes, service: str | None, code: str
) -> None:
    status, headers, answer = cloud.request(method, path, body, service)
    assert_typed(status, headers, answer, code)


@pytest.mark.parametrize("service", ["iotdevicegateway", "iotdata"])
def test_a_presigned_web_socket(cloud: DispatcherFixture, service: str) -> None:
    config = crt_auth.AwsSigningConfig(
        algorithm=crt_auth.AwsSigningAlgorithm.V4,
        signature_type=crt_auth.AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS,
        credentials_provider=crt_auth.AwsCredentialsProvider.new_static(KEY, SECRET),
        region="us-east-1",
        service=service,
    )
    host = crt_http.HttpHeaders([("Host", f"127.0.0.1:{cloud.port}")])
    request = crt_http.HttpRequest("GET", "/mqtt", host)
    crt_auth.aws_sign_request(request, config).result(10)

    opened = websocket.create_connection(
        f"wss://127.0.0.1:{cloud.port}{request.path}",
        timeout=10,
        subprotocols=["mqtt"],
        sslopt={"ca_certs": cloud.ca},
    )
    assert (opened.getsubprotocol(), opened.recv()) == ("mqtt", b"welcome")
    assert not opened.recv()  # it is closed
    opened.shutdown()


# Recorded calls


def test_the_record(cloud: DispatcherFixture, client: Callable[..., Any]) -> None:
    iot = client("iot")
    iot.list_things()
    cloud.operations.answer = ServiceError("ResourceNotFoundException", "No.")
    for call in (
        lambda: iot.describe_thing(thingName="T"),
        lambda: iot.describe_thing(thingName="my thing"),
        lambda: iot.list_policies(),
        lambda: client("s3").list_buckets(),
    ):
        refused(call)
    cloud.request("POST", "/_creeklab/echo", b"", "creeklab")
    cloud.request("GET", "/things", b"", None)
    refusals = [entry.pop("refusal", None) for entry in cloud.records]
    assert refusals[:-1] == [None] * 6
    assert "Missing Authentication Token" in refusals[-1]["summary"]
    assert all(0 <= entry.pop("duration") < 10 for entry in cloud.records)
    messages = [entry.pop("message", None) for entry in cloud.records]
    assert (messages[0], messages[1], messages[-1]) == (None, "No.", None)
    assert messages[3].endswith("is not available in this local cloud. Use it on AWS.")
    assert [tuple(entry.values()) for entry in cloud.records] == [
        ("iot", "ListThings", 200, None),
        ("iot", "DescribeThing", 404, "ResourceNotFoundException"),
        ("iot", "DescribeThing", 400, "InvalidRequestException"),
        ("iot", "ListPolicies", 501, "NotImplementedException"),
        ("s3", None, 501, "NotImplementedException"),
        ("creeklab", "echo", 200, None),
        (None, None, 403, "MissingAuthenticationTokenException"),
    ]
    assert list(cloud.records[0]) == ["service", "operation", "status", "error"]


# Start and stop


NO_ACCOUNTS: Any = None


def with_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not with_ipv6(), reason="This machine has no second loopback address.")
def test_several_hosts_and_one_port() -> None:
    async def start_two() -> None:
        first, second = Dispatcher(NO_ACCOUNTS), Dispatcher(NO_ACCOUNTS)
        port = await first.start(["127.0.0.1"], 0, None)
        try:
            with pytest.raises(OSError, match=str(port)) as caught:
                await second.start(["::1", "127.0.0.1"], port, None)
            assert caught.value.errno == errno.EADDRINUSE
            # Ports that were already open are closed again.
            assert await second.start(["::1"], port, None) == port
        finally:
            await first.stop()
            await second.stop()
        port = await first.start(["127.0.0.1", "::1"], 0, None)
        for host in ("127.0.0.1", "::1"):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
        await first.stop()

    asyncio.run(start_two())


def test_stop_is_final_and_may_come_twice() -> None:
    async def start_and_stop() -> None:
        server = Dispatcher(NO_ACCOUNTS)
        port = await server.start(["127.0.0.1"], 0, None)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await server.stop()
        await server.stop()
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

    asyncio.run(start_and_stop())
