"""Empty an account of the local cloud."""

from __future__ import annotations

from pathlib import Path

from creeklab.client.key_files import KeyFiles
from creeklab.cloud import supervisor
from creeklab.cloud.account import load_account
from creeklab.ledger.ledger import Ledger
from creeklab.targets.local import open_local


def reset_account(home: Path) -> bool:
    """Empty the account of a home's cloud; return whether the cloud is running. See `Lab.reset`."""
    if supervisor.workshop_membership(home) is None:
        running = supervisor.reset(home)
    else:
        workshop = open_local(home, supervisor.start_or_attach(home))
        assert workshop.admin is not None  # a workshop's cloud is a local one
        workshop.admin("reset", {})
        running = True
    KeyFiles(home / "keys", supervisor.ca_path(home)).clear()
    if (home / "cloud" / "account.json").exists():
        Ledger.record_reset(home, load_account(home / "cloud").account)
    return running
