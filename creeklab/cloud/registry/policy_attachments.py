"""Attachments of policies to certificates and thing groups."""

from __future__ import annotations

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.registry.certificates import Certificates
from creeklab.cloud.registry.groups import ABOVE, Groups
from creeklab.cloud.registry.policies import Policies
from creeklab.cloud.registry.unit_of_work import Listed, UnitOfWork, not_found
from creeklab.cloud.storage.database import Page

MAX_POLICIES = 10  # attached to one certificate
MAX_GROUP_POLICIES = 2  # attached to one group (developer guide, "Static thing groups")


class PolicyAttachments:
    """The attachments of policies of one account."""

    def __init__(
        self, work: UnitOfWork, policies: Policies, certificates: Certificates, groups: Groups
    ) -> None:
        self._work = work
        self._policies = policies
        self._certificates = certificates
        self._groups = groups

    def attach(self, name: str, target: str) -> None:
        """Attach a policy to a certificate or group; a second time is not an error."""
        with self._work.transaction() as db:
            self._policies.get(name)
            column, key = self.resolve(target)
            rows = db.execute(f"SELECT policy FROM policy_attachments WHERE {column} = ?", (key,))
            attached = [row["policy"] for row in rows]
            if name in attached:
                return
            most = MAX_POLICIES if column == "certificate" else MAX_GROUP_POLICIES
            if len(attached) >= most:
                raise ServiceError(
                    "LimitExceededException",
                    f"A {column.replace('_', ' ')} can have at most {most} policies attached. "
                    "Detach one first, or put more statements into fewer policies.",
                )
            db.execute(
                f"INSERT INTO policy_attachments (policy, {column}) VALUES (?, ?)", (name, key)
            )

    def detach(self, name: str, target: str) -> None:
        """Detach a policy from a certificate or group; it is not an error if it is not attached."""
        with self._work.transaction() as db:
            self._policies.get(name)
            column, key = self.resolve(target)
            db.execute(
                f"DELETE FROM policy_attachments WHERE policy = ? AND {column} = ?", (name, key)
            )

    def policies_of(self, target: str, page: Page, *, recursive: bool = False) -> Listed[str]:
        """List the names of the policies of a target in the order of their attachment.

        If `recursive`, include the policies of the groups above a thing group.
        """
        column, key = self.resolve(target)
        of_target = f"{column} = :group"
        if recursive and column == "thing_group":
            of_target = f"thing_group IN ({ABOVE})"
        rows, token = self._work.database.page(
            "SELECT number, policy FROM (SELECT min(number) AS number, policy "
            f"FROM policy_attachments WHERE {of_target} GROUP BY policy)",
            "number",
            page,
            group=key,
        )
        return [row["policy"] for row in rows], token

    def of(self, name: str, page: Page) -> Listed[str]:
        """List the ARNs of the targets of a policy in the order of their attachment."""
        self._policies.get(name)
        rows, token = self._work.database.page(
            "SELECT number, certificate, thing_group FROM policy_attachments",
            "number",
            page,
            "policy = :name",
            name=name,
        )
        arns = [
            self._work.arn("cert", row["certificate"])
            if row["certificate"]
            else self._work.arn("thinggroup", row["thing_group"])
            for row in rows
        ]
        return arns, token

    def resolve(self, target: str) -> tuple[str, str]:
        """Return the kind (``certificate`` or ``thing_group``) and the key of a target's ARN."""
        kind, name, ours = self._work.parse_arn(target) or ("", "", False)
        if kind != "thinggroup":
            return "certificate", self._certificates.principal(target)
        if not ours or self._groups.find(name) is None:
            raise not_found(f"The thing group {target} does not exist.")
        return "thing_group", name
