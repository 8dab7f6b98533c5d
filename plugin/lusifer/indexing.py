"""From documents to a filled store, window by window.

After each window everything is on disk, so that an interrupted run loses at most one window of work, and the
same command goes on from there: documents that are already stored are not embedded again.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from lusifer.documents import Rejected
from lusifer.errors import InvalidInputError, LusiferError, StorageFullError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lusifer.store import Document, Store
    from lusifer.vectorizer import Vectorizer

__all__ = ["IndexReport", "index_documents"]

logger = logging.getLogger(__name__)

REJECTED_KEPT = 100
"""Rejected records that a report lists; the rest is counted."""


@dataclass(frozen=True)
class IndexReport:
    """What an indexing run did; also handed out after each window, as its progress."""

    added: int = 0
    """Documents that are new or have changed: embedded and stored."""
    unchanged: int = 0
    """Documents that the store already held, or that stand in the source more than once."""
    rejected_count: int = 0
    rejected: tuple[Rejected, ...] = ()
    """The first rejected records, at most ``REJECTED_KEPT``."""
    truncated: int = 0
    """Added documents whose end was cut off at the token limit."""
    tokens: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    """Whether Ctrl-C ended the run; everything counted is stored."""

    @property
    def read(self) -> int:
        """Records dealt with."""
        return self.added + self.unchanged + self.rejected_count

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
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


def index_documents(
    documents: Iterable[Document | Rejected],
    vectorizer: Vectorizer,
    store: Store,
    *,
    window: int = 256,
    on_progress: Callable[[IndexReport], None] | None = None,
) -> IndexReport:
    """Embed what the store doesn't hold yet and store it.

    Args:
        documents: Read one window ahead, no further.
        vectorizer: Its model must be the one the store was made for.
        store: Stays open.
        window: Documents that are embedded and stored together.
        on_progress: Called after each window.

    Returns:
        The counts. Ctrl-C ends the run early with ``interrupted`` set, and what was counted is stored.

    Raises:
        StorageFullError: No room; the message says how many documents of this run are safe.
        InvalidInputError: ``window`` is below 1, or the source as a whole can't be read.
        EngineError: The engine can't run.
        StoreError: The store can't write.
    """
    if window < 1:
        raise InvalidInputError(
            f"The window is {window}.", next_step="Use at least 1 document; 256 is usual."
        )
    started_s = time.monotonic()
    tally = _Tally()
    items = iter(documents)

    def report() -> IndexReport:
        fields = {**vars(tally), "rejected": tuple(tally.rejected)}
        return IndexReport(**fields, seconds=time.monotonic() - started_s)

    try:
        while chunk := list(islice(items, window)):
            _index_window(chunk, vectorizer, store, tally)
            logger.info(
                "Stored so far: %d added, %d unchanged, %d rejected",
                tally.added,
                tally.unchanged,
                tally.rejected_count,
            )
            if on_progress is not None:
                on_progress(report())
    except KeyboardInterrupt:
        with _interrupt_held_back():
            store.flush()
        return replace(report(), interrupted=True)
    except StorageFullError as error:
        raise StorageFullError(
            f"{error.message} {tally.added} documents of this run are safe in the index.",
            next_step="Free some space, then run the same command again: it goes on where it stopped.",
        ) from error
    return report()


def _index_window(
    chunk: list[Document | Rejected], vectorizer: Vectorizer, store: Store, tally: _Tally
) -> None:
    # Counted only once the window is stored, so that a report never promises more than the disk holds.
    window = _Tally()
    fresh: dict[str, Document] = {}
    repeated = 0
    for item in chunk:
        if isinstance(item, Rejected):
            window.reject(item)
        else:
            repeated += item.id in fresh
            fresh[item.id] = item
    stored = store.unchanged(fresh.values())
    window.unchanged = repeated + len(stored)
    wanted = [document for document in fresh.values() if document.id not in stored]
    kept: list[Document] = []
    vectors = []
    texts = (document.text for document in wanted)
    results = vectorizer.stream(texts, "document", window=max(1, len(wanted)))
    for document, result in zip(wanted, results, strict=True):
        if isinstance(result, InvalidInputError):
            window.reject(Rejected(f"document {document.id!r}", result.message, result.next_step))
        elif isinstance(result, LusiferError):
            raise result
        else:
            kept.append(document)
            vectors.append(result.vector)
            window.tokens += result.tokens
            window.truncated += result.truncated
    window.added = len(kept)
    with _interrupt_held_back():
        if kept:
            store.upsert(kept, np.stack(vectors))
            store.flush()
        tally.added += window.added
        tally.unchanged += window.unchanged
        tally.truncated += window.truncated
        tally.tokens += window.tokens
        tally.rejected_count += window.rejected_count
        tally.rejected += window.rejected[: REJECTED_KEPT - len(tally.rejected)]


@contextmanager
def _interrupt_held_back() -> Iterator[None]:
    """Let Ctrl-C wait until the block is done, so that a write is never cut in two."""
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
