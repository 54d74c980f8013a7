"""The home folder: where one learner's cloud, keys and account live.

``CREEKLAB_HOME`` names it; without that it is the user's data folder, as the operating system has
it. Nothing of it ever lies in the repository.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def home_folder() -> Path:
    """Return the home folder, which need not exist yet."""
    chosen = os.environ.get("CREEKLAB_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(platformdirs.user_data_dir("creeklab", appauthor=False))
