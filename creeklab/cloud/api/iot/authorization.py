"""What a principal may do: GetEffectivePolicies and TestAuthorization."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from creeklab.cloud.api.iot.operations import Answer, Operations, listed, no_such
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.policy import Authorizer, Policy

ACTIONS = {
    "CONNECT": "iot:Connect",
    "PUBLISH": "iot:Publish",
    "RECEIVE": "iot:Receive",
    "SUBSCRIBE": "iot:Subscribe",
}


class AuthorizationOperations(Operations):
    """What a principal may do."""

    def get_effective_policies(
        self,
        *,
        principal: str | None = None,
        cognitoIdentityPoolId: str | None = None,
        thingName: str | None = None,
    ) -> Answer:
        """Return the policies that decide what a certificate may do; a Thing alone has none."""
        no_such("Cognito identity pool", cognitoIdentityPoolId)
        if thingName is not None:
            self._registry.things.get(thingName)
        policies = (
            self._registry.policies_of(self._registry.certificates.principal(principal))
            if principal
            else []
        )
        effective = (
            {
                **self._policy(policy.name),
                "policyDocument": self._registry.policies.document(policy.name),
            }
            for policy in policies
        )
        return listed("effectivePolicies", effective)

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
        no_such("Cognito identity pool", cognitoIdentityPoolId)
        policies = [self._registry.policies.parsed(name) for name in policyNamesToAdd]
        context: dict[str, str | tuple[str, ...]] = {}
        if clientId is not None:
            context["iot:ClientId"] = clientId
        if principal is not None:
            key = self._registry.certificates.principal(principal)
            policies = [*self._registry.policies_of(key), *policies]
            context |= self._registry.certificate_context(key)
            if clientId is not None:
                context |= self._registry.thing_context(clientId, key)
        kept = [policy for policy in policies if policy.name not in policyNamesToSkip]
        authorizer = Authorizer(list(dict.fromkeys(kept)), context)
        return listed("authResults", (self._auth_result(authorizer, info) for info in authInfos))

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
        return listed("policies", map(self._policy, names))
