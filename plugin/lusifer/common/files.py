"""The one way to lock a file and to write a file whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import stat
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "acquire_lock",
    "atomic_writer",
    "is_partial",
    "partials_of",
    "read_regular",
    "remove_partials",
    "sync",
    "write_atomic",
]

_PARTIAL = ".partial"
_RANDOM = "[0-9a-f]{8}"
_PARTIAL_NAME = re.compile(rf".+\.{_RANDOM}{re.escape(_PARTIAL)}")


def acquire_lock(path: Path, *, timeout_s: float = 0.0) -> FileLock:
    """Acquire an advisory lock; the system releases it when the process dies.

    Args:
        path: The lock file; its folder must exist.
        timeout_s: Time to wait for another holder; below 0 there is no limit.

    Returns:
        The acquired lock. Call its ``release()``; calling that twice is fine.

    Raises:
        TimeoutError: Another process, or another part of this one, holds the lock.
        OSError: The lock file can't be opened.
    """
    # A store may be closed in another thread than the one that opened it.
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=timeout_s)
    except Timeout as error:
        raise TimeoutError(f"{path} is locked") from error
    return lock


def read_regular(path: Path, maximum_bytes: int) -> bytes:
    """Return the content of a file that somebody else may have made.

    Args:
        path: The file. A pipe or a device is refused: it could give bytes without end, or none.
        maximum_bytes: Largest size that is read.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It is no regular file, too large, or can't be read.
    """
    # Without O_NONBLOCK, a pipe would have us wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} is not a regular file")
        if status.st_size > maximum_bytes:
            raise OSError(f"{path} has {status.st_size} bytes, at most {maximum_bytes} are read")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(maximum_bytes)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, content: str | bytes, *, mode: int = 0o644) -> None:
    """Write a file whole or not at all, so that it survives a kill and a power cut.

    Args:
        path: The file; its folder must exist.
        content: Bytes, or text that is written as UTF-8.
        mode: Permissions of a new file, before the umask.

    Raises:
        OSError: The folder can't be written, or the disk is full; the old file is still there.
    """
    with atomic_writer(path, mode=mode) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def atomic_writer(path: Path, *, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """Open a file that replaces ``path`` when the block ends without an error.

    A symbolic link stays, and the file that it leads to is replaced. Permissions and owner of an
    existing file are kept, the owner where this process may give files away.

    Args:
        path: The file; its folder must exist.
        mode: Permissions of a new file, before the umask.

    Raises:
        OSError: As in :func:`write_atomic`.
    """
    path = path.resolve()
    # A random name: two processes that write the same file must not share the partial one.
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_PARTIAL}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            _keep_permissions(path, file.fileno())
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync(path.parent)


def _keep_permissions(path: Path, descriptor: int) -> None:
    """Give a new file owner and permissions of the one that it is going to replace."""
    if os.name == "nt" or not path.is_file():
        return
    old, new = path.stat(), os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        with suppress(PermissionError):
            os.fchown(descriptor, old.st_uid, old.st_gid)
    # Not the bits that run a program as its owner: the writer may be another one.
    os.fchmod(descriptor, old.st_mode & 0o777)


def is_partial(path: Path) -> bool:
    """Return whether a file has the name that a killed :func:`write_atomic` leaves behind."""
    return _PARTIAL_NAME.fullmatch(path.name) is not None


def partials_of(path: Path) -> list[Path]:
    """Return what killed writes of one file left beside it, and nothing that is somebody else's."""
    # An earlier version had a fixed name.
    names = re.compile(re.escape(path.name) + rf"(\.{_RANDOM})?{re.escape(_PARTIAL)}")
    found = (each for each in path.parent.iterdir() if names.fullmatch(each.name))
    return sorted(each for each in found if each.is_file())


def remove_partials(*paths: Path) -> None:
    """Remove what killed writes of these files left; call it where nobody else can write them."""
    for path in paths:
        for partial in partials_of(path):
            partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file or folder to the disk.

    Raises:
        OSError: The file or folder can't be opened or flushed.
    """
    if os.name == "nt":  # Windows can't open a folder and needs no flush of it.
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
