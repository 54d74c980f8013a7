"""The commands: ``creeklab lab``, ``test``, ``cloud``, ``doctor``, ``clean-up``, ``report``.

Each first makes sure of an environment (``bootstrap``). Until that exists there is only the
standard library, so what needs more is imported inside the functions.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from creeklab.bootstrap import REPOSITORY_ROOT, SetupError, prepare, print_line
from creeklab.cli import jupyterlab
from creeklab.cli.jupyterlab import NOTEBOOKS, JupyterError, child_environment

if TYPE_CHECKING:
    from creeklab.cloud.supervisor import RunningCloud
    from creeklab.lab.lab import Lab

# A notebook, or a class of tests, stays with one process: its cells and tests build on each other.
# Each process holds a cloud, a kernel and perhaps a browser, so four of them are enough.
XDIST_ARGS = ["--numprocesses", "auto", "--maxprocesses", "4", "--dist", "loadscope"]
EXIT_NOT_RUNNING = 3  # the exit code of ``cloud status``, as service managers have it


class CommandError(Exception):
    """A command cannot be carried out; the message says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parse(given)
    try:
        prepare(given, tests=options.command == "test")
        return _run_command(options)
    except (SetupError, JupyterError, CommandError) as error:
        print(f"\ncreeklab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def _run_command(options: argparse.Namespace) -> int:
    from creeklab.cloud.supervisor import CloudError

    try:
        run: Callable[[argparse.Namespace], int] = options.run
        return run(options)
    except CloudError as error:
        raise CommandError(error) from error


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options of a command line: ``command``, ``run`` and what the command takes."""
    parser = argparse.ArgumentParser(
        prog="creeklab",
        description="Learn AWS IoT in JupyterLab, with an AWS IoT Core on your own machine.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    lab = commands.add_parser("lab", help="start the local cloud and open JupyterLab")
    lab.add_argument("notebook", nargs="?", help="the notebook to open; the first if left out")
    lab.add_argument("--no-browser", action="store_true", help="only print the address")
    lab.add_argument("--port", type=_port, help="JupyterLab's port; a free one if left out")
    lab.set_defaults(run=run_lab)

    test = commands.add_parser(
        "test",
        help="run every check and every test, notebooks included",
        usage="creeklab test [pytest's arguments ...]",
        description="With arguments, run only pytest and pass them on.",
    )
    test.set_defaults(run=run_tests, pytest_arguments=[])

    cloud = commands.add_parser("cloud", help="start, stop, look at or empty the local cloud")
    verbs = cloud.add_subparsers(dest="verb", required=True, metavar="VERB")
    start = verbs.add_parser("start", help="start it, if it does not run")
    start.add_argument("--mqtt-port", type=_port, help="port for MQTT over TLS")
    start.add_argument("--https-port", type=_port, help="port for HTTPS")
    start.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="NAME=VALUE",
        help="a setting of creeklab/cloud/settings.py; may be given again",
    )
    start.add_argument(
        "--host",
        default="",
        metavar="NAME",
        help="a workshop: open it to the network, on the address of this name",
    )
    start.set_defaults(run=start_cloud)
    join = verbs.add_parser("join", help="use the cloud of a workshop instead of one of your own")
    join.add_argument("file", type=Path, help="the file that who runs the workshop handed out")
    join.add_argument("--name", required=True, help="what you want to be called there")
    join.set_defaults(run=join_workshop)
    verbs.add_parser("leave", help="leave the workshop").set_defaults(run=leave_workshop)
    verbs.add_parser("stop", help="stop it; its state stays").set_defaults(run=stop_cloud)
    verbs.add_parser("status", help="tell whether it runs and where").set_defaults(run=show_cloud)
    reset = verbs.add_parser("reset", help="empty its account")
    reset.add_argument("--yes", action="store_true", help="do not ask")
    reset.set_defaults(run=reset_cloud)

    doctor = commands.add_parser("doctor", help="find out what is not right, and what to do")
    doctor.add_argument("thing", nargs="?", metavar="THING", help="look at this Thing's device")
    doctor.add_argument("--client-id", metavar="ID", help="its MQTT client id; THING if left out")
    doctor.add_argument(
        "--publish",
        action="append",
        default=[],
        metavar="TOPIC",
        help="a topic that it has to be allowed; may be given again",
    )
    doctor.add_argument(
        "--subscribe",
        action="append",
        default=[],
        metavar="FILTER",
        help="a topic filter that it has to be allowed; may be given again",
    )
    _add_target(doctor)
    doctor.set_defaults(run=run_doctor)

    clean_up = commands.add_parser("clean-up", help="take down what this lab has made")
    clean_up.add_argument("--dry-run", action="store_true", help="only say what would be done")
    clean_up.add_argument("--yes", action="store_true", help="do not ask")
    _add_target(clean_up)
    clean_up.set_defaults(run=clean_up_lab)

    report = commands.add_parser("report", help="write a page about the floods of a recording")
    report.add_argument("readings", metavar="SAMPLE", help="or the folder of a history, or a file")
    report.add_argument("--thing", help="of a history of several: whose")
    report.add_argument("-o", "--output", type=Path, default=Path("flood-report.html"))
    report.add_argument("--start", type=float, default=2.5, help="ft above which a flood starts")
    report.add_argument("--end", type=float, default=1.75, help="ft below which it ends")
    report.add_argument("--zone", default="UTC", help="the place's time zone: America/New_York")
    report.add_argument(
        "--landmark",
        action="append",
        default=[],
        type=_landmark,
        metavar="NAME=FT",
        help="what the creek reaches at which stage; may be given again",
    )
    report.set_defaults(run=write_report)

    if arguments[:1] == ["test"] and arguments[1:] not in (["-h"], ["--help"]):
        options = parser.parse_args(["test"])
        options.pytest_arguments = arguments[1:]
        return options
    return parser.parse_args(arguments)


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target",
        choices=("local", "aws"),
        help="the local cloud or AWS; CREEKLAB_TARGET if left out, else the local cloud",
    )


def _port(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 65535")
    return int(text)


def _landmark(text: str) -> tuple[str, float]:
    name, _, height = text.rpartition("=")
    try:
        return name.strip(), float(height)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FT, such as Bank=7.6") from None


# --- lab ------------------------------------------------------------------------------------------


def run_lab(options: argparse.Namespace) -> int:
    """Start the cloud and JupyterLab; wait for Ctrl-C; stop what was started here."""
    from creeklab.cloud import supervisor

    notebook = jupyterlab.find_notebook(NOTEBOOKS, options.notebook)
    if options.port is not None:
        jupyterlab.check_free(options.port)
    home = _home()
    with _one_interrupt():
        cloud = supervisor.start_or_attach(home)
        try:
            ended = jupyterlab.run(
                home,
                notebook,
                options.port,
                browser=not options.no_browser,
                about=f"Local cloud: {_where(cloud)}\nIts state: {home}",
            )
        finally:
            if cloud.started_here:
                supervisor.stop(home)
    print_line(
        "JupyterLab has ended." if ended == 0 else f"JupyterLab ended with exit code {ended}."
    )
    print_line(
        "The local cloud " + ("is stopped." if cloud.started_here else "runs on, as before.")
    )
    return ended


@contextlib.contextmanager
def _one_interrupt() -> Iterator[None]:
    """Take a closed terminal and a request to end as Ctrl-C, and the first of them as the only one.

    So a second Ctrl-C does not keep what was started here from being stopped.
    """
    numbers = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    before: dict[int, Any] = {}

    def interrupt(*_: object) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in filter(None, numbers):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup has it ignored
            before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- test -----------------------------------------------------------------------------------------


def run_tests(options: argparse.Namespace) -> int:
    """Run every check to its end, or only pytest with the arguments given."""
    with_notebooks = ["--nbval", "--nbval-current-env"]
    with_notebooks += [
        "--nbval-sanitize-with",
        str(REPOSITORY_ROOT / "tests" / "nbval_sanitize.cfg"),
    ]
    if options.pytest_arguments:
        return _run_tool("pytest", *with_notebooks, *options.pytest_arguments)
    folders = ["tests", "notebooks"] if any(NOTEBOOKS.glob("*.ipynb")) else ["tests"]
    steps = {
        "ruff check": ["ruff", "check"],
        "ruff format": ["ruff", "format", "--check"],
        "mypy": ["mypy"],
        "pytest": ["pytest", *with_notebooks, *XDIST_ARGS, *folders],
    }
    failed = []
    for number, (name, command) in enumerate(steps.items(), 1):
        print_line(f"\n--- {number}/{len(steps)} {name} ---")
        if _run_tool(*command):
            failed.append(name)
    print_line("\nAll is well." if not failed else f"\nNot well: {', '.join(failed)}.")
    return 1 if failed else 0


def _run_tool(module: str, *arguments: str) -> int:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY_ROOT, env=child_environment(), check=False
    ).returncode


# --- cloud ----------------------------------------------------------------------------------------


def start_cloud(options: argparse.Namespace) -> int:
    """Start the local cloud, unless it runs."""
    from creeklab.cloud import supervisor

    home = _home()
    cloud = supervisor.start_or_attach(
        home,
        mqtt_port=options.mqtt_port,
        https_port=options.https_port,
        settings=options.settings,
        host=options.host,
    )
    if supervisor.workshop_membership(home) is not None:
        raise CommandError(
            f"You take part in a workshop, and its cloud runs. {_where(cloud)}\n"
            "Nothing was started. For a cloud of your own run first:\n"
            "python3 -m creeklab cloud leave"
        )
    runs = "runs now" if cloud.started_here else "was running"
    print_line(f"The local cloud {runs}. {_where(cloud)}\nIts state: {home}")
    if cloud.host:
        print_line(_invitation(home, cloud))
    if cloud.started_here:
        return 0
    asked = [
        (options.mqtt_port, cloud.mqtt_port),
        (options.https_port, cloud.https_port),
        (options.host or None, cloud.host),
    ]
    if options.settings or any(wanted not in (None, has) for wanted, has in asked):
        raise CommandError(
            "Ports, settings and the host name are taken when the cloud starts, so these changed\n"
            "nothing. Run python3 -m creeklab cloud stop first."
        )
    return 0


def _invitation(home: Path, cloud: RunningCloud) -> str:
    from creeklab.cloud.accounts.workshop import JOIN_FILE

    return (
        f"\nIt is open to the network, for a workshop. Hand this file to those who take part, and\n"
        f"to nobody else:\n\n    {home / 'cloud' / JOIN_FILE}\n\n"
        f"They need to reach {cloud.host}, and run:\n"
        "python3 -m creeklab cloud join FILE --name NAME"
    )


def join_workshop(options: argparse.Namespace) -> int:
    """Join a workshop, whose cloud the lab uses from then on."""
    from creeklab.home import base_folder
    from creeklab.targets.workshop_client import join

    with _print_result():
        found = join(base_folder(), options.file, options.name)
    print_line(
        f"You take part as {found.name}. From now on the lab uses the cloud on {found.host}, in\n"
        "an account that is yours alone. Notebooks that are open: restart their kernels.\n"
        "To go back to a cloud of your own: python3 -m creeklab cloud leave"
    )
    return 0


def leave_workshop(_: argparse.Namespace) -> int:
    """Leave the workshop, if this home takes part in one."""
    from creeklab.home import base_folder
    from creeklab.targets.workshop_client import leave

    if leave(base_folder()) is None:
        print_line("You did not take part in a workshop.")
    else:
        print_line("You have left the workshop. Your account there stays: joining again finds it.")
    return 0


def stop_cloud(_: argparse.Namespace) -> int:
    """Stop the local cloud, if it runs."""
    from creeklab.cloud import supervisor

    stopped = supervisor.stop(_home())
    print_line("The local cloud is stopped." if stopped else "The local cloud was not running.")
    return 0


def show_cloud(_: argparse.Namespace) -> int:
    """Tell whether the local cloud runs; the exit code is 3 if it does not."""
    from creeklab.cloud import supervisor

    home = _home()
    workshop = supervisor.workshop_membership(home)
    if workshop is not None:
        print_line(f"You take part in a workshop as {workshop.name}.")
        try:
            print_line(_where(supervisor.connect_workshop(workshop)))
        except supervisor.CloudError as error:
            print_line(str(error))
            return EXIT_NOT_RUNNING
        print_line(_ca_line(home))
        return 0
    cloud = supervisor.status(home)
    if cloud is None:
        print_line(f"The local cloud does not run. Its state: {home}")
        return EXIT_NOT_RUNNING
    print_line(f"The local cloud runs (process {cloud.pid}). {_where(cloud)}\nIts state: {home}")
    print_line(_ca_line(home))
    if cloud.host:
        print_line(_invitation(home, cloud))
        print_line("\n" + _participants(home))
    return 0


def _ca_line(home: Path) -> str:
    from creeklab.cloud import supervisor

    return f"What clients have to trust: {supervisor.ca_path(home)}"


def _participants(home: Path) -> str:
    from creeklab.display.table import text_table
    from creeklab.lab.open_lab import open_lab

    joined = open_lab("local", home=home)._admin("participants", {})["participants"]
    if not joined:
        return "Nobody has joined yet."
    rows = [("name", "account", "Things", "connected")]
    for p in joined:
        things = "?" if p["things"] is None else str(p["things"])  # it cannot be read
        rows.append((p["name"], p["account"], things, str(p["connected"])))
    return f"{len(joined)} joined:\n{text_table(rows)}"


def reset_cloud(options: argparse.Namespace) -> int:
    """Empty the account of the local cloud, after a question."""
    from creeklab.session.reset import reset_account

    home = _home()
    if not options.yes:
        _ask_for_yes(
            f"This removes every Thing, certificate, policy and shadow of your account, and the\n"
            f"key files of its Things. It belongs to {home}."
        )
    running = reset_account(home)
    print_line("The account is empty." + (" The local cloud runs again." if running else ""))
    return 0


# --- doctor and clean-up --------------------------------------------------------------------------


def run_doctor(options: argparse.Namespace) -> int:
    """Say what is right and what is not; the exit code is 1 if something is wrong.

    The local cloud is started only to look at a device, and that is said.
    """
    from creeklab.diagnosis.doctor import machine_report
    from creeklab.home import home_folder

    home = home_folder()  # one in a git work tree is a finding
    if options.thing is None:
        lab = _open(options.target) if _target(options.target) == "aws" or _runs(home) else None
        findings = machine_report(home, lab)
    else:
        findings = _open(options.target).doctor(
            options.thing,
            client_id=options.client_id,
            publish=options.publish,
            subscribe=options.subscribe,
        )
    print_line(repr(findings))
    return 0 if findings.ok else 1


def clean_up_lab(options: argparse.Namespace) -> int:
    """Take down what the lab has made, after a question; the exit code is 1 if not all is done."""
    ledger = _open(options.target).ledger
    plan = ledger.tear_down(dry_run=True)
    print_line(repr(plan))
    if options.dry_run or not plan.steps:
        return 0
    if not options.yes:
        _ask_for_yes("\nThis cannot be undone.")
    done = ledger.tear_down()
    print_line(f"\n{done!r}")
    return 0 if done.ok else 1


def _open(target: str | None) -> Lab:
    from creeklab.cloud import supervisor
    from creeklab.home import home_folder
    from creeklab.lab.open_lab import open_lab
    from creeklab.targets.aws import AwsError

    home = home_folder()
    starts = (
        _target(target) == "local"
        and supervisor.workshop_membership(home) is None
        and not _runs(home)
    )
    try:
        lab = open_lab(target)
    except (ValueError, AwsError) as error:
        raise CommandError(str(error)) from None
    if starts:
        print_line(
            "The local cloud did not run, and was started: python3 -m creeklab cloud stop ends it."
        )
    return lab


def _target(named: str | None) -> str:
    return named or os.environ.get("CREEKLAB_TARGET", "local")


def _runs(home: Path) -> bool:
    from creeklab.cloud import supervisor

    return supervisor.status(home) is not None


def _ask_for_yes(what: str) -> None:
    print_line(what)
    try:
        answer = input("Type yes to go on: ")
    except EOFError:
        answer = ""
    if answer.strip().lower() != "yes":
        raise CommandError("Nothing was changed.")


def _home() -> Path:
    from creeklab.home import home_folder, refuse_git_work_tree

    home = home_folder()
    with _print_result():
        refuse_git_work_tree(home)
    return home


@contextlib.contextmanager
def _print_result() -> Iterator[None]:
    """Have a value that cannot be used told like any other reason not to go on."""
    try:
        yield
    except ValueError as error:
        raise CommandError(str(error)) from None


def _where(cloud: RunningCloud) -> str:
    return f"MQTT on {cloud.endpoint}:{cloud.mqtt_port}, HTTPS on port {cloud.https_port}."


# --- report ---------------------------------------------------------------------------------------


def write_report(options: argparse.Namespace) -> int:
    """Write the flood report of a recording."""
    from creeklab.creek import report

    try:
        report.check_output(options.output)
        page = report.page(
            report.read(options.readings, options.thing),
            start=options.start,
            end=options.end,
            marks=dict(options.landmark),
            zone=options.zone,
        )
        report.write(page, options.output)
    except (ValueError, OSError) as error:
        raise CommandError(str(error)) from error
    print_line(f"The flood report: {options.output.resolve()}")
    return 0
