"""Two reports: is this machine ready, and why can this device not connect?

Each report is a series of checks. A check confirms one thing, or says what is wrong and how to fix
it. A check is skipped if it would mean nothing after an earlier failure. Passed checks mention no
numbers and no paths, so that a report reads the same on every machine.

The checks of a device follow its connection: files, network, server certificate, then what AWS
knows of the Thing and its certificate, the policy, and finally the connection itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from creeklab.diagnosis.device_checks import DeviceChecks
from creeklab.diagnosis.machine_checks import machine_checks
from creeklab.diagnosis.probe import CheckReport, run_checks
from creeklab.session.lab_session import LabSession


def machine_report(home: Path, lab: LabSession | None = None) -> CheckReport:
    """Check this machine and the cloud that the lab is open on.

    Without an open lab, the local cloud is not started for these checks.
    """
    return run_checks(machine_checks(home, lab))


def device_report(
    lab: LabSession,
    thing: str,
    client_id: str,
    *,
    publish: Iterable[str] = (),
    subscribe: Iterable[str] = (),
) -> CheckReport:
    """Check whether a Thing's device can connect, and why not; see `Lab.doctor`."""
    checks = DeviceChecks(lab, thing, client_id, tuple(publish), tuple(subscribe))
    return run_checks(checks.all())
