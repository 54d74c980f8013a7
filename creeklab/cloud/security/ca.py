"""The certificate authorities of the local cloud: one that devices trust, one that it trusts.

As on AWS, there are two unrelated self-signed authorities. The *root* signs the server certificate;
its own certificate is ``ca.pem``, the file that clients use instead of Amazon Root CA 1. The
*device authority* signs the certificates of Things, and only the cloud trusts it. So no certificate
of a Thing, whatever its subject, can impersonate the cloud.

Each private key is stored in one file with its certificate (``root.pem``, ``devices.pem``,
``server.pem``) that is replaced atomically, so a key never meets the certificate of another. Keys
of Things are created in memory, returned once, and never written.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, SignatureAlgorithmOID

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.private_file import write_private

CertificateKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_HOST_NAME = re.compile(r"[A-Za-z0-9_*.-]{1,253}")
_CURVES = ("secp256r1", "secp384r1", "secp521r1")

# The last second before 2050, where X.509 changes its date format. AWS uses it too.
_END = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
# Authorities are valid since long ago: if a cloud is created while the clock is ahead, clients must
# trust it after the clock is set right. Amazon Root CA 1 is valid from this day.
_AUTHORITY_START = datetime(2015, 5, 26, tzinfo=UTC)
# A device with a slow clock must not see a certificate that is not valid yet.
_BACKDATE = timedelta(minutes=5)
# Apple's TLS rejects server certificates of more than 825 days, browsers of more than 398.
_SERVER_LIFETIME = timedelta(days=397)
_SERVER_RENEWAL = timedelta(days=30)


def _name(attributes: dict[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(*attribute) for attribute in attributes.items()])


_ROOT_NAME = _name(
    {NameOID.ORGANIZATION_NAME: "creeklab", NameOID.COMMON_NAME: "creeklab local root CA"}
)
# AWS writes its whole issuer name into a single OU.
_ISSUER = "Amazon Web Services O=Amazon.com Inc. L=Seattle ST=Washington C=US"
_DEVICE_AUTHORITY_NAME = _name({NameOID.ORGANIZATIONAL_UNIT_NAME: _ISSUER})
_DEVICE_NAME = _name({NameOID.COMMON_NAME: "AWS IoT Certificate"})
_WEAK_HASHES = {
    SignatureAlgorithmOID.RSA_WITH_MD5: "MD5",
    SignatureAlgorithmOID.RSA_WITH_SHA1: "SHA-1",
    SignatureAlgorithmOID.ECDSA_WITH_SHA1: "SHA-1",
}
_INVALID = (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature)
"""What `cryptography` raises for damaged files and for signatures that do not match."""


class AuthorityError(OSError):
    """A file of the certificate authority cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class KeysAndCertificate:
    """A certificate and its key pair.

    Attributes
    ----------
    certificate
        Signed by the device authority.
    public_key, private_key
        PEM text: SubjectPublicKeyInfo, and PKCS#1 (``BEGIN RSA PRIVATE KEY``). The private key
        exists nowhere else.
    """

    certificate: x509.Certificate
    public_key: str
    private_key: str = field(repr=False)


def certificate_id(der: bytes) -> str:
    """Return the id of a certificate in AWS IoT: the SHA-256 of its DER, in lower-case hex."""
    return hashlib.sha256(der).hexdigest()


def usable_key(key: object) -> CertificateKey:
    """Return `key` if the certificate of a device can have such a key.

    Raises
    ------
    ValueError
        If it is neither RSA of at least 2048 bits nor on P-256, P-384 or P-521 (developer guide,
        "X.509 client certificates").
    """
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < 2048:
            raise ValueError(f"its RSA key has {key.key_size} bits, and at least 2048 are required")
        return key
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise ValueError("its key is neither RSA nor on the curve P-256, P-384 or P-521")
    return key


class CertificateAuthority:
    """The authorities and the server certificate, loaded from `folder` or created there.

    Parameters
    ----------
    folder
        Created with mode 0700 if it does not exist. Only one process can use it at a time.
    names
        Host names and IP addresses of the server besides localhost, 127.0.0.1 and ::1. If they
        differ from the last time, a new server certificate is created; the authorities stay.
    clock
        Seconds since the epoch.

    Raises
    ------
    AuthorityError
        If a file in `folder` is damaged or cannot be read or written.
    ValueError
        If a certificate cannot contain a name.
    """

    def __init__(
        self, folder: Path, *, names: Iterable[str] = (), clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._clock = clock
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            root_key, root = self._authority("root.pem", _ROOT_NAME)
            self._key, self._certificate = self._authority("devices.pem", _DEVICE_AUTHORITY_NAME)
            self._contexts: list[ssl.SSLContext] = []
            self._spare_keys: list[rsa.RSAPrivateKey] = []
            self._trusted = [_pem(self._certificate)]
            if not self.ca_file.exists() or self.ca_file.read_text() != _pem(root):
                write_private(self.ca_file, _pem(root))
            self._renew_server(root_key, root, _alternative_names(names))
        except AuthorityError:
            raise
        except OSError as error:
            raise AuthorityError(
                f"The folder {folder} of the local certificate authority cannot be used: "
                f"{error.strerror}. Make it readable and writable, or choose another home folder."
            ) from error

    @property
    def ca_file(self) -> Path:
        """The PEM file of the root certificate, which clients must trust."""
        return self._folder / "ca.pem"

    @property
    def has_spare_key(self) -> bool:
        """Whether the next key pair already exists."""
        return bool(self._spare_keys)

    def make_spare_key(self) -> None:
        """Create the next key pair ahead of time; call it on a thread.

        The search for its primes takes about 40 ms, sometimes 100.
        """
        self._spare_keys.append(_new_key())

    def issue_keys_and_certificate(self) -> KeysAndCertificate:
        """Issue a certificate for a new RSA 2048 key pair, as CreateKeysAndCertificate does."""
        key = self._spare_keys.pop() if self._spare_keys else _new_key()
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return KeysAndCertificate(
            self._issue(_DEVICE_NAME, key.public_key()), public.decode(), _key_pem(key)
        )

    def issue_from_csr(self, pem: str) -> x509.Certificate:
        """Issue a certificate for the key and subject of a certificate signing request.

        Requested extensions are ignored.

        Raises
        ------
        ServiceError
            ``InvalidRequestException`` if `pem` is not a request, if its signature does not match,
            or if its key is not RSA of at least 2048 bits or on P-256, P-384 or P-521
            (API reference, CreateCertificateFromCsr).
        """
        try:
            request = x509.load_pem_x509_csr(pem.encode())
            subject, key = request.subject, request.public_key()
        except (ValueError, UnsupportedAlgorithm) as error:
            raise _bad_request(
                "it could not be read as a PKCS#10 request in PEM form, from '-----BEGIN "
                "CERTIFICATE REQUEST-----' to '-----END CERTIFICATE REQUEST-----'"
            ) from error
        try:
            usable = usable_key(key)
        except ValueError as fault:
            raise _bad_request(str(fault)) from None
        try:
            is_signed = request.is_signature_valid
        except _INVALID:
            is_signed = False
        weak = _WEAK_HASHES.get(request.signature_algorithm_oid)
        if weak is not None:  # the library calls every such signature invalid
            raise _bad_request(
                f"it is signed with {weak}, which is no longer secure. Sign it again with SHA-256, "
                "for example with openssl req -new -sha256"
            )
        if not is_signed:
            raise _bad_request("its signature does not match its contents and key")
        return self._issue(subject if list(subject) else _DEVICE_NAME, usable)

    def has_signed(self, certificate: x509.Certificate) -> bool:
        """Return whether the device authority has signed a certificate."""
        try:
            certificate.verify_directly_issued_by(self._certificate)
        except _INVALID:
            return False
        return True

    def is_authority(self, pem: str) -> bool:
        """Return whether this is the certificate of the device authority."""
        try:
            return x509.load_pem_x509_certificate(pem.encode()) == self._certificate
        except (ValueError, UnsupportedAlgorithm):
            return False

    def has_same_name(self, certificate: x509.Certificate) -> bool:
        """Return whether a certificate has the subject of the device authority."""
        return certificate.subject == self._certificate.subject

    def trust(self, pems: Iterable[str]) -> None:
        """Accept these certificates in handshakes from now on.

        Each is trusted without a chain. The certificate of an authority also makes the handshake
        accept those it has signed, and none can be removed before the next start. Therefore the
        registry decides: every connection is looked up there.
        """
        texts = list(pems)
        self._trusted += texts
        for context in self._contexts:
            for text in texts:
                context.load_verify_locations(cadata=text)

    def server_context(self) -> ssl.SSLContext:
        """Return the TLS context for devices: TLS 1.2 and 1.3.

        The handshake fails for a client without a certificate, or with one that the device
        authority has not signed and `trust` has not added. The listener checks whether the
        certificate is still registered and active.
        """
        return self._context(ssl.CERT_REQUIRED)

    def https_context(self) -> ssl.SSLContext:
        """Return the TLS context for clients with a certificate or with signed requests."""
        return self._context(ssl.CERT_OPTIONAL)

    def _context(self, mode: ssl.VerifyMode) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # No session tickets: they cost time and would outlive the revocation of a certificate.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
        context.load_cert_chain(self._folder / "server.pem")
        for text in self._trusted:
            context.load_verify_locations(cadata=text)
        # `trust` adds certificates that have no chain to a root.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_mode = mode
        self._contexts.append(context)
        return context

    def _issue(self, subject: x509.Name, key: CertificateKey) -> x509.Certificate:
        builder = self._builder(subject, key, _END, self._certificate)
        return _leaf(builder).sign(self._key, hashes.SHA256())

    def _authority(
        self, name: str, subject: x509.Name
    ) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
        """Load an authority, or create it if its file does not exist."""
        path = self._folder / name
        if not path.exists():
            key = _new_key()
            certificate = (
                self._builder(subject, key.public_key(), _END)
                .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                .add_extension(_key_usage(authority=True), critical=True)
                .sign(key, hashes.SHA256())
            )
            write_private(path, _key_pem(key) + _pem(certificate))
            return key, certificate
        text = path.read_bytes()
        try:
            # Checking the primes of a key that this class wrote would cost 30 ms at every start.
            loaded = serialization.load_pem_private_key(
                text, password=None, unsafe_skip_rsa_key_validation=True
            )
            certificate = x509.load_pem_x509_certificate(text)
            if isinstance(loaded, rsa.RSAPrivateKey) and (
                loaded.public_key() == certificate.public_key()
            ):
                self._refuse_future(path, certificate.not_valid_before_utc)
                return loaded, certificate
        except _INVALID as error:
            raise self._damaged(path) from error
        raise self._damaged(path)

    def _refuse_future(self, path: Path, start: datetime) -> None:
        if start > self._now():
            raise AuthorityError(
                f"The certificate authority in {path} is valid only from {start:%Y-%m-%d}, and "
                f"this machine's date is {self._now():%Y-%m-%d}, so no client would trust it. Set "
                "the clock if it is behind. If the clock was ahead when this cloud was created, "
                f"{self._remedy()}"
            )

    def _damaged(self, path: Path) -> AuthorityError:
        return AuthorityError(
            f"The file {path} of the local certificate authority is damaged. Restore it from a "
            f"backup, or {self._remedy()}"
        )

    def _remedy(self) -> str:
        return (
            f"delete the folder {self._folder}: the cloud then creates a new authority, every "
            "client needs the new ca.pem, and every Thing a new certificate."
        )

    def _renew_server(
        self, root_key: rsa.RSAPrivateKey, root: x509.Certificate, names: list[x509.GeneralName]
    ) -> None:
        """Create the server's key and certificate unless the present ones are still valid."""
        if self._is_server_current(root, names):
            return
        # P-256 saves a third of the server's part of a handshake, compared to RSA 2048.
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(names[0].value))])
        builder = self._builder(subject, key.public_key(), self._now() + _SERVER_LIFETIME, root)
        certificate = (
            _leaf(builder)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(root_key, hashes.SHA256())
        )
        write_private(self._folder / "server.pem", _key_pem(key) + _pem(certificate))

    def _is_server_current(self, root: x509.Certificate, names: list[x509.GeneralName]) -> bool:
        try:
            text = (self._folder / "server.pem").read_bytes()
            key = serialization.load_pem_private_key(text, password=None)
            certificate = x509.load_pem_x509_certificate(text)
            certificate.verify_directly_issued_by(root)
            present = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except (FileNotFoundError, x509.ExtensionNotFound, *_INVALID):
            return False
        now = self._now()
        return (
            key.public_key() == certificate.public_key()
            and set(present.value) == set(names)
            and certificate.not_valid_before_utc <= now
            and certificate.not_valid_after_utc - now > _SERVER_RENEWAL
        )

    def _builder(
        self,
        subject: x509.Name,
        key: CertificateKey,
        end: datetime,
        issuer: x509.Certificate | None = None,
    ) -> x509.CertificateBuilder:
        """Start a certificate, self-signed without `issuer`, with the extensions that all have.

        RFC 5280 requires the two key identifiers, and Python 3.13 enforces that.
        """
        identifier = x509.SubjectKeyIdentifier.from_public_key(key)
        issuer_identifier = (
            issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            if issuer
            else identifier
        )
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.subject if issuer else subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())  # 20 random bytes, except for the sign bit
            .not_valid_before(self._now() - _BACKDATE if issuer else _AUTHORITY_START)
            .not_valid_after(end)
            .add_extension(identifier, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_identifier),
                critical=False,
            )
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(int(self._clock()), UTC)


def _leaf(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    """Add the extensions of a certificate that cannot sign others."""
    return builder.add_extension(
        x509.BasicConstraints(ca=False, path_length=None), critical=True
    ).add_extension(_key_usage(authority=False), critical=True)


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(names: Iterable[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys((*_LOCAL_NAMES, *names)):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            if not _HOST_NAME.fullmatch(name):
                raise ValueError(
                    f"'{name}' is neither an IP address nor a host name in ASCII, so the server "
                    "certificate cannot contain it."
                ) from None
            found.append(x509.DNSName(name))
    return found


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _key_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()


def _bad_request(reason: str) -> ServiceError:
    return ServiceError(
        "InvalidRequestException", f"The certificate signing request was rejected: {reason}."
    )
