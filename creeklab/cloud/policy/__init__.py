"""AWS IoT policies: read, decide, explain.

A policy is a JSON document whose statements allow or deny actions on resources. Deciding takes
three steps, and each has its file:

1. `parse` (`document.py`) reads a document once, when it is created, and refuses what AWS IoT would
   refuse.
2. Binding (`binding.py`) gives the statements of the attached policies one connection's values:
   variables are filled in, patterns compiled (`patterns.py`), conditions answered
   (`conditions.py`), since they depend on the connection alone.
3. `Authorizer.decide` (`authorizer.py`) compares a request with the bound statements. A matching
   Deny refuses, else a matching Allow allows, else the request is refused.

`explain` (`explain.py`) says in words what `decide` says with one; what differs between a statement
and a request is found in `differences.py`,
and the smallest change that would allow a request in `mend.py`.

Sources: AWS IoT developer guide, pages on policies, policy variables, and policy examples; IAM
user guide, policy grammar, condition operators and policy variables, which AWS IoT follows.
"""

from creeklab.cloud.policy.authorizer import Authorizer, Decision, Outcome
from creeklab.cloud.policy.binding import Context
from creeklab.cloud.policy.document import (
    LENIENT_GRAMMAR,
    MAX_SIZE,
    Condition,
    Effect,
    Grammar,
    MalformedPolicy,
    Policy,
    Statement,
    parse,
)
from creeklab.cloud.policy.explain import (
    Explanation,
    NonApplyingPolicy,
    PolicyNeighborhood,
    StatementResult,
    explain,
)
from creeklab.cloud.policy.suggest import SuggestedChange, suggest

__all__ = [
    "LENIENT_GRAMMAR",
    "MAX_SIZE",
    "Authorizer",
    "Condition",
    "Context",
    "Decision",
    "Effect",
    "Explanation",
    "Grammar",
    "MalformedPolicy",
    "NonApplyingPolicy",
    "Outcome",
    "Policy",
    "PolicyNeighborhood",
    "Statement",
    "StatementResult",
    "SuggestedChange",
    "explain",
    "parse",
    "suggest",
]
