"""The registry: Things, certificates, policies, and what is attached to what.

Each room has one kind of thing and its rules: which change is refused and in which words
(developer guide; AWS's own texts where they are known). Here is the common front, and what a
connection may ask about itself. A change is one transaction, committed before the method returns.
Lists are read a page at a time, so ten thousand Things cost no memory.

Refusals are `ServiceError`, named as in the API reference.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from creeklab.cloud import policy as documents
from creeklab.cloud.ca import CertificateAuthority
from creeklab.cloud.registry.books import Books
from creeklab.cloud.registry.certificates import Certificates
from creeklab.cloud.registry.policies import Policies
from creeklab.cloud.registry.principals import EXCLUSIVE, Principals
from creeklab.cloud.registry.targets import Targets
from creeklab.cloud.registry.things import Things
from creeklab.cloud.store import Store


class Registry:
    """The registry of one account.

    Parameters
    ----------
    account, region, partition
        What the account's ARNs are made of.
    endpoint
        Host name under which devices reach the cloud.
    clock
        Seconds since the epoch.

    Attributes
    ----------
    listeners
        Called after each committed change that can alter what a connection may do: to a
        certificate, a policy, an attachment or the attributes of a Thing.
    """

    def __init__(
        self,
        store: Store,
        ca: CertificateAuthority,
        *,
        account: str,
        region: str,
        endpoint: str,
        partition: str = "aws",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.account = account
        self.region = region
        self.endpoint = endpoint
        self._store = store
        books = Books(store, account=account, region=region, partition=partition, clock=clock)
        self.arn = books.arn
        self.listeners = books.listeners
        self.things = Things(books)
        self.certificates = Certificates(books, ca)
        self.principals = Principals(books, self.things, self.certificates)
        self.policies = Policies(books)
        self.targets = Targets(books, self.policies, self.certificates)

    # --- what a connection may ask about itself -----------------------------------------------

    def certificate_status(self, certificate_id: str) -> str | None:
        """Return a certificate's status, such as ``ACTIVE``; None if it is not registered."""
        certificate = self.certificates.find(certificate_id)
        return certificate.status if certificate else None

    def policies_of(self, certificate_id: str) -> list[documents.Policy]:
        """Return the default versions of the policies of a certificate, parsed."""
        rows = self._store.execute(
            "SELECT name, document FROM policy_attachments "
            "JOIN policies ON policies.name = policy_attachments.policy "
            "JOIN policy_versions ON policy_versions.policy = name AND version = default_version "
            "WHERE certificate = ? ORDER BY policy_attachments.number",
            (certificate_id,),
        )
        return [self.policies.parse(row["name"], row["document"]) for row in rows]

    def thing_context(self, client_id: str, certificate_id: str) -> dict[str, str]:
        """Return the ``iot:Connection.Thing`` policy variables of a connection.

        The Thing is the one whose name is the client id; without one there are no variables. Its
        name and attributes can be had if the certificate is attached to it; ``IsAttached`` says
        whether it is (developer guide, "Thing policy variables").
        """
        thing = self.things.find(client_id)
        if thing is None:
            return {}
        attached = self._store.execute(
            "SELECT 1 FROM thing_principals WHERE thing = ? AND certificate = ?",
            (client_id, certificate_id),
        ).fetchone()
        is_attached = "iot:Connection.Thing.IsAttached"
        return {is_attached: "true", **thing.variables()} if attached else {is_attached: "false"}

    def exclusive_thing(self, certificate_id: str) -> str | None:
        """Return the Thing to which a certificate is attached as ``EXCLUSIVE_THING``, if any."""
        row = self._store.execute(
            "SELECT thing FROM thing_principals WHERE certificate = ? AND type = ?",
            (certificate_id, EXCLUSIVE),
        ).fetchone()
        return None if row is None else str(row["thing"])

    def certificate_context(self, certificate_id: str) -> dict[str, str | tuple[str, ...]]:
        """Return the ``iot:CertificateId`` and ``iot:Certificate`` policy variables.

        There are none of a certificate that is not registered (any more).
        """
        certificate = self.certificates.find(certificate_id)
        return certificate.variables() if certificate else {}
