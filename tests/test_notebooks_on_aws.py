"""The notebooks on AWS, as far as that can be tested without AWS.

All notebooks run in one lab that was opened with ``CREEKLAB_TARGET=aws``, with a local cloud in the
place of AWS, and every call to AWS is recorded, those of the helpers included. Then three judges
that are independent of this cloud check the calls: botocore's Stubber the form of each request and
response, the service model each error, and moto the responses to the same requests.
"""

from __future__ import annotations

import collections
import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import boto3
import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from botocore.stub import Stubber
from moto.server import ThreadedMotoServer

from creeklab import open_lab
from creeklab.targets.target import NotSupportedOnAws
from tests.aws_stand_in import stand_in
from tests.notebook_calls import NOTEBOOKS, Call, Recorder, run_notebook

NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))

MOTO_DIFFERS = {
    # AWS rejects the name of an existing Thing with other attributes (API reference, CreateThing).
    ("CreateThing", "ResourceAlreadyExistsException", None),
    # AWS accepts the deletion of a missing Thing (API reference, DeleteThing).
    ("DeleteThing", None, "ResourceNotFoundException"),
    # A shadow needs no Thing in the registry, just as a device needs none to connect.
    ("UpdateThingShadow", None, "ResourceNotFoundException"),
    # moto keeps no certificate from a signing request.
    ("DeleteCertificate", None, "ResourceNotFoundException"),
    # AWS lists no shadows for a missing Thing (developer guide, REST API of shadows).
    ("ListNamedShadowsForThing", None, "ResourceNotFoundException"),
    # moto has not deleted this certificate, for the reason above.
    ("DescribeCertificate", "ResourceNotFoundException", None),
    # moto does not parse SQL, so it creates this rule, and the next one of its name exists.
    ("CreateTopicRule", "SqlParseException", None),
    ("CreateTopicRule", None, "ResourceAlreadyExistsException"),
    # forceDelete detaches a certificate's policies (API reference, DeleteCertificate). moto
    # leaves them, so the policy stays, and the next calls find it.
    ("DeletePolicy", None, "DeleteConflictException"),
    ("GetPolicy", "ResourceNotFoundException", None),
    ("ListTargetsForPolicy", "ResourceNotFoundException", None),
    ("CreatePolicy", None, "ResourceAlreadyExistsException"),
    # These shadows were made or changed by messages, which are not replayed.
    ("GetThingShadow", None, "ResourceNotFoundException"),
    ("DeleteThingShadow", None, "ResourceNotFoundException"),
}
"""Where moto differs and AWS agrees with this cloud: operation, error here, error in moto."""

COMMON_ERRORS = {"SignatureDoesNotMatch", "InvalidClientTokenId", "AccessDeniedException"}
"""Errors of every service, which checks signature and user before the call."""

NOT_HERE = "NotImplementedException"  # this cloud serves only some services of AWS
MOTO_HAS_NOT = "500"  # moto's answer to an unknown operation


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run every notebook; return its errors and calls by name, and the cost."""
    found: dict[str, Any] = {}
    with stand_in(tmp_path_factory.mktemp("aws")) as patch:
        patch.setenv("MPLBACKEND", "agg")
        patch.setenv("CREEKLAB_TARGET", "aws")
        patch.setenv("CREEKLAB_ACCEPT_COSTS", "yes")
        patch.setenv("CREEKLAB_HOME", str(tmp_path_factory.mktemp("home")))
        patch.chdir(NOTEBOOKS)
        for name in NAMES:
            recorder = Recorder()
            with recorder.listening():
                failed = [
                    (source, error)
                    for source, metadata, error in run_notebook(NOTEBOOKS / f"{name}.ipynb")
                    if error is not None and "raises-exception" not in metadata.get("tags", [])
                ]
            found[name] = (failed, recorder.calls)
        found["cost"] = open_lab().ledger.cost()
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_runs_or_names_the_local_cloud(name: str, recorded: dict[str, Any]) -> None:
    failed, calls = recorded[name]
    wrong = [
        (source, error) for source, error in failed if not isinstance(error, NotSupportedOnAws)
    ]
    assert wrong == []
    assert {call.operation for call in calls} >= {"GetCallerIdentity", "DescribeEndpoint"}


class Clients(dict[str, Any]):
    """A client of each requested service."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self._session: Any = boto3.Session("a", "b", region_name="us-east-1")
        self._options = options

    def __missing__(self, service: str) -> Any:
        self[service] = self._session.client(service, **self._options)
        return self[service]


@pytest.fixture(scope="module")
def clients() -> Clients:
    """Clients that connect to nothing."""
    return Clients()


@pytest.mark.parametrize("name", NAMES)
def test_botocore_accepts_every_request_and_response(
    name: str, recorded: dict[str, Any], clients: Clients
) -> None:
    _, calls = recorded[name]
    for call in calls:
        client = clients[call.service]
        model = client.meta.service_model.operation_model(call.operation)
        if call.error is not None:
            modeled = {shape.error_code or shape.name for shape in model.error_shapes}
            assert call.error in modeled | COMMON_ERRORS | {NOT_HERE}, call
            continue
        answer = _documents_as_text(call.answer)
        body = model.get_streaming_output()
        if body is not None:
            payload = model.output_shape.serialization["payload"]
            answer[payload] = StreamingBody(BytesIO(answer[payload]), len(answer[payload]))
        method = xform_name(call.operation)
        with Stubber(client) as stubber:
            stubber.add_response(method, answer, call.asked)
            getattr(client, method)(**call.asked)
            stubber.assert_no_pending_responses()


def _documents_as_text(answer: Any) -> Any:
    """Return a response as it was sent: boto3 has decoded the documents of IAM."""
    if not isinstance(answer, dict):
        return answer
    return {
        name: json.dumps(each)
        if name.endswith("PolicyDocument") and isinstance(each, dict)
        else _documents_as_text(each)
        for name, each in answer.items()
    }


@pytest.fixture
def moto_clients() -> Iterator[Clients]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield Clients(endpoint_url=f"http://{host}:{port}")
    server.stop()


def test_moto_answers_the_same_calls_alike(recorded: dict[str, Any], moto_clients: Clients) -> None:
    """Where both answer, this cloud's response has every member of moto's."""
    ids: dict[str, str] = {}
    differs: collections.Counter[tuple[str, str | None, str | None]] = collections.Counter()
    agreed = 0
    for call in (call for name in NAMES for call in recorded[name][1]):
        error, answer = _replay(moto_clients[call.service], call, ids)
        if error == MOTO_HAS_NOT or call.error in COMMON_ERRORS:
            continue  # moto checks no signature
        if call.error == NOT_HERE:
            continue
        if error != call.error:
            differs[(call.operation, call.error, error)] += 1
            continue
        agreed += 1
        missing = set(answer) - set(call.answer)
        assert not missing, (call.operation, missing)
        if "certificateId" in answer:
            ids[call.answer["certificateId"]] = answer["certificateId"]
    assert set(differs) - MOTO_DIFFERS == set()
    assert agreed > 5 * differs.total()


def _replay(client: Any, call: Call, ids: dict[str, str]) -> tuple[str | None, dict[str, Any]]:
    try:
        answer = getattr(client, xform_name(call.operation))(**_with_ids(call.asked, ids))
    except ClientError as error:
        return str(error.response["Error"]["Code"]), {}
    return None, {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def _with_ids(value: Any, ids: dict[str, str]) -> Any:
    """Replace the certificate IDs of this cloud by moto's."""
    if isinstance(value, dict):
        return {name: _with_ids(each, ids) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_ids(each, ids) for each in value]
    if isinstance(value, str):
        for here, there in ids.items():
            value = value.replace(here, there)
    return value


def test_the_course_costs_a_cent_or_two_as_announced(
    recorded: dict[str, Any],
) -> None:
    cost = recorded["cost"]
    assert cost.above_free_tier == 0
    assert cost.usage.messages > 1000  # the flood is in it
    assert 0 < cost.total < 0.02, repr(cost)
