"""The registry: Things, certificates, policies, and what is attached to what.

The rules are here: which change is refused and in which words (developer guide; AWS's own texts
where they are known), and what a connection may ask about itself. A change is one transaction,
committed before the method returns; after one that can alter what a connection may do, every
function in `Registry.listeners` is called. Lists are read a page at a time, so ten thousand
Things cost no memory.

Refusals are `ServiceError`, named as in the API reference.
"""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from creeklab.cloud import policy as documents
from creeklab.cloud.ca import CertificateAuthority, KeysAndCertificate, certificate_id
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.records import (
    Certificate,
    Policy,
    PolicyVersion,
    Thing,
    insert,
    record,
    thing_record,
)
from creeklab.cloud.store import Page, Store

MAX_ATTRIBUTES = 3  # of a Thing without a thing type
MAX_POLICIES = 10  # attached to one principal
MAX_VERSIONS = 5  # of a policy
EXCLUSIVE, NON_EXCLUSIVE = "EXCLUSIVE_THING", "NON_EXCLUSIVE_THING"

# Statuses that AWS IoT itself sets (API reference, UpdateCertificate).
_INTERNAL_STATUSES = ("PENDING_TRANSFER", "PENDING_ACTIVATION")

_CERTIFICATE_ARN = re.compile(r"arn:[^:]*:iot:[^:]*:[^:]*:cert/([0-9a-fA-F]+)")

Item = TypeVar("Item")
Listed = tuple[list[Item], str | None]
"""One page of a list, and the token of the next page if there is one."""


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
        self.listeners: list[Callable[[], None]] = []
        self._store = store
        self._ca = ca
        self._clock = clock
        self._arn_prefix = f"arn:{partition}:iot:{region}:{account}:"

    def arn(self, kind: str, name: str) -> str:
        """Return the ARN of a resource of the kind ``thing``, ``cert`` or ``policy``."""
        return f"{self._arn_prefix}{kind}/{name}"

    # --- things -------------------------------------------------------------------------------

    def create_thing(self, name: str, attributes: Mapping[str, str]) -> Thing:
        """Create a Thing, or return the one that is there if its attributes are the same."""
        attributes = _checked_attributes(attributes)
        with self._changing() as db:
            thing = _find_thing(self._store, name)
            if thing is None:
                thing = Thing(name, str(uuid.uuid4()), 1, attributes)
                db.execute(
                    "INSERT INTO things (name, id, version, attributes) VALUES (?, ?, 1, ?)",
                    (name, thing.id, json.dumps(attributes)),
                )
            elif thing.attributes != attributes:
                raise ServiceError(
                    "ResourceAlreadyExistsException",
                    f"Thing {name} already exists in account with different attributes",
                    resourceId=thing.id,
                    resourceArn=self.arn("thing", name),
                )
        return thing

    def thing(self, name: str) -> Thing:
        """Return a Thing."""
        thing = _find_thing(self._store, name)
        if thing is None:
            raise _not_found(f"Thing {name} does not exist in your account")
        return thing

    def things(
        self,
        page: Page,
        attribute: str | None = None,
        value: str | None = None,
        prefix: bool = False,
    ) -> Listed[Thing]:
        """List Things by name.

        Parameters
        ----------
        attribute, value, prefix
            Only Things that have this attribute, with this value or, if `prefix`, with one that
            begins with it.
        """
        condition = "TRUE"
        if attribute is not None:
            test = "substr(value, 1, length(:value)) = :value" if prefix else "value = :value"
            condition = (
                "EXISTS (SELECT 1 FROM json_each(attributes) "
                f"WHERE key = :attribute AND (:value IS NULL OR {test}))"
            )
        rows, token = self._store.page(
            "SELECT * FROM things", "name", page, condition, attribute=attribute, value=value
        )
        return [thing_record(row) for row in rows], token

    def update_thing(
        self,
        name: str,
        attributes: Mapping[str, str] | None,
        *,
        merge: bool = False,
        expected_version: int | None = None,
    ) -> None:
        """Replace a Thing's attributes, or add to them; one with the value '' is removed."""
        with self._changing() as db:
            thing = self.thing(name)
            _check_version(thing, expected_version)
            if attributes is None:
                attributes = thing.attributes
            elif merge:
                attributes = {**thing.attributes, **attributes}
            db.execute(
                "UPDATE things SET version = version + 1, attributes = ? WHERE name = ?",
                (json.dumps(_checked_attributes(attributes)), name),
            )

    def delete_thing(self, name: str, expected_version: int | None = None) -> None:
        """Delete a Thing that nothing is attached to; that it is not there is no error."""
        with self._changing() as db:
            thing = _find_thing(self._store, name)
            if thing is None:
                return
            _check_version(thing, expected_version)
            if _any(db, "SELECT 1 FROM thing_principals WHERE thing = ?", name):
                raise _invalid(
                    f"Cannot delete. Thing {name} is still attached to one or more principals",
                )
            db.execute("DELETE FROM things WHERE name = ?", (name,))

    # --- certificates -------------------------------------------------------------------------

    def issue_keys(self, *, active: bool) -> tuple[Certificate, KeysAndCertificate]:
        """Make a key pair and a certificate, and register the certificate."""
        issued = self._ca.issue_keys_and_certificate()
        return self._register(issued.certificate, active), issued

    def issue_from_csr(self, request: str, *, active: bool) -> Certificate:
        """Make a certificate from a certificate signing request, and register it."""
        return self._register(self._ca.issue_from_csr(request), active)

    def _register(self, issued: x509.Certificate, active: bool) -> Certificate:
        now = self._clock()
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
        with self._changing() as db:
            insert(db, "certificates", asdict(certificate))
        return certificate

    def certificate(self, certificate_id: str) -> Certificate:
        """Return a certificate."""
        certificate = _find_certificate(self._store, certificate_id)
        if certificate is None:
            raise _not_found(f"Certificate {certificate_id} does not exist in your account")
        return certificate

    def certificates(self, page: Page) -> Listed[Certificate]:
        """List certificates in the order of their creation."""
        rows, token = self._store.page("SELECT * FROM certificates", "number", page)
        return [record(Certificate, row) for row in rows], token

    def set_certificate_status(self, certificate_id: str, status: str) -> None:
        """Activate, deactivate or revoke a certificate."""
        if status in _INTERNAL_STATUSES:
            raise _invalid(
                f"Only AWS IoT itself sets the status {status}. Use ACTIVE, INACTIVE or REVOKED.",
            )
        with self._changing() as db:
            certificate = self.certificate(certificate_id)
            if certificate.status != status:
                db.execute(
                    "UPDATE certificates SET status = ?, modified = ? WHERE id = ?",
                    (status, self._clock(), certificate.id),
                )

    def delete_certificate(self, certificate_id: str, *, force: bool = False) -> None:
        """Delete a certificate that is not ACTIVE and that nothing is attached to.

        Parameters
        ----------
        force
            Detach its policies instead of refusing; Things must be detached all the same.
        """
        with self._changing() as db:
            certificate = self.certificate(certificate_id)
            arn = self.arn("cert", certificate.id)
            if certificate.status == "ACTIVE":
                raise ServiceError(
                    "CertificateStateException",
                    "Certificate must be deactivated (not ACTIVE) before deletion. "
                    f"Id: {certificate.id}",
                )
            if _any(db, "SELECT 1 FROM thing_principals WHERE certificate = ?", certificate.id):
                raise _conflict(
                    f"Things must be detached before deletion (arn: {arn})",
                )
            if force:
                db.execute(
                    "DELETE FROM policy_attachments WHERE certificate = ?", (certificate.id,)
                )
            if _any(db, "SELECT 1 FROM policy_attachments WHERE certificate = ?", certificate.id):
                raise _conflict(
                    f"Certificate policies must be detached before deletion (arn: {arn})",
                )
            db.execute("DELETE FROM certificates WHERE id = ?", (certificate.id,))

    def principal(self, arn: str) -> str:
        """Return the id of the certificate that an ARN names."""
        match = _CERTIFICATE_ARN.fullmatch(arn)
        if match is None:
            raise _invalid(
                "The given ARN does not represent a cert"
                if arn.startswith("arn:")
                else f"'{arn}' is not the ARN of a certificate. It begins with "
                f"{self._arn_prefix}cert/ and is called certificateArn in the answer that created "
                "the certificate.",
            )
        key = match[1].lower()
        if arn[: match.start(1)] != self.arn("cert", "") or self.certificate_status(key) is None:
            raise _not_found("The certificate given in the principal does not exist.")
        return key

    # --- things and their principals ----------------------------------------------------------

    def attach_principal(self, thing: str, principal: str, kind: str | None = None) -> None:
        """Attach a certificate to a Thing; that it is attached already is no error.

        Parameters
        ----------
        kind
            ``EXCLUSIVE_THING``: the certificate is for no other Thing; or
            ``NON_EXCLUSIVE_THING``, which is what None means for a new attachment.
        """
        with self._changing() as db:
            self.thing(thing)
            key = self.principal(principal)
            attached: dict[str, str] = dict(
                db.execute("SELECT thing, type FROM thing_principals WHERE certificate = ?", (key,))
            )
            present = attached.pop(thing, None)
            if present is not None and kind in (None, present):
                return
            if present is not None:
                raise _invalid(
                    f"The certificate is attached to thing {thing} as {present}. Detach it before "
                    f"you attach it as {kind}.",
                )
            if attached and (kind == EXCLUSIVE or EXCLUSIVE in attached.values()):
                raise _invalid(
                    f"The certificate is attached to thing {next(iter(attached))}, and an "
                    "exclusive attachment allows no other. Detach it there first.",
                )
            attachment = {"thing": thing, "certificate": key, "type": kind or NON_EXCLUSIVE}
            insert(db, "thing_principals", attachment)

    def detach_principal(self, thing: str, principal: str) -> None:
        """Detach a certificate from a Thing; that it is not attached is no error."""
        with self._changing() as db:
            self.thing(thing)
            db.execute(
                "DELETE FROM thing_principals WHERE thing = ? AND certificate = ?",
                (thing, self.principal(principal)),
            )

    def principals_of_thing(
        self, thing: str, page: Page, kind: str | None = None
    ) -> Listed[tuple[str, str]]:
        """List a Thing's certificates as ARN and kind of attachment, only of one kind if named."""
        if _find_thing(self._store, thing) is None:
            raise _not_found(
                f"Failed to list principals for thing {thing} because the thing does not exist in "
                "your account"
            )
        rows, token = self._store.page(
            "SELECT certificate, type FROM thing_principals",
            "certificate",
            page,
            "thing = :thing AND coalesce(:kind, type) = type",
            thing=thing,
            kind=kind,
        )
        return [(self.arn("cert", row["certificate"]), row["type"]) for row in rows], token

    def things_of_principal(
        self, principal: str, page: Page, kind: str | None = None
    ) -> Listed[tuple[str, str]]:
        """List a certificate's Things as name and kind of attachment, only of one kind if named."""
        rows, token = self._store.page(
            "SELECT thing, type FROM thing_principals",
            "thing",
            page,
            "certificate = :certificate AND coalesce(:kind, type) = type",
            certificate=self.principal(principal),
            kind=kind,
        )
        return [(row["thing"], row["type"]) for row in rows], token

    # --- policies -----------------------------------------------------------------------------

    def create_policy(self, name: str, document: str) -> PolicyVersion:
        """Create a policy with `document` as its version 1, the default."""
        self._check_document(name, document)
        now = self._clock()
        with self._changing() as db:
            if _any(db, "SELECT 1 FROM policies WHERE name = ?", name):
                raise ServiceError(
                    "ResourceAlreadyExistsException",
                    f"Policy cannot be created - name already exists (name={name})",
                    resourceId=name,
                    resourceArn=self.arn("policy", name),
                )
            policy = Policy(name, 1, 1, secrets.token_hex(32), now, now)
            version = PolicyVersion(name, 1, document, now)
            insert(db, "policies", asdict(policy))
            insert(db, "policy_versions", asdict(version))
        return version

    def policy(self, name: str) -> Policy:
        """Return a policy."""
        row = self._store.execute("SELECT * FROM policies WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise _not_found("Policy not found")
        return record(Policy, row)

    def policies(self, page: Page) -> Listed[str]:
        """List the names of the policies in the order of their creation."""
        rows, token = self._store.page("SELECT number, name FROM policies", "number", page)
        return [row["name"] for row in rows], token

    def delete_policy(self, name: str) -> None:
        """Delete a policy that is attached to nothing and has no version but its default."""
        with self._changing() as db:
            self.policy(name)
            if _any(db, "SELECT 1 FROM policy_attachments WHERE policy = ?", name):
                raise _conflict(
                    "The policy cannot be deleted as the policy is attached to one or more "
                    f"principals (name={name})",
                )
            if len(self.policy_versions(name)) > 1:
                raise _conflict(
                    "The policy cannot be deleted as versions other than than default version "
                    "exist",
                )
            db.execute("DELETE FROM policies WHERE name = ?", (name,))

    def create_policy_version(self, name: str, document: str, *, default: bool) -> PolicyVersion:
        """Add a version to a policy, and make it the default if asked; there can be five."""
        self._check_document(name, document)
        with self._changing() as db:
            policy = self.policy(name)
            if len(self.policy_versions(name)) >= MAX_VERSIONS:
                raise ServiceError(
                    "VersionsLimitExceededException",
                    f"The policy {name} already has the maximum number of versions "
                    f"({MAX_VERSIONS})",
                )
            version = PolicyVersion(name, policy.last_version + 1, document, self._clock())
            insert(db, "policy_versions", asdict(version))
            db.execute(
                "UPDATE policies SET last_version = ?, modified = ? WHERE name = ?",
                (version.version, version.created, name),
            )
            if default:
                self._set_default(db, version)
        return version

    def policy_version(self, name: str, version: int | str) -> PolicyVersion:
        """Return one version of a policy."""
        self.policy(name)
        row = self._store.execute(
            "SELECT * FROM policy_versions WHERE policy = ? AND version = ?", (name, str(version))
        ).fetchone()
        if row is None:
            raise _not_found(f"Policy {name} has no version {version}")
        return record(PolicyVersion, row)

    def policy_versions(self, name: str) -> list[PolicyVersion]:
        """List the versions of a policy, oldest first."""
        self.policy(name)
        rows = self._store.execute(
            "SELECT * FROM policy_versions WHERE policy = ? ORDER BY version", (name,)
        )
        return [record(PolicyVersion, row) for row in rows]

    def set_default_version(self, name: str, version: str) -> None:
        """Make a version the default: the one that is evaluated."""
        with self._changing() as db:
            self._set_default(db, self.policy_version(name, version))

    def _set_default(self, db: sqlite3.Connection, version: PolicyVersion) -> None:
        db.execute(
            "UPDATE policies SET default_version = ?, modified = ? WHERE name = ?",
            (version.version, self._clock(), version.policy),
        )

    def delete_policy_version(self, name: str, version: str) -> None:
        """Delete a version that is not the default; its number does not come back."""
        with self._changing() as db:
            found = self.policy_version(name, version)
            if found.version == self.policy(name).default_version:
                raise _invalid("Cannot delete the default version of a policy")
            db.execute(
                "DELETE FROM policy_versions WHERE policy = ? AND version = ?",
                (name, found.version),
            )
            db.execute("UPDATE policies SET modified = ? WHERE name = ?", (self._clock(), name))

    def attach_policy(self, name: str, target: str) -> None:
        """Attach a policy to a certificate; that it is attached already is no error."""
        with self._changing() as db:
            self.policy(name)
            key = self.principal(target)
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

    def detach_policy(self, name: str, target: str) -> None:
        """Detach a policy from a certificate; that it is not attached is no error."""
        with self._changing() as db:
            self.policy(name)
            db.execute(
                "DELETE FROM policy_attachments WHERE policy = ? AND certificate = ?",
                (name, self.principal(target)),
            )

    def attached_policies(self, target: str, page: Page) -> Listed[str]:
        """List the names of the policies of a certificate in the order of their attachment."""
        rows, token = self._store.page(
            "SELECT number, policy FROM policy_attachments",
            "number",
            page,
            "certificate = :certificate",
            certificate=self.principal(target),
        )
        return [row["policy"] for row in rows], token

    def targets_of_policy(self, name: str, page: Page) -> Listed[str]:
        """List the ARNs of the certificates of a policy in the order of their attachment."""
        self.policy(name)
        rows, token = self._store.page(
            "SELECT number, certificate FROM policy_attachments",
            "number",
            page,
            "policy = :name",
            name=name,
        )
        return [self.arn("cert", row["certificate"]) for row in rows], token

    # --- what a connection may ask about itself -----------------------------------------------

    def certificate_status(self, certificate_id: str) -> str | None:
        """Return a certificate's status, such as ``ACTIVE``; None if it is not registered."""
        certificate = _find_certificate(self._store, certificate_id)
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
        return [self._parsed(row["name"], row["document"]) for row in rows]

    def default_policy(self, name: str) -> documents.Policy:
        """Return the default version of a policy, parsed."""
        version = self.policy_version(name, self.policy(name).default_version)
        return self._parsed(name, version.document)

    def thing_context(self, client_id: str, certificate_id: str) -> dict[str, str]:
        """Return the ``iot:Connection.Thing`` policy variables of a connection.

        The Thing is the one whose name is the client id; without one there are no variables. Its
        name and attributes can be had if the certificate is attached to it; ``IsAttached`` says
        whether it is (developer guide, "Thing policy variables").
        """
        thing = _find_thing(self._store, client_id)
        if thing is None:
            return {}
        attached = self._store.execute(
            "SELECT 1 FROM thing_principals WHERE thing = ? AND certificate = ?",
            (client_id, certificate_id),
        ).fetchone()
        is_attached = "iot:Connection.Thing.IsAttached"
        return {is_attached: "true", **thing.variables()} if attached else {is_attached: "false"}

    def certificate_context(self, certificate_id: str) -> dict[str, str | tuple[str, ...]]:
        """Return the ``iot:CertificateId`` and ``iot:Certificate`` policy variables.

        There are none of a certificate that is not registered (any more).
        """
        certificate = _find_certificate(self._store, certificate_id)
        return certificate.variables() if certificate else {}

    # --- how it is done -----------------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction, and tell the listeners once it is committed."""
        with self._store.transaction() as db:
            yield db
        self._notify()

    def _notify(self) -> None:
        for listener in self.listeners:
            listener()

    def _parsed(self, name: str, document: str) -> documents.Policy:
        return _parse(document, name, self.arn("policy", name))

    def _check_document(self, name: str, document: str) -> None:
        try:
            self._parsed(name, document)
        except documents.MalformedPolicy as error:
            raise ServiceError("MalformedPolicyException", str(error)) from error


@lru_cache(maxsize=256)
def _parse(document: str, name: str, arn: str) -> documents.Policy:
    return documents.parse(document, name=name, arn=arn)


def _find_thing(store: Store, name: str) -> Thing | None:
    row = store.execute("SELECT * FROM things WHERE name = ?", (name,)).fetchone()
    return None if row is None else thing_record(row)


def _find_certificate(store: Store, certificate_id: str) -> Certificate | None:
    row = store.execute(
        "SELECT * FROM certificates WHERE id = ?", (certificate_id.lower(),)
    ).fetchone()
    return None if row is None else record(Certificate, row)


def _any(db: sqlite3.Connection, select: str, key: str) -> bool:
    return db.execute(select, (key,)).fetchone() is not None


def _checked_attributes(attributes: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in attributes.items() if value}
    if len(kept) > MAX_ATTRIBUTES:
        raise _invalid(
            f"A thing without a thing type can have at most {MAX_ATTRIBUTES} attributes; this one "
            f"would have {len(kept)}: {', '.join(kept)}.",
        )
    return kept


def _check_version(thing: Thing, expected: int | None) -> None:
    if expected not in (None, thing.version):
        raise ServiceError(
            "VersionConflictException",
            f"The version for thing {thing.name} does not match the expected version.",
        )


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidRequestException", message)


def _conflict(message: str) -> ServiceError:
    return ServiceError("DeleteConflictException", message)


def _not_found(message: str) -> ServiceError:
    return ServiceError("ResourceNotFoundException", message)
