"""Requests and responses against botocore's serializers and parsers, for every member."""

from __future__ import annotations

import base64
import itertools
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore import xform_name
from botocore.awsrequest import create_request_object, prepare_request_dict
from botocore.loaders import Loader
from botocore.model import ServiceModel as BotocoreModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st

from creeklab.cloud.api.service_model import STATUSES, ServiceModel
from creeklab.cloud.api.validation import matches
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.iam.operations import IamOperations
from creeklab.cloud.transport.http_response import HttpResponse

SERVICES = {name: ServiceModel(name) for name in ("iot", "iot-data", "sts", "iam")}
MODELS = {
    name: BotocoreModel(Loader().load_service_model(name, "service-2"), name) for name in SERVICES
}
REST_OPERATIONS = [
    (name, operation) for name in ("iot", "iot-data") for operation in SERVICES[name].operations
]
IAM_OPERATIONS = [
    ("iam", operation)
    for operation in SERVICES["iam"].operations
    if hasattr(IamOperations, xform_name(operation))
]
REQUEST_ID = "0b5a6c6e-0000-4000-8000-000000000000"
MOMENT = datetime(2018, 8, 31, 23, 30, tzinfo=UTC)
TEXTS = [
    "$aws/things/T 1/ü+#?&=%2F",
    "arn:aws:iot:us-east-1:123456789012:cert/" + "0af" * 8,
    "a",
    "Abc",
    "5",
    "0a" * 32,
    "2018-08-31",
    "123456789012",
    "arn:aws:acm:us-east-1:123456789012:certificate/0a",
    ",",
    "2.0",
    "p50",
    "https://ingestion-a.b.sfdcnow.com/streams/c/d/event",
    "b" * 36,
    "c" * 64,
    "/",
]


def wire(name: str, operation: str, members: dict[str, Any]) -> tuple[str, str, str, Any, bytes]:
    """Return what botocore sends: method, path, query, headers, body."""
    model = MODELS[name].operation_model(operation)
    serializer = create_serializer(MODELS[name].metadata["protocol"], include_validation=True)
    request = serializer.serialize_to_request(members, model)
    prepare_request_dict(request, "https://localhost", context={})
    prepared = create_request_object(request).prepare()
    url = urlsplit(prepared.url)
    headers = {key.lower(): value for key, value in prepared.headers.items()}
    headers = {k: v.decode() if isinstance(v, bytes) else v for k, v in headers.items()}
    body = prepared.body or b""
    return (
        prepared.method,
        url.path,
        url.query,
        headers,
        body.encode() if isinstance(body, str) else body,
    )


def read(
    service: ServiceModel, method: str, path: str, query: str, headers: Any, body: bytes
) -> tuple[str, dict[str, Any]]:
    operation, labels = service.route(method, path, body)
    return operation, service.parse_request(operation, labels, query, headers, body)


def parsed(name: str, operation: str, answer: HttpResponse) -> dict[str, Any]:
    """Return a response as botocore parses it."""
    parser = create_parser(MODELS[name].metadata["protocol"])
    response = {
        "status_code": answer.status,
        "headers": {key.lower(): value for key, value in answer.headers.items()},
        "body": answer.body,
    }
    shape: Any = MODELS[name].operation_model(operation).output_shape
    return dict(parser.parse(response, shape))


def sample(service: ServiceModel, name: str, given: bool = False) -> Any:
    """Return a value of a shape with every member; `given` is the form that operations receive."""
    shape = service.shapes[name]
    match shape["type"]:
        case "structure":
            return {
                member: sample(service, ref["shape"], given)
                for member, ref in shape["members"].items()
                if "jsonvalue" not in ref
            }
        case "list":
            return [sample(service, shape["member"]["shape"], given)] * max(1, shape.get("min", 1))
        case "map":
            key = sample(service, shape["key"]["shape"], given)
            return {key: sample(service, shape["value"]["shape"], given)}
        case "timestamp":
            return MOMENT.timestamp() if given else MOMENT
        case "blob":
            return b"\x00\xff" * max(1, shape.get("min", 1))
        case "boolean":
            return True
        case "integer" | "long" | "double" as kind:
            number = shape.get("min", 7)
            return float(number) if kind == "double" else number
    if "enum" in shape:
        return shape["enum"][0]
    for text in TEXTS:
        fits = shape.get("min", 0) <= len(text) <= shape.get("max", 10**9)
        if fits and matches(shape.get("pattern", r"[\s\S]*"), text):
            return text
    raise AssertionError(f"No text fits {name}: {shape}")


@pytest.mark.parametrize(("name", "operation"), REST_OPERATIONS + IAM_OPERATIONS)
def test_every_member_of_every_request(name: str, operation: str) -> None:
    service = SERVICES[name]
    shape = service.operations[operation]["input"]["shape"]
    request = wire(name, operation, sample(service, shape))
    assert read(service, *request) == (operation, sample(service, shape, given=True))


@pytest.mark.parametrize(("name", "operation"), REST_OPERATIONS + IAM_OPERATIONS)
def test_every_member_of_every_response(name: str, operation: str) -> None:
    service = SERVICES[name]
    output = service.operations[operation].get("output")
    if output and "payload" in service.shapes[output["shape"]]:
        return  # streamed by boto3: see test_dispatcher.py
    result = sample(service, output["shape"]) if output else {}
    if "statusCode" in result:
        result["statusCode"] = 202
    answer = service.serialize(operation, result, REQUEST_ID)
    assert answer.status == result.get("statusCode", 200)
    metadata = {
        "RequestId": REQUEST_ID,
        "HTTPStatusCode": answer.status,
        "HTTPHeaders": {key.lower(): value for key, value in answer.headers.items()},
    }
    assert parsed(name, operation, answer) == {**result, "ResponseMetadata": metadata}


@pytest.mark.parametrize(("name", "operation"), REST_OPERATIONS)
def test_required_members_are_required(name: str, operation: str) -> None:
    """A path label cannot be missing; AWS names the other missing members."""
    service = SERVICES[name]
    shape = service.shapes[service.operations[operation]["input"]["shape"]]
    labels = {
        ref.get("locationName", member): "x"
        for member, ref in shape["members"].items()
        if ref.get("location") == "uri"
    }
    missing = [
        member
        for member in shape.get("required", ())
        if shape["members"][member].get("location") != "uri"
        and not (member == shape.get("payload") and name == "iot-data")
    ]
    if not missing:
        return
    with pytest.raises(ServiceError) as caught:
        service.parse_request(operation, labels, "", {}, b"")
    for member in missing:
        assert f"Value null at '{member}' failed to satisfy" in caught.value.message


# Requests


@pytest.mark.parametrize(
    "label", ["T", "a/b", "$aws/things/T", "a b+c", "ü", "100%", "%2F", "..", ".", "?", "#", "a;b"]
)
def test_labels_are_decoded_once(label: str) -> None:
    path = "/topics/" + quote(label, safe="")
    assert SERVICES["iot-data"].route("POST", path, b"") == ("Publish", {"topic": path[8:]})
    assert read(SERVICES["iot-data"], "POST", path, "", {}, b"")[1] == {"topic": label}


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("GET", "/things", "ListThings"),
        ("GET", "/things/T", "DescribeThing"),
        ("PATCH", "/things/T", "UpdateThing"),
        ("GET", "/principals/things", "ListPrincipalThings"),
        ("PUT", "/thing-groups/addThingToThingGroup", "AddThingToThingGroup"),
        ("GET", "/thing-groups/addThingToThingGroup", "DescribeThingGroup"),
        ("POST", "/certificate/register-no-ca", "RegisterCertificateWithoutCA"),
        ("POST", "/attached-policies/arn%3Aaws%3Aiot%3A%3A%3Acert%2F0a", "ListAttachedPolicies"),
        ("GET", "/destinations/arn:aws:iot:::ruledestination/http/1", "GetTopicRuleDestination"),
    ],
)
def test_routes(method: str, path: str, operation: str) -> None:
    assert SERVICES["iot"].route(method, path, b"")[0] == operation


@pytest.mark.parametrize("name", ["iot", "iot-data"])
def test_no_path_matches_two_operations(name: str) -> None:
    """If this fails, `Service` must try a literal segment before a label."""
    routes = [
        (operation["http"]["method"], operation["http"]["requestUri"].split("/"))
        for operation in SERVICES[name].operations.values()
    ]
    for (method, one), (other_method, other) in itertools.combinations(routes, 2):
        if method == other_method and len(one) == len(other):
            assert any(
                a != b and not (a.startswith("{") and b) and not (b.startswith("{") and a)
                for a, b in zip(one, other, strict=True)
            )


@pytest.mark.parametrize(
    ("name", "method", "path", "code"),
    [
        ("iot", "GET", "/", "UnknownOperationException"),
        ("iot", "GET", "", "UnknownOperationException"),
        ("iot", "GET", "/nothing", "UnknownOperationException"),
        ("iot", "GET", "/things/", "UnknownOperationException"),
        ("iot", "GET", "/things/a/b", "UnknownOperationException"),
        ("iot", "PUT", "/things", "UnknownOperationException"),
        ("iot", "get", "/things", "UnknownOperationException"),
        ("iot-data", "GET", "/things/T", "UnknownOperationException"),
        ("iot-data", "PUT", "/things/T/shadow", "MethodNotAllowedException"),
    ],
)
def test_unknown_paths(name: str, method: str, path: str, code: str) -> None:
    with pytest.raises(ServiceError) as caught:
        SERVICES[name].route(method, path, b"")
    assert caught.value.code == code


def members_of(operation: str, **parts: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {"labels": {}, "query": "", "headers": {}, "body": b""}
    service = SERVICES["iot-data" if operation == "Publish" else "iot"]
    return service.parse_request(operation, **{**defaults, **parts})


@pytest.mark.parametrize(
    ("query", "members"),
    [
        ("", {}),
        ("maxResults=5&nextToken=a%2Bb%3D", {"maxResults": 5, "nextToken": "a+b="}),
        ("attributeName=a&unknown=1", {"attributeName": "a"}),
        ("usePrefixAttributeValue=TRUE", {"usePrefixAttributeValue": True}),
        ("nextToken=", {"nextToken": ""}),
    ],
)
def test_query_parameters(query: str, members: dict[str, Any]) -> None:
    assert members_of("ListThings", query=query) == members


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2018-08-31T23%3A30%3A00Z", MOMENT.timestamp()),
        ("2018-08-31T23%3A30%3A00", MOMENT.timestamp()),
        ("2018-08-31T19%3A30%3A00.5-04%3A00", MOMENT.timestamp() + 0.5),
    ],
)
def test_times_in_the_query_string(text: str, moment: float) -> None:
    query = f"startTime={text}&endTime={text}"
    assert members_of("ListAuditTasks", query=query) == {"startTime": moment, "endTime": moment}


@pytest.mark.parametrize(
    ("operation", "parts", "message"),
    [
        ("ListThings", {"query": "maxResults=many"}, "'maxResults' must be a 32-bit integer."),
        ("ListThings", {"query": "maxResults=1_0"}, "'maxResults' must be a 32-bit integer."),
        ("ListThings", {"query": "maxResults=99999999999"}, "must be a 32-bit integer."),
        ("ListThings", {"query": "usePrefixAttributeValue=1"}, "must be true or false."),
        ("ListThings", {"query": "nextToken=%FF"}, "must be percent-encoded UTF-8."),
        ("ListThings", {"query": "nextToken=\udcff"}, "must be a Unicode string."),
        ("ListAuditTasks", {"query": "startTime=now&endTime=now"}, "'startTime' must be a time"),
        ("DescribeThing", {"labels": {"thingName": "%FF"}}, "must be percent-encoded UTF-8."),
        ("CreateThing", {"labels": {"thingName": "T"}, "body": b"{"}, "The body is not JSON: Expe"),
        ("CreateThing", {"labels": {"thingName": "T"}, "body": b"\xff"}, "The body is not JSON"),
        ("CreateThing", {"labels": {"thingName": "T"}, "body": b"[]"}, "must be a JSON object."),
        ("CreateThing", {"labels": {"thingName": "T"}, "body": b"[" * 10**5}, "nested too deeply"),
        ("CreateTopicRule", {"labels": {"ruleName": "r"}}, "Value null at 'topicRulePayload'"),
        (
            "CreateTopicRule",
            {"labels": {"ruleName": "r"}, "body": b"{}"},
            "2 validation errors detected: Value null at 'topicRulePayload.sql'",
        ),
        (
            "Publish",
            {"labels": {"topic": "t"}, "headers": {"x-amz-mqtt5-user-properties": "[]"}},
            "'userProperties' must be base64-encoded JSON.",
        ),
    ],
)
def test_refused_requests(operation: str, parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ServiceError) as caught:
        members_of(operation, **parts)
    assert caught.value.code == "InvalidRequestException"
    assert message in caught.value.message


def test_newer_operations_raise_validation_exception() -> None:
    with pytest.raises(ServiceError) as caught:
        members_of("GetPackage", labels={"packageName": "a b"})
    assert caught.value.code == "ValidationException"


def test_an_invalid_thing_name_has_the_message_of_aws() -> None:
    with pytest.raises(ServiceError) as caught:
        members_of("CreateThing", labels={"thingName": "my%20thing"})
    assert caught.value.message == (
        "1 validation error detected: Value 'my thing' at 'thingName' failed to satisfy "
        "constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9:_-]+"
    )


def test_invalid_attributes_have_the_message_of_aws() -> None:
    """The response in aws/aws-sdk-java#666, except for the length of a value."""
    attributes = {'"state"': '{"reported":{"device_id":"ABCD","motion_info":"STOP"}}'}
    body = json.dumps({"attributePayload": {"attributes": attributes}}).encode()
    with pytest.raises(ServiceError) as caught:
        members_of("UpdateThing", labels={"thingName": "T"}, body=body)
    head = (
        """Value '{"state"={"reported":{"device_id":"ABCD","motion_info":"STOP"}}}' at """
        "'attributePayload.attributes' failed to satisfy constraint: "
    )
    assert caught.value.message == (
        f"2 validation errors detected: {head}Map keys must satisfy constraint: "
        "[Member must have length less than or equal to 128, "
        "Member must have length greater than or equal to 0, "
        "Member must satisfy regular expression pattern: [a-zA-Z0-9_.,@/:#-]+]; "
        f"{head}Map value must satisfy constraint: "
        "[Member must have length less than or equal to 800, "
        "Member must have length greater than or equal to 0, "
        "Member must satisfy regular expression pattern: [a-zA-Z0-9_.,@/:#=\\[\\]-]*]"
    )


PAIRS = [{"site": "01581920"}, {"unit": "ft"}]


@pytest.mark.parametrize("given", [PAIRS, json.dumps(PAIRS)])
def test_json_in_a_header_is_returned_as_text(given: Any) -> None:
    request = wire("iot-data", "Publish", {"topic": "t", "userProperties": given})
    _, members = read(SERVICES["iot-data"], *request)
    assert json.loads(members["userProperties"]) == PAIRS


def test_an_empty_payload() -> None:
    """A required payload is empty; an optional one is absent."""
    data = SERVICES["iot-data"]
    assert read(data, "POST", "/things/T/shadow", "", {}, b"")[1]["payload"] == b""
    assert "payload" not in read(data, "POST", "/topics/t", "", {}, b"")[1]


@given(
    st.sampled_from(["iot", "iot-data", "sts"]),
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]),
    st.sampled_from(["/things/{}", "/things", "/topics/{}", "/{}", "/things/{}/shadow", "{}"]),
    st.text(),
    st.text(),
    st.binary() | st.recursive(st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode),
)
def test_any_request_is_parsed_or_rejected(
    name: str, method: str, path: str, text: str, query: str, body: bytes
) -> None:
    service = SERVICES[name]
    try:
        operation, members = read(service, method, path.replace("{}", text), query, {}, body)
    except ServiceError as error:
        answer = service.serialize_error(error, REQUEST_ID)
        assert 400 <= answer.status < 500
    else:
        allowed = service.shapes[service.operations[operation]["input"]["shape"]]["members"]
        assert members.keys() <= allowed.keys()


# Responses


def test_responses_without_members_are_empty() -> None:
    iot = SERVICES["iot"]
    assert iot.serialize("AttachPolicy", None, REQUEST_ID).body == b""
    assert iot.serialize("DeleteThing", None, REQUEST_ID).body == b"{}"
    assert iot.serialize("DescribeThing", {"thingName": None}, REQUEST_ID).body == b"{}"


@pytest.mark.parametrize("moment", [MOMENT, MOMENT.timestamp()])
def test_times_are_seconds(moment: Any) -> None:
    answer = SERVICES["iot"].serialize("GetPolicy", {"creationDate": moment}, REQUEST_ID)
    assert answer.body == b'{"creationDate": 1535758200.0}'


def test_a_payload_is_the_body() -> None:
    answer = SERVICES["iot-data"].serialize("GetThingShadow", {"payload": b"{ }"}, REQUEST_ID)
    assert answer.body == b"{ }"
    result = {"topic": "t", "payload": b"\xff"}
    answer = SERVICES["iot-data"].serialize("GetRetainedMessage", result, REQUEST_ID)
    assert json.loads(answer.body)["payload"] == base64.b64encode(b"\xff").decode()


@pytest.mark.parametrize(
    ("name", "operation", "result"),
    [
        ("iot", "DescribeThing", {"thing_name": "T"}),
        ("iot", "ListThings", {"things": [{"name": "T"}]}),
        ("sts", "GetCallerIdentity", {"User": "x"}),
    ],
)
def test_a_misspelled_member_raises(name: str, operation: str, result: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="has no member"):
        SERVICES[name].serialize(operation, result, REQUEST_ID)


@pytest.mark.parametrize(
    ("name", "code", "status", "seen"),
    [
        ("iot", "ResourceNotFoundException", 404, None),
        ("iot", "CertificateStateException", 406, None),
        ("iot", "LimitExceededException", 410, None),
        ("iot", "ThrottlingException", 400, None),
        ("iot-data", "ThrottlingException", 429, None),
        ("iot-data", "UnsupportedDocumentEncodingException", 415, None),
        ("iot", "RequestEntityTooLargeException", 413, None),
        ("iot", "InvalidSignatureException", 403, None),
        ("iot", "UnheardOfException", 400, None),
        ("sts", "InvalidSignatureException", 403, "SignatureDoesNotMatch"),
        ("sts", "UnrecognizedClientException", 403, "InvalidClientTokenId"),
        ("sts", "MalformedPolicyDocumentException", 400, "MalformedPolicyDocument"),
        ("sts", "UnknownOperationException", 404, "InvalidAction"),
        ("sts", "NotImplementedException", 501, "NotImplementedException"),
    ],
)
def test_errors(name: str, code: str, status: int, seen: str | None) -> None:
    message = "The <name> & 'ü' \x01"
    answer = SERVICES[name].serialize_error(ServiceError(code, message), REQUEST_ID)
    error = parsed(name, next(iter(SERVICES[name].operations)), answer)
    assert answer.status == status
    assert error["Error"]["Code"] == (seen or code)
    assert error["Error"]["Message"] == (message if seen is None else message[:-1] + "\ufffd")
    assert error["ResponseMetadata"]["RequestId"] == REQUEST_ID


def test_further_members_of_an_error() -> None:
    error = ServiceError("ResourceAlreadyExistsException", "It is there.", resourceId="T")
    answer = SERVICES["iot"].serialize_error(error, REQUEST_ID)
    assert json.loads(answer.body) == {"message": "It is there.", "resourceId": "T"}
    assert answer.headers["x-amzn-ErrorType"] == "ResourceAlreadyExistsException"
    assert answer.status == 409


def test_statuses_agree_with_the_models() -> None:
    for service in SERVICES.values():
        for code in STATUSES.keys() & service.shapes.keys():
            assert service.shapes[code]["error"]["httpStatusCode"] == STATUSES[code]


# The protocol query


def test_a_form_request_gets_an_xml_response() -> None:
    request = wire("sts", "GetCallerIdentity", {})
    assert read(SERVICES["sts"], *request) == ("GetCallerIdentity", {})
    result = {"UserId": "AIDA", "Account": "123456789012", "Arn": "arn:aws:iam::1:user/a&b"}
    answer = SERVICES["sts"].serialize("GetCallerIdentity", result, REQUEST_ID)
    seen = parsed("sts", "GetCallerIdentity", answer)
    assert seen.pop("ResponseMetadata")["RequestId"] == REQUEST_ID
    assert seen == result


def test_scalars_in_and_structures_out() -> None:
    members = {"SerialNumber": "GAHT/a+b=,@", "TokenCode": "123456"}
    request = wire("sts", "GetSessionToken", members)
    assert read(SERVICES["sts"], *request) == ("GetSessionToken", members)
    result = {"Credentials": {"AccessKeyId": "<A>", "SecretAccessKey": None}}
    answer = SERVICES["sts"].serialize("GetSessionToken", result, REQUEST_ID)
    seen = parsed("sts", "GetSessionToken", answer)
    assert seen["Credentials"] == {"AccessKeyId": "<A>"}


@pytest.mark.parametrize(
    ("form", "tags"),
    [
        (
            "Tags.member.2.Key=b&Tags.member.2.Value=&Tags.member.1.Key=a&Tags.member.1.Value=1",
            "ab",
        ),
        ("&".join(f"Tags.member.{n}.Key={n}&Tags.member.{n}.Value=" for n in (10, 9)), "910"),
        ("Tags=", ""),
        ("Tags.member.1.Key=a&Tags.member.1.Value=1" + "&x" + ".y" * 400_000 + "=1", "a"),
    ],
)
def test_lists_in_a_form(form: str, tags: str) -> None:
    body = f"Action=TagRole&RoleName=creek&{form}".encode()
    operation, members = read(SERVICES["iam"], "POST", "/", "", {}, body)
    assert (operation, members["RoleName"]) == ("TagRole", "creek")
    assert "".join(tag["Key"] for tag in members["Tags"]) == tags


@pytest.mark.parametrize("body", [b"", b"Action=Dance", b"Action=%FF", b"\xff", b"{}"])
def test_an_unknown_action(body: bytes) -> None:
    with pytest.raises(ServiceError, match=r"Could not find operation .* for version 2011-06-15"):
        SERVICES["sts"].route("POST", "/", body)
