"""The functions of the SQL, by name in lower case.

A function that receives too many or too few arguments, or one of a type that does not convert, is
Undefined; it does not fail.
"""

from __future__ import annotations

from collections.abc import Mapping

from creeklab.cloud.rules.sql.functions import collections, message, numbers, strings, times
from creeklab.cloud.rules.sql.functions.function import Function

FUNCTIONS: Mapping[str, Function] = {
    **numbers.FUNCTIONS,
    **strings.FUNCTIONS,
    **collections.FUNCTIONS,
    **times.FUNCTIONS,
    **message.FUNCTIONS,
}

NOT_SERVED: Mapping[str, str] = {
    "aws_lambda": "it cannot call functions while it evaluates a statement. Use a lambda action.",
    "get_thing_shadow": "a rule sees only its message. Select from the shadow's topics instead.",
    "get_registry_data": "a rule sees only its message. Put the data into the message.",
    "get_dynamodb": "it has no DynamoDB to read from. Put the data into the message.",
    "get_secret": "it has no AWS Secrets Manager.",
    "machinelearning_predict": "AWS has closed Amazon Machine Learning to new users.",
}
"""Functions of AWS that this cloud does not have, with the reason and what to do."""
