"""Is this machine ready, and why does this device not get in?

A row of checks, each of which finds one thing right, or says what is wrong and the one thing to
do. A check that would mean nothing after another went wrong is skipped. What is right is said
without numbers and paths, so that it reads the same everywhere.

The checks of a device follow the way of its connection: files, network, server certificate,
then what AWS knows of the Thing and its certificate, the policy, and last the connection itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from creeklab.diagnosis.probe import CheckReport, run_checks

if TYPE_CHECKING:
    from creeklab.lab.lab import Lab


def machine_report(home: Path, lab: Lab | None = None) -> CheckReport:
    """Examine this machine, and the cloud that the lab is opened on.

    Parameters
    ----------
    home
        Home folder.
    lab
        The open lab, None if none is open: the local cloud is then not started.
    """
    from creeklab.diagnosis.machine_checks import machine_checks

    return run_checks(machine_checks(home, lab))


def device_report(
    lab: Lab,
    thing: str,
    client_id: str,
    *,
    publish: Iterable[str] = (),
    subscribe: Iterable[str] = (),
) -> CheckReport:
    """Examine why a Thing's device gets in or does not; see `creeklab.lab.lab.Lab.doctor`."""
    from creeklab.diagnosis.device_checks import DeviceChecks

    probes = DeviceChecks(lab, thing, client_id, tuple(publish), tuple(subscribe))
    return run_checks(probes.all())
