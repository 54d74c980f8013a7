import json
import re
from collections.abc import Callable

from creeklab.cloud.monitoring.event_log import EventLog
from creeklab.cloud.mqtt.interfaces import PublishedMessage
from tests.cloud.toy_service.store import RequestStore

REQUEST_TOPIC = re.compile(r"\$aws/things/(?P<thing>[^/]+)/jobs/start-next")


class ToyTopics:
    def __init__(
        self,
        store: RequestStore,
        publish: Callable[[str, bytes, int], object],
        event_log: EventLog,
    ) -> None:
        self._store = store
        self._publish = publish
        self._event_log = event_log

    def on_request(self, message: PublishedMessage, topic: re.Match[str]) -> None:
        self._store.add(topic["thing"], message.client_id)
        self._event_log.metrics.count("ToyRequest.Accepted")
        self._event_log.append("toy", client_id=message.client_id, thing=topic["thing"])
        answer = json.dumps({"request": json.loads(message.payload)})
        self._publish(message.topic + "/accepted", answer.encode(), 1)
