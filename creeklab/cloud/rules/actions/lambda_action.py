"""The action ``lambda``: invoke a function with the outgoing payload as its event.

The invocation is asynchronous. The action succeeds once Lambda has accepted the event, so it does
not see an error of the function; it does see a missing function or permission. The permission is
not a role's: the function's own resource policy must allow the rule.
"""

from __future__ import annotations

from creeklab.cloud.lambda_.functions import Functions, InvocationRefused
from creeklab.cloud.lambda_.resource_policy import Caller
from creeklab.cloud.rules.actions.action import ActionFailed, Members, Prepared, RuleContext
from creeklab.cloud.rules.sql.evaluate import Scope

IOT = "iot.amazonaws.com"


class InvokeFunction:
    """Invokes the function of an ARN."""

    name = "LambdaAction"

    def __init__(self, functions: Functions, members: Members, rule: RuleContext) -> None:
        self._functions = functions
        self._arn = rule.template(members["functionArn"])
        self._rule_arn = rule.arn
        self._account = rule.arn.split(":")[4]

    def prepare(self, scope: Scope, payload: bytes) -> Prepared:
        """Evaluate the ARN."""
        arn = self._arn.render(scope)

        async def run() -> None:
            try:
                caller = Caller(IOT, self._rule_arn, self._account)
                self._functions.invoke_for(caller, arn, payload)
            except InvocationRefused as refused:
                raise ActionFailed(
                    "Failed to invoke lambda function. Received Server error from Lambda. The "
                    f"error code is {refused.status}. {refused}"
                ) from None

        return Prepared(arn, run)
