"""The home folder: where one learner's cloud, keys and account live.

``CREEKLAB_HOME`` names it; without that it is the user's data folder, as the operating system has
it. It holds private keys, so it never lies in a git repository.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def home_folder() -> Path:
    """Return the home folder, which need not exist yet; in a workshop the one within it."""
    base = base_folder()
    workshop = workshop_folder(base)
    return workshop if (workshop / "cloud" / "joined.json").exists() else base


def workshop_folder(base: Path) -> Path:
    """Return the home folder that a workshop has within the home folder `base`."""
    return base / "workshop"


def base_folder() -> Path:
    """Return the home folder, whether or not one takes part in a workshop."""
    chosen = os.environ.get("CREEKLAB_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(platformdirs.user_data_dir("creeklab", appauthor=False))


def refuse_git_work_tree(folder: Path) -> None:
    """Refuse to put keys where git would see them.

    The message names both folders as `folder` was given: by their whole paths, or from here.

    Raises
    ------
    ValueError
        If `folder` lies, or would lie, inside a git work tree.
    """
    for parent in [folder.resolve(), *folder.resolve().parents]:
        if (parent / ".git").exists():
            tree = parent if folder.is_absolute() else os.path.relpath(parent)
            raise ValueError(
                f"{folder} lies in the git work tree {tree}. Keys in a repository get "
                "published sooner or later, and whoever finds one is your Thing. Nothing was "
                "saved: set CREEKLAB_HOME to a folder outside it and open the lab again."
            )
