"""The roles of one account, and what a service that assumes one is allowed to do.

Error texts are those of IAM where they are known.
"""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from creeklab.cloud.account import AccountIdentity
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.iam import role_documents as documents
from creeklab.cloud.policy import Authorizer, Context
from creeklab.cloud.storage.database import Database, Page

MAX_TAGS = 50  # of one role


@dataclass(frozen=True, slots=True)
class Role:
    """A role, without its inline policies; `created` is in seconds since the epoch."""

    name: str
    id: str
    path: str
    trust_policy: str
    description: str | None
    max_session: int
    created: float
    tags: Mapping[str, str]


class Roles:
    """The roles of one account, in its database.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    """

    def __init__(
        self, database: Database, identity: AccountIdentity, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._arn_prefix = f"arn:aws:iam::{identity.account}:role"
        self._clock = clock

    def arn(self, role: Role) -> str:
        """Return the ARN of a role."""
        return f"{self._arn_prefix}{role.path}{role.name}"

    def create(
        self,
        name: str,
        trust_policy: str,
        *,
        path: str = "/",
        description: str | None = None,
        max_session: int = 3600,
        tags: Mapping[str, str] | None = None,
    ) -> Role:
        """Create a role."""
        _check(documents.check_trust, trust_policy)
        letters = string.ascii_uppercase + string.digits
        role_id = "AROA" + "".join(secrets.choice(letters) for _ in range(17))
        role = Role(
            name, role_id, path, trust_policy, description, max_session, self._clock(), tags or {}
        )
        with self._database.transaction() as db:
            if db.execute("SELECT 1 FROM roles WHERE name = ?", (name,)).fetchone():
                raise ServiceError(
                    "EntityAlreadyExistsException", f"Role with name {name} already exists."
                )
            row = asdict(role) | {"tags": json.dumps(role.tags)}
            columns, values = ", ".join(row), ", ".join(f":{column}" for column in row)
            db.execute(f"INSERT INTO roles ({columns}) VALUES ({values})", row)
        return role

    def get(self, name: str) -> Role:
        """Return a role."""
        # The column ignores case when it compares names; IAM does not when it looks one up.
        row = self._database.execute(
            "SELECT * FROM roles WHERE name = ? COLLATE BINARY", (name,)
        ).fetchone()
        if row is None:
            raise _missing(f"The role with name {name} cannot be found.")
        return _role(row)

    def page(self, page: Page, path_prefix: str = "/") -> tuple[list[Role], str | None]:
        """List roles by name, those whose paths begin with a prefix."""
        rows, token = self._database.page(
            "SELECT * FROM roles",
            "name",
            page,
            "substr(path, 1, length(:prefix)) = :prefix",
            scan="roles",
            prefix=path_prefix,
        )
        return [_role(row) for row in rows], token

    def update(self, name: str, description: str | None, max_session: int | None) -> None:
        """Change the description or the session duration; None leaves it as it is."""
        self._change(name, description=description, max_session=max_session)

    def set_trust_policy(self, name: str, document: str) -> None:
        """Replace the trust policy of a role."""
        _check(documents.check_trust, document)
        self._change(name, trust_policy=document)

    def tag(self, name: str, tags: Mapping[str, str]) -> None:
        """Add tags to a role, or replace the values of existing keys."""
        self._set_tags(name, {**self.get(name).tags, **tags})

    def untag(self, name: str, keys: Iterable[str]) -> None:
        """Remove tags from a role; a missing tag is not an error."""
        removed = set(keys)
        present = self.get(name).tags
        self._set_tags(name, {key: present[key] for key in present if key not in removed})

    def _set_tags(self, name: str, tags: Mapping[str, str]) -> None:
        if len(tags) > MAX_TAGS:
            raise ServiceError(
                "LimitExceededException", f"A role can have at most {MAX_TAGS} tags."
            )
        self._change(name, tags=json.dumps(tags))

    def _change(self, name: str, **columns: Any) -> None:
        changes = {column: value for column, value in columns.items() if value is not None}
        with self._database.transaction() as db:
            self.get(name)
            for column, value in changes.items():
                db.execute(f"UPDATE roles SET {column} = ? WHERE name = ?", (value, name))

    def delete(self, name: str) -> None:
        """Delete a role that has no inline policies."""
        with self._database.transaction() as db:
            self.get(name)
            if self._policies(name):
                raise ServiceError(
                    "DeleteConflictException",
                    "Cannot delete entity, must delete policies first.",
                )
            db.execute("DELETE FROM roles WHERE name = ?", (name,))

    # --- inline policies ----------------------------------------------------------------------

    def put_policy(self, role: str, name: str, document: str) -> None:
        """Add an inline policy to a role, or replace the one of this name."""
        _check(documents.parse_inline, document)
        with self._database.transaction() as db:
            self.get(role)
            others = {**self._policies(role), name: document}
            if sum(map(documents.size, others.values())) > documents.MAX_INLINE_SIZE:
                raise ServiceError(
                    "LimitExceededException",
                    f"Maximum policy size of {documents.MAX_INLINE_SIZE} bytes exceeded for role "
                    f"{role}",
                )
            db.execute(
                "INSERT INTO role_policies (role, name, document) VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET document = excluded.document",
                (role, name, document),
            )

    def policy(self, role: str, name: str) -> str:
        """Return the document of an inline policy."""
        self.get(role)
        document = self._policies(role).get(name)
        if document is None:
            raise _missing(f"The role policy with name {name} cannot be found.")
        return document

    def delete_policy(self, role: str, name: str) -> None:
        """Delete an inline policy."""
        with self._database.transaction() as db:
            self.policy(role, name)
            db.execute("DELETE FROM role_policies WHERE role = ? AND name = ?", (role, name))

    def policy_names(self, role: str, page: Page) -> tuple[list[str], str | None]:
        """List the names of the inline policies of a role."""
        self.get(role)
        rows, token = self._database.page(
            "SELECT name FROM role_policies", "name", page, "role = :role", role=role
        )
        return [row["name"] for row in rows], token

    def _policies(self, role: str) -> dict[str, str]:
        rows = self._database.execute(
            "SELECT name, document FROM role_policies WHERE role = ? ORDER BY name", (role,)
        )
        return {row["name"]: row["document"] for row in rows}

    # --- assuming a role ----------------------------------------------------------------------

    def find(self, arn: str) -> Role | None:
        """Return the role of an ARN, or None if there is none."""
        try:
            role = self.get(arn.rpartition("/")[2])
        except ServiceError:
            return None
        return role if self.arn(role) == arn else None

    def why_not_assumed(self, arn: str, service: str, context: Context) -> str | None:
        """Return why a service cannot assume a role; None if it can.

        Parameters
        ----------
        service
            Such as ``iot.amazonaws.com``.
        context
            Values of condition keys, such as ``aws:SourceArn``.
        """
        role = self.find(arn)
        if role is None:
            return f"The role {arn} does not exist."
        trust = documents.bind_trust(role.trust_policy, service, context)
        if trust.decide(documents.ASSUME_ROLE, "*").allows:
            return None
        if not trust.statements:
            return (
                f"The trust policy of the role {role.name} does not name {service}. Add a "
                f'statement with "Principal": {{"Service": "{service}"}} and "Action": '
                '"sts:AssumeRole".'
            )
        return (
            f"The trust policy of the role {role.name} names {service}, but does not allow "
            "sts:AssumeRole under these conditions. Check its Effect, Action and Condition."
        )

    def check_pass_role(self, arn: str, service: str, context: Context) -> None:
        """Raise the error of a call that passes a role to AWS IoT, if AWS IoT cannot assume it.

        The caller is the account's administrator, who has ``iam:PassRole``.
        """
        if self.why_not_assumed(arn, service, context) is not None:
            raise ServiceError(
                "InvalidRequestException",
                f"AWS IoT ({service}) is unable to assume role (sts:AssumeRole) on resource: "
                f"{arn}. If the role was just created or updated, please try again in a few "
                "seconds.",
            )

    def authorizer(self, arn: str, context: Context) -> Authorizer:
        """Return what a role is allowed to do; a missing role is allowed nothing."""
        role = self.find(arn)
        policies = self._policies(role.name) if role else {}
        parsed = [documents.parse_inline(text, name) for name, text in policies.items()]
        return Authorizer(parsed, context)


def _role(row: Any) -> Role:
    return Role(**{**dict(row), "tags": json.loads(row["tags"])})


def _missing(message: str) -> ServiceError:
    return ServiceError("NoSuchEntityException", message)


def _check(parse: Callable[[str], object], document: str) -> None:
    try:
        parse(document)
    except ValueError as error:
        raise ServiceError("MalformedPolicyDocumentException", str(error)) from None
