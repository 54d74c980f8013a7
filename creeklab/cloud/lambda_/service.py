"""AWS Lambda."""

from __future__ import annotations

from collections.abc import Mapping

from creeklab.cloud.account import ACCOUNT_ID
from creeklab.cloud.api.http_api import HttpApi
from creeklab.cloud.lambda_.functions import Functions
from creeklab.cloud.lambda_.operations import LambdaOperations
from creeklab.cloud.lambda_.store import MIGRATIONS, FunctionStore
from creeklab.cloud.monitoring.event_log import BufferLimit
from creeklab.cloud.service import AccountContext, CloudAddress, Endpoints, Service


def _build(context: AccountContext) -> Endpoints:
    identity = context.identity
    addresses: dict[str, str] = {}

    def arn(name: str) -> str:
        return f"arn:aws:lambda:{identity.region}:{identity.account}:function:{name}"

    def variables() -> Mapping[str, str]:
        return {
            "AWS_REGION": identity.region,
            "AWS_DEFAULT_REGION": identity.region,
            "AWS_ACCESS_KEY_ID": identity.access_key,
            "AWS_SECRET_ACCESS_KEY": identity.secret_key,
            **addresses,
        }

    functions = Functions(FunctionStore(context.database), context.event_log, arn, variables)

    def start(address: CloudAddress) -> None:
        addresses["AWS_ENDPOINT_URL"] = address.url
        addresses["AWS_CA_BUNDLE"] = str(address.ca_file)
        functions.resume()

    owner = identity.account == ACCOUNT_ID
    return Endpoints(
        http=[
            HttpApi("lambda", ("lambda",), LambdaOperations(functions, context.clock, owner=owner))
        ],
        start=start,
        close=functions.close,
        provides=functions,
    )


SERVICE = Service(
    "lambda",
    _build,
    migrations=MIGRATIONS,
    events={"function": BufferLimit(2_000, 8_000_000)},
    resources=("function",),
)
