"""The certificate authority, tested with real TLS handshakes in memory."""

from __future__ import annotations

import contextlib
import os
import ssl
import stat
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.security import ca as ca_module
from creeklab.cloud.security.ca import AuthorityError, CertificateAuthority, certificate_id

PEM = serialization.Encoding.PEM
AWS_ISSUER = "OU=Amazon Web Services O=Amazon.com Inc. L=Seattle ST=Washington C=US"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
DAY = 86400


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("authority"))


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(PEM).decode()


def private_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(PEM, form, serialization.NoEncryption()).decode()


def csr(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
    *subject: tuple[x509.ObjectIdentifier, str],
    as_ca: bool = False,
) -> str:
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    if as_ca:
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = builder.add_extension(constraints, critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(PEM).decode()


def client_context(
    trusted: CertificateAuthority,
    folder: Path,
    certificate: str | None = None,
    key: str | None = None,
) -> ssl.SSLContext:
    """Return the context of a strict device, which enforces RFC 5280 as Python 3.13 does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(trusted.ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    if certificate and key:
        chain = folder / "client.pem"
        chain.write_text(certificate + key)
        context.load_cert_chain(chain)
    return context


def handshake(
    server: ssl.SSLContext, client: ssl.SSLContext, host: str | None = "localhost"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Connect in memory and pass one byte each way; return the server's and client's side."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(down, up, server_hostname=host)
    far = server.wrap_bio(up, down, server_side=True)
    steps: list[Callable[[], object]] = [near.do_handshake, far.do_handshake]
    for _ in range(5):  # TLS 1.2 needs three
        for step in list(steps):
            with contextlib.suppress(ssl.SSLWantReadError):
                step()
                steps.remove(step)
    assert not steps
    near.write(b"u")
    assert far.read(1) == b"u"
    far.write(b"d")
    assert near.read(1) == b"d"
    return far, near


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("sni", [True, False])
@pytest.mark.parametrize("kind", ["keys", "csr"])
def test_a_device_and_the_cloud_trust_each_other(
    ca: CertificateAuthority, tmp_path: Path, version: ssl.TLSVersion, sni: bool, kind: str
) -> None:
    if kind == "keys":
        issued = ca.issue_keys_and_certificate()
        certificate, key = issued.certificate, issued.private_key
    else:
        own = ec.generate_private_key(ec.SECP384R1())
        certificate, key = ca.issue_from_csr(csr(own)), private_pem(own)
    context = client_context(ca, tmp_path, pem(certificate), key)
    context.minimum_version = context.maximum_version = version
    context.check_hostname = sni
    far, near = handshake(ca.server_context(), context, "localhost" if sni else None)
    assert far.version() == {ssl.TLSVersion.TLSv1_2: "TLSv1.2"}.get(version, "TLSv1.3")
    der = far.getpeercert(binary_form=True)
    assert der == certificate.public_bytes(serialization.Encoding.DER)
    assert near.session is None or not near.session.has_ticket


def test_a_spare_key_is_used_once(ca: CertificateAuthority) -> None:
    assert not ca.has_spare_key
    ca.make_spare_key()
    assert ca.has_spare_key
    first = ca.issue_keys_and_certificate()
    assert not ca.has_spare_key
    second = ca.issue_keys_and_certificate()
    assert first.private_key != second.private_key
    assert first.public_key != second.public_key
    files = [file for file in ca.ca_file.parent.rglob("*") if file.is_file()]
    assert files
    assert not any(first.private_key in file.read_text() for file in files)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("who", ["nobody", "stranger", "impostor", "server"])
def test_untrusted_clients_are_rejected(
    ca: CertificateAuthority, tmp_path: Path, version: ssl.TLSVersion, who: str
) -> None:
    certificate = key = None
    if who == "stranger":
        issued = CertificateAuthority(tmp_path / "other").issue_keys_and_certificate()
        certificate, key = pem(issued.certificate), issued.private_key
    elif who == "impostor":  # signs itself, with the issuer's name
        own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        issuer = ca.issue_keys_and_certificate().certificate.issuer
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            issuer, issuer, own.public_key(), 1, now, now + timedelta(1)
        )
        certificate, key = pem(builder.sign(own, hashes.SHA256())), private_pem(own)
    elif who == "server":
        certificate = key = (ca.ca_file.parent / "server.pem").read_text()
    context = client_context(ca, tmp_path, certificate, key)
    context.minimum_version = context.maximum_version = version
    reason = "PEER_DID_NOT_RETURN_A_CERTIFICATE" if who == "nobody" else "CERTIFICATE_VERIFY_FAILED"
    with pytest.raises(ssl.SSLError) as caught:
        handshake(ca.server_context(), context)
    assert caught.value.reason == reason


def test_a_certificate_of_a_thing_cannot_impersonate_the_cloud(
    ca: CertificateAuthority, tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = ca.issue_from_csr(csr(key, (NameOID.COMMON_NAME, "localhost")))
    chain = tmp_path / "posing.pem"
    chain.write_text(pem(certificate) + private_pem(key))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, client_context(ca, tmp_path))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_https_requires_no_certificate_and_has_the_local_names(
    ca: CertificateAuthority, tmp_path: Path, host: str
) -> None:
    far, _ = handshake(ca.https_context(), client_context(ca, tmp_path), host)
    assert far.getpeercert(binary_form=True) is None


def test_the_server_certificate_has_additional_names_only_if_given(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    plain = CertificateAuthority(folder)
    client = client_context(plain, tmp_path)
    for host in ("lab.example", "192.0.2.7"):
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(plain.https_context(), client, host)
    named = CertificateAuthority(folder, names=["lab.example", "192.0.2.7"])
    for host in ("lab.example", "192.0.2.7", "localhost"):
        handshake(named.https_context(), client, host)


@pytest.mark.parametrize("name", ["", "a b", "bücher.example", "https://x"])
def test_a_name_that_no_certificate_can_contain_is_rejected(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="host name"):
        CertificateAuthority(tmp_path / "ca", names=[name])


def test_tls_1_1_is_rejected(ca: CertificateAuthority) -> None:
    for context in (ca.server_context(), ca.https_context()):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.num_tickets == 0


# --- issued certificates --------------------------------------------------------------------------


def test_keys_and_certificate_have_the_form_of_aws(tmp_path: Path) -> None:
    now = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
    ca = CertificateAuthority(tmp_path / "ca", clock=now.timestamp)
    issued = ca.issue_keys_and_certificate()
    certificate = issued.certificate
    assert certificate.subject.rfc4514_string() == "CN=AWS IoT Certificate"
    assert certificate.issuer.rfc4514_string() == AWS_ISSUER
    assert len(list(certificate.issuer)) == 1
    assert certificate.signature_algorithm_oid == SignatureAlgorithmOID.RSA_WITH_SHA256
    assert certificate.not_valid_before_utc == now - timedelta(minutes=5)
    assert certificate.not_valid_after_utc == datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert issued.private_key.startswith("-----BEGIN RSA PRIVATE KEY-----\n")
    assert issued.public_key.startswith("-----BEGIN PUBLIC KEY-----\n")
    key = serialization.load_pem_private_key(issued.private_key.encode(), None)
    public = serialization.load_pem_public_key(issued.public_key.encode())
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 2048
    assert key.public_key() == public == certificate.public_key()


def test_serial_numbers_are_random_with_at_most_20_bytes(ca: CertificateAuthority) -> None:
    request = csr(ec.generate_private_key(ec.SECP256R1()))
    serials = {ca.issue_from_csr(request).serial_number for _ in range(20)}
    assert len(serials) == 20
    assert all(0 < serial < 1 << 159 for serial in serials)
    assert max(serials) > 1 << 150


def test_the_id_is_the_sha256_of_the_der(ca: CertificateAuthority) -> None:
    certificate = ca.issue_from_csr(csr(ec.generate_private_key(ec.SECP256R1())))
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert certificate_id(der) == certificate.fingerprint(hashes.SHA256()).hex()


def test_the_private_key_is_not_shown_by_accident(ca: CertificateAuthority) -> None:
    issued = ca.issue_keys_and_certificate()
    assert issued.private_key.splitlines()[1] not in repr(issued)


# --- certificate signing requests -----------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
        lambda: rsa.generate_private_key(public_exponent=65537, key_size=3072),
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: ec.generate_private_key(ec.SECP521R1()),
    ],
    ids=["RSA 2048", "RSA 3072", "P-256", "P-384", "P-521"],
)
def test_a_csr_keeps_its_key_and_subject(
    ca: CertificateAuthority, make: Callable[[], rsa.RSAPrivateKey]
) -> None:
    key = make()
    subject = ((NameOID.ORGANIZATION_NAME, "Creek"), (NameOID.COMMON_NAME, "Test2"))
    certificate = ca.issue_from_csr(csr(key, *subject))
    assert certificate.public_key() == key.public_key()
    assert certificate.subject.rfc4514_string() == "CN=Test2,O=Creek"
    assert certificate.issuer.rfc4514_string() == AWS_ISSUER


def test_a_csr_without_a_subject_gets_the_subject_of_aws(ca: CertificateAuthority) -> None:
    certificate = ca.issue_from_csr(csr(ec.generate_private_key(ec.SECP256R1())))
    assert certificate.subject.rfc4514_string() == "CN=AWS IoT Certificate"


def test_a_csr_cannot_request_an_authority(ca: CertificateAuthority) -> None:
    certificate = ca.issue_from_csr(csr(ec.generate_private_key(ec.SECP256R1()), as_ca=True))
    extension = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert extension.value.ca is False
    assert extension.critical


def _tampered() -> str:
    """Return a request that was signed with a different key."""
    first, second = (
        x509.load_pem_x509_csr(csr(ec.generate_private_key(ec.SECP256R1())).encode())
        for _ in range(2)
    )
    der = first.public_bytes(serialization.Encoding.DER)
    point, other = (
        request.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        for request in (first, second)
    )
    forged = x509.load_der_x509_csr(der.replace(point, other))
    return forged.public_bytes(PEM).decode()


def _signed_with_sha_1() -> str:
    """Return a request that names SHA-1; the library no longer signs with it."""
    request = x509.load_pem_x509_csr(
        csr(rsa.generate_private_key(public_exponent=65537, key_size=2048)).encode()
    )
    der = request.public_bytes(serialization.Encoding.DER)
    rsa_with = bytes.fromhex("06092a864886f70d0101")
    sha_1 = x509.load_der_x509_csr(der.replace(rsa_with + b"\x0b", rsa_with + b"\x05"))
    return sha_1.public_bytes(PEM).decode()


@pytest.mark.parametrize(
    ("request_of", "reason"),
    [
        (_signed_with_sha_1, "it is signed with SHA-1, which is no longer secure. Sign it again"),
        (lambda: csr(rsa.generate_private_key(public_exponent=65537, key_size=1024)), "1024 bits"),
        (lambda: csr(ec.generate_private_key(ec.SECP224R1())), "neither RSA nor on the curve"),
        (lambda: csr(ec.generate_private_key(ec.SECP256K1())), "neither RSA nor on the curve"),
        (lambda: csr(ed25519.Ed25519PrivateKey.generate()), "neither RSA nor on the curve"),
        (_tampered, "signature does not match"),
        (lambda: "", "could not be read"),
        (lambda: "creek", "could not be read"),
        (lambda: csr(ec.generate_private_key(ec.SECP256R1()))[:200], "could not be read"),
    ],
    ids=[
        "SHA-1",
        "RSA 1024",
        "P-224",
        "secp256k1",
        "Ed25519",
        "tampered",
        "empty",
        "text",
        "cut off",
    ],
)
def test_an_invalid_csr_is_rejected_with_the_reason(
    ca: CertificateAuthority, request_of: Callable[[], str], reason: str
) -> None:
    with pytest.raises(ServiceError, match=reason) as caught:
        ca.issue_from_csr(request_of())
    assert caught.value.code == "InvalidRequestException"


def test_a_certificate_is_not_a_csr(ca: CertificateAuthority) -> None:
    with pytest.raises(ServiceError, match="could not be read"):
        ca.issue_from_csr(pem(ca.issue_keys_and_certificate().certificate))


# --- the folder -----------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_only_the_owner_can_read(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    before = os.umask(0)
    try:
        folder.mkdir(mode=0o777)
        CertificateAuthority(folder)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys(["ca.pem", "devices.pem", "root.pem", "server.pem"], 0o600)


def test_a_second_start_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    CertificateAuthority(folder)
    before = contents(folder)
    CertificateAuthority(folder)
    assert contents(folder) == before


def test_ca_pem_contains_no_key(ca: CertificateAuthority) -> None:
    assert "PRIVATE" not in ca.ca_file.read_text()


def test_the_server_certificate_is_renewed_shortly_before_it_expires(tmp_path: Path) -> None:
    folder, start = tmp_path / "ca", 1_800_000_000.0
    CertificateAuthority(folder, clock=lambda: start)
    first = contents(folder)
    CertificateAuthority(folder, clock=lambda: start + 366 * DAY)
    assert contents(folder) == first
    CertificateAuthority(folder, clock=lambda: start + 368 * DAY)
    second = contents(folder)
    assert {name for name in first if first[name] != second[name]} == {"server.pem"}
    certificate = x509.load_pem_x509_certificate(second["server.pem"])
    life = certificate.not_valid_after_utc.timestamp() - (start + 368 * DAY)
    assert life == 397 * DAY


def test_a_cloud_that_was_created_while_the_clock_was_ahead(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    CertificateAuthority(folder, clock=lambda: time.time() + 400 * DAY)
    ca = CertificateAuthority(folder)
    issued = ca.issue_keys_and_certificate()
    client = client_context(ca, tmp_path, pem(issued.certificate), issued.private_key)
    handshake(ca.server_context(), client)


@pytest.mark.parametrize("name", ["root.pem", "devices.pem"])
def test_an_authority_from_the_future_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with monkeypatch.context() as patch:  # as earlier versions of creeklab dated them
        patch.setattr(ca_module, "_AUTHORITY_START", datetime(2031, 2, 3, tzinfo=UTC))
        CertificateAuthority(tmp_path / "new")
    CertificateAuthority(tmp_path / "ca")
    (tmp_path / "new" / name).replace(tmp_path / "ca" / name)
    now = datetime(2026, 11, 30, tzinfo=UTC)
    with pytest.raises(AuthorityError) as caught:
        CertificateAuthority(tmp_path / "ca", clock=now.timestamp)
    for part in (str(tmp_path / "ca" / name), "2031-02-03", "2026-11-30", "clock was ahead"):
        assert part in str(caught.value)
    CertificateAuthority(tmp_path / "ca", clock=datetime(2031, 2, 4, tzinfo=UTC).timestamp)


def test_a_server_certificate_of_another_root_is_replaced(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    CertificateAuthority(ours)
    CertificateAuthority(other)
    (other / "server.pem").replace(ours / "server.pem")
    ca = CertificateAuthority(ours)
    handshake(ca.https_context(), client_context(ca, tmp_path))


@pytest.mark.parametrize("writes", range(4))
def test_a_crash_during_creation_leaves_no_partial_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    class Death(BaseException):
        pass

    folder, real, done = tmp_path / "ca", ca_module.write_private, 0

    def mortal(file: Path, text: str) -> None:
        nonlocal done
        if done == writes:
            file.with_name(file.name + ".new").write_text(text[:100])
            raise Death
        done += 1
        real(file, text)

    with monkeypatch.context() as patch:
        patch.setattr(ca_module, "write_private", mortal)
        with pytest.raises(Death):
            CertificateAuthority(folder)
    before = contents(folder)
    ca = CertificateAuthority(folder)
    kept = {name: text for name, text in before.items() if not name.endswith(".new")}
    assert kept.items() <= contents(folder).items()
    assert set(contents(folder)) == {"ca.pem", "devices.pem", "root.pem", "server.pem"}
    issued = ca.issue_keys_and_certificate()
    client = client_context(ca, tmp_path, pem(issued.certificate), issued.private_key)
    handshake(ca.server_context(), client)


@pytest.mark.parametrize("name", ["root.pem", "devices.pem"])
@pytest.mark.parametrize("damage", ["empty", "garbled", "key of another"])
def test_the_error_for_a_damaged_authority_says_what_to_do(
    tmp_path: Path, name: str, damage: str
) -> None:
    folder = tmp_path / "ca"
    CertificateAuthority(folder)
    path = folder / name
    text = path.read_text()
    if damage == "empty":
        path.write_text("")
    elif damage == "garbled":
        path.write_text(text[:300] + "!" + text[301:])
    else:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        path.write_text(private_pem(key) + text[text.index("-----BEGIN CERT") :])
    with pytest.raises(AuthorityError, match="damaged") as caught:
        CertificateAuthority(folder)
    assert str(path) in str(caught.value)
    assert "delete the folder" in str(caught.value)


def test_the_error_for_an_unusable_folder_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuthorityError, match="cannot be used: "):
        CertificateAuthority(tmp_path / "file" / "ca")
