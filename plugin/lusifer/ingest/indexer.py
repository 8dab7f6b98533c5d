"""Fills a store with documents, window by window.

A window that is written is kept by the store. An interrupted run therefore loses at most two
windows of work, the one being written and the one being embedded, and the same command continues
it. The store itself is the checkpoint: each window asks it what it already holds. No checkpoint
file can be lost, be stale or belong to another collection.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from lusifer.common.iteration import chunked
from lusifer.errors import InvalidDimensionError, InvalidInputError, LusiferError, StorageFullError
from lusifer.ingest.sources.base import Rejected
from lusifer.stores.parts import delete_further_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from lusifer.embedding.base import Embedder
    from lusifer.stores.base import Store
    from lusifer.types import JSON, Document

__all__ = ["IndexReport", "index_documents"]

logger = logging.getLogger(__name__)

REJECTED_KEPT = 100
"""Rejected records that a report lists; all others are counted only."""

WINDOW_CHARACTERS = 8 * 1024**2
"""Most characters of a window with two or more documents, so that memory is bounded."""

_OTHER_CHARACTERS = 32
"""Characters that a number, a list or an object counts as, about its size in memory."""


@dataclass(frozen=True)
class IndexReport:
    """The counts of an indexing run, at its end or after a window."""

    added: int = 0
    """Documents that were new or had changed, and were embedded and stored."""
    unchanged: int = 0
    """Documents that the store already held, or that the source holds more than once."""
    rejected_count: int = 0
    """Records that can't be indexed."""
    rejected: tuple[Rejected, ...] = ()
    """The first rejected records, at most ``REJECTED_KEPT``."""
    truncated: int = 0
    """Added documents whose end was cut off at the token limit."""
    tokens: int = 0
    """Tokens of the added documents."""
    seconds: float = 0.0
    """Time since the run began."""
    interrupted: bool = False
    """Whether Ctrl-C ended the run; every counted document is stored."""

    @property
    def read(self) -> int:
        """Number of records read: added, unchanged or rejected."""
        return self.added + self.unchanged + self.rejected_count

    def as_dict(self) -> dict[str, JSON]:
        """Return the fields as JSON."""
        return {
            "added": self.added,
            "unchanged": self.unchanged,
            "rejected_count": self.rejected_count,
            "rejected": [record.as_dict() for record in self.rejected],
            "truncated": self.truncated,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
        }


@dataclass
class _Tally:
    added: int = 0
    unchanged: int = 0
    rejected_count: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    truncated: int = 0
    tokens: int = 0

    def reject(self, record: Rejected) -> None:
        self.rejected_count += 1
        if len(self.rejected) < REJECTED_KEPT:
            self.rejected.append(record)

    def add(self, window: _Tally) -> None:
        self.added += window.added
        self.unchanged += window.unchanged
        self.truncated += window.truncated
        self.tokens += window.tokens
        self.rejected_count += window.rejected_count
        self.rejected += window.rejected[: REJECTED_KEPT - len(self.rejected)]

    def report(self, seconds: float) -> IndexReport:
        fields = {**vars(self), "rejected": tuple(self.rejected)}
        return IndexReport(**fields, seconds=seconds)


@dataclass
class _Window:
    """Embedded documents to be stored together."""

    tally: _Tally = field(default_factory=_Tally)
    documents: list[Document] = field(default_factory=list)
    vectors: list[NDArray[np.float32]] = field(default_factory=list)
    part_counts: Mapping[str, int] = field(default_factory=dict)
    """Number of parts that documents have now, by their ids."""


def index_documents(
    documents: Iterable[Document | Rejected],
    vectorizer: Embedder,
    store: Store,
    *,
    window: int = 256,
    on_progress: Callable[[IndexReport], None] | None = None,
    part_counts: Callable[[], Mapping[str, int]] | None = None,
) -> IndexReport:
    """Embed and store the documents that the store does not hold yet.

    One window is written while the next is embedded.

    Args:
        documents: Documents and rejected records; at most one window is read ahead.
        vectorizer: Embeds the documents; its model must be the one the store was made for.
        store: Stays open; it is written from another thread.
        window: Documents that are embedded and stored together; fewer if they are large.
        on_progress: Called after each window.
        part_counts: Returns the number of parts of the documents since its last call, by their ids,
            where documents are split; parts beyond it are deleted, as they are of documents that
            are no longer split.

    Returns:
        The counts. Ctrl-C ends the run early with ``interrupted`` set; every counted document is
        stored.

    Raises:
        StorageFullError: The disk is full; the message says how many documents of this run are
            stored.
        InvalidInputError: ``window`` is below 1, or the source as a whole can't be read.
        InvalidDimensionError: The vectorizer's vectors have another dimension than the store's.
        EngineError: The engine can't run; windows embedded before are stored.
        StoreError: The store can't write.
    """
    if window < 1:
        raise InvalidInputError(
            f"The window is {window}.", next_step="Use at least 1 document; 256 is usual."
        )
    if vectorizer.dimension != store.dimension:
        raise InvalidDimensionError(
            f"The store keeps vectors of dimension {store.dimension}, the model in use makes "
            f"{vectorizer.dimension}.",
            next_step=f"Load the model with dimension {store.dimension}.",
        )
    started_s = time.monotonic()
    tally = _Tally()
    writing: tuple[Future[None], _Window] | None = None

    def report() -> IndexReport:
        return tally.report(time.monotonic() - started_s)

    def wait() -> None:
        """Count a window once it is stored, so that no report exceeds the store."""
        nonlocal writing
        if writing is None:
            return
        (future, written), writing = writing, None
        try:
            future.result()
        except KeyboardInterrupt:
            # Only this thread is interrupted: the writer's thread finishes its window.
            with _interrupt_held_back():
                future.result()
                tally.add(written.tally)
            raise
        tally.add(written.tally)
        logger.info(
            "Stored so far: %d added, %d unchanged, %d rejected",
            tally.added,
            tally.unchanged,
            tally.rejected_count,
        )
        if on_progress is not None:
            on_progress(report())

    with ThreadPoolExecutor(1, thread_name_prefix="lusifer-writer") as writer:
        try:
            try:
                for chunk in chunked(
                    documents, window, size=_characters, maximum_size=WINDOW_CHARACTERS
                ):
                    # While a document is being written, the store may still hold its old version.
                    unsettled = (
                        {document.id for document in writing[1].documents} if writing else set()
                    )
                    embedded = _embed_window(chunk, vectorizer, store, unsettled)
                    embedded.part_counts = (
                        {document.id: 1 for document in embedded.documents}
                        if part_counts is None
                        else part_counts()
                    )
                    wait()
                    writing = (writer.submit(_write_window, store, embedded), embedded)
            finally:
                wait()
        except KeyboardInterrupt:
            with _interrupt_held_back():
                store.flush()
            return replace(report(), interrupted=True)
        except StorageFullError as error:
            raise StorageFullError(
                f"{error.message} {tally.added} documents of this run are safe in the index.",
                next_step="Free some space, then run the same command again: it continues where "
                "it stopped.",
            ) from error
    return report()


def _characters(item: Document | Rejected) -> int:
    """Count the characters of a document's text and metadata, for the size of a window."""
    return 0 if isinstance(item, Rejected) else len(item.text) + _characters_of(item.metadata)


def _characters_of(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        items = sum(len(key) + _characters_of(item) for key, item in value.items())
        return _OTHER_CHARACTERS + items
    if isinstance(value, list | tuple):
        return _OTHER_CHARACTERS + sum(map(_characters_of, value))
    return _OTHER_CHARACTERS


def _embed_window(
    chunk: list[Document | Rejected], vectorizer: Embedder, store: Store, unsettled: set[str]
) -> _Window:
    window = _Window()
    fresh: dict[str, Document] = {}
    repeated = 0
    for item in chunk:
        if isinstance(item, Rejected):
            window.tally.reject(item)
        else:
            repeated += item.id in fresh
            fresh[item.id] = item
    stored = store.unchanged(
        document for document in fresh.values() if document.id not in unsettled
    )
    window.tally.unchanged = repeated + len(stored)
    wanted: list[Document] = []
    texts: list[str] = []
    for document in fresh.values():
        if document.id in stored:
            continue
        try:
            texts.append(store.text_of(document))
        except InvalidInputError as error:
            window.tally.reject(_rejected(document, error))
        else:
            wanted.append(document)
    results = vectorizer.stream(texts, "document", window=max(1, len(wanted)))
    for document, result in zip(wanted, results, strict=True):
        if isinstance(result, InvalidInputError):
            window.tally.reject(_rejected(document, result))
        elif isinstance(result, LusiferError):
            raise result
        else:
            window.documents.append(document)
            window.vectors.append(result.vector)
            window.tally.tokens += result.tokens
            window.tally.truncated += result.truncated
    window.tally.added = len(window.documents)
    return window


def _write_window(store: Store, window: _Window) -> None:
    if window.documents:
        _write_documents(store, window)
    deleted = delete_further_parts(store, window.part_counts)
    if window.documents or deleted:
        store.flush()


def _write_documents(store: Store, window: _Window) -> None:
    try:
        store.upsert(window.documents, np.stack(window.vectors))
    except InvalidInputError:
        # One document can't be stored. Write them one by one, so that the others are kept.
        for document, vector in zip(window.documents, window.vectors, strict=True):
            try:
                store.upsert([document], vector[None])
            except InvalidInputError as error:
                window.tally.added -= 1
                window.tally.reject(_rejected(document, error))


def _rejected(document: Document, error: InvalidInputError) -> Rejected:
    return Rejected(f"document {document.id!r}", error.message, error.next_step)


@contextmanager
def _interrupt_held_back() -> Iterator[None]:
    """Delay Ctrl-C until the block ends, so that no write is cut in two."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = False

    def remember(_signal: int, _frame: object) -> None:
        nonlocal pressed
        pressed = True

    previous = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if pressed:
        raise KeyboardInterrupt
