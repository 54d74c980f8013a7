"""pytest fixtures for code that uses AWS IoT Core.

The fixtures are named as those of pytest-postgresql: ``iot_core_proc`` starts a local cloud for the
test session, ``iot_core_noproc`` uses one that is already running, and ``iot_core`` is a fresh
account for one test. pytest loads this file in every project, so everything heavy is imported
inside the fixtures.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from creeklab.client.device import Device
    from creeklab.client.inbox import Inbox
    from creeklab.lab.lab import Lab
    from creeklab.testing.server import IotCoreServer

THING = "test-device"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--iot-core-set``."""
    parser.getgroup("creeklab").addoption(
        "--iot-core-set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="setting of the local AWS IoT Core that iot_core_proc starts; can be repeated",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """End the report of a failed test with the explanation of the last refusal."""
    report = yield
    lab = getattr(item, "funcargs", {}).get("iot_core")
    if report.failed and report.when != "teardown" and lab is not None:
        report.sections.append(("iot_core.why()", _why(lab)))
    return report


def _why(lab: Lab) -> str:
    try:
        return repr(lab.why())
    except Exception as error:  # the report must show the failure of the test in any case
        return f"There is no explanation: {error}"


@pytest.fixture(scope="session")
def iot_core_proc(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[IotCoreServer]:
    """A local AWS IoT Core in a process of its own, on free ports.

    It ends with the test session, even if that is killed.
    """
    from creeklab.cloud import supervisor
    from creeklab.testing.server import IotCoreServer

    home = tmp_path_factory.mktemp("iot-core")
    running = supervisor.start_or_attach(
        home,
        mqtt_port=0,
        https_port=0,
        settings=request.config.getoption("iot_core_set"),
        end_with_parent=True,
    )
    yield IotCoreServer(home, running)
    supervisor.stop(home)


@pytest.fixture(scope="session")
def iot_core_noproc() -> IotCoreServer:
    """The local AWS IoT Core that ``creeklab cloud start`` has started.

    Its own account is not touched: each test gets a fresh one.
    """
    from creeklab.cloud import supervisor
    from creeklab.home import home_folder
    from creeklab.testing.server import IotCoreServer

    home = home_folder()
    running = supervisor.status(home)
    if running is None:
        raise pytest.UsageError(
            f"iot_core_noproc found no running cloud for the home folder {home}. Start it with"
            " creeklab cloud start, or set CREEKLAB_HOME to the home folder of a running one."
        )
    return IotCoreServer(home, running)


def iot_core_on(server: str) -> Callable[..., Any]:
    """Return a fixture like ``iot_core`` that uses another server fixture.

    To use a cloud that is already running, write in ``conftest.py``:
    ``iot_core = iot_core_on("iot_core_noproc")``.
    """

    @pytest.fixture
    def iot_core(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
        """A fresh account of AWS IoT Core for one test, to which ``boto3.client`` leads."""
        cloud: IotCoreServer = request.getfixturevalue(server)
        with cloud.fresh_account(tmp_path / "iot-core") as lab:
            yield lab

    return iot_core


iot_core = iot_core_on("iot_core_proc")


@pytest.fixture
def iot_device_policy() -> dict[str, Any]:
    """The policy of ``iot_device``; override the fixture to test with the policy of your fleet."""
    connect = "arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}"
    messages = ["iot:Publish", "iot:Receive", "iot:Subscribe"]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "iot:Connect", "Resource": connect},
            {"Effect": "Allow", "Action": messages, "Resource": "*"},
        ],
    }


@pytest.fixture
def iot_device(iot_core: Lab, iot_device_policy: dict[str, Any]) -> Iterator[Device]:
    """A connected device: the Thing ``test-device`` with a certificate and a policy."""
    iot = iot_core.client("iot")
    iot.create_thing(thingName=THING)
    created = iot.create_keys_and_certificate(setAsActive=True)
    arn = created["certificateArn"]
    iot_core.keys.save(THING, created)
    iot.attach_thing_principal(thingName=THING, principal=arn)
    iot.create_policy(policyName=THING, policyDocument=json.dumps(iot_device_policy))
    iot.attach_policy(policyName=THING, target=arn)
    with iot_core.connect(THING) as device:
        yield device


@pytest.fixture
def captured_messages(iot_core: Lab) -> Iterator[Inbox]:
    """All messages of the test on topics that do not begin with ``$``, as they arrive."""
    with iot_core.connect_account() as watcher:
        yield watcher.subscribe("#")
