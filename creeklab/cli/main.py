"""The commands: ``creeklab lab``, ``test``, ``cloud``, ``doctor``, ``clean-up``, ``report``.

Each command first prepares an environment (``bootstrap``). Until it exists, only the standard
library is available, so everything else is imported inside the functions.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from creeklab.bootstrap import REPOSITORY_ROOT, SetupError, prepare, print_line
from creeklab.cli import jupyterlab
from creeklab.cli.jupyterlab import NOTEBOOKS, JupyterError, child_environment
from creeklab.cli.report_options import add_report_options

if TYPE_CHECKING:
    from creeklab.cloud.supervisor import RunningCloud
    from creeklab.lab.lab import Lab

# One process more than processors, because tests often wait for a cloud or a kernel. Each process
# holds a cloud, a kernel and perhaps a browser, so four are enough. The cells of a notebook build
# on each other, and the tests of a file share fixtures, so each file runs in one process, in the
# order that tests/scheduling.py determines.
XDIST_ARGS = ["--numprocesses", str(min((os.cpu_count() or 1) + 1, 4)), "--dist", "loadfile"]
XDIST_ARGS += ["--no-loadscope-reorder"]
# Import Linter has no ``python -m`` form.
LINT_IMPORTS = [
    "-c",
    "from importlinter.cli import lint_imports_command as lint; lint()",
    "--no-cache",
]
EXIT_NOT_RUNNING = 3  # of ``cloud status``, as with service managers


class CommandError(Exception):
    """A command failed; the message says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code."""
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
    from creeklab.cloud.supervisor import CloudError, unusable

    try:
        run: Callable[[argparse.Namespace], int] = options.run
        return run(options)
    except CloudError as error:
        raise CommandError(error) from error
    except OSError as error:
        if error.filename is None:
            raise
        raise CommandError(unusable(error.filename, error)) from error


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the parsed command line: ``command``, ``run`` and the options of the command."""
    parser = argparse.ArgumentParser(
        prog="creeklab",
        description="Learn AWS IoT in JupyterLab, with a local version of AWS IoT Core.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    lab = commands.add_parser("lab", help="start the local cloud and open JupyterLab")
    lab.add_argument("notebook", nargs="?", help="the notebook to open; default: the first")
    lab.add_argument(
        "--no-browser", action="store_true", help="print the address without opening a browser"
    )
    lab.add_argument("--port", type=_port, help="JupyterLab's port; default: a free one")
    lab.set_defaults(run=run_lab)

    test = commands.add_parser(
        "test",
        help="run every check and every test, notebooks included",
        usage="creeklab test [pytest arguments ...]",
        description="With arguments, run only pytest with them.",
    )
    test.set_defaults(run=run_tests, pytest_arguments=[])

    cloud = commands.add_parser("cloud", help="start, stop, inspect or empty the local cloud")
    actions = cloud.add_subparsers(dest="action", required=True, metavar="ACTION")
    start = actions.add_parser("start", help="start it if it is not running")
    start.add_argument("--mqtt-port", type=_port, help="port for MQTT over TLS")
    start.add_argument("--https-port", type=_port, help="port for HTTPS")
    _add_list(start, "--set", "NAME=VALUE", "a setting of creeklab/cloud/settings.py")
    start.add_argument(
        "--host",
        default="",
        metavar="NAME",
        help="host a workshop: open the cloud to the network at this host name",
    )
    start.set_defaults(run=start_cloud)
    join = actions.add_parser("join", help="use a workshop's cloud instead of your own")
    join.add_argument("file", type=Path, help="the join file from the instructor")
    join.add_argument("--name", required=True, help="your name in the workshop")
    join.set_defaults(run=join_workshop)
    actions.add_parser("participants", help="list the participants of your workshop").set_defaults(
        run=show_participants
    )
    remove = actions.add_parser("remove", help="remove a participant and delete their account")
    remove.add_argument("name", metavar="NAME", help="the participant's name")
    remove.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    remove.set_defaults(run=remove_participant)
    actions.add_parser("leave", help="leave the workshop").set_defaults(run=leave_workshop)
    actions.add_parser("stop", help="stop it; its state is kept").set_defaults(run=stop_cloud)
    actions.add_parser("status", help="show whether it is running, and where").set_defaults(
        run=show_cloud
    )
    reset = actions.add_parser("reset", help="empty your account in it")
    reset.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    reset.set_defaults(run=reset_cloud)

    doctor = commands.add_parser("doctor", help="find problems and their fixes")
    doctor.add_argument("thing", nargs="?", metavar="THING", help="check this Thing's device")
    doctor.add_argument("--client-id", metavar="ID", help="its MQTT client ID; default: THING")
    _add_list(doctor, "--publish", "TOPIC", "a topic that its policy must allow")
    _add_list(doctor, "--subscribe", "FILTER", "a topic filter that its policy must allow")
    _add_target(doctor)
    doctor.set_defaults(run=run_doctor)

    clean_up = commands.add_parser("clean-up", help="delete what this lab created")
    clean_up.add_argument(
        "--dry-run", action="store_true", help="show the steps without taking them"
    )
    clean_up.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    _add_target(clean_up)
    clean_up.set_defaults(run=clean_up_lab)

    report = commands.add_parser("report", help="write a report on the floods in a recording")
    add_report_options(report)
    report.set_defaults(run=write_report)

    if arguments[:1] == ["test"] and arguments[1:] not in (["-h"], ["--help"]):
        options = parser.parse_args(["test"])
        options.pytest_arguments = arguments[1:]
        return options
    options = parser.parse_args(arguments)
    options.given = arguments
    return options


def _add_list(
    parser: argparse.ArgumentParser, option: str, metavar: str, text: str, **more: Any
) -> None:
    text += "; can be repeated"
    parser.add_argument(option, action="append", default=[], metavar=metavar, help=text, **more)


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target",
        choices=("local", "aws"),
        default=os.environ.get("CREEKLAB_TARGET", "local"),
        help="the local cloud or AWS; default: CREEKLAB_TARGET, else the local cloud",
    )


def _port(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port number from 1 to 65535")
    return int(text)


# --- lab ------------------------------------------------------------------------------------------


def run_lab(options: argparse.Namespace) -> int:
    """Start the cloud and JupyterLab, wait for Ctrl-C, and stop what was started here."""
    from creeklab.cloud import supervisor

    notebook = jupyterlab.find_notebook(NOTEBOOKS, options.notebook)
    if options.port is not None:
        jupyterlab.check_free(options.port)
    home = _home()
    with _one_interrupt():
        cloud = supervisor.start_or_attach(home)
        try:
            code = jupyterlab.run(
                home,
                notebook,
                options.port,
                browser=not options.no_browser,
                details=f"Local cloud: {_where(cloud)}\nState folder: {home}",
            )
        finally:
            if cloud.started_here:
                supervisor.stop(home)
    print_line(
        "JupyterLab has stopped." if code == 0 else f"JupyterLab stopped with exit code {code}."
    )
    print_line(
        "The local cloud has stopped."
        if cloud.started_here
        else "The local cloud was already running and keeps running."
    )
    return code


@contextlib.contextmanager
def _one_interrupt() -> Iterator[None]:
    """Treat a closed terminal and SIGTERM like Ctrl-C, and ignore all signals after the first.

    So a second Ctrl-C cannot interrupt the cleanup.
    """
    numbers = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    before: dict[int, Any] = {}

    def interrupt(*_: object) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in filter(None, numbers):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- test -----------------------------------------------------------------------------------------


def run_tests(options: argparse.Namespace) -> int:
    """Run every check, even after a failure; with arguments, run only pytest."""
    sanitize = str(REPOSITORY_ROOT / "tests" / "nbval_sanitize.cfg")
    with_notebooks = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", sanitize]
    if options.pytest_arguments:
        return _run_python("-m", "pytest", *with_notebooks, *options.pytest_arguments)
    folders = ["tests", "notebooks"] if any(NOTEBOOKS.glob("*.ipynb")) else ["tests"]
    steps = {
        "ruff check": ["-m", "ruff", "check"],
        "ruff format": ["-m", "ruff", "format", "--check"],
        "mypy": ["-m", "mypy"],
        "import layers": LINT_IMPORTS,
        "pytest": ["-m", "pytest", *with_notebooks, *XDIST_ARGS, *folders],
    }
    failed = []
    for number, (name, arguments) in enumerate(steps.items(), 1):
        print_line(f"\n--- {number}/{len(steps)} {name} ---")
        if _run_python(*arguments):
            failed.append(name)
    print_line("\nAll checks passed." if not failed else f"\nFailed: {', '.join(failed)}.")
    return 1 if failed else 0


def _run_python(*arguments: str) -> int:
    return subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY_ROOT, env=child_environment(), check=False
    ).returncode


# --- cloud ----------------------------------------------------------------------------------------


def start_cloud(options: argparse.Namespace) -> int:
    """Start the local cloud unless it is running."""
    from creeklab.cloud import supervisor

    home = _home()
    cloud = supervisor.start_or_attach(
        home,
        mqtt_port=options.mqtt_port,
        https_port=options.https_port,
        settings=options.set,
        host=options.host,
    )
    if supervisor.workshop_membership(home) is not None:
        raise CommandError(
            "No cloud was started, because you have joined a workshop whose cloud is running.\n"
            f"{_where(cloud)}\n"
            "To use a cloud of your own, first run: python3 -m creeklab cloud leave"
        )
    state = "Started the local cloud" if cloud.started_here else "The local cloud is running"
    print_line(f"{state}. {_where(cloud)}\nState folder: {home}")
    if cloud.host:
        print_line(_invitation(home, cloud))
    if cloud.started_here:
        return 0
    requested = [
        (options.mqtt_port, cloud.mqtt_port),
        (options.https_port, cloud.https_port),
        (options.host or None, cloud.host),
    ]
    if options.set or any(wanted not in (None, has) for wanted, has in requested):
        raise CommandError(
            "The ports, settings and host name were ignored: they apply only when the cloud\n"
            "starts. First run: python3 -m creeklab cloud stop"
        )
    return 0


def _invitation(home: Path, cloud: RunningCloud) -> str:
    from creeklab.cloud.accounts.workshop import JOIN_FILE

    return (
        "\nThe cloud is open to the network for a workshop. Give this join file to the "
        f"participants\nand to nobody else:\n\n    {home / 'cloud' / JOIN_FILE}\n\n"
        f"They must be able to reach {cloud.host}, and run:\n"
        "python3 -m creeklab cloud join FILE --name NAME"
    )


def join_workshop(options: argparse.Namespace) -> int:
    """Join a workshop; the lab uses its cloud from then on."""
    from creeklab.home import base_folder
    from creeklab.targets.workshop_client import join

    with _value_errors_as_command_errors():
        membership = join(base_folder(), options.file, options.name)
    print_line(
        f"You have joined as {membership.name}. The lab now uses the cloud on {membership.host},\n"
        "in an account of your own. Restart the kernels of open notebooks.\n"
        "To go back to your own cloud, run: python3 -m creeklab cloud leave"
    )
    return 0


def leave_workshop(_: argparse.Namespace) -> int:
    """Leave the workshop, if this home has joined one."""
    from creeklab.home import base_folder
    from creeklab.targets.workshop_client import leave

    if leave(base_folder()) is None:
        print_line("You have not joined a workshop.")
    else:
        print_line("You have left the workshop. Your account there is kept: join again to use it.")
    return 0


def stop_cloud(_: argparse.Namespace) -> int:
    """Stop the local cloud if it is running."""
    from creeklab.cloud import supervisor

    stopped = supervisor.stop(_home())
    print_line("The local cloud has stopped." if stopped else "The local cloud was not running.")
    return 0


def show_cloud(_: argparse.Namespace) -> int:
    """Show whether the local cloud is running; the exit code is 3 if it is not."""
    from creeklab.cloud import supervisor

    home = _home()
    ca = f"CA certificate: {supervisor.ca_path(home)}"
    workshop = supervisor.workshop_membership(home)
    if workshop is not None:
        print_line(f"You have joined a workshop as {workshop.name}.")
        try:
            print_line(_where(supervisor.connect_workshop(workshop)))
        except supervisor.CloudError as error:
            print_line(str(error))
            return EXIT_NOT_RUNNING
        print_line(ca)
        return 0
    cloud = supervisor.status(home)
    if cloud is None:
        print_line(f"The local cloud is not running. State folder: {home}")
        return EXIT_NOT_RUNNING
    print_line(
        f"The local cloud is running (process {cloud.pid}). {_where(cloud)}\nState folder: {home}"
    )
    print_line(ca)
    if cloud.host:
        print_line(_invitation(home, cloud))
        print_line("\n" + _participants(home))
    return 0


def show_participants(_: argparse.Namespace) -> int:
    """List the participants of the workshop that this home hosts."""
    print_line(_participants(_workshop_home()))
    return 0


def remove_participant(options: argparse.Namespace) -> int:
    """Remove a participant from the workshop, after confirmation."""
    from creeklab.lab.open_lab import open_lab
    from creeklab.targets.admin_client import AdminRequestRefused

    home = _workshop_home()
    if not options.yes:
        _confirm(
            f"This disconnects the devices of '{options.name}' and deletes their account in the\n"
            "workshop, with all its Things, certificates, policies and shadows."
        )
    try:
        open_lab("local", home=home).admin("remove_participant", {"name": options.name})
    except AdminRequestRefused as error:
        raise CommandError(error.message) from None
    print_line(f"Removed '{options.name}'. With the join file, anyone can join under this name.")
    return 0


def _workshop_home() -> Path:
    """Return the home folder if its own cloud is running."""
    from creeklab.cloud import supervisor

    home = _home()
    if supervisor.workshop_membership(home) is not None:
        raise CommandError("You have joined a workshop. Only its instructor can use this command.")
    if not _is_running(home):
        raise CommandError(
            "The local cloud is not running. Start it with: python3 -m creeklab cloud start"
        )
    return home


def _participants(home: Path) -> str:
    from creeklab.display.table import text_table
    from creeklab.lab.open_lab import open_lab

    joined = open_lab("local", home=home).admin("participants")["participants"]
    if not joined:
        return "No participants yet."
    rows = [("name", "account", "Things", "connected")]
    for p in joined:
        things = "?" if p["things"] is None else str(p["things"])  # cannot be read
        rows.append((p["name"], p["account"], things, str(p["connected"])))
    return f"Participants: {len(joined)}\n{text_table(rows)}"


def reset_cloud(options: argparse.Namespace) -> int:
    """Empty the account of the local cloud, after confirmation."""
    from creeklab.session.reset import reset_account

    home = _home()
    if not options.yes:
        _confirm(
            f"This deletes all Things, certificates, policies and shadows of the account in\n"
            f"{home}, and the key files of its Things."
        )
    running = reset_account(home)
    print_line("The account is empty." + (" The local cloud is running again." if running else ""))
    return 0


# --- doctor and clean-up --------------------------------------------------------------------------


def run_doctor(options: argparse.Namespace) -> int:
    """Check this machine, or a device; the exit code is 1 if something is wrong.

    Only the check of a device starts the local cloud, and says so.
    """
    from creeklab.diagnosis.doctor import machine_report
    from creeklab.home import home_folder

    home = home_folder()  # the report itself covers one in a git work tree
    if options.thing is None:
        opens = options.target == "aws" or _is_running(home)
        report = machine_report(home, _open(options.target) if opens else None)
    else:
        report = _open(options.target).doctor(
            options.thing,
            client_id=options.client_id,
            publish=options.publish,
            subscribe=options.subscribe,
        )
    print_line(repr(report))
    return 0 if report.ok else 1


def clean_up_lab(options: argparse.Namespace) -> int:
    """Delete what the lab created, after confirmation; the exit code is 1 if something is left."""
    ledger = _open(options.target).ledger
    plan = ledger.tear_down(dry_run=True)
    print_line(repr(plan))
    if options.dry_run or not plan.steps:
        return 0
    if not options.yes:
        _confirm("\nYou cannot undo this.")
    result = ledger.tear_down()
    print_line(f"\n{result!r}")
    return 0 if result.ok else 1


def _open(target: str) -> Lab:
    from creeklab.cloud import supervisor
    from creeklab.home import home_folder
    from creeklab.lab.open_lab import open_lab
    from creeklab.targets.aws import AwsError

    home = home_folder()
    starts = (
        target == "local" and supervisor.workshop_membership(home) is None and not _is_running(home)
    )
    try:
        lab = open_lab(target)
    except (ValueError, AwsError) as error:
        raise CommandError(str(error)) from None
    if starts:
        print_line("Started the local cloud. Stop it with: python3 -m creeklab cloud stop")
    return lab


def _is_running(home: Path) -> bool:
    from creeklab.cloud import supervisor

    return supervisor.status(home) is not None


def _confirm(warning: str) -> None:
    print_line(warning)
    try:
        answer = input("Type yes to continue: ")
    except EOFError:
        answer = ""
    if answer.strip().lower() != "yes":
        raise CommandError("Nothing was changed.")


def _home() -> Path:
    from creeklab.home import home_folder, refuse_git_work_tree

    home = home_folder()
    with _value_errors_as_command_errors():
        refuse_git_work_tree(home)
    return home


@contextlib.contextmanager
def _value_errors_as_command_errors() -> Iterator[None]:
    """Report an invalid value like any other failure of a command."""
    try:
        yield
    except ValueError as error:
        raise CommandError(str(error)) from None


def _where(cloud: RunningCloud) -> str:
    return f"MQTT on {cloud.endpoint}:{cloud.mqtt_port}, HTTPS on port {cloud.https_port}."


# --- report ---------------------------------------------------------------------------------------


def write_report(options: argparse.Namespace) -> int:
    """Write a report on the floods in a recording."""
    from creeklab.creek import report
    from creeklab.creek.analysis.floods import END_FT, START_FT
    from creeklab.creek.readings.building import Choices
    from creeklab.creek.readings.display import Display

    choices = Choices(
        zone=options.file_zone,
        time_format=options.time_format,
        stage=options.stage,
        where=dict(options.where),
        site=options.site,
    )
    try:
        report.check_output(options.output)
        display = Display(options.zone, metric=options.units == "metric")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            readings = report.read(options.readings, options.thing, choices)
        for warning in caught:
            print_line(f"Warning: {warning.message}")
        page = report.page(
            readings,
            start=START_FT if options.start is None else display.to_feet(options.start),
            end=END_FT if options.end is None else display.to_feet(options.end),
            marks={name: display.to_feet(stage) for name, stage in options.landmark},
            zone=options.zone,
            metric=options.units == "metric",
        )
        report.write(page, options.output)
    except report.UnsuitableThresholds as error:
        command = [*options.given, "--start", f"{error.start:g}", "--end", f"{error.end:g}"]
        raise CommandError(f"{error} Try: creeklab {shlex.join(command)}") from error
    except (ValueError, OSError) as error:
        raise CommandError(str(error)) from error
    print_line(f"Wrote the flood report: {options.output.resolve()}")
    return 0
