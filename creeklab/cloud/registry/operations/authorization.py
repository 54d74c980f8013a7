"""What a principal is allowed to do: GetEffectivePolicies and TestAuthorization."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from creeklab.cloud.policy import Authorizer, Policy
from creeklab.cloud.registry.authorizer import authorizer
from creeklab.cloud.registry.operations.base import Members, Operations, raise_not_found
from creeklab.cloud.registry.unit_of_work import invalid

MAX_RESOURCES = 100  # of one request; AWS's limit is not public
ACTIONS = {
    "CONNECT": "iot:Connect",
    "PUBLISH": "iot:Publish",
    "RECEIVE": "iot:Receive",
    "SUBSCRIBE": "iot:Subscribe",
}


class AuthorizationOperations(Operations):
    """Operations on the permissions of a principal."""

    def get_effective_policies(
        self,
        *,
        principal: str | None = None,
        cognitoIdentityPoolId: str | None = None,
        thingName: str | None = None,
    ) -> Members:
        """Return the policies that decide what a device is allowed to do.

        With a certificate, a Thing is taken as the client ID; alone, it stands for its groups.
        """
        raise_not_found("Cognito identity pool", cognitoIdentityPoolId)
        registry = self._registry
        if thingName is not None:
            registry.things.get(thingName)
        policies: list[Policy] = []
        if principal is None:
            if thingName is not None:
                policies = registry.policy_context.policies_of_thing(thingName)
        else:
            kind, key = registry.policy_attachments.resolve(principal)
            if kind == "certificate":
                policies = registry.policies_of(key, thingName)
            else:
                policies = registry.policy_context.policies_of_group(key)
        effective = [
            {
                **self._policy(policy.name),
                "policyDocument": registry.policies.document(policy.name),
            }
            for policy in policies
        ]
        return {"effectivePolicies": effective}

    def test_authorization(
        self,
        *,
        authInfos: Sequence[Members],
        principal: str | None = None,
        cognitoIdentityPoolId: str | None = None,
        clientId: str | None = None,
        policyNamesToAdd: Sequence[str] = (),
        policyNamesToSkip: Sequence[str] = (),
    ) -> Members:
        """Evaluate the policies of a connection, whatever the status of its certificate."""
        raise_not_found("Cognito identity pool", cognitoIdentityPoolId)
        count = sum(len(info["resources"]) for info in authInfos)
        if count > MAX_RESOURCES:
            raise invalid(
                f"A request can ask about at most {MAX_RESOURCES} resources; this one has {count}."
            )
        bound = authorizer(
            self._registry,
            None if principal is None else self._registry.certificates.principal(principal),
            clientId,
            {} if clientId is None else {"iot:ClientId": clientId},
            add=[self._registry.policies.parsed(name) for name in policyNamesToAdd],
            skip=policyNamesToSkip,
        )
        return {"authResults": [self._auth_result(bound, info) for info in authInfos]}

    def _auth_result(self, authorizer: Authorizer, info: Members) -> Members:
        """Evaluate one authInfo; several resources are allowed if each of them is."""
        if "actionType" not in info:
            raise invalid(f"Each of authInfos needs an actionType: {', '.join(ACTIONS)}.")
        if not info["resources"]:
            raise invalid("Each of authInfos needs a resource: an ARN, or '*'.")
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

    def _deciding(self, found: Iterable[Iterable[Policy]]) -> Members:
        names = dict.fromkeys(policy.name for policies in found for policy in policies)
        return {"policies": [self._policy(name) for name in names]}
