from creeklab.cloud.api.http_api import HttpApi
from creeklab.cloud.monitoring.event_log import BufferLimit
from creeklab.cloud.service import AccountContext, Endpoints, ReservedTopic, Service
from tests.cloud.toy_service.operations import ToyOperations
from tests.cloud.toy_service.store import MIGRATIONS, RequestStore
from tests.cloud.toy_service.topics import REQUEST_TOPIC, ToyTopics


def _build(context: AccountContext) -> Endpoints:
    store = RequestStore(context.database)
    topics = ToyTopics(store, context.broker.publish, context.event_log)
    return Endpoints(
        http=[HttpApi("iot-jobs-data", ("iot-jobs-data",), ToyOperations(store))],
        topics=[ReservedTopic(REQUEST_TOPIC, topics.on_request)],
        admin={"toy": lambda _: {"clients": store.clients()}},
    )


SERVICE = Service(
    "toy",
    _build,
    migrations=MIGRATIONS,
    metrics={"ToyRequest": ("Accepted",)},
    events={"toy": BufferLimit(2, 10_000)},
)
