"""The doctor: everything that can be wrong is broken on purpose, on a real local cloud.

Each time, the check for it fails and names a fix, the checks before it pass, and the checks that
would mean nothing after it are skipped.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from creeklab import Lab, open_lab
from creeklab.cloud import supervisor
from creeklab.cloud.security.ca import CertificateAuthority
from creeklab.diagnosis import device_checks, machine_checks
from creeklab.diagnosis.probe import Check, CheckFailed, CheckReport, CheckResult, run_checks
from creeklab.targets import aws
from tests.conftest import NewThing

Make = Callable[..., NewThing]


def wrong_one(report: CheckReport) -> CheckResult:
    """Return the only failure."""
    [result] = report.failures()
    assert result.found.endswith((".", "?"))
    assert result.fix
    assert f"Fix: {result.fix}" in repr(report)
    assert repr(report).endswith(f"Fix this first: {result.fix}")
    return result


def skipped(report: CheckReport) -> set[str]:
    return {result.name for result in report if result.ok is None}


# --- a row of checks ----------------------------------------------------------------------------


def test_a_check_is_skipped_if_a_needed_one_fails() -> None:
    def wrong() -> str:
        raise CheckFailed("it is broken.", "repair it.")

    def right() -> str:
        return "fine."

    def never() -> str:
        raise AssertionError("this check was to be skipped")

    report = run_checks(
        [
            Check("first", right),
            Check("second", wrong, ["first"]),
            Check("third", never, ["second"]),
            Check("fourth", never, ["first", "third"]),
            Check("fifth", right, ["first", "not in this row"]),
        ]
    )
    assert [result.state for result in report] == ["OK", "WRONG", "skipped", "skipped", "OK"]
    assert not report.ok
    assert repr(report).splitlines() == [
        "OK       first   fine.",
        "WRONG    second  it is broken.",
        "                 Fix: repair it.",
        "skipped  third   'second' must pass first.",
        "skipped  fourth  'third' must pass first.",
        "OK       fifth   fine.",
        "Fix this first: repair it.",
    ]


def test_an_error_from_aws_is_a_failure() -> None:
    def refused() -> str:
        error = {"Error": {"Code": "ThrottlingException", "Message": "Slow down."}}
        raise ClientError(error, "GetPolicy")  # type: ignore[arg-type]

    def unreachable() -> str:
        raise EndpointConnectionError(endpoint_url="https://nobody")

    for run, reason in ((refused, "Slow down."), (unreachable, "https://nobody")):
        result = wrong_one(run_checks([Check("first", run)]))
        assert result.found.startswith("cannot call AWS: ")
        assert reason in result.found
        assert "open_lab" in result.fix


def test_a_report_as_html_is_escaped_and_uses_theme_colors() -> None:
    report = CheckReport(
        [CheckResult("a<b", True, "fine."), CheckResult("c", False, "<script>", "stop & go.")]
    )
    html = report._repr_html_()
    assert "<script>" not in html
    assert "a&lt;b" in html
    assert "stop &amp; go." in html
    for name in ("--jp-success-color1", "--jp-error-color1"):
        assert name in html
    for state, color in (("OK", "good"), ("WRONG", "bad")):
        assert f'class="creeklab-mark creeklab-{color}">{state}<' in html
    assert "mathjax_ignore" in html  # text between two $ is not a formula


# --- this machine -------------------------------------------------------------------------------


def test_a_machine_that_is_ready(lab: Lab) -> None:
    report = lab.doctor()
    assert report.ok, repr(report)
    assert [result.name for result in report] == [
        "Python",
        "packages",
        "home folder",
        "disk",
        "local cloud",
        "ports",
        "clock",
    ]
    # The same on every machine, because notebooks compare their outputs.
    assert not any(character.isdigit() for character in repr(report))
    assert str(lab.home) not in repr(report)
    assert repr(report).endswith("All checks passed.")


def test_a_check_creates_nothing(tmp_path: Path) -> None:
    report = doctor_machine_findings(tmp_path / "home")
    assert report.ok, repr(report)
    assert list(tmp_path.iterdir()) == []
    assert "clock" not in {result.name for result in report}


def doctor_machine_findings(home: Path, lab: Lab | None = None) -> CheckReport:
    return run_checks(machine_checks.machine_checks(home, lab))


def test_an_old_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asks = {"requires-python": ">=9.9", "dependencies": []}
    monkeypatch.setattr(machine_checks, "_metadata", lambda: asks)
    report = doctor_machine_findings(tmp_path)
    assert wrong_one(report).name == "Python"
    assert "needs 9.9" in wrong_one(report).found
    assert skipped(report) == {"packages"}


@pytest.mark.parametrize("package", ["boto3>=99.0", "no-such-package"])
def test_a_package_missing_or_too_old(
    package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asks = {"requires-python": ">=3.11", "dependencies": ["boto3>=1.0", package]}
    monkeypatch.setattr(machine_checks, "_metadata", lambda: asks)
    result = wrong_one(doctor_machine_findings(tmp_path))
    assert result.name == "packages"
    assert package in result.found
    assert "boto3>=1.0" not in result.found


def test_an_environment_older_than_its_lock(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine_checks.Environment, "is_active", lambda _: True)
    for whole in (True, False):
        monkeypatch.setattr(
            machine_checks.Environment, "is_up_to_date", lambda *_, tests, answer=whole: answer
        )
        report = doctor_machine_findings(tmp_path)
        assert report.ok == whole
    assert wrong_one(report).name == "packages"
    assert "requirements.lock has changed" in wrong_one(report).found


def test_without_a_clone_the_installed_package_lists_its_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine_checks, "REPOSITORY_ROOT", tmp_path)
    needs = ["boto3>=1.0", 'uvloop>=0.22; sys_platform != "win32"', 'x>=9; extra == "test"']
    monkeypatch.setattr("importlib.metadata.requires", lambda _: needs)
    assert machine_checks.packages() == "all required packages are installed."


def test_a_home_in_a_git_repository(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    report = doctor_machine_findings(tmp_path / "home")
    assert wrong_one(report).name == "home folder"
    assert "git work tree" in wrong_one(report).found
    assert "CREEKLAB_HOME" in wrong_one(report).fix
    assert skipped(report) == {"local cloud", "ports"}


@pytest.mark.parametrize("path", ["", "cloud", "keys", "keys/t/private.pem.key", "cloud/a.json"])
def test_files_that_others_can_read(path: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for folder in (home, home / "cloud", home / "keys", home / "keys" / "t"):
        folder.mkdir(mode=0o700)
    for file in (home / "keys" / "t" / "private.pem.key", home / "cloud" / "a.json"):
        file.touch(mode=0o600)
    assert machine_checks.home_folder(home)
    target = home / path
    target.chmod(stat.S_IMODE(target.stat().st_mode) | 0o044)
    with pytest.raises(CheckFailed) as wrong:
        machine_checks.home_folder(home)
    assert str(target) in wrong.value.found
    assert wrong.value.fix.startswith("chmod ")
    os.chmod(target, int(wrong.value.fix.split()[1], 8))  # noqa: PTH101  # as a person would
    assert machine_checks.home_folder(home)


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 10**7, 10**7))
    result = wrong_one(doctor_machine_findings(tmp_path / "not" / "yet"))
    assert result.name == "disk"
    assert "10 MB" in result.found


def test_a_cloud_older_than_its_program(lab: Lab) -> None:
    ready = lab.home / "cloud" / "ready.json"
    times = ready.stat().st_atime, ready.stat().st_mtime
    os.utime(ready, (1_600_000_000, 1_600_000_000))
    try:
        report = lab.doctor()
    finally:
        os.utime(ready, times)
    assert wrong_one(report).name == "local cloud"
    assert "cloud stop" in wrong_one(report).fix
    assert skipped(report) == {"ports", "clock"}


@pytest.mark.parametrize("name", ["root.pem", "devices.pem"])
def test_an_authority_from_the_future(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for folder in (home, home / "cloud"):
        folder.mkdir(mode=0o700)
    CertificateAuthority(home / "cloud" / "ca")
    other = "devices.pem" if name == "root.pem" else "root.pem"
    (home / "cloud" / "ca" / other).unlink()
    assert doctor_machine_findings(home).ok
    earlier = datetime(2014, 1, 2, tzinfo=UTC).timestamp()
    monkeypatch.setattr(machine_checks, "_now", lambda: earlier)
    result = wrong_one(doctor_machine_findings(home))
    assert result.name == "local cloud"
    assert f"{name} is valid from 20" in result.found
    assert "clock says 2014-01-02" in result.found
    assert result.fix.startswith("set the clock")


@contextmanager
def listening() -> Iterator[int]:
    """Yield a port that listens but answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def closed_port() -> int:
    with listening() as port:
        return port


def test_a_port_that_does_not_answer(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    running = supervisor.status(lab.home)
    assert running is not None
    broken = replace(running, https_port=closed_port())
    monkeypatch.setattr(supervisor, "status", lambda _: broken)
    report = lab.doctor()
    assert wrong_one(report).name == "ports"
    assert str(broken.https_port) in wrong_one(report).found
    assert skipped(report) == {"clock"}


def test_a_workshops_cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    workshop = supervisor.WorkshopMembership("creek.local", 8883, 8443, "ada", "secret")
    cloud = supervisor.RunningCloud(0, "creek.local", 8883, 8443)
    monkeypatch.setattr(supervisor, "workshop_membership", lambda _: workshop)
    found = machine_checks.local_cloud(tmp_path, lambda: cloud, opened=True)
    assert found == "the workshop's cloud can be reached."
    with pytest.raises(CheckFailed, match=r"creek\.local cannot be reached"):
        machine_checks.local_cloud(tmp_path, lambda: None, opened=False)


def test_ports_in_use_are_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as port:
        monkeypatch.setattr(machine_checks, "PORTS", (port, closed_port()))
        [result] = [each for each in doctor_machine_findings(tmp_path) if each.name == "ports"]
    assert result.ok
    assert f"another program uses {port}" in result.found


@pytest.mark.parametrize(("seconds", "direction"), [(3600, "fast"), (-400, "slow")])
def test_a_clock_that_is_off(
    seconds: float, direction: str, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = machine_checks.time.time
    monkeypatch.setattr(machine_checks, "_now", lambda: now() + seconds)
    result = wrong_one(lab.doctor())
    assert result.name == "clock"
    assert direction in result.found


# --- a device -----------------------------------------------------------------------------------

RIGHT = [
    "files",
    "file modes",
    "key and certificate",
    "server",
    "CA and endpoint",
    "Thing",
    "certificate known",
    "certificate active",
    "attached to Thing",
    "policy",
    "may connect",
    "TLS handshake",
    "connection",
]
AFTER_FILES = set(RIGHT) - {"files", "server", "CA and endpoint", "Thing"}
AFTER_PAIR = AFTER_FILES - {"file modes", "key and certificate"}
AFTER_KNOWN = AFTER_PAIR - {"certificate known", "TLS handshake"}
NETWORK = {"TLS handshake", "connection"}


def with_target(lab: Lab, **other: Any) -> Lab:
    """Return the same lab with another idea of where its cloud is."""
    return Lab(lab.home, replace(lab._target, **other))


def test_a_device_that_can_connect(lab: Lab, new_thing: Make) -> None:
    thing = new_thing()
    report = lab.doctor(thing.name, publish=["a/b"], subscribe=["#"])
    assert report.ok, repr(report)
    names = [result.name for result in report]
    assert names == [*RIGHT[:11], "may publish a/b", "may subscribe #", *RIGHT[11:]]
    assert str(lab.home) not in repr(report)
    assert thing.certificate_id not in repr(report)


def test_a_connected_device_stays_connected(lab: Lab, new_thing: Make) -> None:
    thing = new_thing()
    with lab.connect(thing.name):
        report = lab.doctor(thing.name)
        assert report.ok
        assert "a device with this client ID is connected" in repr(report)
        gone = lab.events(kind="disconnect", thing=thing.name)
    assert gone.empty


def test_no_files_and_no_thing(lab: Lab) -> None:
    report = lab.doctor("nobody-here")
    assert [result.name for result in report.failures()] == ["files", "Thing"]
    assert "lab.keys.save" in report.failures()[0].fix
    assert 'create_thing(thingName="nobody-here")' in report.failures()[1].fix
    assert skipped(report) == AFTER_FILES


def test_a_name_that_no_thing_can_have(lab: Lab) -> None:
    report = lab.doctor("no/thing")
    assert "is not a valid Thing name" in report.failures()[0].found


def test_a_ca_file_that_is_missing_or_broken(lab: Lab, new_thing: Make, tmp_path: Path) -> None:
    thing = new_thing()
    missing = with_target(lab, ca_file=tmp_path / "ca.pem").doctor(thing.name)
    assert [result.name for result in missing.failures()] == ["files", "CA and endpoint"]
    (tmp_path / "ca.pem").write_text("no certificate")
    broken = with_target(lab, ca_file=tmp_path / "ca.pem").doctor(thing.name)
    assert wrong_one(broken).name == "CA and endpoint"
    assert skipped(broken) == NETWORK


@pytest.mark.parametrize("name", ["private_key", "folder"])
def test_a_private_key_that_others_can_read(name: str, lab: Lab, new_thing: Make) -> None:
    thing = new_thing()
    path: Path = getattr(thing.files, name)
    path.chmod(0o755)
    report = lab.doctor(thing.name)
    assert wrong_one(report).name == "file modes"
    assert str(path) in wrong_one(report).fix
    assert skipped(report) == set()


def test_a_key_of_another_certificate(lab: Lab, new_thing: Make) -> None:
    thing, other = new_thing(), new_thing()
    shutil.copyfile(other.files.private_key, thing.files.private_key)
    report = lab.doctor(thing.name)
    assert wrong_one(report).name == "key and certificate"
    assert skipped(report) == AFTER_PAIR


@pytest.mark.parametrize("name", ["certificate", "private_key"])
def test_a_damaged_file(name: str, lab: Lab, new_thing: Make) -> None:
    thing = new_thing()
    path: Path = getattr(thing.files, name)
    path.write_text(path.read_text()[:200])
    report = lab.doctor(thing.name)
    assert wrong_one(report).name == "key and certificate"
    assert path.name in wrong_one(report).found


def self_made(thing: NewThing, key: Any, *, days: int) -> None:
    """Put a self-signed certificate into the Thing's files, valid until so many days from now."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "self-made")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    thing.files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    thing.files.private_key.write_bytes(pem)


def test_a_certificate_that_has_expired(lab: Lab, new_thing: Make) -> None:
    thing = new_thing()
    self_made(thing, ec.generate_private_key(ec.SECP256R1()), days=-1)
    report = lab.doctor(thing.name)
    assert wrong_one(report).name == "key and certificate"
    assert "valid from" in wrong_one(report).found
    assert skipped(report) == AFTER_PAIR


def test_a_certificate_that_aws_does_not_know(lab: Lab, new_thing: Make) -> None:
    thing = new_thing()
    self_made(thing, ec.generate_private_key(ec.SECP256R1()), days=1)
    report = lab.doctor(thing.name)
    assert wrong_one(report).name == "certificate known"
    assert skipped(report) == AFTER_KNOWN


def test_a_key_that_tls_rejects(lab: Lab, new_thing: Make) -> None:
    thing = new_thing()
    self_made(thing, rsa.generate_private_key(65537, 1024), days=1)
    report = lab.doctor(thing.name)
    assert [result.name for result in report.failures()] == [
        "certificate known",
        "TLS handshake",
    ]


@pytest.mark.parametrize("status", ["INACTIVE", "REVOKED"])
def test_a_certificate_that_is_not_active(status: str, lab: Lab, new_thing: Make) -> None:
    thing = new_thing()
    iot = lab.client("iot")
    iot.update_certificate(certificateId=thing.certificate_id, newStatus=status)
    report = lab.doctor(thing.name)
    assert wrong_one(report).name == "certificate active"
    assert status in wrong_one(report).found
    assert skipped(report) == {"connection"}
    eval(wrong_one(report).fix, {"iot": iot})  # the suggested fix works
    assert lab.doctor(thing.name).ok


def test_a_certificate_that_is_not_attached(lab: Lab, new_thing: Make) -> None:
    thing = new_thing()
    iot = lab.client("iot")
    iot.detach_thing_principal(thingName=thing.name, principal=thing.certificate_arn)
    report = lab.doctor(thing.name)
    assert wrong_one(report).name == "attached to Thing"
    assert skipped(report) == set()
    eval(wrong_one(report).fix, {"iot": iot})
    assert lab.doctor(thing.name).ok


def test_a_thing_that_was_deleted(lab: Lab, new_thing: Make) -> None:
    """Its files and its certificate exist, and the certificate has its policy."""
    thing = new_thing()
    iot = lab.client("iot")
    iot.detach_thing_principal(thingName=thing.name, principal=thing.certificate_arn)
    iot.delete_thing(thingName=thing.name)
    report = lab.doctor(thing.name)
    assert wrong_one(report).name == "Thing"
    assert "does not exist" in wrong_one(report).found
    assert skipped(report) == {"attached to Thing"}


def test_no_policy(lab: Lab, new_thing: Make) -> None:
    thing = new_thing()
    iot = lab.client("iot")
    iot.detach_policy(policyName=thing.policy, target=thing.certificate_arn)
    report = lab.doctor(thing.name)
    assert wrong_one(report).name == "policy"
    assert "attach_policy" in wrong_one(report).fix
    assert skipped(report) == {"may connect", "connection"}


ALLOW = {"Effect": "Allow", "Action": "iot:*"}


def test_a_client_id_that_no_policy_allows(lab: Lab, new_thing: Make) -> None:
    thing = new_thing([{**ALLOW, "Resource": "ARN:client/THING"}])
    report = lab.doctor(thing.name, client_id="somebody")
    result = wrong_one(report)
    assert result.name == "may connect"
    assert result.fix.endswith(f"Allow iot:Connect on {thing.arn}:client/somebody")
    assert skipped(report) == {"connection"}
    assert lab.doctor(thing.name).ok


def test_a_client_id_that_a_policy_denies(lab: Lab, new_thing: Make) -> None:
    deny = {"Effect": "Deny", "Action": "iot:Connect", "Resource": "ARN:client/THING"}
    thing = new_thing([{**ALLOW, "Resource": "*"}, deny])
    result = wrong_one(lab.doctor(thing.name))
    assert result.name == "may connect"
    assert f"a Deny in {thing.policy}" in result.found


@pytest.mark.parametrize(
    ("asked", "resource"),
    [({"publish": ["creek/depth"]}, "topic"), ({"subscribe": ["creek/#"]}, "topicfilter")],
)
def test_a_topic_that_no_policy_allows(
    asked: dict[str, list[str]], resource: str, lab: Lab, new_thing: Make
) -> None:
    thing = new_thing([{**ALLOW, "Resource": "ARN:client/*"}])
    report = lab.doctor(thing.name, **asked)  # type: ignore[arg-type]
    [[topic]] = asked.values()
    result = wrong_one(report)
    assert result.name.endswith(topic)
    assert result.fix.endswith(f"{thing.arn}:{resource}/{topic}")
    assert skipped(report) == set()


# --- the way to the server ------------------------------------------------------------------------


def test_an_endpoint_without_an_address(lab: Lab, new_thing: Make) -> None:
    report = with_target(lab, endpoint="nobody.invalid").doctor(new_thing().name)
    assert wrong_one(report).name == "server"
    assert "has no address" in wrong_one(report).found
    assert skipped(report) == {"CA and endpoint", *NETWORK}


def test_a_closed_port(lab: Lab, new_thing: Make) -> None:
    report = with_target(lab, mqtt_port=closed_port()).doctor(new_thing().name)
    assert wrong_one(report).name == "server"
    assert "open the lab again" in wrong_one(report).fix
    on_aws = with_target(lab, mqtt_port=closed_port(), name="aws")
    assert "mqtt_port=443" in wrong_one(on_aws.doctor(new_thing().name)).fix


def test_a_firewall_that_drops_everything(
    lab: Lab, new_thing: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drop(*_: object) -> socket.socket:
        raise TimeoutError

    thing = new_thing()
    monkeypatch.setattr(device_checks.DeviceChecks, "_dial", drop)
    report = lab.doctor(thing.name)
    assert wrong_one(report).name == "server"
    assert "firewall" in wrong_one(report).found


def test_a_server_that_speaks_no_tls(lab: Lab, new_thing: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            for _ in range(2):
                connection = server.accept()[0]
                connection.sendall(b"220 welcome to something else\r\n")
                connection.close()

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        other = with_target(lab, mqtt_port=server.getsockname()[1], endpoint="127.0.0.1")
        report = other.doctor(new_thing().name)
        thread.join(5)
    assert wrong_one(report).name == "CA and endpoint"
    assert "does not speak TLS" in wrong_one(report).found
    assert skipped(report) == NETWORK


def test_a_ca_that_did_not_sign_the_servers_certificate(lab: Lab, new_thing: Make) -> None:
    report = with_target(lab, ca_file=aws.CA_FILE).doctor(new_thing().name)
    assert wrong_one(report).name == "CA and endpoint"
    assert "did not sign" in wrong_one(report).found
    assert skipped(report) == NETWORK


def test_an_endpoint_by_another_name(lab: Lab, new_thing: Make) -> None:
    """127.1 is an old form of 127.0.0.1, which the certificate does not contain."""
    report = with_target(lab, endpoint="127.1").doctor(new_thing().name)
    assert wrong_one(report).name == "CA and endpoint"
    assert "does not name 127.1" in wrong_one(report).found


def test_a_refusal_by_the_broker_alone_is_explained(lab: Lab, new_thing: Make) -> None:
    """No policy denies a client ID that begins with $, but AWS rejects it."""
    thing = new_thing()
    report = lab.doctor(thing.name, client_id="$mine")
    assert wrong_one(report).name == "connection"
    assert "begins with $" in wrong_one(report).fix


def test_a_stopped_cloud(home: Path) -> None:
    lab = open_lab(home=home)
    lab.catch_up("04-policy")
    supervisor.stop(home)
    device = lab.doctor("Test2")
    assert [result.name for result in device.failures()] == [
        "server",
        "Thing",
        "certificate known",
    ]
    assert "cannot call AWS" in device.failures()[1].found
    machine = lab.doctor()
    assert wrong_one(machine).name == "local cloud"
    assert "open_lab" in wrong_one(machine).fix


def test_the_doctors_probes_are_no_refusals(lab: Lab, new_thing: NewThing) -> None:
    """`lab.why` explains what the learner did, not the doctor's own connections."""
    thing = new_thing()
    before = len(lab.events(kind="tls"))
    for name in (thing.name, "Nobody"):
        lab.doctor(name)
    assert len(lab.events(kind="tls")) == before
