"""Files of a history, in a folder or under a prefix of an S3 bucket.

A file exists completely or not at all. In a folder, it is written under another name, synced to the
disk and renamed, and the folder is synced as well. In a bucket, it is uploaded in one request,
which S3 applies completely or not at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
from filelock import FileLock, Timeout

LOCK_TIMEOUT = 60.0


class FileStore:
    """A folder of files, local or in a bucket. Paths are relative and use forward slashes.

    Parameters
    ----------
    where
        A folder; or a URI that pyarrow knows, such as ``s3://bucket/prefix?region=us-east-2``. With
        ``filesystem``, it is a path in that file system.
    filesystem
        For options that a URI cannot express: ``pyarrow.fs.S3FileSystem(anonymous=True, ...)``.

    Attributes
    ----------
    folder
        The local folder; None for a bucket.
    name
        Where the files are, without the keys that a URI may contain.
    """

    def __init__(self, where: str | Path, filesystem: pyarrow.fs.FileSystem | None = None) -> None:
        self.folder: Path | None = None
        text = str(where)
        if filesystem is not None:
            self._system = filesystem
            # pyarrow expects a bucket path without the scheme, but people often include it.
            self._base = text.removeprefix("s3://").rstrip("/")
        elif "://" in text:
            self._system, base = pyarrow.fs.FileSystem.from_uri(text)
            self._base = base.rstrip("/")
        else:
            self.folder = Path(where).expanduser().absolute()
            self._system, self._base = pyarrow.fs.LocalFileSystem(), self.folder.as_posix()
        self.name = re.sub("//[^/]*@", "//", text.partition("?")[0])

    def list(self, path: str = "") -> list[str]:
        """Return the names in a folder, sorted, except those that start with ``.`` or ``_``."""
        selector = pyarrow.fs.FileSelector(self._path(path), allow_not_found=True)
        found = (info.base_name for info in self._system.get_file_info(selector))
        return sorted(name for name in found if name and not name.startswith((".", "_")))

    def read(self, path: str) -> Any:
        """Open a file whose content does not change while it is read, even if it is replaced.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        """
        file = self._system.open_input_file(self._path(path))
        if self.folder is not None:
            return file
        # One request for the whole object: a second one might see its replacement.
        with file:
            return pa.BufferReader(file.read_buffer())

    def write(self, path: str, content: pa.Buffer) -> None:
        """Write a file, completely or not at all."""
        if self.folder is None:
            with self._system.open_output_stream(self._path(path), compression=None) as stream:
                stream.write(content)
            return
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f".{file.name}.new")
        with draft.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
        for folder in (file.parent, *file.parent.parents):
            sync_folder(folder)
            if folder == self.folder:
                break

    def remove(self, path: str) -> None:
        """Remove a file."""
        self._system.delete_file(self._path(path))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other writers on this machine out. A bucket has no such lock.

        Raises
        ------
        TimeoutError
            If another writer does not finish within a minute.
        """
        if self.folder is None:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock", timeout=LOCK_TIMEOUT)
        try:
            lock.acquire()
        except Timeout:
            raise TimeoutError(
                f"Cannot write to {self.name}: another program has been writing to it for"
                f" {LOCK_TIMEOUT:.0f} s. Wait for that program, or end it."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _path(self, path: str) -> str:
        return f"{self._base}/{path}" if path else self._base


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk."""
    if os.name == "nt":
        return  # Windows cannot open a folder; its file system journals the names.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
