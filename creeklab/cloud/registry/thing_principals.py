"""Attachments of certificates to Things, exclusive or not."""

from __future__ import annotations

from creeklab.cloud.registry.certificates import Certificates
from creeklab.cloud.registry.things import Things
from creeklab.cloud.registry.unit_of_work import Listed, UnitOfWork, invalid, not_found
from creeklab.cloud.storage.database import Page

EXCLUSIVE, NON_EXCLUSIVE = "EXCLUSIVE_THING", "NON_EXCLUSIVE_THING"


class ThingPrincipals:
    """The attachments of certificates to Things of one account."""

    def __init__(self, work: UnitOfWork, things: Things, certificates: Certificates) -> None:
        self._work = work
        self._things = things
        self._certificates = certificates

    def attach(self, thing: str, principal: str, kind: str | None = None) -> None:
        """Attach a certificate to a Thing; a second time is not an error.

        Parameters
        ----------
        kind
            ``EXCLUSIVE_THING`` if the certificate is for no other Thing, or
            ``NON_EXCLUSIVE_THING``. None means the latter for a new attachment.
        """
        with self._work.transaction() as db:
            self._things.get(thing)
            key = self._certificates.principal(principal)
            attached: dict[str, str] = dict(
                db.execute("SELECT thing, type FROM thing_principals WHERE certificate = ?", (key,))
            )
            present = attached.pop(thing, None)
            if present is not None and kind in (None, present):
                return
            if present is not None:
                raise invalid(
                    f"The certificate is attached to thing {thing} as {present}. Detach it before "
                    f"you attach it as {kind}.",
                )
            if attached and (kind == EXCLUSIVE or EXCLUSIVE in attached.values()):
                raise invalid(
                    f"The certificate is attached to thing {next(iter(attached))}, and an "
                    "exclusive attachment allows no other. Detach it there first.",
                )
            db.execute(
                "INSERT INTO thing_principals (thing, certificate, type) VALUES (?, ?, ?)",
                (thing, key, kind or NON_EXCLUSIVE),
            )

    def detach(self, thing: str, principal: str) -> None:
        """Detach a certificate from a Thing; it is not an error if it is not attached."""
        with self._work.transaction() as db:
            self._things.get(thing)
            db.execute(
                "DELETE FROM thing_principals WHERE thing = ? AND certificate = ?",
                (thing, self._certificates.principal(principal)),
            )

    def of_thing(self, thing: str, page: Page, kind: str | None = None) -> Listed[tuple[str, str]]:
        """List the certificates of a Thing as pairs of ARN and kind of attachment."""
        if self._things.find(thing) is None:
            raise not_found(
                f"Failed to list principals for thing {thing} because the thing does not exist in "
                "your account"
            )
        rows, token = self._work.database.page(
            "SELECT certificate, type FROM thing_principals",
            "certificate",
            page,
            "thing = :thing AND coalesce(:kind, type) = type",
            thing=thing,
            kind=kind,
        )
        return [(self._work.arn("cert", row["certificate"]), row["type"]) for row in rows], token

    def things_of(
        self, principal: str, page: Page, kind: str | None = None
    ) -> Listed[tuple[str, str]]:
        """List the Things of a certificate as pairs of name and kind of attachment."""
        rows, token = self._work.database.page(
            "SELECT thing, type FROM thing_principals",
            "thing",
            page,
            "certificate = :certificate AND coalesce(:kind, type) = type",
            certificate=self._certificates.principal(principal),
            kind=kind,
        )
        return [(row["thing"], row["type"]) for row in rows], token
