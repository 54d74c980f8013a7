"""The commands ``creeklab doctor`` and ``creeklab clean-up``: output and exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from creeklab import Lab, open_lab
from creeklab.cli import main
from creeklab.cloud import supervisor
from tests.conftest import make_thing


def run(*arguments: str) -> int:
    options = main.parse(list(arguments))
    try:
        return main._run_command(options)
    except main.CommandError as error:
        print(error)
        return 1


@pytest.fixture
def own_lab(home: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("CREEKLAB_HOME", str(home))
    monkeypatch.delenv("CREEKLAB_TARGET", raising=False)
    return open_lab()


def test_doctor_and_clean_up(
    own_lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("doctor") == 0
    assert capsys.readouterr().out.endswith("All checks passed.\n")
    assert run("doctor", "nobody") == 1
    assert "Thing 'nobody' does not exist" in capsys.readouterr().out

    thing = make_thing(own_lab)
    assert run("doctor", thing.name, "--publish", "a/b", "--subscribe", "c/#") == 0
    output = capsys.readouterr().out
    assert "may publish a/b" in output
    assert "may subscribe c/#" in output
    assert run("doctor", thing.name, "--client-id", "$x") == 1

    assert run("clean-up", "--dry-run") == 0
    assert "Nothing has been done yet" in capsys.readouterr().out
    monkeypatch.setattr("builtins.input", lambda _: "no")
    assert run("clean-up") == 1
    assert "Nothing was changed." in capsys.readouterr().out
    assert own_lab.check.thing(thing.name)

    monkeypatch.setattr("builtins.input", lambda _: "yes")
    own_lab.client("iot").create_thing_type(thingTypeName="gauge")
    assert run("clean-up") == 1  # a thing type has to wait
    assert "AWS needs a few minutes" in capsys.readouterr().out
    assert not own_lab.check.thing(thing.name)
    own_lab.reset()
    assert run("clean-up", "--yes") == 0
    assert "Nothing to take down" in capsys.readouterr().out


def test_doctor_starts_no_cloud_to_check_the_machine(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CREEKLAB_HOME", str(home))
    monkeypatch.delenv("CREEKLAB_TARGET", raising=False)
    assert run("doctor") == 0
    assert "not running; open_lab starts it" in capsys.readouterr().out
    assert supervisor.status(home) is None
    assert not home.exists()


@pytest.mark.parametrize("command", [("doctor", "Test2"), ("clean-up", "--dry-run")])
def test_a_command_that_starts_the_cloud_says_so(
    command: tuple[str, ...], own_lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    run(*command)
    assert "Started" not in capsys.readouterr().out
    supervisor.stop(own_lab.home)
    run(*command)
    started = "Started the local cloud. Stop it with: python3 -m creeklab cloud stop\n"
    assert capsys.readouterr().out.startswith(started)
    assert supervisor.status(own_lab.home) is not None


@pytest.mark.parametrize("command", ["doctor", "clean-up"])
def test_an_unusable_aws_account_is_reported_without_a_traceback(
    command: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tests.aws_stand_in import no_aws_settings

    monkeypatch.setenv("CREEKLAB_HOME", str(home))
    with no_aws_settings():
        assert run(command, "--target", "aws") == 1
    assert "No AWS region is chosen" in capsys.readouterr().out


def test_an_unknown_target_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit):
        main.parse(["doctor", "--target", "mars"])
    monkeypatch.setenv("CREEKLAB_TARGET", "mars")
    assert run("clean-up") == 1
