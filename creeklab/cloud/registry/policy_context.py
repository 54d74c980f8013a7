"""The policies of a connection, and the values of its policy variables."""

from __future__ import annotations

from collections.abc import Iterable

from creeklab.cloud import policy as documents
from creeklab.cloud.registry.certificates import Certificates
from creeklab.cloud.registry.groups import ABOVE, AROUND
from creeklab.cloud.registry.policies import Policies
from creeklab.cloud.registry.records import certificate_variables
from creeklab.cloud.registry.thing_principals import EXCLUSIVE
from creeklab.cloud.registry.things import Things
from creeklab.cloud.registry.unit_of_work import UnitOfWork, exists

_DOCUMENTS = """
    SELECT name, document FROM policy_attachments
    JOIN policies ON policies.name = policy_attachments.policy
    JOIN policy_versions ON policy_versions.policy = name AND version = default_version
    WHERE {targets} ORDER BY policy_attachments.number
"""
_IS_ATTACHED = "iot:Connection.Thing.IsAttached"


class PolicyContextQueries:
    """Queries about the connections of one account."""

    def __init__(
        self, work: UnitOfWork, things: Things, certificates: Certificates, policies: Policies
    ) -> None:
        self._work = work
        self._things = things
        self._certificates = certificates
        self._policies = policies

    def certificate_status(self, certificate_id: str) -> str | None:
        """Return a certificate's status, such as ``ACTIVE``; None if it is not registered."""
        certificate = self._certificates.find(certificate_id)
        return certificate.status if certificate else None

    def policies_of(
        self, certificate_id: str, client_id: str | None = None
    ) -> list[documents.Policy]:
        """Return the default versions of the policies of a connection, parsed.

        The policies of its certificate apply. If the client ID is the name of a Thing that the
        certificate is attached to, so do the policies of the Thing's groups and of the groups above
        them (developer guide, "Static thing groups").
        """
        policies = self._parsed("certificate = :key", key=certificate_id)
        if client_id is not None and self._is_attached(client_id, certificate_id):
            policies += self.policies_of_thing(client_id)
        return _once(policies)

    def policies_of_thing(self, thing: str) -> list[documents.Policy]:
        """Return the policies of the groups of a Thing and of the groups above them."""
        return self._parsed(f"thing_group IN ({AROUND})", thing=thing)

    def policies_of_group(self, group: str) -> list[documents.Policy]:
        """Return the policies of a group and of the groups above it."""
        return self._parsed(f"thing_group IN ({ABOVE})", group=group)

    def _parsed(self, targets: str, **keys: str) -> list[documents.Policy]:
        rows = self._work.database.execute(_DOCUMENTS.format(targets=targets), keys)
        return _once(self._policies.parse(row["name"], row["document"]) for row in rows)

    def thing_of(self, certificate_id: str, client_id: str) -> str | None:
        """Return the name of the Thing that a connection is associated with, if there is one.

        That is the Thing that the certificate is exclusively attached to, whatever the client ID;
        otherwise the Thing named like the client ID, if the certificate is attached to it
        (developer guide, "Associating an AWS IoT thing to an MQTT client connection").
        """
        exclusive = self.exclusive_thing(certificate_id)
        if exclusive is not None:
            return exclusive
        return client_id if self._is_attached(client_id, certificate_id) else None

    def exclusive_thing(self, certificate_id: str) -> str | None:
        """Return the name of the Thing that a certificate is exclusively attached to, if any."""
        row = self._work.database.execute(
            "SELECT thing FROM thing_principals WHERE certificate = ? AND type = ?",
            (certificate_id, EXCLUSIVE),
        ).fetchone()
        return None if row is None else row["thing"]

    def thing_context(self, client_id: str, certificate_id: str) -> dict[str, str]:
        """Return the ``iot:Connection.Thing`` policy variables of a connection.

        Name, type and attributes come from its Thing (`thing_of`). ``IsAttached`` is false if there
        is a Thing of this name but the certificate is not attached to it; it has no value if there
        is no such Thing (developer guide, "Thing policy variables").
        """
        name = self.thing_of(certificate_id, client_id)
        if name is not None:
            return {_IS_ATTACHED: "true", **self._things.get(name).variables()}
        return {} if self._things.find(client_id) is None else {_IS_ATTACHED: "false"}

    def certificate_context(self, certificate_id: str) -> dict[str, str | tuple[str, ...]]:
        """Return the ``iot:CertificateId`` and ``iot:Certificate`` policy variables.

        A certificate that is not registered has none.
        """
        certificate = self._certificates.find(certificate_id)
        return certificate_variables(certificate.id, certificate.pem) if certificate else {}

    def _is_attached(self, thing: str, certificate_id: str) -> bool:
        attachment = "SELECT 1 FROM thing_principals WHERE thing = ? AND certificate = ?"
        return exists(self._work.database, attachment, thing, certificate_id)


def _once(policies: Iterable[documents.Policy]) -> list[documents.Policy]:
    return list(dict.fromkeys(policies))
