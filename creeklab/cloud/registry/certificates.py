"""Certificates: issued or brought along, activated, revoked, deleted."""

from __future__ import annotations

import secrets
from dataclasses import asdict

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from creeklab.cloud.ca import CertificateAuthority, KeysAndCertificate, certificate_id
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.registry.books import Books, Listed, conflict, found, invalid, not_found
from creeklab.cloud.registry.records import Certificate, insert, record
from creeklab.cloud.store import Page

# Statuses that AWS IoT itself sets (API reference, UpdateCertificate).
_INTERNAL_STATUSES = ("PENDING_TRANSFER", "PENDING_ACTIVATION")


class Certificates:
    """The certificates of one account."""

    def __init__(self, books: Books, ca: CertificateAuthority) -> None:
        self._books = books
        self._ca = ca

    def issue_keys(self, *, active: bool) -> tuple[Certificate, KeysAndCertificate]:
        """Make a key pair and a certificate, and register the certificate."""
        issued = self._ca.issue_keys_and_certificate()
        return self._register(issued.certificate, active), issued

    def issue_from_csr(self, request: str, *, active: bool) -> Certificate:
        """Make a certificate from a certificate signing request, and register it."""
        return self._register(self._ca.issue_from_csr(request), active)

    def _register(self, issued: x509.Certificate, active: bool) -> Certificate:
        now = self._books.clock()
        certificate = Certificate(
            id=certificate_id(issued.public_bytes(Encoding.DER)),
            pem=issued.public_bytes(Encoding.PEM).decode(),
            status="ACTIVE" if active else "INACTIVE",
            generation=secrets.token_hex(32),
            created=now,
            modified=now,
            not_before=issued.not_valid_before_utc.timestamp(),
            not_after=issued.not_valid_after_utc.timestamp(),
        )
        with self._books.changing() as db:
            insert(db, "certificates", asdict(certificate))
        return certificate

    def find(self, key: str) -> Certificate | None:
        """Return the certificate of this id, or None if it is not registered."""
        row = self._books.store.execute(
            "SELECT * FROM certificates WHERE id = ?", (key.lower(),)
        ).fetchone()
        return None if row is None else record(Certificate, row)

    def get(self, key: str) -> Certificate:
        """Return the certificate of this id."""
        certificate = self.find(key)
        if certificate is None:
            raise not_found(f"Certificate {key} does not exist in your account")
        return certificate

    def page(self, page: Page) -> Listed[Certificate]:
        """List certificates in the order of their creation."""
        rows, token = self._books.store.page("SELECT * FROM certificates", "number", page)
        return [record(Certificate, row) for row in rows], token

    def set_status(self, key: str, status: str) -> None:
        """Activate, deactivate or revoke a certificate."""
        if status in _INTERNAL_STATUSES:
            raise invalid(
                f"Only AWS IoT itself sets the status {status}. Use ACTIVE, INACTIVE or REVOKED.",
            )
        with self._books.changing() as db:
            certificate = self.get(key)
            if certificate.status != status:
                db.execute(
                    "UPDATE certificates SET status = ?, modified = ? WHERE id = ?",
                    (status, self._books.clock(), certificate.id),
                )

    def delete(self, key: str, *, force: bool = False) -> None:
        """Delete a certificate that is not ACTIVE and that nothing is attached to.

        Parameters
        ----------
        force
            Detach its policies instead of refusing; Things must be detached all the same.
        """
        with self._books.changing() as db:
            certificate = self.get(key)
            arn = self._books.arn("cert", certificate.id)
            if certificate.status == "ACTIVE":
                raise ServiceError(
                    "CertificateStateException",
                    "Certificate must be deactivated (not ACTIVE) before deletion. "
                    f"Id: {certificate.id}",
                )
            if found(db, "SELECT 1 FROM thing_principals WHERE certificate = ?", certificate.id):
                raise conflict(f"Things must be detached before deletion (arn: {arn})")
            if force:
                db.execute(
                    "DELETE FROM policy_attachments WHERE certificate = ?", (certificate.id,)
                )
            if found(db, "SELECT 1 FROM policy_attachments WHERE certificate = ?", certificate.id):
                raise conflict(
                    f"Certificate policies must be detached before deletion (arn: {arn})"
                )
            db.execute("DELETE FROM certificates WHERE id = ?", (certificate.id,))

    def principal(self, arn: str) -> str:
        """Return the id of the certificate that an ARN names."""
        kind, key, ours = self._books.parts(arn) or ("", "", False)
        if kind != "cert" or not set(key) <= set("0123456789abcdefABCDEF"):
            raise invalid(
                "The given ARN does not represent a cert"
                if arn.startswith("arn:")
                else f"'{arn}' is not the ARN of a certificate. It begins with "
                f"{self._books.arn('cert', '')} and is called certificateArn in the answer that "
                "created the certificate.",
            )
        if not ours or self.find(key) is None:
            raise not_found("The certificate given in the principal does not exist.")
        return key.lower()
