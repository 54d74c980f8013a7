"""Certificates of other signers: which are accepted, and which clients can connect with them."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from creeklab import Lab, open_lab
from creeklab.cloud import supervisor
from creeklab.cloud.security.ca import CertificateAuthority
from tests.cloud.iot_fixture import ALLOW, ARN, certificate, refusal
from tests.cloud.test_unauthenticated import HANGUP, WELCOME, Pair, plain_tls, sdk_5

Key = Any
SHA256 = hashes.SHA256()
RSA = rsa.generate_private_key(65537, 2048)
SHORT = rsa.generate_private_key(65537, 1024)
Extension = tuple[x509.ExtensionType, bool]


def named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def sign(
    key: Key,
    signer: Key | None = None,
    issuer: x509.Name | None = None,
    *,
    name: x509.Name | None = None,
    extensions: tuple[Extension, ...] = (),
    digest: Any = SHA256,
) -> x509.Certificate:
    """Create a certificate for `key`, self-signed without a `signer`."""
    subject = name or named("my gauge")
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer or key, digest)


def usage(*, sign_data: bool, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign_data,
        key_cert_sign=sign_certificates,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


AUTHORITY = x509.BasicConstraints(ca=True, path_length=None)


def pem(*certificates: x509.Certificate) -> str:
    return "".join(each.public_bytes(serialization.Encoding.PEM).decode() for each in certificates)


# --- registration ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_ca() -> tuple[Key, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    return key, sign(key, name=named("my CA"), extensions=((AUTHORITY, True),))


def test_register_a_certificate_of_an_unknown_signer(iot: Any) -> None:
    loaded = sign(RSA)
    key = loaded.fingerprint(hashes.SHA256()).hex()
    made = iot.register_certificate_without_ca(certificatePem=pem(loaded))
    assert made == {"certificateId": key, "certificateArn": ARN + "cert/" + key}
    described = iot.describe_certificate(certificateId=key)["certificateDescription"]
    assert (described["status"], described["certificateMode"]) == ("INACTIVE", "SNI_ONLY")
    assert described["certificatePem"] == pem(loaded)
    assert described["validity"]["notAfter"] == loaded.not_valid_after_utc.timestamp()
    (listed,) = iot.list_certificates()["certificates"]
    assert listed["certificateMode"] == "SNI_ONLY"
    again = refusal(lambda: iot.register_certificate_without_ca(certificatePem=pem(loaded)))
    assert again == (
        "ResourceAlreadyExistsException",
        "The certificate is already provisioned or registered",
    )


@pytest.mark.parametrize("status", ["ACTIVE", "INACTIVE", "REVOKED"])
def test_the_status_it_is_registered_with(iot: Any, status: str) -> None:
    made = iot.register_certificate_without_ca(certificatePem=pem(sign(RSA)), status=status)
    described = iot.describe_certificate(certificateId=made["certificateId"])
    assert described["certificateDescription"]["status"] == status


@pytest.mark.parametrize("status", ["PENDING_ACTIVATION", "PENDING_TRANSFER", "REGISTER_INACTIVE"])
def test_a_status_that_only_aws_sets(iot: Any, status: str) -> None:
    found = refusal(
        lambda: iot.register_certificate_without_ca(certificatePem=pem(sign(RSA)), status=status)
    )
    assert found == (
        "CertificateStateException",
        f"Not allowed to register certificate with {status} status",
    )


SERVER_ONLY = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
UNKNOWN_EXTENSION = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")
UNFIT: dict[str, tuple[Callable[[], str], str]] = {
    "no PEM": (lambda: "creek", "could not be read as a certificate in PEM form"),
    "a key": (
        lambda: (
            RSA.public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode()
        ),
        "could not be read as a certificate in PEM form",
    ),
    "broken": (lambda: pem(sign(RSA)).replace("M", "N"), "could not be read as a certificate"),
    "a chain": (lambda: pem(sign(RSA), sign(RSA)), "the text has 2 certificates"),
    "a short key": (
        lambda: pem(sign(SHORT)),
        "its RSA key has 1024 bits, and at least 2048 are required",
    ),
    "another curve": (
        lambda: pem(sign(ec.generate_private_key(ec.SECP256K1()))),
        "its key is neither RSA nor on the curve P-256, P-384 or P-521",
    ),
    "Ed25519": (
        lambda: pem(sign(ed25519.Ed25519PrivateKey.generate(), digest=None)),
        "its key is neither RSA nor on the curve P-256, P-384 or P-521",
    ),
    "an old digest": (
        lambda: pem(sign(RSA, digest=hashes.SHA224())),
        "it is not signed with SHA-256, SHA-384 or SHA-512",
    ),
    "for servers": (
        lambda: pem(sign(RSA, extensions=((SERVER_ONLY, False),))),
        "its extended key usage leaves out clientAuth",
    ),
    "for certificates alone": (
        lambda: pem(
            sign(RSA, extensions=((usage(sign_data=False, sign_certificates=True), True),))
        ),
        "its key usage leaves out digitalSignature",
    ),
    "a riddle": (
        lambda: pem(sign(RSA, extensions=((UNKNOWN_EXTENSION, True),))),
        "it has the critical extension 1.2.3.4",
    ),
}


@pytest.mark.parametrize(("text", "reason"), UNFIT.values(), ids=UNFIT)
def test_certificates_that_no_device_can_use(
    iot: Any, text: Callable[[], str], reason: str
) -> None:
    for register in (iot.register_certificate_without_ca, iot.register_certificate):
        code, message = refusal(lambda register=register: register(certificatePem=text()))
        assert code == "CertificateValidationException"
        assert reason in message
    assert iot.list_certificates()["certificates"] == []


def test_a_certificate_with_the_authoritys_name_is_rejected(
    iot: Any, authority: CertificateAuthority
) -> None:
    local = x509.load_pem_x509_certificate(
        iot.create_keys_and_certificate()["certificatePem"].encode()
    )
    code, message = refusal(
        lambda: iot.register_certificate_without_ca(
            certificatePem=pem(sign(RSA, name=local.issuer))
        )
    )
    assert code == "CertificateValidationException"
    assert "its subject is that of this cloud's own certificate authority" in message


def test_register_certificate_requires_a_registered_authority(
    iot: Any, own_ca: tuple[Key, x509.Certificate]
) -> None:
    signer, ca = own_ca
    leaf = sign(RSA, signer, ca.subject)
    for more in ({}, {"caCertificatePem": pem(ca)}, {"caCertificatePem": "creek"}):
        code, message = refusal(
            lambda more=more: iot.register_certificate(certificatePem=pem(leaf), **more)
        )
        assert code == "CertificateValidationException"
        assert "register_certificate_without_ca" in message
    iot.register_certificate_without_ca(certificatePem=pem(leaf))


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({}, "INACTIVE"),
        ({"setAsActive": True}, "ACTIVE"),
        ({"status": "REVOKED"}, "REVOKED"),
        ({"setAsActive": False, "status": "ACTIVE"}, "ACTIVE"),
    ],
)
def test_a_deleted_certificate_can_be_registered_again(
    iot: Any, authority: CertificateAuthority, members: dict[str, Any], status: str
) -> None:
    arn = certificate(iot)
    key = arn[-64:]
    text = iot.describe_certificate(certificateId=key)["certificateDescription"]["certificatePem"]
    found = refusal(lambda: iot.register_certificate(certificatePem=text))
    assert found[0] == "ResourceAlreadyExistsException"
    iot.delete_certificate(certificateId=key)
    made = iot.register_certificate(certificatePem=text, **members)
    assert made == {"certificateId": key, "certificateArn": arn}
    described = iot.describe_certificate(certificateId=key)["certificateDescription"]
    assert (described["status"], described["certificateMode"]) == (status, "DEFAULT")


# --- connections ----------------------------------------------------------------------------------

knock = plain_tls(ssl.TLSVersion.TLSv1_3)


def write(folder: Path, key: Key, *chain: x509.Certificate) -> Pair:
    """Write the files of a client: its certificate chain and its key."""
    name = chain[0].fingerprint(hashes.SHA256()).hex()[:16]
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    pair.certificate.write_text(pem(*chain))
    pair.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pair


def register(lab: Lab, certificate: x509.Certificate, status: str = "ACTIVE") -> str:
    """Register a certificate with a policy that allows all; return its ARN."""
    iot = lab.client("iot")
    arn: str = iot.register_certificate_without_ca(certificatePem=pem(certificate), status=status)[
        "certificateArn"
    ]
    name = arn[-64:]
    iot.create_policy(policyName=name, policyDocument=ALLOW)
    iot.attach_policy(policyName=name, target=arn)
    return arn


KEYS: dict[str, Callable[[], Key]] = {
    "RSA 2048": lambda: RSA,
    "RSA 3072": lambda: rsa.generate_private_key(65537, 3072),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_self_signed_certificate_connects_immediately(
    lab: Lab, tmp_path: Path, kind: str
) -> None:
    key = KEYS[kind]()
    made = sign(key, name=named(kind))
    pair = write(tmp_path, key, made)
    assert knock(lab, pair, "gauge") == HANGUP
    register(lab, made)
    assert knock(lab, pair, "gauge") == WELCOME
    assert plain_tls(ssl.TLSVersion.TLSv1_2)(lab, pair, "gauge") == WELCOME


@pytest.mark.parametrize("with_chain", [False, True])
def test_a_certificate_of_a_private_authority(
    lab: Lab, tmp_path: Path, own_ca: tuple[Key, x509.Certificate], with_chain: bool
) -> None:
    signer, ca = own_ca
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = sign(key, signer, ca.subject, digest=hashes.SHA384())
    register(lab, leaf)
    pair = write(tmp_path, key, leaf, *((ca,) if with_chain else ()))
    assert knock(lab, pair, "gauge") == WELCOME
    assert sdk_5(lab, pair, "gauge") == WELCOME
    # The other certificate and the authority of both are not registered.
    sister = sign(key, signer, ca.subject, name=named("sister"))
    assert knock(lab, write(tmp_path, key, sister, ca), "gauge") == HANGUP
    assert "was rejected" in lab.why().summary
    assert "register_certificate_without_ca" in lab.why().summary


def test_certificates_signed_by_a_registered_one_cannot_connect(lab: Lab, tmp_path: Path) -> None:
    signer = ec.generate_private_key(ec.SECP256R1())
    both = (AUTHORITY, True), (usage(sign_data=True, sign_certificates=True), True)
    authority = sign(signer, name=named("an authority as a device"), extensions=both)
    register(lab, authority)
    assert knock(lab, write(tmp_path, signer, authority), "gauge") == WELCOME
    key = ec.generate_private_key(ec.SECP256R1())
    follower = sign(key, signer, authority.subject, name=named("follower"))
    for chain in ((follower,), (follower, authority)):
        assert knock(lab, write(tmp_path, key, *chain), "gauge") == HANGUP
        assert "is not in this account's registry" in lab.why().summary
    register(lab, follower)
    assert knock(lab, write(tmp_path, key, follower), "gauge") == WELCOME


def test_a_certificate_connects_only_while_active_and_registered(lab: Lab, tmp_path: Path) -> None:
    iot = lab.client("iot")
    made = sign(RSA, name=named("of many states"))
    pair = write(tmp_path, RSA, made)
    arn = register(lab, made, "INACTIVE")
    for status, outcome in (
        (None, HANGUP),
        ("ACTIVE", WELCOME),
        ("REVOKED", HANGUP),
        ("ACTIVE", WELCOME),
        ("INACTIVE", HANGUP),
    ):
        if status:
            iot.update_certificate(certificateId=arn[-64:], newStatus=status)
        assert knock(lab, pair, "gauge") == outcome
        if outcome == HANGUP:
            assert f"is {status or 'INACTIVE'}" in lab.why().summary
    iot.delete_certificate(certificateId=arn[-64:], forceDelete=True)
    assert knock(lab, pair, "gauge") == HANGUP
    assert "is not in this account's registry" in lab.why().summary


def test_registered_certificates_still_count_after_a_restart(home: Path, tmp_path: Path) -> None:
    lab = open_lab(home=home)
    iot = lab.client("iot")
    kept, gone = (sign(RSA, name=named(name)) for name in ("kept", "gone"))
    register(lab, kept)
    arn = register(lab, gone)
    iot.update_certificate(certificateId=arn[-64:], newStatus="INACTIVE")
    iot.delete_certificate(certificateId=arn[-64:], forceDelete=True)
    supervisor.stop(home)
    lab = open_lab(home=home)
    assert knock(lab, write(tmp_path, RSA, kept), "gauge") == WELCOME
    assert knock(lab, write(tmp_path, RSA, gone), "gauge") == HANGUP
    assert "was rejected" in lab.why().summary
