"""The operations of the service ``iot``: the registry in the terms of botocore's model.

One short method for each operation, called with the members of its request by name, already
checked against the model, and answering with members by name; times are seconds since the epoch.
The rules are in `registry`. Thing types, billing groups, tags and thing groups are not there yet,
and a request that names one is refused in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.policy import Authorizer, Policy
from creeklab.cloud.records import Certificate, PolicyVersion, Thing
from creeklab.cloud.registry import Registry
from creeklab.cloud.store import Page

Answer = dict[str, Any]

DEFAULT_PAGE = 25  # what the API reference says of certificates, here of every list

# All of them are the one local endpoint (API reference, DescribeEndpoint).
ENDPOINT_TYPES = (
    "iot:Data",
    "iot:Data-ATS",
    "iot:CredentialProvider",
    "iot:Jobs",
    "iot:DeviceAdvisor",
)

ACTIONS = {
    "CONNECT": "iot:Connect",
    "PUBLISH": "iot:Publish",
    "RECEIVE": "iot:Receive",
    "SUBSCRIBE": "iot:Subscribe",
}


class Iot:
    """The control plane of AWS IoT Core."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def describe_endpoint(self, *, endpointType: str = "iot:Data") -> Answer:
        """Return the host name of an endpoint, without a port."""
        if endpointType not in ENDPOINT_TYPES:
            raise ServiceError(
                "InvalidRequestException", f"Endpoint type {endpointType} not recognized."
            )
        return {"endpointAddress": self._registry.endpoint}

    # --- things -------------------------------------------------------------------------------

    def create_thing(
        self,
        *,
        thingName: str,
        thingTypeName: str | None = None,
        attributePayload: Answer | None = None,
        billingGroupName: str | None = None,
    ) -> Answer:
        """Create a Thing."""
        _no_such("thing type", thingTypeName)
        _no_such("billing group", billingGroupName)
        attributes = (attributePayload or {}).get("attributes", {})
        thing = self._registry.create_thing(thingName, attributes)
        return {
            "thingName": thing.name,
            "thingArn": self._registry.arn("thing", thing.name),
            "thingId": thing.id,
        }

    def describe_thing(self, *, thingName: str) -> Answer:
        """Return a Thing."""
        thing = self._registry.thing(thingName)
        return {
            **self._thing(thing),
            "thingId": thing.id,
            "defaultClientId": thing.name,
        }

    def update_thing(
        self,
        *,
        thingName: str,
        thingTypeName: str | None = None,
        attributePayload: Answer | None = None,
        expectedVersion: int | None = None,
        removeThingType: bool = False,
    ) -> Answer:
        """Change the attributes of a Thing."""
        _no_such("thing type", thingTypeName)
        payload = attributePayload or {}
        self._registry.update_thing(
            thingName,
            payload.get("attributes"),
            merge=payload.get("merge", False),
            expected_version=expectedVersion,
        )
        return {}

    def delete_thing(self, *, thingName: str, expectedVersion: int | None = None) -> Answer:
        """Delete a Thing."""
        self._registry.delete_thing(thingName, expectedVersion)
        return {}

    def list_things(
        self,
        *,
        nextToken: str | None = None,
        maxResults: int = DEFAULT_PAGE,
        attributeName: str | None = None,
        attributeValue: str | None = None,
        thingTypeName: str | None = None,
        usePrefixAttributeValue: bool = False,
    ) -> Answer:
        """List the Things."""
        if attributeName is None and attributeValue is not None:
            raise ServiceError(
                "InvalidRequestException", "attributeValue needs attributeName beside it."
            )
        if thingTypeName is not None:
            return {"things": []}
        things, token = self._registry.things(
            Page(maxResults, nextToken), attributeName, attributeValue, usePrefixAttributeValue
        )
        return _listed("things", map(self._thing, things), nextToken=token)

    def _thing(self, thing: Thing) -> Answer:
        return {
            "thingName": thing.name,
            "thingArn": self._registry.arn("thing", thing.name),
            "attributes": thing.attributes,
            "version": thing.version,
        }

    # --- things and their principals ----------------------------------------------------------

    def attach_thing_principal(
        self, *, thingName: str, principal: str, thingPrincipalType: str | None = None
    ) -> Answer:
        """Attach a certificate to a Thing."""
        self._registry.attach_principal(thingName, principal, thingPrincipalType)
        return {}

    def detach_thing_principal(self, *, thingName: str, principal: str) -> Answer:
        """Detach a certificate from a Thing."""
        self._registry.detach_principal(thingName, principal)
        return {}

    def list_thing_principals(
        self, *, thingName: str, nextToken: str | None = None, maxResults: int = DEFAULT_PAGE
    ) -> Answer:
        """List the certificates of a Thing."""
        found, token = self._registry.principals_of_thing(thingName, Page(maxResults, nextToken))
        return _listed("principals", (principal for principal, _ in found), nextToken=token)

    def list_thing_principals_v2(
        self,
        *,
        thingName: str,
        nextToken: str | None = None,
        maxResults: int = DEFAULT_PAGE,
        thingPrincipalType: str | None = None,
    ) -> Answer:
        """List the certificates of a Thing with their kind of attachment."""
        found, token = self._registry.principals_of_thing(
            thingName, Page(maxResults, nextToken), thingPrincipalType
        )
        objects = ({"principal": name, "thingPrincipalType": kind} for name, kind in found)
        return _listed("thingPrincipalObjects", objects, nextToken=token)

    def list_principal_things(
        self, *, principal: str, nextToken: str | None = None, maxResults: int = DEFAULT_PAGE
    ) -> Answer:
        """List the Things of a certificate."""
        found, token = self._registry.things_of_principal(principal, Page(maxResults, nextToken))
        return _listed("things", (thing for thing, _ in found), nextToken=token)

    def list_principal_things_v2(
        self,
        *,
        principal: str,
        nextToken: str | None = None,
        maxResults: int = DEFAULT_PAGE,
        thingPrincipalType: str | None = None,
    ) -> Answer:
        """List the Things of a certificate with their kind of attachment."""
        found, token = self._registry.things_of_principal(
            principal, Page(maxResults, nextToken), thingPrincipalType
        )
        objects = ({"thingName": name, "thingPrincipalType": kind} for name, kind in found)
        return _listed("principalThingObjects", objects, nextToken=token)

    # --- certificates -------------------------------------------------------------------------

    def create_keys_and_certificate(self, *, setAsActive: bool = False) -> Answer:
        """Make a key pair and a certificate; the private key is in this answer and nowhere else."""
        certificate, issued = self._registry.issue_keys(active=setAsActive)
        keys = {"PublicKey": issued.public_key, "PrivateKey": issued.private_key}
        return {**self._issued(certificate), "keyPair": keys}

    def create_certificate_from_csr(
        self, *, certificateSigningRequest: str, setAsActive: bool = False
    ) -> Answer:
        """Make a certificate from a certificate signing request."""
        return self._issued(
            self._registry.issue_from_csr(certificateSigningRequest, active=setAsActive)
        )

    def _issued(self, certificate: Certificate) -> Answer:
        return {
            "certificateArn": self._registry.arn("cert", certificate.id),
            "certificateId": certificate.id,
            "certificatePem": certificate.pem,
        }

    def describe_certificate(self, *, certificateId: str) -> Answer:
        """Return a certificate."""
        certificate = self._registry.certificate(certificateId)
        description = {
            **self._issued(certificate),
            "status": certificate.status,
            "ownedBy": self._registry.account,
            "creationDate": certificate.created,
            "lastModifiedDate": certificate.modified,
            "customerVersion": 1,
            "transferData": {},
            "generationId": certificate.generation,
            "validity": {"notBefore": certificate.not_before, "notAfter": certificate.not_after},
            "certificateMode": "DEFAULT",
        }
        return {"certificateDescription": description}

    def update_certificate(self, *, certificateId: str, newStatus: str) -> Answer:
        """Activate, deactivate or revoke a certificate."""
        self._registry.set_certificate_status(certificateId, newStatus)
        return {}

    def delete_certificate(self, *, certificateId: str, forceDelete: bool = False) -> Answer:
        """Delete a certificate."""
        self._registry.delete_certificate(certificateId, force=forceDelete)
        return {}

    def list_certificates(
        self,
        *,
        pageSize: int = DEFAULT_PAGE,
        marker: str | None = None,
        ascendingOrder: bool = False,
    ) -> Answer:
        """List the certificates, the newest first unless told otherwise."""
        found, token = self._registry.certificates(Page(pageSize, marker, ascendingOrder))
        certificates = (
            {
                "certificateArn": self._registry.arn("cert", certificate.id),
                "certificateId": certificate.id,
                "status": certificate.status,
                "certificateMode": "DEFAULT",
                "creationDate": certificate.created,
            }
            for certificate in found
        )
        return _listed("certificates", certificates, nextMarker=token)

    # --- policies -----------------------------------------------------------------------------

    def create_policy(
        self, *, policyName: str, policyDocument: str, tags: Sequence[Answer] = ()
    ) -> Answer:
        """Create a policy."""
        if tags:
            raise ServiceError(
                "InvalidRequestException",
                "This local cloud does not know tags yet. Leave the tags out.",
            )
        version = self._registry.create_policy(policyName, policyDocument)
        return {"policyName": policyName, **self._version(version)}

    def get_policy(self, *, policyName: str) -> Answer:
        """Return a policy with its default document."""
        policy = self._registry.policy(policyName)
        version = self._registry.policy_version(policyName, policy.default_version)
        return {
            "policyName": policyName,
            "policyArn": self._registry.arn("policy", policyName),
            "policyDocument": version.document,
            "defaultVersionId": str(version.version),
            "creationDate": policy.created,
            "lastModifiedDate": policy.modified,
            "generationId": policy.generation,
        }

    def delete_policy(self, *, policyName: str) -> Answer:
        """Delete a policy."""
        self._registry.delete_policy(policyName)
        return {}

    def list_policies(
        self,
        *,
        marker: str | None = None,
        pageSize: int = DEFAULT_PAGE,
        ascendingOrder: bool = False,
    ) -> Answer:
        """List the policies, the newest first unless told otherwise."""
        names, token = self._registry.policies(Page(pageSize, marker, ascendingOrder))
        return _listed("policies", map(self._policy, names), nextMarker=token)

    def create_policy_version(
        self, *, policyName: str, policyDocument: str, setAsDefault: bool = False
    ) -> Answer:
        """Add a version to a policy."""
        version = self._registry.create_policy_version(
            policyName, policyDocument, default=setAsDefault
        )
        return {**self._version(version), "isDefaultVersion": setAsDefault}

    def get_policy_version(self, *, policyName: str, policyVersionId: str) -> Answer:
        """Return a version of a policy."""
        policy = self._registry.policy(policyName)
        version = self._registry.policy_version(policyName, policyVersionId)
        return {
            "policyName": policyName,
            **self._version(version),
            "isDefaultVersion": version.version == policy.default_version,
            "creationDate": version.created,
            "lastModifiedDate": version.created,
            "generationId": policy.generation,
        }

    def list_policy_versions(self, *, policyName: str) -> Answer:
        """List the versions of a policy."""
        default = self._registry.policy(policyName).default_version
        versions = (
            {
                "versionId": str(version.version),
                "isDefaultVersion": version.version == default,
                "createDate": version.created,
            }
            for version in self._registry.policy_versions(policyName)
        )
        return _listed("policyVersions", versions)

    def set_default_policy_version(self, *, policyName: str, policyVersionId: str) -> Answer:
        """Make a version of a policy the one in effect."""
        self._registry.set_default_version(policyName, policyVersionId)
        return {}

    def delete_policy_version(self, *, policyName: str, policyVersionId: str) -> Answer:
        """Delete a version of a policy."""
        self._registry.delete_policy_version(policyName, policyVersionId)
        return {}

    def _policy(self, name: str) -> Answer:
        return {"policyName": name, "policyArn": self._registry.arn("policy", name)}

    def _version(self, version: PolicyVersion) -> Answer:
        return {
            "policyArn": self._registry.arn("policy", version.policy),
            "policyDocument": version.document,
            "policyVersionId": str(version.version),
        }

    # --- policies and their targets -----------------------------------------------------------

    def attach_policy(self, *, policyName: str, target: str) -> Answer:
        """Attach a policy to a certificate."""
        self._registry.attach_policy(policyName, target)
        return {}

    def detach_policy(self, *, policyName: str, target: str) -> Answer:
        """Detach a policy from a certificate."""
        self._registry.detach_policy(policyName, target)
        return {}

    def attach_principal_policy(self, *, policyName: str, principal: str) -> Answer:
        """Attach a policy to a certificate: the older name of AttachPolicy."""
        return self.attach_policy(policyName=policyName, target=principal)

    def detach_principal_policy(self, *, policyName: str, principal: str) -> Answer:
        """Detach a policy from a certificate: the older name of DetachPolicy."""
        return self.detach_policy(policyName=policyName, target=principal)

    def list_attached_policies(
        self,
        *,
        target: str,
        recursive: bool = False,
        marker: str | None = None,
        pageSize: int = DEFAULT_PAGE,
    ) -> Answer:
        """List the policies of a certificate; without thing groups, recursive adds nothing."""
        return self.list_principal_policies(
            principal=target, marker=marker, pageSize=pageSize, ascendingOrder=True
        )

    def list_principal_policies(
        self,
        *,
        principal: str,
        marker: str | None = None,
        pageSize: int = DEFAULT_PAGE,
        ascendingOrder: bool = False,
    ) -> Answer:
        """List the policies of a certificate, the last attached first unless told otherwise."""
        page = Page(pageSize, marker, ascendingOrder)
        names, token = self._registry.attached_policies(principal, page)
        return _listed("policies", map(self._policy, names), nextMarker=token)

    def list_targets_for_policy(
        self, *, policyName: str, marker: str | None = None, pageSize: int = DEFAULT_PAGE
    ) -> Answer:
        """List the certificates of a policy."""
        targets, token = self._registry.targets_of_policy(policyName, Page(pageSize, marker))
        return _listed("targets", targets, nextMarker=token)

    def list_policy_principals(
        self,
        *,
        policyName: str,
        marker: str | None = None,
        pageSize: int = DEFAULT_PAGE,
        ascendingOrder: bool = False,
    ) -> Answer:
        """List the certificates of a policy, the last attached first unless told otherwise."""
        page = Page(pageSize, marker, ascendingOrder)
        principals, token = self._registry.targets_of_policy(policyName, page)
        return _listed("principals", principals, nextMarker=token)

    # --- what a principal may do --------------------------------------------------------------

    def get_effective_policies(
        self,
        *,
        principal: str | None = None,
        cognitoIdentityPoolId: str | None = None,
        thingName: str | None = None,
    ) -> Answer:
        """Return the policies that decide what a certificate may do; a Thing alone has none."""
        _no_such("Cognito identity pool", cognitoIdentityPoolId)
        if thingName is not None:
            self._registry.thing(thingName)
        policies = (
            self._registry.policies_of(self._registry.principal(principal)) if principal else []
        )
        effective = (
            {
                **self._policy(policy.name),
                "policyDocument": self.get_policy(policyName=policy.name)["policyDocument"],
            }
            for policy in policies
        )
        return _listed("effectivePolicies", effective)

    def test_authorization(
        self,
        *,
        authInfos: Sequence[Answer],
        principal: str | None = None,
        cognitoIdentityPoolId: str | None = None,
        clientId: str | None = None,
        policyNamesToAdd: Sequence[str] = (),
        policyNamesToSkip: Sequence[str] = (),
    ) -> Answer:
        """Tell what the policies answer a connection, whatever the status of its certificate."""
        _no_such("Cognito identity pool", cognitoIdentityPoolId)
        policies = [self._registry.default_policy(name) for name in policyNamesToAdd]
        context: dict[str, str | tuple[str, ...]] = {}
        if clientId is not None:
            context["iot:ClientId"] = clientId
        if principal is not None:
            key = self._registry.principal(principal)
            policies = [*self._registry.policies_of(key), *policies]
            context |= self._registry.certificate_context(key)
            if clientId is not None:
                context |= self._registry.thing_context(clientId, key)
        kept = [policy for policy in policies if policy.name not in policyNamesToSkip]
        authorizer = Authorizer(list(dict.fromkeys(kept)), context)
        return _listed("authResults", (self._auth_result(authorizer, info) for info in authInfos))

    def _auth_result(self, authorizer: Authorizer, info: Answer) -> Answer:
        """Decide one authInfo; several resources count as allowed if each of them is."""
        if "actionType" not in info:
            raise ServiceError(
                "InvalidRequestException",
                f"Each of authInfos needs an actionType: {', '.join(ACTIONS)}.",
            )
        action = ACTIONS[info["actionType"]]
        decisions = [authorizer.decide(action, resource) for resource in info["resources"]]
        outcomes = {decision.outcome for decision in decisions}
        outcome = max(outcomes, key=["ALLOWED", "IMPLICIT_DENY", "EXPLICIT_DENY"].index)
        missing = dict.fromkeys(name for decision in decisions for name in decision.missing)
        return {
            "authInfo": info,
            "allowed": self._deciding(decision.allowed for decision in decisions),
            "denied": {
                "implicitDeny": {"policies": []},
                "explicitDeny": self._deciding(decision.denied for decision in decisions),
            },
            "authDecision": outcome,
            "missingContextValues": list(missing),
        }

    def _deciding(self, found: Iterable[Iterable[Policy]]) -> Answer:
        names = dict.fromkeys(policy.name for policies in found for policy in policies)
        return _listed("policies", map(self._policy, names))


def _listed(member: str, items: Iterable[Any], **token: str | None) -> Answer:
    """Make an answer of a list, and of the next page's token if there is one."""
    return {member: list(items), **{name: text for name, text in token.items() if text is not None}}


def _no_such(kind: str, name: str | None) -> None:
    """Refuse a request that names what this cloud cannot have yet."""
    if name is not None:
        raise ServiceError("ResourceNotFoundException", f"The {kind} {name} does not exist.")
