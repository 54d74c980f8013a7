"""The one cloud of a home folder: found, started only once, stopped, and repaired.

Everything runs as users run it, in a process with its own home folder. Only the idle stop is tested
in this process, with a simulated clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import creeklab
from creeklab import open_lab
from creeklab.cli import main
from creeklab.cloud import __main__ as cloud_main
from creeklab.cloud import supervisor
from creeklab.cloud.__main__ import MAX_OPEN_FILES
from creeklab.cloud.local_cloud import LocalCloud
from creeklab.cloud.settings import Settings
from creeklab.cloud.supervisor import CloudError, RunningCloud

from ..conftest import make_thing

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals or file modes")

# Reports that it runs, waits for its turn, and then reports which cloud it got.
ASKER = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from creeklab.cloud.supervisor import start_or_attach
print("there", flush=True)
sys.stdin.readline()
print(json.dumps(asdict(start_or_attach(Path(sys.argv[1])))))
"""


def python(*arguments: str) -> subprocess.Popen[str]:
    """Start a Python that can import creeklab, with pipes for input and output."""
    clone = str(Path(creeklab.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": clone},
    )


def ask_all_at_once(home: Path, count: int) -> list[RunningCloud]:
    """Let `count` processes call ``start_or_attach(home)`` concurrently; return the results."""
    with contextlib.ExitStack() as stack:
        askers = [stack.enter_context(python("-c", ASKER, str(home))) for _ in range(count)]
        for asker in askers:
            assert asker.stdout is not None
            assert asker.stdout.readline() == "there\n"
        answers = []
        for asker in askers:
            assert asker.stdin is not None
            asker.stdin.write("go\n")
            asker.stdin.flush()
        for asker in askers:
            said, _ = asker.communicate(timeout=60)
            answers.append(RunningCloud(**json.loads(said)))
    return answers


@contextlib.contextmanager
def taken(port: int = 0) -> Iterator[int]:
    """Listen on `port`, by default on a free one, and yield its number."""
    with socket.create_server(("127.0.0.1", port)) as holder:
        yield holder.getsockname()[1]


def free_port() -> int:
    with taken() as port:
        return port


def start(home: Path, *settings: str) -> RunningCloud:
    """Start the cloud on free ports that no other program takes while it is stopped."""
    return supervisor.start_or_attach(home, mqtt_port=0, https_port=0, settings=settings)


def ports(running: RunningCloud) -> tuple[int, int]:
    return running.mqtt_port, running.https_port


def things(home: Path) -> list[str]:
    iot = open_lab(home=home).client("iot")
    return [thing["thingName"] for thing in iot.list_things()["things"]]


def wait_for_file(file: Path) -> None:
    deadline = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} did not come."
        time.sleep(0.001)


# --- start, find, stop ----------------------------------------------------------------------------


def test_status_creates_nothing(home: Path) -> None:
    assert supervisor.status(home) is None
    assert supervisor.stop(home) is False
    assert supervisor.reset(home) is False
    assert not home.exists()


def test_a_restart_uses_the_same_ports(home: Path) -> None:
    started = start(home)
    assert started.started_here
    found = supervisor.start_or_attach(home)
    assert found == supervisor.status(home)
    assert found == replace(started, started_here=False)
    assert supervisor.stop(home) is True
    assert supervisor.status(home) is None
    assert supervisor.stop(home) is False
    for port in ports(started):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((started.endpoint, port), timeout=5)
    again = supervisor.start_or_attach(home)
    assert again.pid != started.pid
    assert ports(again) == ports(started)


def test_two_homes_have_two_clouds(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    try:
        one, two = open_lab(home=home), open_lab(home=other)
        assert {one.mqtt_port, one.https_port}.isdisjoint({two.mqtt_port, two.https_port})
        assert one.ca_file.read_bytes() != two.ca_file.read_bytes()
        one.client("iot").create_thing(thingName="only-in-one")
        assert things(home) == ["only-in-one"]
        assert things(other) == []
        assert supervisor.stop(other) is True
        assert supervisor.status(home) is not None
    finally:
        supervisor.stop(other)


def test_concurrent_starts_get_one_cloud_that_outlives_them(home: Path) -> None:
    answers = ask_all_at_once(home, 6)
    assert sorted(answer.started_here for answer in answers) == [False] * 5 + [True]
    assert len({(answer.pid, *ports(answer)) for answer in answers}) == 1
    found = supervisor.status(home)
    assert found is not None
    assert found.pid == answers[0].pid
    assert things(home) == []
    if sys.platform != "win32":
        # Ctrl-C in the terminal of the one that started it must not reach the cloud.
        assert os.getsid(found.pid) == found.pid


def test_start_waits_for_a_cloud_that_is_still_starting(home: Path) -> None:
    # As if a cell that opened the lab had been interrupted and run again.
    with python("-m", "creeklab.cloud", "--home", str(home)) as starting:
        wait_for_file(home / "cloud" / "account.json")
        try:
            assert supervisor.start_or_attach(home).pid == starting.pid
            assert things(home) == []
            assert supervisor.stop(home) is True
        finally:
            starting.kill()


def test_killing_the_starting_process_does_no_harm(home: Path) -> None:
    with python("-c", ASKER, str(home)) as asker:
        assert asker.stdin is not None
        asker.stdin.write("go\n")
        asker.stdin.flush()
        wait_for_file(home / "cloud" / "account.json")
        asker.kill()
    found = supervisor.start_or_attach(home)
    assert things(home) == []
    again = supervisor.status(home)
    assert again is not None
    assert again.pid == found.pid


# --- ports ----------------------------------------------------------------------------------------


def test_free_ports_are_used_if_the_default_ports_are_taken(home: Path) -> None:
    held = set()
    with contextlib.ExitStack() as stack:
        for port in (8883, 8443):
            with contextlib.suppress(OSError):  # Somebody has it, who may give it up meanwhile.
                held.add(stack.enter_context(taken(port)))
        assert held.isdisjoint(ports(supervisor.start_or_attach(home)))


def test_the_error_for_a_taken_port_names_it(home: Path) -> None:
    mqtt, https = free_port(), free_port()
    assert ports(supervisor.start_or_attach(home, mqtt_port=mqtt, https_port=https)) == (
        mqtt,
        https,
    )
    supervisor.stop(home)
    with taken() as port:
        with pytest.raises(CloudError, match=f"Port {port} is in use by another program"):
            supervisor.start_or_attach(home, mqtt_port=port)
        with pytest.raises(CloudError, match=f"Port {port} is in use by another program"):
            supervisor.start_or_attach(home, https_port=port)
        assert supervisor.status(home) is None
    # A failed start must not change the ports that devices know.
    assert ports(supervisor.start_or_attach(home)) == (mqtt, https)


def test_a_previous_port_that_is_taken_is_replaced(home: Path) -> None:
    first = start(home)
    supervisor.stop(home)
    with taken(first.mqtt_port):
        second = supervisor.start_or_attach(home)
        assert second.mqtt_port != first.mqtt_port
        assert second.https_port == first.https_port


@pytest.mark.parametrize("port", [-1, 65_536])
def test_the_error_for_an_invalid_port_names_it(home: Path, port: int) -> None:
    with pytest.raises(CloudError, match=str(port)):
        supervisor.start_or_attach(home, mqtt_port=port)


# --- the state of the home folder -----------------------------------------------------------------


@POSIX
def test_a_killed_cloud_is_restarted(home: Path) -> None:
    first = start(home)
    open_lab(home=home).client("iot").create_thing(thingName="survivor")
    os.kill(first.pid, signal.SIGKILL)
    os.waitpid(first.pid, 0)
    assert (home / "cloud" / "ready.json").exists()
    assert supervisor.status(home) is None
    assert supervisor.stop(home) is False
    second = supervisor.start_or_attach(home)
    assert second.started_here
    assert ports(second) == ports(first)
    assert things(home) == ["survivor"]


@pytest.mark.parametrize("file", ["account.json", "cloud.db", "ca/root.pem"])
def test_killed_while_starting_for_the_first_time(home: Path, file: str) -> None:
    """Kill it when `file` appears: the next start continues with the existing files."""
    with python("-m", "creeklab.cloud", "--home", str(home)) as starting:
        wait_for_file(home / "cloud" / file)
        starting.kill()
    assert supervisor.status(home) is None
    lab = open_lab(home=home)
    with lab.connect(make_thing(lab).name) as device:
        device.publish("a/topic", {"n": 1})


@pytest.mark.parametrize("said", ['{"pid": 1, "mqtt_po', '["mqtt_port"]'])
def test_an_invalid_ready_file_is_replaced(home: Path, said: str) -> None:
    file = supervisor.cloud_folder(home) / "ready.json"
    file.write_text(said)
    assert supervisor.status(home) is None
    started = supervisor.start_or_attach(home)
    assert supervisor.status(home) == replace(started, started_here=False)


def test_a_stale_ready_file_names_ports_but_no_process(home: Path) -> None:
    mqtt, https = free_port(), free_port()
    # As after a restart of the machine: the process ID belongs to another program.
    with python("-c", "input()") as bystander:
        stale = {"pid": bystander.pid, "endpoint": "?", "mqtt_port": mqtt, "https_port": https}
        (supervisor.cloud_folder(home) / "ready.json").write_text(json.dumps(stale))
        assert supervisor.status(home) is None
        assert supervisor.stop(home) is False
        assert ports(supervisor.start_or_attach(home)) == (mqtt, https)
        bystander.communicate("\n", timeout=30)
    assert bystander.returncode == 0


def test_a_damaged_database_is_named_and_reset_repairs_it(home: Path) -> None:
    first = start(home)
    open_lab(home=home).client("iot").create_thing(thingName="lost")
    supervisor.stop(home)
    database = home / "cloud" / "cloud.db"
    for offset, length in ((100, 3000), (0, 16)):  # a torn page, then no database at all
        with database.open("r+b") as stream:
            stream.seek(offset)
            stream.write(b"\xa5" * length)
        with pytest.raises(CloudError, match=r"is damaged .* or delete it") as error:
            supervisor.start_or_attach(home)
        assert str(database) in str(error.value)
        assert "\n" not in str(error.value)
        assert supervisor.status(home) is None
    assert supervisor.reset(home) is False
    assert things(home) == []
    assert ports(supervisor.start_or_attach(home)) == ports(first)


def test_any_other_damaged_file_is_named(home: Path) -> None:
    supervisor.start_or_attach(home)
    supervisor.stop(home)
    for name in ("account.json", "ca/root.pem"):
        file = home / "cloud" / name
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(CloudError, match=r"[Dd]elete") as error:
            supervisor.start_or_attach(home)
        assert str(file) in str(error.value)
        file.write_bytes(whole)


def test_an_invalid_setting_is_explained(home: Path) -> None:
    with pytest.raises(CloudError, match=r"'no_such=1' is not name=value .* idle_hours"):
        supervisor.start_or_attach(home, settings=["idle_hours=2", "no_such=1"])
    assert supervisor.status(home) is None


def test_a_home_that_is_a_file_is_explained(home: Path) -> None:
    home.write_text("a file")
    assert supervisor.status(home) is None
    with pytest.raises(CloudError, match=r"cannot be created .* CREEKLAB_HOME") as error:
        supervisor.start_or_attach(home)
    assert str(home) in str(error.value)
    assert home.read_text() == "a file"


@pytest.mark.parametrize(
    "name", ["start.lock", "running.lock", "cloud.log", "joined.json", "account.json", "ready.json"]
)
def test_an_unusable_file_is_named(
    home: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A folder of that name represents every failure; mode bits do not stop a superuser.
    file = supervisor.cloud_folder(home) / name
    file.mkdir()
    try:
        with pytest.raises(CloudError) as error:
            supervisor.start_or_attach(home)
        assert f"{file} cannot be used (Is a directory). Make" in str(error.value)
        monkeypatch.setenv("CREEKLAB_HOME", str(home))
        with pytest.raises(main.CommandError, match=re.escape(str(file))):
            main._run_command(main.parse(["cloud", "start"]))
    finally:
        file.rmdir()


def test_a_home_whose_name_is_too_long_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREEKLAB_HOME", str(tmp_path / ("x" * 300)))
    with pytest.raises(main.CommandError, match=r"/x{300}.* cannot be used \(File name too long\)"):
        main._run_command(main.parse(["cloud", "start"]))


@pytest.mark.parametrize("content", ["{", '["pid"]', '{"pid": 1}', '{"pid": "1", "mqtt_port": 2}'])
def test_a_damaged_ready_file_of_a_running_cloud_is_named(
    home: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "READY_GRACE", 0.1)
    file = supervisor.cloud_folder(home) / "ready.json"
    file.write_text(content)
    with supervisor.running_lock(home), pytest.raises(CloudError, match="does not describe") as why:
        supervisor.status(home)
    assert str(file) in str(why.value)


def test_a_full_disk_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    printed: list[dict[str, str]] = []
    monkeypatch.setattr(cloud_main, "_print", printed.append)
    monkeypatch.setattr(cloud_main, "RotatingLog", lambda *_, **__: logging.NullHandler())
    before = os.umask(0o022)
    try:
        assert cloud_main.main(["--home", str(home)]) == 1
    finally:
        os.umask(before)
    [answer] = printed
    file = home / "cloud" / "ready.json"
    assert answer["error"].startswith(f"{file} cannot be used (No space left on device). Make")


def test_the_log_is_rotated_together_with_standard_error(tmp_path: Path) -> None:
    code = """
import logging, os, sys
from creeklab.cloud.__main__ import RotatingLog
os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
logging.basicConfig(handlers=[RotatingLog(sys.argv[1], maxBytes=1000, backupCount=1)])
for number in range(100):
    logging.warning("message %d", number)
os.write(2, b"crash")
"""
    file = tmp_path / "cloud.log"
    with python("-c", code, str(file)) as process:
        assert process.wait(60) == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cloud.log", "cloud.log.1"]
    assert file.read_text().endswith("message 99\ncrash")
    assert 900 < (tmp_path / "cloud.log.1").stat().st_size <= 1000
    assert file.stat().st_size <= 1005


# --- reset, devices, file modes -------------------------------------------------------------------


def test_reset_empties_only_the_account(home: Path) -> None:
    running = start(home, "shadow_max_bytes=40")
    lab = open_lab(home=home)
    iot, data = lab.client("iot"), lab.client("iot-data")
    make_thing(lab)
    data.update_thing_shadow(thingName="t", payload=b'{"state":{"reported":{"depth":1}}}')
    kept = [home / "cloud" / name for name in ("account.json", "ca/ca.pem", "ca/devices.pem")]
    before = [file.read_bytes() for file in kept]

    assert supervisor.reset(home) is True
    after = supervisor.status(home)
    assert after is not None
    assert after.pid != running.pid
    assert ports(after) == ports(running)
    assert [file.read_bytes() for file in kept] == before
    assert iot.list_things()["things"] == []
    assert iot.list_certificates()["certificates"] == []
    assert iot.list_policies()["policies"] == []
    with pytest.raises(data.exceptions.ResourceNotFoundException):
        data.get_thing_shadow(thingName="t")
    with pytest.raises(data.exceptions.RequestEntityTooLargeException):
        data.update_thing_shadow(
            thingName="t", payload=b'{"state":{"reported":{"site":"%s"}}}' % (b"x" * 40)
        )

    supervisor.stop(home)
    assert supervisor.reset(home) is False
    assert supervisor.status(home) is None


def test_a_connected_device_does_not_delay_a_stop_and_reconnects(home: Path) -> None:
    start(home)
    lab = open_lab(home=home)
    with lab.connect(make_thing(lab).name) as device:
        assert supervisor.stop(home) is True  # it raises if the stop takes too long
        assert ports(supervisor.start_or_attach(home)) == (lab.mqtt_port, lab.https_port)
        device.publish("a/topic", {"n": 1})  # answered: the SDK has connected again


@POSIX
def test_the_limit_of_open_files_is_raised_for_a_workshop(home: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))  # as macOS has it
    try:
        running = start(home)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if sys.platform == "linux":
        given = psutil.Process(running.pid).rlimit(psutil.RLIMIT_NOFILE)
        most = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
        assert given == (most, hard)


@POSIX
def test_only_the_owner_can_read_the_cloud_folder(home: Path) -> None:
    mask = os.umask(0)
    try:
        make_thing(open_lab(home=home))
    finally:
        os.umask(mask)
    folder = home / "cloud"
    modes = {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in [folder, *folder.rglob("*")]
    }
    assert modes == {name: 0o700 if name in (".", "ca") else 0o600 for name in modes}
    assert {"account.json", "cloud.db", "cloud.log", "ready.json", "ca/root.pem"} <= modes.keys()


# --- idle stop ------------------------------------------------------------------------------------


class Minutes(asyncio.Event):
    """Replaces the stop event: each wait for it takes one simulated minute."""

    def __init__(self, busy: Callable[[int], None], last: int) -> None:
        super().__init__()
        self.passed = 0
        self._busy = busy
        self._last = last

    def now(self) -> float:
        return 1_785_000_000.0 + 60 * self.passed

    async def wait(self) -> bool:  # type: ignore[override]
        self.passed += 1
        self._busy(self.passed)
        if self.passed == self._last:
            self.set()
        raise TimeoutError


@pytest.mark.parametrize(
    ("idle_hours", "calls", "connected", "end"),
    [
        (0.5, [], [], 31),
        (0.5, [10], [], 41),
        (0.5, [10, 20, 50], [], 81),
        (0.5, [], range(1, 101), 131),
        (0.5, [110], range(1, 101), 141),
        (1.0, [], [], 61),
        (0, [], [], 500),
    ],
)
def test_an_idle_cloud_stops_after_idle_hours(
    tmp_path: Path, idle_hours: float, calls: Sequence[int], connected: Sequence[int], end: int
) -> None:
    def busy(minute: int) -> None:
        if minute in calls:
            app.accounts.owner.record_call(service="iot", operation="ListThings")
        app.accounts.owner.broker.connections = {"device": None} if minute in connected else {}  # type: ignore

    minutes = Minutes(busy, last=500)
    app = LocalCloud(tmp_path, Settings(idle_hours=idle_hours), timer=minutes.now)
    try:
        asyncio.run(app.run_until(minutes))
    finally:
        app.accounts.owner.database.close()
    assert minutes.passed == end
