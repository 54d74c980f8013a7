"""`open_lab`: where every notebook begins.

The local cloud and the client libraries each take a while to start. If the cloud has to be started,
it starts first, and the client libraries are imported in the meantime; until then, nothing heavy is
imported.
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
    accept_costs: bool = False,
    mqtt_port: int | None = None,
) -> Lab:
    """Open the lab on the local cloud (found or started), on a workshop's cloud, or on AWS.

    Parameters
    ----------
    target
        ``"local"`` or ``"aws"``. Defaults to ``CREEKLAB_TARGET``, else to the local cloud.
    home
        Home folder. Defaults to ``CREEKLAB_HOME``, else to the user's data folder.
    accept_costs
        AWS only: the lab may create resources that cost money, without asking.
    mqtt_port
        AWS only: 8883 or 443. Defaults to 8883 if it can be reached, else to 443.

    Raises
    ------
    ValueError
        If `target` is neither of the two, or the home folder is inside a git work tree.
    creeklab.cloud.supervisor.CloudError
        If the local cloud cannot be started.
    creeklab.targets.aws.AwsError
        If the AWS account cannot be used.
    """
    name = os.environ.get("CREEKLAB_TARGET", "local") if target is None else target
    # Joining or leaving a workshop must not hide what was created on AWS.
    home = home or (base_folder() if name == "aws" else home_folder())
    if name not in ("local", "aws"):
        raise ValueError(f"open_lab knows the targets 'local' and 'aws', not '{name}'.")
    refuse_git_work_tree(home)
    # Imported late, while the cloud starts; see the top of this file.
    if name == "local":
        running = supervisor.start_or_attach(home, meanwhile=_import_clients)
        from creeklab.lab.lab import Lab
        from creeklab.targets.local import open_local

        return Lab(home, open_local(home, running))
    from creeklab.lab.lab import Lab
    from creeklab.targets.aws import open_aws

    return Lab(home, open_aws(home, accept_costs=accept_costs, mqtt_port=mqtt_port))


def _import_clients() -> None:
    for name in ("creeklab.lab.lab", "creeklab.targets.local"):
        importlib.import_module(name)
