"""External certificates: which can be registered, and what is wrong with the others.

AWS accepts RSA keys of at least 2048 bits and keys on P-256, P-384 or P-521, signed with SHA-256 or
better (developer guide, "X.509 client certificates"). Certificates that the TLS library would
reject in every handshake are rejected here, where the error can say why.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.security.ca import usable_key

_DIGESTS = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_CLIENT_USES = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)


def read(pem: str) -> x509.Certificate:
    """Read the certificate of a device from PEM text.

    Raises
    ------
    ServiceError
        ``CertificateValidationException`` if the text is not exactly one certificate, or a device
        cannot connect with it.
    """
    try:
        loaded = x509.load_pem_x509_certificates(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise reject_reason(
            "it could not be read as a certificate in PEM form, from '-----BEGIN CERTIFICATE-----' "
            "to '-----END CERTIFICATE-----'"
        ) from error
    if len(loaded) != 1:
        raise reject_reason(
            f"the text has {len(loaded)} certificates; give the device's own alone, without those "
            "that signed it"
        )
    certificate = loaded[0]
    try:
        key, fault = certificate.public_key(), _fault(certificate)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise reject_reason("its key or its extensions cannot be read") from error
    try:
        usable_key(key)
    except ValueError as error:
        raise reject_reason(str(error)) from None
    if fault:
        raise reject_reason(fault)
    return certificate


def _fault(certificate: x509.Certificate) -> str | None:
    """Return why TLS would reject this certificate from a client; None if it would not."""
    if not isinstance(certificate.signature_hash_algorithm, _DIGESTS):
        return "it is not signed with SHA-256, SHA-384 or SHA-512"
    extensions = certificate.extensions
    for extension in extensions:
        if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            return f"it has the critical extension {extension.oid.dotted_string}, unknown to TLS"
    for extension in extensions:
        if isinstance(extension.value, x509.ExtendedKeyUsage):
            if not set(extension.value) & set(_CLIENT_USES):
                return "its extended key usage leaves out clientAuth"
        elif isinstance(extension.value, x509.KeyUsage):
            use = extension.value
            if not (use.digital_signature or use.key_agreement):
                return "its key usage leaves out digitalSignature"
    return None


def reject_reason(reason: str) -> ServiceError:
    """Return ``CertificateValidationException`` for this reason."""
    return ServiceError(
        "CertificateValidationException", f"The certificate is not registered: {reason}."
    )
