"""Creation and opening of an index folder: the checks, the lock, then the shard."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lusifer.common.files import remove_partials
from lusifer.common.iteration import chunked
from lusifer.common.paths import make_private
from lusifer.embedded.engine import damaged, edge_errors, import_edge
from lusifer.embedded.layout import (
    INDEX_SCHEMA_VERSION,
    check_fingerprint,
    clear_leftovers,
    free_space_or_raise,
    lock_index,
    read_index,
    write_index,
)
from lusifer.embedded.requests import KeywordModel, keyword_bytes
from lusifer.embedded.shard import BYTES_PER_OPERATION, POINTS_PER_OPERATION, Shard
from lusifer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from filelock import FileLock

    from lusifer.embedded.layout import IndexFile
    from lusifer.qdrant.keywords import KeywordOptions
    from lusifer.types import Quantization

__all__ = ["create_index", "open_index"]

logger = logging.getLogger(__name__)

_KEYWORD_BYTES = 4096
"""Free space for the new keyword vector of a document, in the log and in the storage."""


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
        make_private(path)
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
        shard = Shard.load(path)
        try:
            if index.keywords is not None and index.keywords.words == 1:
                index = _make_keywords_again(path, index, index.keywords, shard)
        except BaseException:
            shard.close()
            raise
        return index, lock, shard


def _make_keywords_again(
    path: Path, index: IndexFile, keywords: KeywordOptions, shard: Shard
) -> IndexFile:
    """Replace the keyword vectors of an index of version 1; called with the lock held.

    ``index.json`` is written last: a process that is killed before begins again at the next
    opening.

    Returns:
        What ``index.json`` says now.
    """
    keywords = keywords.model_copy(update={"words": 2})
    model = KeywordModel(keywords)
    count = shard.count()
    logger.info("%s: making the keywords of %d documents again", path, count)
    free_space_or_raise(path, count * _KEYWORD_BYTES, "Making the keywords again")
    offset: str | None = None
    while True:
        payloads, offset = shard.read(offset, POINTS_PER_OPERATION, fields=["text"])
        vectors = [
            (key, model.embed_document(text))
            for key, payload in payloads.items()
            if isinstance(text := payload.get("text"), str)
        ]
        for part in chunked(
            vectors,
            POINTS_PER_OPERATION,
            size=lambda each: keyword_bytes(each[1]),
            maximum_size=BYTES_PER_OPERATION,
        ):
            shard.update_sparse(dict(part))
        if offset is None:
            break
    shard.flush()
    renewed = index.model_copy(
        update={"keywords": keywords, "schema_version": INDEX_SCHEMA_VERSION}
    )
    write_index(path, renewed)
    return renewed


@contextmanager
def _released_on_error(lock: FileLock) -> Iterator[None]:
    """Release a lock where the block raises."""
    try:
        yield
    except BaseException:
        lock.release()
        raise
