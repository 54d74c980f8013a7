"""Policies and their versions. Only the default version of a policy is evaluated."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Mapping
from functools import lru_cache

from creeklab.cloud import policy as documents
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.registry.records import Policy, PolicyVersion, from_row, insert
from creeklab.cloud.registry.tags import NO_TAGS, Tags
from creeklab.cloud.registry.unit_of_work import (
    Listed,
    UnitOfWork,
    already_exists,
    conflict,
    exists,
    invalid,
    not_found,
)
from creeklab.cloud.storage.database import Page

MAX_VERSIONS = 5  # of a policy


class Policies:
    """The policies of one account."""

    def __init__(self, work: UnitOfWork, tags: Tags) -> None:
        self._work = work
        self._tags = tags

    def create(self, name: str, document: str, tags: Mapping[str, str] = NO_TAGS) -> PolicyVersion:
        """Create a policy with `document` as its version 1, the default."""
        self._check(name, document)
        now = self._work.clock()
        with self._work.transaction() as db:
            if exists(db, "SELECT 1 FROM policies WHERE name = ?", name):
                raise already_exists(
                    f"Policy cannot be created - name already exists (name={name})",
                    name,
                    self._work.arn("policy", name),
                )
            policy = Policy(name, 1, 1, secrets.token_hex(32), now, now)
            version = PolicyVersion(name, 1, document, now)
            insert(db, policy)
            insert(db, version)
            self._tags.put_on_new(db, "policy", name, tags)
        return version

    def get(self, name: str) -> Policy:
        """Return a policy."""
        return self._work.get(Policy, name, "Policy not found")

    def page(self, page: Page) -> Listed[str]:
        """List the names of the policies in the order of their creation."""
        rows, token = self._work.database.page("SELECT number, name FROM policies", "number", page)
        return [row["name"] for row in rows], token

    def delete(self, name: str) -> None:
        """Delete a policy that is not attached and has only its default version."""
        with self._work.transaction() as db:
            self.get(name)
            if exists(db, "SELECT 1 FROM policy_attachments WHERE policy = ?", name):
                raise conflict(
                    "The policy cannot be deleted as the policy is attached to one or more "
                    f"principals (name={name})",
                )
            if len(self.versions(name)) > 1:
                raise conflict(
                    "The policy cannot be deleted as versions other than than default version "
                    "exist",
                )
            db.execute("DELETE FROM policies WHERE name = ?", (name,))

    def create_version(self, name: str, document: str, *, default: bool) -> PolicyVersion:
        """Add a version to a policy, which can have five, and make it the default if asked."""
        self._check(name, document)
        with self._work.transaction() as db:
            policy = self.get(name)
            if len(self.versions(name)) >= MAX_VERSIONS:
                raise ServiceError(
                    "VersionsLimitExceededException",
                    f"The policy {name} already has the maximum number of versions "
                    f"({MAX_VERSIONS})",
                )
            version = PolicyVersion(name, policy.last_version + 1, document, self._work.clock())
            insert(db, version)
            db.execute(
                "UPDATE policies SET last_version = ?, modified = ? WHERE name = ?",
                (version.version, version.created, name),
            )
            if default:
                self._set_default(db, version)
        return version

    def version(self, name: str, version: int | str) -> PolicyVersion:
        """Return one version of a policy."""
        self.get(name)
        row = self._work.database.execute(
            "SELECT * FROM policy_versions WHERE policy = ? AND version = ?", (name, str(version))
        ).fetchone()
        if row is None:
            raise not_found(f"Policy {name} has no version {version}")
        return from_row(PolicyVersion, row)

    def versions(self, name: str) -> list[PolicyVersion]:
        """List the versions of a policy, oldest first."""
        self.get(name)
        rows = self._work.database.execute(
            "SELECT * FROM policy_versions WHERE policy = ? ORDER BY version", (name,)
        )
        return [from_row(PolicyVersion, row) for row in rows]

    def set_default(self, name: str, version: str) -> None:
        """Make a version the default, which is the one that is evaluated."""
        with self._work.transaction() as db:
            self._set_default(db, self.version(name, version))

    def _set_default(self, db: sqlite3.Connection, version: PolicyVersion) -> None:
        db.execute(
            "UPDATE policies SET default_version = ?, modified = ? WHERE name = ?",
            (version.version, self._work.clock(), version.policy),
        )

    def delete_version(self, name: str, version: str) -> None:
        """Delete a version that is not the default; its number is not used again."""
        with self._work.transaction() as db:
            found = self.version(name, version)
            if found.version == self.get(name).default_version:
                raise invalid("Cannot delete the default version of a policy")
            db.execute(
                "DELETE FROM policy_versions WHERE policy = ? AND version = ?",
                (name, found.version),
            )
            db.execute(
                "UPDATE policies SET modified = ? WHERE name = ?", (self._work.clock(), name)
            )

    def parsed(self, name: str) -> documents.Policy:
        """Return the default version of a policy, parsed."""
        return self.parse(name, self.document(name))

    def document(self, name: str) -> str:
        """Return the document of the default version of a policy."""
        return self.version(name, self.get(name).default_version).document

    def parse(self, name: str, document: str) -> documents.Policy:
        """Return a document of the policy `name`, parsed."""
        return _parse(document, name, self._work.arn("policy", name))

    def _check(self, name: str, document: str) -> None:
        try:
            self.parse(name, document)
        except documents.MalformedPolicy as error:
            raise ServiceError("MalformedPolicyException", str(error)) from error


@lru_cache(maxsize=256)
def _parse(document: str, name: str, arn: str) -> documents.Policy:
    return documents.parse(document, name=name, arn=arn)
