"""A service is a folder: what each service declares holds, and a new one takes one line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name

from creeklab import Lab, open_lab
from creeklab.cloud.api.http_api import HttpApi, HttpService
from creeklab.cloud.local_cloud import SERVICES, LocalCloud
from creeklab.cloud.mqtt.routing import reserved_topics
from creeklab.cloud.service import Service
from creeklab.cloud.settings import Settings
from creeklab.cloud.storage.database import Database, DatabaseError, Migrations
from creeklab.cloud.storage.schema import MIGRATIONS
from creeklab.cloud.supervisor import RunningCloud, cloud_folder, running_lock
from creeklab.resources.resource import ResourceKind
from tests import operations_table
from tests.cloud.toy_service.service import SERVICE as TOY
from tests.conftest import make_thing

TIMEOUT = 30.0


@contextlib.contextmanager
def running(home: Path, services: Sequence[Service]) -> Iterator[tuple[Lab, LocalCloud]]:
    """Run a cloud with these services on a thread of this process."""
    folder = cloud_folder(home)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(TIMEOUT)

    async def start() -> tuple[LocalCloud, int, int]:
        cloud = LocalCloud(folder, Settings(), services=services)
        return cloud, *await cloud.start([0, 0, 0], [0, 0, 0])

    async def finish() -> None:
        await cloud.stop()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await loop.shutdown_default_executor()

    with running_lock(home):
        try:
            cloud, mqtt_port, https_port = run(start())
            try:
                ready = asdict(RunningCloud(os.getpid(), cloud.endpoint, mqtt_port, https_port))
                del ready["started_here"]
                (folder / "ready.json").write_text(json.dumps(ready))
                yield open_lab(home=home), cloud
            finally:
                run(finish())
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def pending(lab: Lab, thing: str) -> list[str]:
    answer = lab.client("iot-jobs-data").get_pending_job_executions(thingName=thing)
    return [job["jobId"] for job in answer["queuedJobs"]]


# --- the toy service ------------------------------------------------------------------------------


def test_a_new_service_is_reached_over_http_and_mqtt(tmp_path: Path) -> None:
    with running(tmp_path, [*SERVICES, TOY]) as (lab, _):
        thing = make_thing(lab)
        topic = f"$aws/things/{thing.name}/jobs/start-next"
        with lab.connect(thing.name) as device:
            inbox = device.subscribe(topic + "/accepted")
            for number in range(3):
                device.publish(topic, {"n": number})
            inbox.wait_for(3)
            assert [message.json for message in inbox] == [
                {"request": {"n": number}} for number in range(3)
            ]
        assert pending(lab, thing.name) == ["toy-1", "toy-2", "toy-3"]
        assert pending(lab, "other") == []
        assert lab.admin("toy", {}) == {"clients": [thing.name]}
        totals = lab.admin("metrics", {})["totals"]
        assert [row["sum"] for row in totals if row["name"] == "ToyRequest.Accepted"] == [3]
        # Its own buffer holds two entries; it does not push out those of other kinds.
        kinds = [entry["kind"] for entry in lab.admin("events", {})["entries"]]
        assert kinds.count("toy") == 2
        assert "connect" in kinds
        assert "unanswered" not in kinds

    with running(tmp_path, [*SERVICES, TOY]) as (lab, _):
        assert pending(lab, thing.name) == ["toy-1", "toy-2", "toy-3"]
        assert lab.admin("toy", {}) == {"clients": [thing.name]}

    with running(tmp_path, SERVICES) as (lab, _):
        with pytest.raises(Exception, match="service 'iot-jobs-data' is not available"):
            pending(lab, thing.name)
        with pytest.raises(Exception, match="no admin endpoint"):
            lab.admin("toy", {})
        with lab.connect(thing.name) as device:
            device.publish(topic, {})
        assert "unanswered" in [entry["kind"] for entry in lab.admin("events", {})["entries"]]
        assert lab.client("iot").describe_thing(thingName=thing.name)["thingName"] == thing.name


# --- its tables -----------------------------------------------------------------------------------


def versions(database: Database) -> dict[str, int]:
    rows = database.execute("SELECT * FROM migrations")
    return {row["service"]: row["number"] for row in rows}


def test_each_service_counts_its_own_migrations(tmp_path: Path) -> None:
    first, second = TOY.migrations
    others = (("CREATE TABLE others (name TEXT)",),)
    path = tmp_path / "cloud.db"
    for toy, other in (((first,), others), ((first, second), others), ((first, second), others)):
        database = Database(path)
        database.migrate("toy", toy)
        database.migrate("other", other)
        database.migrate("tableless", ())
        assert versions(database) == {"toy": len(toy), "other": 1}
        assert database.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
        database.close()


def test_without_migrations_there_is_no_table_of_them(tmp_path: Path) -> None:
    database = Database(tmp_path / "cloud.db")
    for service in SERVICES:
        database.migrate(service.name, service.migrations)
    tables = {row["name"] for row in database.execute("SELECT name FROM sqlite_master")}
    database.close()
    assert ("migrations" in tables) == any(service.migrations for service in SERVICES)


@pytest.mark.parametrize(
    ("migrations", "message"),
    [
        (TOY.migrations[:1], r"newer creeklab \(toy schema 2; this one knows up to 1\)"),
        ((*TOY.migrations, ("CREATE TABLE things (name TEXT)",)), "things already exists"),
    ],
    ids=["newer", "failing"],
)
def test_a_migration_that_cannot_be_applied_changes_nothing(
    tmp_path: Path, migrations: Migrations, message: str
) -> None:
    database = Database(tmp_path / "cloud.db")
    database.migrate("toy", TOY.migrations)
    with pytest.raises(DatabaseError, match=message):
        database.migrate("toy", migrations)
    assert versions(database) == {"toy": 2}
    database.close()


# --- what all services declare --------------------------------------------------------------------


@pytest.fixture(scope="module")
def apis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[HttpApi]]:
    cloud = LocalCloud(tmp_path_factory.mktemp("home"), Settings())
    yield cloud.accounts.owner._http
    cloud.accounts.owner.close()


def test_names_are_unique() -> None:
    names = [service.name for service in SERVICES]
    assert len(set(names)) == len(names)
    for member in ("metrics", "events"):
        declared = [name for service in SERVICES for name in getattr(service, member)]
        assert len(set(declared)) == len(declared)


def test_no_operation_is_served_twice(apis: list[HttpApi]) -> None:
    served: list[tuple[str, str]] = []
    for api in apis:
        served += [(api.model, name) for name in HttpService(api.model, [api]).served()]
    assert len(set(served)) == len(served)


def test_every_public_method_is_an_operation(apis: list[HttpApi]) -> None:
    for api in apis:
        known = {xform_name(name) for name in HttpService(api.model, [api]).model.operations}
        methods = {name for name in dir(api.operations) if not name.startswith("_")}
        assert methods <= known


def test_devices_can_call_every_operation_of_iot_data(apis: list[HttpApi]) -> None:
    for api in apis:
        served = set(HttpService(api.model, [api]).served())
        assert set(api.device_actions) == (served if api.model == "iot-data" else set())


def test_clients_are_allowed_to_use_the_reserved_topics(tmp_path: Path) -> None:
    cloud = LocalCloud(tmp_path, Settings(), services=[*SERVICES, TOY])
    topics = [topic.pattern for topic in cloud.accounts.owner._topics]
    cloud.accounts.owner.close()
    examples = [
        "$aws/things/T/shadow/get",
        "$aws/things/T/shadow/name/n/update",
        "$aws/things/T/jobs/start-next",
    ]
    for pattern in topics:
        matching = [example for example in examples if re.fullmatch(pattern, example)]
        assert matching, f"add an example of {pattern.pattern}"
        for example in matching:
            assert reserved_topics.publish_fault(example) is None
            assert reserved_topics.subscribe_fault(example + "/accepted") is None


def test_the_ledger_knows_every_kind_of_resource() -> None:
    known = {kind.value for kind in ResourceKind}
    declared = [kind for service in SERVICES for kind in service.resources]
    assert len(set(declared)) == len(declared)
    assert set(declared) == known


def test_the_table_of_operations_is_up_to_date() -> None:
    # Every release of botocore adds operations; that must not fail a test here.
    written, current = (
        re.sub(r"botocore \S+|\d+ are not", "", text)
        for text in (operations_table.FILE.read_text(), operations_table.page())
    )
    assert written == current, "run python -m tests.operations_table"
