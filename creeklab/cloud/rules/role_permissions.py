"""What the role of an action allows, if the account has the role.

As on AWS, a rule cannot be created with a role that AWS IoT cannot assume, and an action needs the
permission of its role each time it runs. A role that does not exist in the account allows
everything, so that a rule can be tried without IAM.
"""

from __future__ import annotations

from creeklab.cloud.iam.roles import Roles
from creeklab.cloud.rules.actions.lambda_action import IOT


class RolePermissions:
    """The roles of one account; None if the cloud has no IAM."""

    def __init__(self, roles: Roles | None) -> None:
        self._roles = roles

    def check_pass_role(self, arn: str) -> None:
        """Raise `ServiceError` if AWS IoT cannot assume an existing role."""
        if self._roles is not None and self._roles.find(arn) is not None:
            self._roles.check_pass_role(arn, IOT, {})

    def refusal(self, arn: str, action: str, resource: str) -> str | None:
        """Return why an existing role does not allow an action on a resource; None if it does."""
        if self._roles is None or self._roles.find(arn) is None:
            return None
        reason = self._roles.why_not_assumed(arn, IOT, {})
        if reason is None and self._roles.authorizer(arn, {}).decide(action, resource).allows:
            return None
        return reason or (
            f"The role {arn} does not allow {action} on {resource}. Allow it with put_role_policy."
        )
