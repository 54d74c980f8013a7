"""The lab: the names that notebooks use, always on the same cloud.

No setting of AWS's own clients (environment, profile, proxy) redirects them.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import platformdirs
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

import creeklab
from creeklab import Lab, open_lab
from creeklab.client.device import RequestRefused
from creeklab.cloud import supervisor
from creeklab.course.catch_up import catch_up
from creeklab.course.checks import Checks
from creeklab.events.table import COLUMNS
from creeklab.home import home_folder

HEAVY = ["boto3", "botocore", "awscrt", "awsiot", "pandas", "matplotlib", "cryptography", "h11"]
NOWHERE = "http://127.0.0.1:9"


# --- importing and opening ------------------------------------------------------------------------


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = (
        "import sys, creeklab; print(*sorted(name for name in sys.modules "
        f"if name.split('.')[0] in {HEAVY} or name.startswith('creeklab.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_the_package_offers_the_lab_and_nothing_by_accident() -> None:
    assert creeklab.open_lab is open_lab
    assert creeklab.Lab is Lab
    with pytest.raises(AttributeError, match="no attribute 'open_labs'"):
        creeklab.open_labs  # noqa: B018


def test_opening_twice_finds_the_same_cloud(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREEKLAB_HOME", str(lab.home))
    before = supervisor.status(lab.home)
    again = open_lab()
    assert supervisor.status(lab.home) == before
    assert (again.endpoint, again.mqtt_port, again.https_port) == (
        lab.endpoint,
        lab.mqtt_port,
        lab.https_port,
    )
    lab.client("iot").create_thing(thingName="opened-twice")
    assert again.check.thing("opened-twice")


@pytest.mark.parametrize("target", ["AWS", "LOCAL", "", "localhost"])
def test_another_target_is_refused_by_name(target: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"'local' and 'aws', not '{target}'"):
        open_lab(target, home=tmp_path / "home")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("variable", "folder"),
    [
        ("/somewhere/creek", Path("/somewhere/creek")),
        ("~/creek", Path("~/creek").expanduser()),
        ("creek", Path("creek").absolute()),
        ("", Path(platformdirs.user_data_dir("creeklab", appauthor=False))),
    ],
)
def test_the_home_folder(variable: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREEKLAB_HOME", variable)
    assert home_folder() == folder


# --- what it offers -------------------------------------------------------------------------------


def test_target_account_and_region_are_the_clouds(lab: Lab) -> None:
    caller = lab.client("sts").get_caller_identity()
    thing = lab.client("iot").create_thing(thingName="where")
    assert lab.target == "local"
    assert caller["Account"] == lab.account
    assert thing["thingArn"] == f"arn:aws:iot:{lab.region}:{lab.account}:thing/where"
    assert lab.client("iot").meta.region_name == lab.region
    assert repr(lab) == f"Lab: local cloud, account {lab.account}, region {lab.region}"


@pytest.mark.parametrize("port", ["mqtt_port", "https_port"])
def test_endpoint_ports_and_ca_file_are_all_a_client_needs(lab: Lab, port: str) -> None:
    context = ssl.create_default_context(cafile=lab.ca_file)
    with (
        socket.create_connection((lab.endpoint, getattr(lab, port)), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=lab.endpoint) as secured,
    ):
        assert secured.version() in ("TLSv1.2", "TLSv1.3")
    answer = lab.client("iot").describe_endpoint(endpointType="iot:Data-ATS")
    assert answer["endpointAddress"] == lab.endpoint


def test_the_rest_of_the_names(lab: Lab, new_thing: Callable[..., Any]) -> None:
    thing = new_thing()
    assert lab.keys.files(thing.name) == thing.files
    with lab.connect(thing.name) as device:
        assert (device.thing, device.client_id) == (thing.name, thing.name)
    with lab.connect(thing.name, client_id="another-id") as device:
        assert (device.thing, device.client_id) == (thing.name, "another-id")
    assert isinstance(lab.check, Checks)
    with pytest.raises(ValueError, match="There is no notebook"):
        lab.catch_up("98")


def test_connecting_as_a_thing_without_files_says_what_to_do(lab: Lab) -> None:
    with pytest.raises(FileNotFoundError, match=r"'nobody' in .* lab\.keys\.save"):
        lab.connect("nobody")


# --- clients --------------------------------------------------------------------------------------

ENVIRONMENTS = [
    {"AWS_ENDPOINT_URL": NOWHERE},
    {"AWS_ENDPOINT_URL_IOT": NOWHERE, "AWS_ENDPOINT_URL_IOT_DATA_PLANE": NOWHERE},
    dict.fromkeys(("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"), NOWHERE),
    dict.fromkeys(("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"), "/nonsense"),
    {"AWS_ACCESS_KEY_ID": "AKIANOBODY", "AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": "x"},
    {"AWS_REGION": "mars-north-1", "AWS_DEFAULT_REGION": "mars-north-1"},
    {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
    pytest.param(
        {"AWS_PROFILE": "nonexistent"},
    ),
    pytest.param(
        {"AWS_CONFIG_FILE": __file__, "AWS_SHARED_CREDENTIALS_FILE": __file__},
    ),
]


@pytest.fixture
def untouched_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda variables: next(iter(variables)))
def test_clients_ignore_the_environment(
    lab: Lab, environment: dict[str, str], untouched_environment: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        untouched_environment.setenv(name, value)
    fresh = open_lab(home=lab.home)
    assert fresh.client("sts").get_caller_identity()["Account"] == lab.account
    assert fresh.session.client("iot").list_things(maxResults=1)["things"] is not None
    fresh.client("iot-data").publish(topic="environment", payload=b"x")
    assert len(fresh.events()) > 0


def test_options_of_a_boto3_client_pass_through(lab: Lab) -> None:
    config = Config(user_agent_extra="creek-tests", retries={"max_attempts": 7})
    client = lab.session.client(
        "iot", config=config, region_name="eu-west-1", api_version="2015-05-28"
    )
    assert "creek-tests" in client.meta.config.user_agent
    assert client.meta.config.retries["total_max_attempts"] == 8
    assert client.meta.region_name == "eu-west-1"
    with pytest.raises(ClientError, match="Credential should be scoped to a valid region"):
        client.list_things()  # the account is in one region
    assert lab.session.client("iot", endpoint_url=NOWHERE).meta.endpoint_url == NOWHERE


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"endpoint_url": None}),
        pytest.param({"verify": None}),
        pytest.param({"config": None}),
    ],
    ids=str,
)
def test_an_option_of_none_is_ignored(lab: Lab, options: dict[str, Any]) -> None:
    client = lab.session.client("iot", **options)
    assert client.meta.endpoint_url == f"https://{lab.endpoint}:{lab.https_port}"
    client.list_things()


def test_the_region_may_be_given_by_position_as_in_boto3(lab: Lab) -> None:
    client: Any = lab.session.client
    assert client("iot", "eu-west-1").meta.region_name == "eu-west-1"


def test_a_service_that_the_cloud_does_not_have_is_named(lab: Lab) -> None:
    text = (
        "service 's3' is not available in this local cloud, which serves only iam, iot, iot-data, "
        "lambda, sts"
    )
    with pytest.raises(ClientError, match=text):
        lab.client("s3").list_buckets()


# --- the event log --------------------------------------------------------------------------------


def test_the_event_log_is_a_table(lab: Lab, new_thing: Callable[..., Any]) -> None:
    thing = new_thing(
        [{"Effect": "Allow", "Action": "iot:Connect", "Resource": "ARN:client/THING"}]
    )
    before = lab.events()
    last = int(before.index[-1])
    with lab.connect(thing.name) as device, pytest.raises(RequestRefused):
        device.publish("creek/depth", {"depth": 1.4})
    log = lab.events(after=last)
    mine = log[log["client_id"] == thing.name]
    assert before.columns[: len(COLUMNS) - 1].tolist() == COLUMNS[1:]
    assert mine["kind"].tolist()[:2] == ["connect", "publish"]
    assert log.index.is_monotonic_increasing
    assert log.index[0] > last
    assert str(log["time"].dt.tz) == "UTC"
    assert abs(log["time"].iloc[-1] - pd.Timestamp.now("UTC")) < pd.Timedelta(minutes=1)
    refused = mine[mine["kind"] == "publish"].iloc[0]
    assert (refused["action"], refused["resource"]) == ("iot:Publish", "topic/creek/depth")
    assert f"Client '{thing.name}' tried to publish" in refused["refusal"]


def test_an_empty_event_log_has_the_same_columns(lab: Lab) -> None:
    log = lab.events(after=10**9)
    assert len(log) == 0
    assert log.columns.tolist() == COLUMNS[1:]
    assert str(log["time"].dt.tz) == "UTC"


# --- an empty account -----------------------------------------------------------------------------


def test_reset_empties_the_account_and_leaves_the_rest(home: Path) -> None:
    # Not on the usual port, which another cloud could take while this one restarts.
    supervisor.start_or_attach(home, mqtt_port=0, https_port=0)
    lab = open_lab(home=home)
    assert repr(lab.why()) == "Nothing was refused."
    iot, data = lab.client("iot"), lab.client("iot-data")
    address = (lab.endpoint, lab.mqtt_port, lab.https_port)
    authority = lab.ca_file.read_bytes()
    catch_up(lab, "05")
    lab.keys.save("Test2", iot.create_keys_and_certificate())  # sets the first one aside
    data.update_thing_shadow(thingName="Test2", payload='{"state": {"reported": {"depth": 1}}}')
    data.publish(topic="creek/last", payload=b"kept", retain=True)

    lab.reset()

    assert iot.list_things()["things"] == []
    assert iot.list_certificates()["certificates"] == []
    assert iot.list_policies()["policies"] == []
    with pytest.raises(data.exceptions.ResourceNotFoundException):
        data.get_thing_shadow(thingName="Test2")
    assert lab.keys.things() == []
    assert list(lab.keys.folder.rglob("*")) == []
    again = open_lab(home=home)
    assert (again.endpoint, again.mqtt_port, again.https_port) == address
    assert again.ca_file.read_bytes() == authority
    catch_up(lab, "05")
    with lab.connect("TestClient") as client:
        inbox = client.subscribe("creek/last")
        client.publish("creek/last", "new")
        assert [message.payload for message in inbox.wait_for(1)] == [b"new"]
    update = data.update_thing_shadow(thingName="Test2", payload='{"state": {"desired": {"a": 1}}}')
    assert json.loads(update["payload"].read())["version"] == 1


def test_reset_removes_what_an_interrupted_save_left(home: Path) -> None:
    lab = open_lab(home=home)
    for name in ("Test2.new", "Test2.was-0123456789"):
        folder = lab.keys.folder / name
        folder.mkdir(parents=True)
        (folder / "private.pem.key").write_text("a key")
    lab.reset()
    assert [file for file in lab.keys.folder.rglob("*") if file.is_file()] == []


def test_a_call_to_a_stopped_cloud_says_what_to_do(home: Path) -> None:
    lab = open_lab(home=home)
    used, unused = lab.client("iot"), lab.client("sts")
    used.list_things()
    supervisor.stop(home)
    for call in (used.list_things, unused.get_caller_identity):
        # Programs that use boto3 expect this class.
        with pytest.raises(EndpointConnectionError) as gone:
            call()
        assert str(gone.value) == (
            "The local cloud is no longer running: nothing listens at "
            f"https://{lab.endpoint}:{lab.https_port}. Open the lab again with "
            "lab = creeklab.open_lab(), then create new clients and devices from it."
        )
    with pytest.raises(supervisor.CloudError, match="no longer running: nothing listens at https"):
        lab.why()
    assert open_lab(home=home).client("iot").list_things()["things"] == []
