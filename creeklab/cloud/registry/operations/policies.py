"""Operations on policies, their versions and their targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from creeklab.cloud.registry.operations.base import (
    MarkerPage,
    Members,
    Operations,
    OrderedPage,
    listing,
    parse_tags,
    read_page,
)
from creeklab.cloud.registry.records import PolicyVersion


class PolicyOperations(Operations):
    """Policies."""

    def create_policy(
        self, *, policyName: str, policyDocument: str, tags: Sequence[Members] = ()
    ) -> Members:
        """Create a policy."""
        version = self._registry.policies.create(policyName, policyDocument, parse_tags(tags))
        return {"policyName": policyName, **self._version(version)}

    def get_policy(self, *, policyName: str) -> Members:
        """Return a policy with its default document."""
        policy = self._registry.policies.get(policyName)
        version = self._registry.policies.version(policyName, policy.default_version)
        return {
            "policyName": policyName,
            "policyArn": self._registry.arn("policy", policyName),
            "policyDocument": version.document,
            "defaultVersionId": str(version.version),
            "creationDate": policy.created,
            "lastModifiedDate": policy.modified,
            "generationId": policy.generation,
        }

    def delete_policy(self, *, policyName: str) -> None:
        """Delete a policy."""
        self._registry.policies.delete(policyName)

    def list_policies(self, **page: Unpack[OrderedPage]) -> Members:
        """List the policies, by default the newest first."""
        names = self._registry.policies.page(read_page(page, newest_first=True))
        return listing("policies", names, self._policy, "nextMarker")

    def create_policy_version(
        self, *, policyName: str, policyDocument: str, setAsDefault: bool = False
    ) -> Members:
        """Add a version to a policy."""
        version = self._registry.policies.create_version(
            policyName, policyDocument, default=setAsDefault
        )
        return {**self._version(version), "isDefaultVersion": setAsDefault}

    def get_policy_version(self, *, policyName: str, policyVersionId: str) -> Members:
        """Return a version of a policy."""
        policy = self._registry.policies.get(policyName)
        version = self._registry.policies.version(policyName, policyVersionId)
        return {
            "policyName": policyName,
            **self._version(version),
            "isDefaultVersion": version.version == policy.default_version,
            "creationDate": version.created,
            "lastModifiedDate": version.created,
            "generationId": policy.generation,
        }

    def list_policy_versions(self, *, policyName: str) -> Members:
        """List the versions of a policy."""
        default = self._registry.policies.get(policyName).default_version
        versions = [
            {
                "versionId": str(version.version),
                "isDefaultVersion": version.version == default,
                "createDate": version.created,
            }
            for version in self._registry.policies.versions(policyName)
        ]
        return {"policyVersions": versions}

    def set_default_policy_version(self, *, policyName: str, policyVersionId: str) -> None:
        """Make a version of a policy the default."""
        self._registry.policies.set_default(policyName, policyVersionId)

    def delete_policy_version(self, *, policyName: str, policyVersionId: str) -> None:
        """Delete a version of a policy."""
        self._registry.policies.delete_version(policyName, policyVersionId)

    def _version(self, version: PolicyVersion) -> Members:
        return {
            "policyArn": self._registry.arn("policy", version.policy),
            "policyDocument": version.document,
            "policyVersionId": str(version.version),
        }

    # --- policies and their targets -----------------------------------------------------------

    def attach_policy(self, *, policyName: str, target: str) -> None:
        """Attach a policy to a certificate or thing group."""
        self._registry.policy_attachments.attach(policyName, target)

    def detach_policy(self, *, policyName: str, target: str) -> None:
        """Detach a policy from a certificate or thing group."""
        self._registry.policy_attachments.detach(policyName, target)

    def attach_principal_policy(self, *, policyName: str, principal: str) -> None:
        """Attach a policy to a certificate: the older name of AttachPolicy."""
        self.attach_policy(policyName=policyName, target=principal)

    def detach_principal_policy(self, *, policyName: str, principal: str) -> None:
        """Detach a policy from a certificate: the older name of DetachPolicy."""
        self.detach_policy(policyName=policyName, target=principal)

    def list_attached_policies(
        self, *, target: str, recursive: bool = False, **page: Unpack[MarkerPage]
    ) -> Members:
        """List the policies of a certificate or group, and of the groups above it if recursive."""
        names = self._registry.policy_attachments.policies_of(
            target, read_page(page), recursive=recursive
        )
        return listing("policies", names, self._policy, "nextMarker")

    def list_principal_policies(self, *, principal: str, **page: Unpack[OrderedPage]) -> Members:
        """List the policies of a certificate, by default the last attached first."""
        names = self._registry.policy_attachments.policies_of(
            principal, read_page(page, newest_first=True)
        )
        return listing("policies", names, self._policy, "nextMarker")

    def list_targets_for_policy(self, *, policyName: str, **page: Unpack[MarkerPage]) -> Members:
        """List the targets of a policy."""
        targets = self._registry.policy_attachments.of(policyName, read_page(page))
        return listing("targets", targets, token="nextMarker")

    def list_policy_principals(self, *, policyName: str, **page: Unpack[OrderedPage]) -> Members:
        """List the principals of a policy, by default the last attached first."""
        principals = self._registry.policy_attachments.of(
            policyName, read_page(page, newest_first=True)
        )
        return listing("principals", principals, token="nextMarker")
