"""Operations of ``iam`` on roles.

IAM returns policy documents percent-encoded, and boto3 decodes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from creeklab.cloud.iam.roles import Role, Roles
from creeklab.cloud.storage.database import Page

Members = dict[str, Any]

DEFAULT_PAGE = 100  # API reference, MaxItems


class IamOperations:
    """The operations for one account."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles

    def create_role(
        self,
        *,
        RoleName: str,
        AssumeRolePolicyDocument: str,
        Path: str = "/",
        Description: str | None = None,
        MaxSessionDuration: int = 3600,
        Tags: Sequence[Members] = (),
    ) -> Members:
        """Create a role."""
        role = self._roles.create(
            RoleName,
            AssumeRolePolicyDocument,
            path=Path,
            description=Description,
            max_session=MaxSessionDuration,
            tags=_by_key(Tags),
        )
        return {"Role": self._role(role)}

    def get_role(self, *, RoleName: str) -> Members:
        """Return a role."""
        return {"Role": self._role(self._roles.get(RoleName))}

    def list_roles(
        self, *, PathPrefix: str = "/", Marker: str | None = None, MaxItems: int = DEFAULT_PAGE
    ) -> Members:
        """List the roles."""
        roles, token = self._roles.page(Page(MaxItems, Marker), PathPrefix)
        listed = [self._role(role) for role in roles]
        for role in listed:
            del role["Tags"]  # only GetRole returns them (API reference, ListRoles)
        return {"Roles": listed, **_rest(token)}

    def update_role(
        self,
        *,
        RoleName: str,
        Description: str | None = None,
        MaxSessionDuration: int | None = None,
    ) -> None:
        """Change the description or the session duration of a role."""
        self._roles.update(RoleName, Description, MaxSessionDuration)

    def update_assume_role_policy(self, *, RoleName: str, PolicyDocument: str) -> None:
        """Replace the trust policy of a role."""
        self._roles.set_trust_policy(RoleName, PolicyDocument)

    def delete_role(self, *, RoleName: str) -> None:
        """Delete a role without policies."""
        self._roles.delete(RoleName)

    def _role(self, role: Role) -> Members:
        return {
            "Path": role.path,
            "RoleName": role.name,
            "RoleId": role.id,
            "Arn": self._roles.arn(role),
            "CreateDate": role.created,
            "AssumeRolePolicyDocument": quote(role.trust_policy, safe=""),
            "Description": role.description,
            "MaxSessionDuration": role.max_session,
            "Tags": _as_list(role) or None,
        }

    # --- tags ---------------------------------------------------------------------------------

    def tag_role(self, *, RoleName: str, Tags: Sequence[Members]) -> None:
        """Put tags on a role."""
        self._roles.tag(RoleName, _by_key(Tags))

    def untag_role(self, *, RoleName: str, TagKeys: Sequence[str]) -> None:
        """Remove tags from a role."""
        self._roles.untag(RoleName, TagKeys)

    def list_role_tags(
        self, *, RoleName: str, Marker: str | None = None, MaxItems: int = DEFAULT_PAGE
    ) -> Members:
        """List the tags of a role, which fit on one page."""
        return {"Tags": _as_list(self._roles.get(RoleName)), "IsTruncated": False}

    # --- policies -----------------------------------------------------------------------------

    def put_role_policy(self, *, RoleName: str, PolicyName: str, PolicyDocument: str) -> None:
        """Add or replace an inline policy of a role."""
        self._roles.put_policy(RoleName, PolicyName, PolicyDocument)

    def get_role_policy(self, *, RoleName: str, PolicyName: str) -> Members:
        """Return an inline policy of a role."""
        document = quote(self._roles.policy(RoleName, PolicyName), safe="")
        return {"RoleName": RoleName, "PolicyName": PolicyName, "PolicyDocument": document}

    def delete_role_policy(self, *, RoleName: str, PolicyName: str) -> None:
        """Delete an inline policy of a role."""
        self._roles.delete_policy(RoleName, PolicyName)

    def list_role_policies(
        self, *, RoleName: str, Marker: str | None = None, MaxItems: int = DEFAULT_PAGE
    ) -> Members:
        """List the names of the inline policies of a role."""
        names, token = self._roles.policy_names(RoleName, Page(MaxItems, Marker))
        return {"PolicyNames": names, **_rest(token)}

    def list_attached_role_policies(
        self,
        *,
        RoleName: str,
        PathPrefix: str = "/",
        Marker: str | None = None,
        MaxItems: int = DEFAULT_PAGE,
    ) -> Members:
        """List the managed policies of a role: none, because this cloud has none."""
        self._roles.get(RoleName)
        return {"AttachedPolicies": [], "IsTruncated": False}

    def list_instance_profiles_for_role(
        self, *, RoleName: str, Marker: str | None = None, MaxItems: int = DEFAULT_PAGE
    ) -> Members:
        """List the instance profiles of a role: none, because this cloud has none."""
        self._roles.get(RoleName)
        return {"InstanceProfiles": [], "IsTruncated": False}


def _by_key(tags: Sequence[Members]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


def _as_list(role: Role) -> list[Members]:
    return [{"Key": key, "Value": value} for key, value in role.tags.items()]


def _rest(token: str | None) -> Members:
    return {"IsTruncated": token is not None, "Marker": token}
