"""AWS IoT policies: read, evaluate, explain.

A policy is a JSON document whose statements allow or deny actions on resources. A decision takes
three steps, and each has its file:

1. `parse` (`document.py`) reads a document once, when it is created, and rejects what AWS IoT would
   reject.
2. Binding (`binding.py`) gives the statements of the attached policies one connection's values:
   variables are filled in, wildcards compiled (`wildcards.py`), and conditions evaluated
   (`conditions.py`), since they depend only on the connection.
3. `Authorizer.decide` (`authorizer.py`) compares a request with the bound statements. A matching
   Deny denies it; otherwise a matching Allow allows it; otherwise it is denied.

`explain` (`explain.py`) puts a decision into words. It compares each statement with the request in
`mismatches.py`. `suggest` (`suggest.py`) finds the smallest change that would allow a request.

Sources: AWS IoT developer guide, pages on policies, policy variables, and policy examples; IAM
user guide, policy grammar, condition operators and policy variables, which AWS IoT follows.
"""

from creeklab.cloud.policy.authorizer import Authorizer
from creeklab.cloud.policy.binding import Context
from creeklab.cloud.policy.document import (
    MAX_SIZE,
    Condition,
    MalformedPolicy,
    Policy,
    Statement,
    parse,
)
from creeklab.cloud.policy.explain import (
    DecidedRequest,
    Explanation,
    NonApplyingPolicy,
    PolicyNeighborhood,
    explain,
)
from creeklab.cloud.policy.suggest import SuggestedChange, suggest

__all__ = [
    "MAX_SIZE",
    "Authorizer",
    "Condition",
    "Context",
    "DecidedRequest",
    "Explanation",
    "MalformedPolicy",
    "NonApplyingPolicy",
    "Policy",
    "PolicyNeighborhood",
    "Statement",
    "SuggestedChange",
    "explain",
    "parse",
    "suggest",
]
