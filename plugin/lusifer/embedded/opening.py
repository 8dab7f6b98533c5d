"""Creation and opening of an index folder: the checks, the lock, then the shard."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lusifer.common.files import remove_partials
from lusifer.embedded.engine import damaged, edge_errors, import_edge
from lusifer.embedded.layout import (
    check_fingerprint,
    clear_leftovers,
    free_space_or_raise,
    lock_index,
    read_index,
)
from lusifer.embedded.shard import Shard
from lusifer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from filelock import FileLock

    from lusifer.embedded.layout import IndexFile
    from lusifer.types import Quantization

__all__ = ["create_index", "open_index"]


def create_index(
    path: Path, index: IndexFile, quantization: Quantization
) -> tuple[FileLock, Shard]:
    """Create an empty index; raises as ``EmbeddedStore.create``.

    Args:
        path: A new or empty folder.
        index: What ``index.json`` will say.
        quantization: How vectors are kept in memory, once the search index is built.

    Returns:
        The lock of the folder, held, and the open shard.
    """
    import_edge()
    with edge_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        lock = lock_index(path)
    with _released_on_error(lock):
        if (path / "index.json").exists():
            raise StoreError(
                f"{path} already holds an index.", next_step="Open it, or choose another folder."
            )
        free_space_or_raise(path, 0, "A new index")
        with edge_errors(path):
            clear_leftovers(path)
        return lock, Shard.create(path, index, quantization)


def open_index(path: Path, fingerprint: str | None) -> tuple[IndexFile, FileLock, Shard]:
    """Open an index that holds vectors of one model; raises as ``EmbeddedStore.open``.

    Args:
        path: Its folder.
        fingerprint: The model about to be used with it; None skips the comparison.

    Returns:
        What ``index.json`` says, the lock of the folder, held, and the open shard.
    """
    import_edge()
    index = read_index(path)
    check_fingerprint(path, index, fingerprint)
    # The engine opens a shard without segments as an empty one: every document gone, and no error.
    segments = path / "shard" / "segments"
    if not segments.is_dir() or not any(segments.iterdir()):
        raise damaged(path, f"there is no data in {segments}")
    lock = lock_index(path)
    with _released_on_error(lock):
        remove_partials(path / "index.json", path / "flushed.json")
        return index, lock, Shard.load(path)


@contextmanager
def _released_on_error(lock: FileLock) -> Iterator[None]:
    """Release a lock where the block raises."""
    try:
        yield
    except BaseException:
        lock.release()
        raise
