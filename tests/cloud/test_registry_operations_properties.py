"""Any request of the control plane gets a response that matches the model, or a typed error.

Requests are generated from botocore's model, with existing names and arbitrary text, and pass the
same validation as HTTP requests. They share one registry, so each meets the effects of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from creeklab.cloud.api.service_model import ServiceModel
from creeklab.cloud.api.validation import InvalidRequest, matches, validate
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.registry import Registry
from creeklab.cloud.registry.operations import RegistryOperations
from creeklab.cloud.security.ca import CertificateAuthority
from creeklab.cloud.storage.database import Database
from tests.cloud.iot_fixture import (
    ALLOW,
    ARN,
    CSR,
    ERRORS,
    IDENTITY,
    OPERATIONS,
    Clock,
    certificate,
)

SERVICE = ServiceModel("iot")
SLOW = ("create_keys_and_certificate",)  # which makes an RSA key each time
SERVED = sorted(name for name in dir(RegistryOperations) if name in OPERATIONS and name not in SLOW)
NAMES = ("a", "b", "Test2", "gauges")
KINDS = ("thing", "thinggroup", "thingtype", "policy", "topic")


Known = dict[str, Sequence[str]]
"""Useful texts by the name of their shape; those of "" apply to all others."""


def texts(name: str, known: Known) -> st.SearchStrategy[str]:
    """Return texts that match a shape in seven of eight cases."""
    shape = SERVICE.shapes[name]
    fitting = [
        text
        for text in known.get(name, known[""])
        if shape.get("min", 0) <= len(text) <= shape.get("max", len(text))
        and ("pattern" not in shape or matches(shape["pattern"], text))
    ]
    wild = st.sampled_from(["", "*", "aws:a", "::", "é", "\ud800", "%", "'", "x" * 129, "${a}"])
    any_text = st.one_of(wild, st.text(max_size=6))
    if not fitting:
        return any_text
    return st.integers(0, 7).flatmap(lambda n: st.sampled_from(fitting) if n else any_text)


def values(name: str, known: Known) -> st.SearchStrategy[Any]:
    """Return values that mostly match a shape."""
    shape = SERVICE.shapes[name]
    match shape["type"]:
        case "structure":
            return members(name, known)
        case "list":
            return st.lists(values(shape["member"]["shape"], known), max_size=3)
        case "map":
            key, value = shape["key"]["shape"], shape["value"]["shape"]
            return st.dictionaries(values(key, known), values(value, known), max_size=4)
        case "boolean":
            return st.booleans()
        case "integer" | "long":
            return st.sampled_from([1, 1, 1, 2, 3, 250, 0, 251, -1, 2**31])
    if "enum" in shape:
        return st.sampled_from([*shape["enum"], "none"])
    return texts(name, known)


def members(name: str, known: Known) -> st.SearchStrategy[dict[str, Any]]:
    shape = SERVICE.shapes[name]
    all_of = {member: values(ref["shape"], known) for member, ref in shape["members"].items()}
    required = {member: all_of.pop(member) for member in shape.get("required", ())}
    return st.fixed_dictionaries(required, optional=all_of)


def requests(known: Known) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.sampled_from(SERVED).flatmap(
        lambda name: st.tuples(
            st.just(name), members(OPERATIONS[name]._operation_model["input"]["shape"], known)
        )
    )


def test_any_request_is_answered(authority: CertificateAuthority, tmp_path: Path) -> None:
    store = Database(tmp_path / "any.db")
    registry = Registry(
        store,
        authority,
        IDENTITY,
        "localhost",
        Clock(),
    )
    iot = RegistryOperations(registry)
    arns = [certificate(iot, active=active) for active in (True, False)]
    pem = iot.describe_certificate(certificateId=arns[0][-64:])["certificateDescription"]
    named = [f"{ARN}{kind}/{name}" for kind in KINDS for name in NAMES]
    known: Known = {
        "": (*NAMES, "1", "2"),
        "CertificateId": [arn[-64:] for arn in arns],
        "CertificatePem": [pem["certificatePem"]],
        "CertificateSigningRequest": [CSR],
        "EndpointType": ["iot:Data-ATS"],
        "PolicyDocument": [ALLOW, ALLOW.replace("Allow", "Deny")],
        "PolicyTarget": [*arns, *named],
        "Principal": [*arns, *named],
        "ResourceArn": named,
        "ThingArn": named,
        "ThingGroupArn": named,
    }

    @settings(max_examples=800, deadline=None)
    @given(requests(known))
    def check(request: tuple[str, dict[str, Any]]) -> None:
        name, raw = request
        model = OPERATIONS[name]
        try:
            taken = validate(SERVICE.shapes, model.input_shape.name, raw)
            answer = getattr(iot, name)(**taken)
        except InvalidRequest:
            return
        except ServiceError as error:
            refusal = error
        else:
            SERVICE.serialize(model.name, answer, "id")
            return
        assert refusal.code in ERRORS
        assert refusal.message

    check()
    store.close()
