"""The position of a replay, kept in a small file, so that a program that died can resume.

The file says how many rows of which recording are done. A device may have several readings in
flight, and they need not arrive in order; rows that arrived beyond the first missing one are
listed, so that they are not sent again.

The file is written under another name and then renamed. A crash in between keeps the old position,
and the replay sends some readings again. That does no harm, because a history identifies a reading
by its time.
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
        Identifies the recording: :func:`recording_id`.
    sent, skipped
        Rows done from the beginning without a hole: with a reading, and with nothing measured.
    ahead
        Rows done beyond those.
    """

    recording: str
    sent: int = 0
    skipped: int = 0
    ahead: list[int] = field(default_factory=list)

    @classmethod
    def load(cls, file: Path | None, recording: str) -> Self:
        """Return the position in a file, or the beginning if there is no file.

        Raises
        ------
        ValueError
            If the file does not hold a position, or holds one in another recording.
        """
        if file is None or not file.exists():
            return cls(recording)
        try:
            position = cls(**json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{file} does not hold the position of a replay ({error}). Use another file, or"
                " remove this one to start from the beginning."
            ) from None
        if position.recording != recording:
            raise ValueError(
                f"{file} holds the position in another recording, whose times or values differ from"
                " these readings. Use one file per recording, or remove this one to start from the"
                " beginning."
            )
        return position

    def save(self, file: Path) -> None:
        """Write the position, completely or not at all."""
        draft = file.with_name(file.name + ".new")
        with draft.open("w", encoding="utf-8") as stream:
            json.dump(asdict(self), stream)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)


def recording_id(columns: Iterable[NDArray[Any]]) -> str:
    """Return a unique name for a recording: the SHA-256 of its columns."""
    digest = hashlib.sha256()
    for column in columns:
        digest.update(column.tobytes())
    return digest.hexdigest()
