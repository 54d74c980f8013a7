"""Where a replay has got to, kept in a small file, so that a program that died can go on.

The file says how many rows of which recording are done. A device may have several readings under
way at once, and they need not arrive in order; those that arrived beyond the first one missing are
listed by row, so that they are not sent a second time.

It is written whole or not at all: into a draft beside it, which then takes its name. A crash in
between leaves the place before, and a replay that begins there sends some readings again. That is
the harmless side to err on: whoever keeps them knows a reading by its time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray


@dataclass
class ReplayPosition:
    """How far a recording has been played.

    Parameters
    ----------
    recording
        Which one: :func:`recording_id`.
    sent, skipped
        Rows done from the beginning on, without a hole: with a reading, and with nothing measured.
    ahead
        Rows done beyond those.
    """

    recording: str
    sent: int = 0
    skipped: int = 0
    ahead: list[int] = field(default_factory=list)

    @classmethod
    def load(cls, file: Path, recording: str) -> Self:
        """Read the place; the beginning, if there is no file yet.

        Raises
        ------
        ValueError
            The file is no place, or the place in another recording.
        """
        if not file.exists():
            return cls(recording)
        try:
            place = cls(**json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{file} does not hold the place of a replay ({error}). Give another file, or"
                " remove this one to begin at the beginning."
            ) from None
        if place.recording != recording:
            raise ValueError(
                f"{file} holds the place in another recording: other times or other values than"
                " these readings. Give each recording a file of its own, or remove this one to"
                " begin at the beginning."
            )
        return place

    def save(self, file: Path) -> None:
        """Write the place, whole or not at all."""
        draft = file.with_name(file.name + ".new")
        with draft.open("w", encoding="utf-8") as stream:
            json.dump(asdict(self), stream)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)


def recording_id(columns: Iterable[NDArray[Any]]) -> str:
    """Give a name for a recording that no other one has: the SHA-256 of its columns."""
    total = hashlib.sha256()
    for column in columns:
        total.update(column.tobytes())
    return total.hexdigest()
