"""The operations of the service ``iot``, each call checked against botocore's model both ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.model import StructureShape
from botocore.validate import ParamValidator
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from creeklab.cloud.account import AccountIdentity
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.registry.operations import RegistryOperations

MODEL = botocore.session.get_session().get_service_model("iot")
OPERATIONS = {xform_name(name): MODEL.operation_model(name) for name in MODEL.operation_names}
ERRORS = {shape.name for shape in MODEL.error_shapes}

IDENTITY = AccountIdentity("123456789012", "us-east-1", "AKIDEXAMPLE", "secret")
ARN = IDENTITY.iot_arn
ALLOW = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}'
UNKNOWN = "0" * 64
CSR = (
    x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([]))
    .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    .public_bytes(serialization.Encoding.PEM)
    .decode()
)


class Clock:
    """A clock that advances one second with each call, and that a test can set."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.25

    def __call__(self) -> float:
        self.now += 1
        return self.now - 1


class Checked:
    """`RegistryOperations` behind botocore's model."""

    def __init__(self, iot: RegistryOperations) -> None:
        self._iot = iot

    def __getattr__(self, name: str) -> Callable[..., Any]:
        model, method = OPERATIONS[name], getattr(self._iot, name)

        def call(**members: Any) -> Any:
            _fits(members, model.input_shape)
            answer = method(**members) or {}
            if model.output_shape is None:
                assert not answer
            else:
                _fits(answer, model.output_shape)
                json.dumps(answer)
            return answer

        return call


def _fits(members: dict[str, Any], shape: StructureShape) -> None:
    report = ParamValidator().validate(members, shape)
    assert not report.has_errors(), report.generate_report()
    assert members.keys() <= shape.members.keys()


def certificate(iot: Any, *, active: bool = False) -> str:
    """Create a certificate and return its ARN."""
    made = iot.create_certificate_from_csr(certificateSigningRequest=CSR, setAsActive=active)
    arn: str = made["certificateArn"]
    return arn


def thing(iot: Any, name: str = "Test2", **attributes: str) -> None:
    iot.create_thing(thingName=name, attributePayload={"attributes": attributes})


def attached_to_thing(iot: Any) -> str:
    """Create a certificate and attach it to a new Thing Test2; return its ARN."""
    arn = certificate(iot)
    thing(iot)
    iot.attach_thing_principal(thingName="Test2", principal=arn)
    return arn


def attached_to_policy(iot: Any) -> str:
    """Create a certificate and attach a new policy creek to it; return its ARN."""
    arn = certificate(iot)
    iot.create_policy(policyName="creek", policyDocument=ALLOW)
    iot.attach_policy(policyName="creek", target=arn)
    return arn


def policy_document(*statements: tuple[str, str, str]) -> str:
    """Return a policy; actions have no ``iot:``, and resources lack the start of the ARN."""
    listed = [
        {"Effect": effect, "Action": f"iot:{action}", "Resource": ARN + resource}
        for effect, action, resource in statements
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": listed})


def refusal(call: Callable[[], object]) -> tuple[str, str]:
    """Return code and message of the error, which must be in the model."""
    with pytest.raises(ServiceError) as caught:
        call()
    assert caught.value.code in ERRORS
    return caught.value.code, caught.value.message
