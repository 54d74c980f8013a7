"""What a policy is attached to."""

from __future__ import annotations

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.registry.books import Books, Listed
from creeklab.cloud.registry.certificates import Certificates
from creeklab.cloud.registry.policies import Policies
from creeklab.cloud.registry.records import insert
from creeklab.cloud.store import Page

MAX_POLICIES = 10  # attached to one certificate


class Targets:
    """The attachments of policies of one account."""

    def __init__(self, books: Books, policies: Policies, certificates: Certificates) -> None:
        self._books = books
        self._policies = policies
        self._certificates = certificates

    def attach(self, name: str, target: str) -> None:
        """Attach a policy to a certificate; that it is attached already is no error."""
        with self._books.changing() as db:
            self._policies.get(name)
            key = self._certificates.principal(target)
            rows = db.execute("SELECT policy FROM policy_attachments WHERE certificate = ?", (key,))
            attached = [row["policy"] for row in rows]
            if name in attached:
                return
            if len(attached) >= MAX_POLICIES:
                raise ServiceError(
                    "LimitExceededException",
                    f"A certificate can have at most {MAX_POLICIES} policies attached. Detach one "
                    "first, or put more statements into fewer policies.",
                )
            insert(db, "policy_attachments", {"policy": name, "certificate": key})

    def detach(self, name: str, target: str) -> None:
        """Detach a policy from a certificate; that it is not attached is no error."""
        with self._books.changing() as db:
            self._policies.get(name)
            db.execute(
                "DELETE FROM policy_attachments WHERE policy = ? AND certificate = ?",
                (name, self._certificates.principal(target)),
            )

    def policies_of(self, target: str, page: Page) -> Listed[str]:
        """List the names of the policies of a certificate in the order of their attachment."""
        rows, token = self._books.store.page(
            "SELECT number, policy FROM policy_attachments",
            "number",
            page,
            "certificate = :certificate",
            certificate=self._certificates.principal(target),
        )
        return [row["policy"] for row in rows], token

    def of(self, name: str, page: Page) -> Listed[str]:
        """List the ARNs of the targets of a policy in the order of their attachment."""
        self._policies.get(name)
        rows, token = self._books.store.page(
            "SELECT number, certificate FROM policy_attachments",
            "number",
            page,
            "policy = :name",
            name=name,
        )
        return [self._books.arn("cert", row["certificate"]) for row in rows], token
