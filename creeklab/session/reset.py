"""Empty an account of the local cloud."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from creeklab.client.key_files import Keys
from creeklab.cloud import supervisor
from creeklab.cloud.account import load_account
from creeklab.lab.open_lab import open_lab as open_lab
from creeklab.ledger.ledger import Ledger

if TYPE_CHECKING:
    pass


def reset_account(home: Path) -> bool:
    """Empty the account of a home's cloud, as `Lab.reset` does; return whether the cloud runs."""
    if supervisor.joined(home) is None:
        running = supervisor.reset(home)
    else:
        open_lab("local", home=home)._ask("reset", {})
        running = True
    Keys(home / "keys", supervisor.ca_file(home)).clear()
    if (home / "cloud" / "account.json").exists():
        Ledger.emptied(home, load_account(home / "cloud").account)
    return running
