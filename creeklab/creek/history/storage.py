"""Where a history lies: in a folder, or under a prefix of an S3 bucket; and how a file gets there.

A file is there whole or not at all. In a folder it is written aside, made to reach the disk, and
then takes its name, and the folder is made to reach the disk as well. In a bucket an object is put
in one request, which S3 itself shows whole or not at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
from filelock import FileLock, Timeout

LOCK_TIMEOUT = 60.0


class FileStore:
    """A folder of files, here or in a bucket. Paths in it are relative and have forward slashes.

    Parameters
    ----------
    where
        A folder; or a URI that pyarrow knows, such as ``s3://bucket/prefix?region=us-east-2``. With
        a file system it is a path in that.
    filesystem
        For all that a URI cannot say: ``pyarrow.fs.S3FileSystem(anonymous=True, ...)``.
    """

    def __init__(self, where: str | Path, filesystem: pyarrow.fs.FileSystem | None = None) -> None:
        self._local: Path | None = None
        text = str(where)
        if filesystem is not None:
            self._system = filesystem
            # A bucket's path has no scheme in pyarrow; people write it all the same.
            self._base = text.removeprefix("s3://").rstrip("/")
        elif "://" in text:
            self._system, base = pyarrow.fs.FileSystem.from_uri(text)
            self._base = base.rstrip("/")
        else:
            self._local = Path(where).expanduser().absolute()
            self._system, self._base = pyarrow.fs.LocalFileSystem(), self._local.as_posix()
        # What a person may be shown: a URI may hold keys.
        self.name = re.sub("//[^/]*@", "//", text.partition("?")[0])

    @property
    def folder(self) -> Path | None:
        """The folder, if it is one of this machine."""
        return self._local

    def list(self, path: str = "") -> list[str]:
        """Name what is directly in a folder, in order, without what begins with ``.`` or ``_``."""
        selector = pyarrow.fs.FileSelector(self._path(path), allow_not_found=True)
        found = (info.base_name for info in self._system.get_file_info(selector))
        return sorted(name for name in found if name and not name.startswith((".", "_")))

    def read(self, path: str) -> Any:
        """Open a file that stays as it is while it is read, whatever is written meanwhile.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        """
        file = self._system.open_input_file(self._path(path))
        if self._local is not None:
            return file
        # Of a bucket in one request: of two, the second may see another object.
        with file:
            return pa.BufferReader(file.read_buffer())

    def write(self, path: str, content: pa.Buffer) -> None:
        """Put a file in its place, whole or not at all."""
        if self._local is None:
            with self._system.open_output_stream(self._path(path), compression=None) as stream:
                stream.write(content)
            return
        file = self._local / path
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f".{file.name}.new")
        with draft.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
        for folder in (file.parent, *file.parent.parents):
            sync_folder(folder)
            if folder == self._local:
                break

    def remove(self, path: str) -> None:
        """Remove a file."""
        self._system.delete_file(self._path(path))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other writers of this machine out meanwhile. A bucket has no such lock.

        Raises
        ------
        TimeoutError
            Another one writes, and does not end within a minute.
        """
        lock: Any = nullcontext()
        if self._local is not None:
            self._local.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._local / ".lock", timeout=LOCK_TIMEOUT)
        try:
            lock.__enter__()
        except Timeout:
            raise TimeoutError(
                f"Somebody else has been writing to {self.name} for {LOCK_TIMEOUT:.0f} s. Wait for"
                " that program, or end it."
            ) from None
        try:
            yield
        finally:
            lock.__exit__(None, None, None)

    def _path(self, path: str) -> str:
        return f"{self._base}/{path}" if path else self._base


def sync_folder(folder: Path) -> None:
    """Make the names in a folder reach the disk."""
    if os.name == "nt":
        return  # Windows opens no folder; its file system keeps a log of names.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
