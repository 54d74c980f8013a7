"""Operations on certificates."""

from __future__ import annotations

from typing import Unpack

from creeklab.cloud.registry.operations.base import (
    Members,
    Operations,
    OrderedPage,
    listing,
    read_page,
)
from creeklab.cloud.registry.records import Certificate


class CertificateOperations(Operations):
    """Certificates."""

    def create_keys_and_certificate(self, *, setAsActive: bool = False) -> Members:
        """Create a key pair and a certificate; the private key is only in this response."""
        certificate, issued = self._registry.certificates.issue_keys(active=setAsActive)
        keys = {"PublicKey": issued.public_key, "PrivateKey": issued.private_key}
        return {**self._issued(certificate), "keyPair": keys}

    def create_certificate_from_csr(
        self, *, certificateSigningRequest: str, setAsActive: bool = False
    ) -> Members:
        """Issue a certificate for a certificate signing request."""
        return self._issued(
            self._registry.certificates.issue_from_csr(
                certificateSigningRequest, active=setAsActive
            )
        )

    def register_certificate(
        self,
        *,
        certificatePem: str,
        caCertificatePem: str | None = None,
        setAsActive: bool = False,
        status: str | None = None,
    ) -> Members:
        """Register a certificate that a registered certificate authority has signed."""
        return self._named(
            self._registry.certificates.register(
                certificatePem,
                status or ("ACTIVE" if setAsActive else "INACTIVE"),
                caCertificatePem,
            )
        )

    def register_certificate_without_ca(
        self, *, certificatePem: str, status: str = "INACTIVE"
    ) -> Members:
        """Register a certificate of any signer."""
        return self._named(self._registry.certificates.register_without_ca(certificatePem, status))

    def _named(self, certificate: Certificate) -> Members:
        return {
            "certificateArn": self._registry.arn("cert", certificate.id),
            "certificateId": certificate.id,
        }

    def _issued(self, certificate: Certificate) -> Members:
        return {**self._named(certificate), "certificatePem": certificate.pem}

    def describe_certificate(self, *, certificateId: str) -> Members:
        """Return a certificate."""
        certificate = self._registry.certificates.get(certificateId)
        description = {
            **self._issued(certificate),
            "status": certificate.status,
            "ownedBy": self._registry.identity.account,
            "creationDate": certificate.created,
            "lastModifiedDate": certificate.modified,
            "customerVersion": 1,
            "transferData": {},
            "generationId": certificate.generation,
            "validity": {"notBefore": certificate.not_before, "notAfter": certificate.not_after},
            "certificateMode": certificate.mode,
        }
        return {"certificateDescription": description}

    def update_certificate(self, *, certificateId: str, newStatus: str) -> None:
        """Activate, deactivate or revoke a certificate."""
        self._registry.certificates.set_status(certificateId, newStatus)

    def delete_certificate(self, *, certificateId: str, forceDelete: bool = False) -> None:
        """Delete a certificate."""
        self._registry.certificates.delete(certificateId, force=forceDelete)

    def list_certificates(self, **page: Unpack[OrderedPage]) -> Members:
        """List the certificates, by default the newest first."""
        found = self._registry.certificates.page(read_page(page, newest_first=True))
        return listing("certificates", found, self._summary, "nextMarker")

    def _summary(self, certificate: Certificate) -> Members:
        return {
            **self._named(certificate),
            "status": certificate.status,
            "certificateMode": certificate.mode,
            "creationDate": certificate.created,
        }
