"""The home folder: a learner's cloud, keys and account.

``CREEKLAB_HOME`` names it; the default is in the user's data folder. It contains private keys, so
it must not be inside a git repository.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def home_folder() -> Path:
    """Return the home folder, which may not exist yet; in a workshop, the one for it."""
    base = base_folder()
    workshop = workshop_folder(base)
    return workshop if (workshop / "cloud" / "joined.json").exists() else base


def workshop_folder(base: Path) -> Path:
    """Return the home folder for a workshop, inside the home folder `base`."""
    return base / "workshop"


def base_folder() -> Path:
    """Return the home folder, regardless of a workshop."""
    chosen = os.environ.get("CREEKLAB_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(platformdirs.user_data_dir("creeklab", appauthor=False))


def refuse_git_work_tree(folder: Path) -> None:
    """Raise if a folder for keys is in a git work tree.

    The message names both folders in the form of `folder`: as absolute or relative paths.

    Raises
    ------
    ValueError
        If `folder` is, or would be, inside a git work tree.
    """
    for parent in [folder.resolve(), *folder.resolve().parents]:
        if (parent / ".git").exists():
            tree = parent if folder.is_absolute() else os.path.relpath(parent)
            raise ValueError(
                f"Nothing was saved: {folder} is in the git work tree {tree}. Sooner or later, "
                "keys in a repository are published, and anyone who finds one can act as your "
                "Thing. Set CREEKLAB_HOME to a folder outside the work tree and open the lab again."
            )
