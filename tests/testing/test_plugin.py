"""The pytest plugin, in test sessions of its own, as other projects run them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from creeklab import open_lab
from creeklab.bootstrap import REPOSITORY_ROOT
from creeklab.cloud import supervisor
from creeklab.targets.admin_client import AdminRequestRefused
from tests.hardening.in_process_cloud import wait_for

EXAMPLE = REPOSITORY_ROOT / "examples" / "gauge"
SECONDS = 300


def run_pytest(folder: Path, *arguments: str, **variables: str) -> str:
    """Run pytest with the plugin and warnings as errors; return its output."""
    environment = {"PYTHONPATH": str(REPOSITORY_ROOT), **variables}
    command = [sys.executable, "-m", "pytest", "-p", "creeklab.testing.plugin", *arguments]
    done = subprocess.run(
        [*command, "-W", "error", "-p", "no:cacheprovider"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.stderr == ""
    return done.stdout


def write_tests(folder: Path, source: str) -> None:
    (folder / "test_it.py").write_text(textwrap.dedent(source))


def test_the_example() -> None:
    printed = run_pytest(EXAMPLE)
    assert "5 passed" in printed, printed


def test_accounts_and_the_report_of_a_failure(tmp_path: Path) -> None:
    write_tests(
        tmp_path,
        """
        import boto3
        import pytest

        def test_a_default_session_of_before():
            assert boto3.client("s3", region_name="us-east-1").meta.region_name == "us-east-1"

        @pytest.mark.parametrize("again", [False, True])
        def test_every_account_is_empty(iot_core, again):
            iot = boto3.client("iot")
            assert iot.list_things()["things"] == []
            iot.create_thing(thingName="gauge")
            identity = boto3.client("sts").get_caller_identity()
            assert identity["Account"] == iot_core.account

        def test_two_more(iot_core, iot_core_proc, tmp_path):
            with iot_core_proc.fresh_account(tmp_path / "a") as a:
                with iot_core_proc.fresh_account(tmp_path / "b") as b:
                    assert boto3.client("sts").get_caller_identity()["Account"] == b.account
                    a.client("iot").create_thing(thingName="gauge")
                    assert b.client("iot").list_things()["things"] == []

        def test_messages_of_a_device(iot_device, captured_messages):
            iot_device.publish("creek/depth", {"ft": 1.4})
            boto3.client("iot-data").publish(topic="creek/order", payload=b"open")
            captured_messages.wait_for(2)
            assert captured_messages.topics == ["creek/depth", "creek/order"]

        class TestWithAPolicyOfItsOwn:
            @pytest.fixture
            def iot_device_policy(self):
                allow = {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}
                return {"Version": "2012-10-17", "Statement": [allow]}

            def test_a_refusal(self, iot_device):
                iot_device.publish("creek/depth", {"ft": 1.4})
        """,
    )
    printed = run_pytest(tmp_path)
    assert "1 failed, 5 passed" in printed, printed
    *_, report = printed.split("iot_core.why()")
    assert "iot:Publish" in report.split("short test summary")[0], printed


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    write_tests(tmp_path, "def test_it(iot_core): pass")
    printed = run_pytest(tmp_path, "--iot-core-set", "nonesuch=7")
    assert "1 error" in printed
    assert "nonesuch" in printed


def test_a_running_cloud(home: Path, tmp_path: Path) -> None:
    write_tests(
        tmp_path,
        """
        import boto3
        from creeklab.testing.plugin import iot_core_on

        iot_core = iot_core_on("iot_core_noproc")

        def test_it(iot_core, iot_device):
            assert len(boto3.client("iot").list_things()["things"]) == 1
        """,
    )
    printed = run_pytest(tmp_path, CREEKLAB_HOME=str(home))
    assert "Start it with creeklab cloud start" in printed.replace("\n", " ")
    lab = open_lab(home=home)
    printed = run_pytest(tmp_path, CREEKLAB_HOME=str(home))
    assert "1 passed" in printed, printed
    assert lab.client("iot").list_things()["things"] == []
    assert not [*(home / "cloud" / "temporary-accounts").iterdir()]


def test_a_temporary_account_can_be_removed_once(home: Path) -> None:
    lab = open_lab(home=home)
    created = lab.admin("create-account", {})["identity"]
    assert created["account"] != lab.account
    for account, accepted in ((created["account"], True), (created["account"], False)):
        if accepted:
            assert lab.admin("remove-account", {"account": account}) == {}
            continue
        with pytest.raises(AdminRequestRefused, match="no temporary account"):
            lab.admin("remove-account", {"account": account})
    with pytest.raises(AdminRequestRefused, match="no temporary account"):
        lab.admin("remove-account", {"account": lab.account})
    lab.admin("create-account", {})
    supervisor.stop(home)
    open_lab(home=home)
    assert not (home / "cloud" / "temporary-accounts").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL.")
def test_the_cloud_ends_with_its_parent(home: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from creeklab.cloud import supervisor\n"
        "supervisor.start_or_attach(Path(sys.argv[1]), end_with_parent=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", program, str(home)]
    done = subprocess.run(command, cwd=REPOSITORY_ROOT, timeout=SECONDS, check=False)
    assert done.returncode == -signal.SIGKILL
    assert supervisor.ca_path(home).exists()  # it did start
    wait_for(lambda: supervisor.status(home) is None, "the cloud has ended")
