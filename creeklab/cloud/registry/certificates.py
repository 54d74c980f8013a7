"""Certificates: issue, register, activate, revoke and delete them."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.registry import external_certificates
from creeklab.cloud.registry.records import Certificate, insert
from creeklab.cloud.registry.unit_of_work import (
    Listed,
    UnitOfWork,
    already_exists,
    conflict,
    exists,
    invalid,
    not_found,
)
from creeklab.cloud.security.ca import CertificateAuthority, KeysAndCertificate, certificate_id
from creeklab.cloud.storage.database import Page

DEFAULT, SNI_ONLY = "DEFAULT", "SNI_ONLY"

# Statuses that only AWS IoT sets (API reference, UpdateCertificate).
_INTERNAL_STATUSES = ("PENDING_TRANSFER", "PENDING_ACTIVATION")
_REGISTRABLE = ("ACTIVE", "INACTIVE", "REVOKED")
_WITHOUT_CA = (
    "Register the certificate with register_certificate_without_ca instead, which asks for no "
    "authority"
)


class Certificates:
    """The certificates of one account.

    Attributes
    ----------
    elsewhere
        Returns whether another account of this cloud has the certificate of an id.
    """

    def __init__(self, work: UnitOfWork, ca: CertificateAuthority) -> None:
        self._work = work
        self._ca = ca
        self.elsewhere: Callable[[str], bool] = lambda _: False

    def issue_keys(self, *, active: bool) -> tuple[Certificate, KeysAndCertificate]:
        """Create a key pair and a certificate, and register the certificate."""
        issued = self._ca.issue_keys_and_certificate()
        return self._add(issued.certificate, "ACTIVE" if active else "INACTIVE"), issued

    def issue_from_csr(self, request: str, *, active: bool) -> Certificate:
        """Issue a certificate for a certificate signing request, and register it."""
        return self._add(self._ca.issue_from_csr(request), "ACTIVE" if active else "INACTIVE")

    def register(self, pem: str, status: str, authority: str | None = None) -> Certificate:
        """Register a certificate that a registered certificate authority has signed.

        The only registered authority is the local one, so this can only restore a deleted
        certificate of this cloud. `authority` is the PEM text of the authority's certificate.

        Raises
        ------
        ServiceError
            ``CertificateValidationException`` for any other signer: on AWS it must be registered
            with RegisterCACertificate, which this cloud does not have.
        """
        certificate = external_certificates.read(pem)
        if authority is not None and not self._ca.is_authority(authority):
            raise external_certificates.reject_reason(
                "the caCertificatePem is not that of a registered certificate authority. "
                + _WITHOUT_CA
            )
        if not self._ca.has_signed(certificate):
            raise external_certificates.reject_reason(
                "no registered certificate authority has signed it. " + _WITHOUT_CA
            )
        return self._register(certificate, status, DEFAULT)

    def register_without_ca(self, pem: str, status: str) -> Certificate:
        """Register a certificate of any signer, such as the device itself."""
        return self._register(external_certificates.read(pem), status, SNI_ONLY)

    def _register(self, certificate: x509.Certificate, status: str, mode: str) -> Certificate:
        if status not in _REGISTRABLE:
            raise ServiceError(
                "CertificateStateException",
                f"Not allowed to register certificate with {status} status",
            )
        if self._ca.has_same_name(certificate):
            raise external_certificates.reject_reason(
                "its subject is that of this cloud's own certificate authority, and TLS could not "
                "tell the two apart"
            )
        return self._add(certificate, status, mode, external=not self._ca.has_signed(certificate))

    def _add(
        self,
        added: x509.Certificate,
        status: str,
        mode: str = DEFAULT,
        *,
        external: bool = False,
    ) -> Certificate:
        now = self._work.clock()
        certificate = Certificate(
            id=certificate_id(added.public_bytes(Encoding.DER)),
            pem=added.public_bytes(Encoding.PEM).decode(),
            status=status,
            generation=secrets.token_hex(32),
            created=now,
            modified=now,
            not_before=added.not_valid_before_utc.timestamp(),
            not_after=added.not_valid_after_utc.timestamp(),
            mode=mode,
            external=external,
        )
        with self._work.transaction() as db:
            if self.find(certificate.id) is not None:
                raise already_exists(
                    "The certificate is already provisioned or registered",
                    certificate.id,
                    self._work.arn("cert", certificate.id),
                )
            if self.elsewhere(certificate.id):
                raise ServiceError(
                    "CertificateConflictException",
                    "The certificate is registered in another account of this cloud, which could "
                    "not tell whose device comes with it.",
                )
            insert(db, certificate)
        if external:
            self._ca.trust([certificate.pem])
        return certificate

    def external(self) -> list[str]:
        """Return the PEM texts of the registered certificates that another authority signed."""
        rows = self._work.database.execute("SELECT pem FROM certificates WHERE external")
        return [row["pem"] for row in rows]

    def find(self, key: str) -> Certificate | None:
        """Return the certificate of an id, or None if it is not registered."""
        return self._work.find(Certificate, key.lower(), "id")

    def get(self, key: str) -> Certificate:
        """Return the certificate of an id."""
        missing = f"Certificate {key} does not exist in your account"
        return self._work.get(Certificate, key.lower(), missing, "id")

    def page(self, page: Page) -> Listed[Certificate]:
        """List certificates in the order of their creation."""
        return self._work.page(Certificate, page, key="number")

    def set_status(self, key: str, status: str) -> None:
        """Activate, deactivate or revoke a certificate."""
        if status in _INTERNAL_STATUSES:
            raise invalid(
                f"Only AWS IoT itself sets the status {status}. Use ACTIVE, INACTIVE or REVOKED.",
            )
        with self._work.transaction() as db:
            certificate = self.get(key)
            if certificate.status != status:
                db.execute(
                    "UPDATE certificates SET status = ?, modified = ? WHERE id = ?",
                    (status, self._work.clock(), certificate.id),
                )

    def delete(self, key: str, *, force: bool = False) -> None:
        """Delete a certificate that is not ACTIVE and has no attachments.

        `force` detaches its policies instead of failing. Its Things must be detached anyway.
        """
        with self._work.transaction() as db:
            certificate = self.get(key)
            arn = self._work.arn("cert", certificate.id)
            if certificate.status == "ACTIVE":
                raise ServiceError(
                    "CertificateStateException",
                    "Certificate must be deactivated (not ACTIVE) before deletion. "
                    f"Id: {certificate.id}",
                )
            if exists(db, "SELECT 1 FROM thing_principals WHERE certificate = ?", certificate.id):
                raise conflict(f"Things must be detached before deletion (arn: {arn})")
            if force:
                db.execute(
                    "DELETE FROM policy_attachments WHERE certificate = ?", (certificate.id,)
                )
            if exists(db, "SELECT 1 FROM policy_attachments WHERE certificate = ?", certificate.id):
                raise conflict(
                    f"Certificate policies must be detached before deletion (arn: {arn})"
                )
            db.execute("DELETE FROM certificates WHERE id = ?", (certificate.id,))

    def principal(self, arn: str) -> str:
        """Return the id of the certificate with an ARN."""
        kind, key, ours = self._work.parse_arn(arn) or ("", "", False)
        if kind != "cert" or not set(key) <= set("0123456789abcdefABCDEF"):
            raise invalid(
                "The given ARN does not represent a cert"
                if arn.startswith("arn:")
                else f"'{arn}' is not the ARN of a certificate. Such an ARN starts "
                f"with {self._work.arn('cert', '')} and is the certificateArn in the response that "
                "created the certificate.",
            )
        if not ours or self.find(key) is None:
            raise not_found("The certificate given in the principal does not exist.")
        return key.lower()
