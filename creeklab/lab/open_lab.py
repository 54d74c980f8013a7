"""`open_lab`: where every notebook begins.

The local cloud and the client libraries each take a while to get ready. So a cloud that has to be
started is started first, and what its clients need is imported meanwhile; nothing heavy is imported
here before that.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from creeklab.cloud import supervisor
from creeklab.home import base_folder, home_folder, refuse_git_work_tree

if TYPE_CHECKING:
    from creeklab.lab.lab import Lab


def open_lab(
    target: str | None = None,
    *,
    home: Path | None = None,
    agree: bool = False,
    mqtt_port: int | None = None,
) -> Lab:
    """Open the lab: on the local cloud, found or started, or a workshop's; or on AWS.

    Parameters
    ----------
    target
        ``"local"`` or ``"aws"``; without it what ``CREEKLAB_TARGET`` says, else the local cloud.
    home
        Home folder, without which it is the one that ``CREEKLAB_HOME`` names, or the user's own.
    agree
        AWS only: things may be made in the account, and may cost; nobody is asked.
    mqtt_port
        AWS only: 8883 or 443; without it 8883 if that can be reached, else 443.

    Raises
    ------
    ValueError
        If `target` is not one of those, or the home folder lies in a git work tree.
    creeklab.cloud.supervisor.CloudError
        If the local cloud could not be started.
    creeklab.targets.aws.AwsError
        If the AWS account cannot be used.
    """
    name = os.environ.get("CREEKLAB_TARGET", "local") if target is None else target
    # What was made on AWS is not to be lost sight of when one joins a workshop, or leaves it.
    home = home or (base_folder() if name == "aws" else home_folder())
    if name not in ("local", "aws"):
        raise ValueError(f"open_lab knows the targets 'local' and 'aws', not '{name}'.")
    refuse_git_work_tree(home)
    if name == "local":
        running = supervisor.start_or_attach(home, meanwhile=_import_clients)
        from creeklab.lab.lab import Lab
        from creeklab.targets.local import open_local

        return Lab(home, open_local(home, running))
    from creeklab.lab.lab import Lab
    from creeklab.targets.aws import open_aws

    return Lab(home, open_aws(home, agree=agree, mqtt_port=mqtt_port))


def _import_clients() -> None:
    for name in ("creeklab.lab.lab", "creeklab.targets.local"):
        importlib.import_module(name)
