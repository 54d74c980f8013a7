from typing import Any

from tests.cloud.toy_service.store import RequestStore


class ToyOperations:
    def __init__(self, store: RequestStore) -> None:
        self._store = store

    def get_pending_job_executions(self, *, thingName: str) -> dict[str, Any]:
        numbers = self._store.numbers(thingName)
        return {"queuedJobs": [{"jobId": f"toy-{number}"} for number in numbers]}
