"""Spoils HTTP requests and WebSocket frames: nearly right, as `mutate.py` does it with packets.

A request is spoilt before it is signed, so that what is wrong gets past the signature and to the
service; or after, in its bytes, its framing and its headers, so that it meets the reading of HTTP.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random
from urllib.parse import quote

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.cloud.iot_fixture import ALLOW, CSR
from tests.hardening import mutate

REGION = "us-east-1"


@dataclass
class Request:
    """An HTTP request, and the service that it is signed for.

    Attributes
    ----------
    path, query
        As they travel, that is quoted.
    """

    service: str
    method: str
    path: str
    query: str = ""
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def signed(self, credentials: Credentials, host: str) -> Request:
        """Return the request with a signature in its header."""
        target = f"https://{host}{self.path}" + ("?" + self.query if self.query else "")
        request = AWSRequest(self.method, target, {**self.headers, "Host": host}, self.body)
        SigV4Auth(credentials, self.service, REGION).add_auth(request)
        headers = {**self.headers, **dict(request.headers.items())}
        return Request(self.service, self.method, self.path, self.query, self.body, headers)

    def lines(self) -> list[bytes]:
        """Return the head, line by line, without what says how long the body is."""
        target = self.path + ("?" + self.query if self.query else "")
        lines = [f"{self.method} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return [line.encode("utf-8", "surrogateescape") for line in lines]

    def sent(self) -> bytes:
        """Return it as it should be."""
        length = b"Content-Length: %d" % len(self.body)
        return b"\r\n".join([*self.lines(), length, b"", b""]) + self.body


def presigned(credentials: Credentials, host: str, service: str = "iotdevicegateway") -> str:
    """Return a target that opens MQTT over WebSocket."""
    request = AWSRequest("GET", f"https://{host}/mqtt")
    SigV4QueryAuth(credentials, service, REGION, expires=60).add_auth(request)
    return str(request.url).partition(host)[2]


# --- requests -------------------------------------------------------------------------------------

SHADOW = {"state": {"reported": {"depth": 1.4}}}
THING = {"attributePayload": {"attributes": {"site": "a"}, "merge": True}}
ANSWERED = "confirmation=true&timeout=1"
CALLS: tuple[tuple[str, str, str, str, object], ...] = (
    ("iot", "POST", "/things/Test2", "", THING),
    ("iot", "PATCH", "/things/Test2", "", {**THING, "expectedVersion": 1}),
    ("iot", "GET", "/things/Test2", "", None),
    ("iot", "GET", "/things", "maxResults=2&attributeName=site&attributeValue=a", None),
    ("iot", "DELETE", "/things/Test2", "expectedVersion=1", None),
    ("iot", "POST", "/policies/p", "", {"policyDocument": ALLOW}),
    ("iot", "POST", "/policies/p/version", "setAsDefault=true", {"policyDocument": ALLOW}),
    ("iot", "GET", "/policies/p/version/1", "", None),
    ("iot", "PUT", "/target-policies/p", "", {"target": "arn:aws:iot:us-east-1:1:cert/a"}),
    ("iot", "POST", "/certificates", "setAsActive=true", {"certificateSigningRequest": CSR}),
    ("iot", "GET", "/certificates", "pageSize=1&isAscendingOrder=true", None),
    ("iot", "PUT", "/certificates/" + "ab" * 32, "newStatus=INACTIVE", None),
    ("iot", "POST", "/thing-groups/g", "", {"parentGroupName": "h", "tags": [{"Key": "a"}]}),
    ("iot", "POST", "/thing-types/t", "", {"thingTypeProperties": {"searchableAttributes": []}}),
    ("iot", "PUT", "/thing-groups/addThingToThingGroup", "", {"thingName": "Test2"}),
    ("iot", "GET", "/tags", "resourceArn=arn:aws:iot:us-east-1:1:thinggroup/g", None),
    ("iot", "GET", "/endpoint", "endpointType=iot:Data-ATS", None),
    ("iot", "POST", "/test-authorization", "clientId=a", {"authInfos": [{"resources": ["*"]}]}),
    ("iot", "PATCH", "/event-configurations", "", {"eventConfigurations": {"THING": {}}}),
    ("iotdata", "POST", "/topics/creek%2Fdepth", "qos=1&retain=true&messageExpiry=5", "1.4"),
    ("iotdata", "POST", "/things/Test2/shadow", "", SHADOW),
    ("iotdata", "POST", "/things/Test2/shadow", "name=limits", SHADOW),
    ("iotdata", "GET", "/things/Test2/shadow", "", None),
    ("iotdata", "DELETE", "/things/Test2/shadow", "name=limits", None),
    ("iotdata", "GET", "/api/things/shadow/ListNamedShadowsForThing/Test2", "pageSize=2", None),
    ("iotdata", "GET", "/retainedMessage/creek%2Fdepth", "", None),
    ("iotdata", "GET", "/retainedMessage", "maxResults=2", None),
    ("iotdata", "GET", "/connections/Test2", "includeSocketInformation=true", None),
    ("iotdata", "GET", "/connections/Test2/subscriptions", "maxResults=1", None),
    ("iotdata", "DELETE", "/connections/nobody", "cleanSession=true", None),
    ("iotdata", "POST", "/connections/Test2/messages", "topic=creek&" + ANSWERED, "now"),
    ("sts", "POST", "/", "", "Action=GetCallerIdentity&Version=2011-06-15"),
    ("creeklab", "POST", "/_creeklab/events", "", {"after": 100_000_000}),
    ("creeklab", "POST", "/_creeklab/why", "", {"client_id": "Test2"}),
    ("creeklab", "POST", "/_creeklab/nothing", "", {}),
    ("iotdevicegateway", "GET", "/mqtt", "", None),
    ("s3", "GET", "/bucket", "list-type=2", None),
    ("ec2", "POST", "/", "", "Action=DescribeInstances&Version=2016-11-15"),
)
SEGMENTS = (
    *("..", ".", "", "a" * 300, "a%2Fb", "%2e%2e", "%00", "%ff%fe", "%", "%zz", "%25", "%C3%A9"),
    *("Test2", "p", "*", "+", "%23", "%24aws", "a;b", "a:b", "{thingName}", "%20", "~", "nobody"),
)
PARAMETERS = (
    *("maxResults=0", "maxResults=-1", "maxResults=9999999999", "maxResults=x", "maxResults="),
    *("nextToken=x", "nextToken=W10%3D", "nextToken=bnVsbA%3D%3D", "marker=%ff", "pageSize=250"),
    *("qos=2", "qos=one", "qos=", "retain=maybe", "name=%24a", "name=", "name=a%2Fb", "="),
    *("topic=%23", "topic=", "timeout=-1", "timeout=0", "messageExpiry=-5", "a=b=c", "&&", "qos"),
    *("newStatus=LOST", "recursive=true", "recursive=no", "expectedVersion=9" + "9" * 400, "x=%zz"),
    *("X-Amz-Security-Token=a", "expectedVersion=1.5", "attributeName=a&attributeName=b"),
)
HEADERS = {
    "x-amz-mqtt5-user-properties": (
        *("W10=", "bm90IEpTT04=", "====", "W3siYSI6ImIifV0=", "W3siYSI6MX1d", "e30=", "x" * 20_000),
        "W1tb" * 6000,  # a list in a list, and so on
    ),
    "x-amz-mqtt5-correlation-data": ("AAE=", "=", "é", "x" * 9000),
    "x-amz-mqtt5-payload-format-indicator": ("UTF8_DATA", "UNSPECIFIED_BYTES", "2", ""),
    "Content-Type": ("application/json", "text/plain; charset=nonsense", "multipart/form-data", ""),
    "x-amzn-principal": ("arn:aws:iot:us-east-1:1:cert/" + "ab" * 32, "nobody", ""),
    "Content-Encoding": ("gzip", "br", "identity"),
    "X-Amz-Security-Token": ("a",),
    "Expect": ("100-continue", "nothing"),
    "Connection": ("close", "keep-alive", "Upgrade", "close, x-amz-date"),
    "Accept": ("*/*", "application/cbor"),
}


def request(random: Random) -> Request:
    """Return a request that may have something wrong in it, to be signed with that."""
    service, method, path, query, content = random.choice(CALLS)
    if content is None:
        body = b""
    elif isinstance(content, str):
        body = content.encode()
    elif random.random() < 0.5:
        body = mutate.document(random, (content,))
    else:
        body = json.dumps(content).encode()
    headers: dict[str, str] = {}
    if random.random() < 0.3:
        parts = path.split("/")
        parts[random.randrange(1, len(parts))] = random.choice(SEGMENTS)
        path = "/".join(parts)
    if random.random() < 0.3:
        query = "&".join(
            [*filter(None, [query]), *random.choices(PARAMETERS, k=random.choice((1, 3)))]
        )
    if random.random() < 0.2:
        method = random.choice(("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "LOCK"))
    if random.random() < 0.2:
        name = random.choice([*HEADERS])
        headers[name] = quote(random.choice(HEADERS[name]), safe=" =/;,:*+-")
    if random.random() < 0.05:
        body = random.choice(
            (b"", b"\xff", b"x" * 200_000, b"x" * 1_100_000, b"null", b"[]", b'"a"')
        )
    if random.random() < 0.05:
        service = random.choice(("iot", "iotdata", "sts", "creeklab", "iotdevicegateway", "s3"))
    return Request(service, method, path, query, body, headers)


# --- bytes ----------------------------------------------------------------------------------------

LINES = (
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding:"),
    *(
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: xchunked",
        b"transfer-encoding:\tchunked",
    ),
    *(b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: +5", b"Content-Length: 0x5"),
    *(b"Content-Length: " + b"9" * 30, b"Content-Length: 5, 5", b"Content-Length:", b" folded: a"),
    *(b"Host: elsewhere", b"Host:", b"Connection: close", b"Connection: Upgrade", b"Upgrade: h2c"),
    *(b"Upgrade: websocket", b"Expect: 100-continue", b"Expect: x", b"Content-Encoding: deflate"),
    *(
        b"X: " + b"x" * 40_000,
        b"x" * 40_000 + b": x",
        b"Authorization: Bearer x",
        b"no colon",
        b":",
    ),
    *(
        b"Authorization: AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=, Signature=",
        b"a: \0",
    ),
    *(b"X-Amz-Date: tomorrow", b"\0: x", b"X\xff: \xfe", b"Range: bytes=0-", b"Cookie: a=b; \xff"),
    *(b"HTTP2-Settings: AAMAAABkAAQAAP__", b"Trailer: X-Amz-Date", b"Keep-Alive: timeout=-1"),
)
NO_HTTP = (
    *(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"GET /\r\n",
        b"\r\n" * 50,
        b"\0" * 100,
    ),
    *(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"GET http://[::1 HTTP/1.1\r\n\r\n", b"x" * 100_000),
    *(
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
    ),
    *(
        b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ),
    *(
        b"GET " + b"/a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\nHost: a\n\n",
        b"\xef\xbb\xbfGET",
    ),
    b"GET /\x80\xff HTTP/1.1\r\nHost: a\r\n\r\n",
)


def spoilt(random: Random, one: Request) -> bytes:
    """Return a request with its framing, its headers or its bytes spoilt."""
    choice = random.random()
    if choice < 0.05:
        return random.choice(NO_HTTP)
    if choice < 0.25:
        head = [*one.lines(), b"Transfer-Encoding: chunked"]
        return b"\r\n".join([*head, b"", b""]) + chunks(random, one.body)
    if choice < 0.5:
        lines = one.lines()
        for _ in range(random.choice((1, 1, 2, 3))):
            lines.insert(random.randrange(1, len(lines) + 1), random.choice(LINES))
        if random.random() < 0.02:
            lines += [b"X-%d: y" % number for number in range(5000)]
        if random.random() < 0.7:
            lines.append(b"Content-Length: %d" % len(one.body))
        return random.choice((b"\r\n",) * 9 + (b"\n",)).join([*lines, b"", b""]) + one.body
    if choice < 0.65:
        length = random.choice((0, 1, len(one.body) // 2, len(one.body) + 10, 1 << 31, 1 << 64))
        return b"\r\n".join([*one.lines(), b"Content-Length: %d" % length, b"", b""]) + one.body
    if choice < 0.7:
        return one.sent() * random.choice((2, 5, 50))
    data = one.sent()
    return mutate.spoil_bytes(random, data, data)


def chunks(random: Random, body: bytes) -> bytes:
    """Return a chunked body: as it should be, or not quite."""
    found: list[bytes] = []
    step = max(100, len(body) // 1000)
    for at in range(0, len(body), step):
        part = body[at : at + step]
        size = len(part)
        if random.random() < 0.1:
            size = random.choice((0, size + 1, size - 1, 1 << 31, 1 << 63, (1 << 64) + 1))
        extension = random.choice((*[b""] * 9, b";a=b", b" ", b";" + b"x" * 9000, b";\xff"))
        end = random.choice((*[b"\r\n"] * 19, b"\n", b""))
        found.append(b"%x" % size + extension + b"\r\n" + part + end)
    trailers = random.choice(
        (*[b""] * 9, b"X-Amz-Date: now\r\n", b"a\r\n", b"x" * 9000 + b": x\r\n")
    )
    found.append(random.choice((*[b"0\r\n"] * 9, b"", b"00000\r\n", b"g\r\n")))
    return b"".join(found) + trailers + b"\r\n"


# --- frames ---------------------------------------------------------------------------------------

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(
    data: bytes,
    opcode: int = BINARY,
    *,
    last: bool = True,
    masked: bool = True,
    size: int | None = None,
    reserved: int = 0,
) -> bytes:
    """Return a frame; `size` is what it says, if that is not what it has."""
    size = len(data) if size is None else size
    head = bytes([opcode | last << 7 | reserved << 4])
    mask = masked << 7
    if size < 126:
        head += bytes([mask | size])
    elif size < 1 << 16:
        head += bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([mask | 127]) + (size & (1 << 64) - 1).to_bytes(8, "big")
    return head + (b"\0\0\0\0" if masked else b"") + data  # masked with nothing


def frames(random: Random, data: bytes) -> bytes:
    """Return frames that carry bytes of MQTT, or nearly."""
    choice = random.random()
    if choice < 0.5:
        return frame(data)
    if choice < 0.65:  # in fragments, perhaps with something in between
        cut = random.randrange(len(data) + 1)
        between = random.choice((b"", b"", frame(b"x", PING), frame(b"", TEXT), frame(b"", BINARY)))
        rest = frame(data[cut:], CONTINUATION, last=random.random() < 0.9)
        return frame(data[:cut], last=False) + between + rest
    if choice < 0.7:
        return b"".join(frame(data[at : at + 1]) for at in range(min(len(data), 200)))
    if choice < 0.75:
        control = random.choice((PING, PONG, CLOSE))
        return frame(random.choice((b"", b"x", b"x" * 125, b"x" * 126)), control)
    if choice < 0.78:
        code = random.choice((0, 999, 1000, 1001, 1004, 1005, 1006, 1015, 2999, 3000, 65535))
        return frame(
            code.to_bytes(2, "big") + random.choice((b"", b"bye", b"\xff", b"x" * 123)), CLOSE
        )
    if choice < 0.8:
        return frame(b"x", PING) * 500
    if choice < 0.84:
        return frame(data, TEXT)
    if choice < 0.96:
        return frame(
            data,
            random.choice((BINARY, BINARY, CONTINUATION, 3, 7, 11, 15, PING, CLOSE)),
            last=random.random() < 0.8,
            masked=random.random() < 0.7,
            size=random.choice((None, None, 0, 125, 126, 1 << 16, 1 << 20, 1 << 40, 1 << 63)),
            reserved=random.choice((0, 0, 1, 4)),
        )
    whole = frame(data)
    return mutate.spoil_bytes(random, whole, whole)
