"""The rules engine of AWS IoT Core."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from creeklab.cloud.api.http_api import HttpApi
from creeklab.cloud.lambda_.functions import Functions
from creeklab.cloud.monitoring.event_log import BufferLimit
from creeklab.cloud.rules.actions.action import ActionFactory, ActionFailed
from creeklab.cloud.rules.actions.lambda_action import InvokeFunction
from creeklab.cloud.rules.actions.republish import Republish
from creeklab.cloud.rules.admin import RuleAdmin
from creeklab.cloud.rules.engine import RuleEngine
from creeklab.cloud.rules.executor import Executor
from creeklab.cloud.rules.operations import RuleOperations
from creeklab.cloud.rules.pending import PendingExecutions
from creeklab.cloud.rules.rules import Rules, resume
from creeklab.cloud.rules.store import MIGRATIONS, RuleStore
from creeklab.cloud.service import AccountContext, CloudAddress, Endpoints, Service

METRICS = (
    "TopicMatch",
    "ParseError",
    "RuleMessageThrottled",
    "RuleNotFound",
    "RulesExecuted",
    "Success",
    "Failure",
    "ErrorActionSuccess",
    "ErrorActionFailure",
)


def _build(context: AccountContext) -> Endpoints:
    broker, event_log, settings = context.broker, context.event_log, context.settings
    account = context.identity.account
    pending = PendingExecutions(context.database, broker.commits)
    executor = Executor(event_log, pending)
    engine = RuleEngine(
        account,
        settings.dollar_topics,
        event_log,
        executor.submit,
        context.clock,
        time.monotonic,
    )
    executor.engine = engine

    def publish(topic: str, payload: bytes, qos: int, properties: dict[str, Any]) -> None:
        if broker.publish(topic, payload, qos, properties=properties):
            raise ActionFailed("Failed to republish to topic. The message could not be stored.")

    factories: dict[str, ActionFactory] = {"republish": partial(Republish, publish)}
    functions = context.provided.get("lambda")
    if isinstance(functions, Functions):
        factories["lambda"] = partial(InvokeFunction, functions)
    rules = Rules(
        RuleStore(context.database), engine, context.registry, event_log, factories, context.clock
    )
    admin = RuleAdmin(engine, event_log, account, settings.dollar_topics, context.clock)
    broker.add_handler("rules", engine.on_message)

    def start(_address: CloudAddress) -> None:
        resume(pending, engine, executor.submit)
        executor.start()

    return Endpoints(
        http=[HttpApi("iot", ("iot",), RuleOperations(rules))],
        admin={"rule": admin.explain_rule},
        start=start,
    )


SERVICE = Service(
    "rules",
    _build,
    migrations=MIGRATIONS,
    metrics=dict.fromkeys(METRICS, ()),
    events={"rule": BufferLimit(5_000, 4_000_000)},
    resources=("topic rule",),
)
