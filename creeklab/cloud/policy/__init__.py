"""AWS IoT policies: parse, evaluate and explain them.

A policy is a JSON document whose statements allow or deny actions on resources. A decision takes
three steps, each in a module of its own:

1. `parse` (`document.py`) reads a document once, when it is created, and rejects what AWS IoT would
   reject.
2. Binding (`binding.py`) applies the statements of the attached policies to one connection:
   variables get their values, patterns are compiled (`wildcards.py`), and conditions are evaluated
   (`conditions.py`), because they depend on the connection alone.
3. `Authorizer.decide` (`authorizer.py`) compares a request with the bound statements. A matching
   Deny denies it; otherwise a matching Allow allows it; otherwise it is denied.

`explain` (`explain.py`) explains a decision. `mismatches.py` finds the differences between a
statement and a request, and `suggest.py` the smallest change that would allow a request.

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
