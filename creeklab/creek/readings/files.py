"""Files as text and as rows, without any conversion by pandas."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any

import pandas as pd

from creeklab.creek.readings.samples import list_columns


def text_of(path: Path) -> str:
    """Return the text of a file in UTF-8, or in the encoding of older loggers (Windows 1252)."""
    data = path.read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def table(path: str | Path | IO[str], text: str | None = None, **options: Any) -> pd.DataFrame:
    """Return a table as text, so that pandas converts nothing on its own.

    Parameters
    ----------
    path
        The file.
    text
        The part of it that holds the table, if not all of it does.
    options
        For `pandas.read_csv`.

    Raises
    ------
    ValueError
        If there is no table, or it has no rows.
    """
    try:
        plain = {"dtype": str, "keep_default_na": False, "na_values": [""]}
        source = path if text is None else io.StringIO(text)
        rows: pd.DataFrame = pd.read_csv(source, **{**plain, **options})
    except pd.errors.EmptyDataError:
        raise ValueError(f"{path} is empty.") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from None
    if rows.empty:
        raise ValueError(f"{path} has a header ({list_columns(rows)}) but no rows.")
    return rows
