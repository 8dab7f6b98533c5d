"""Inputs and output of a bundle's graph, and the errors that every engine raises about it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lusifer.errors import BundleCorruptError, EngineBusyError, EngineError, LusiferError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

__all__ = [
    "INPUTS",
    "OUTPUT",
    "RuntimeErrors",
    "check_signature",
    "closed_error",
    "is_out_of_memory",
]

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "embedding"
# No runtime has an exception class for this: allocation failures come as general errors.
_MEMORY_WORDS = (
    "bad_alloc",
    "bad allocation",
    "allocate memory",
    "failed to allocate",
    "out of memory",
    "available memory",
)


def check_signature(model_path: Path | str, inputs: Iterable[str], outputs: Iterable[str]) -> None:
    """Refuse a graph that has other inputs than a bundle's, or no output ``embedding``.

    Raises:
        BundleCorruptError: The graph is not that of a bundle; the message lists the names.
    """
    inputs, outputs = sorted(inputs), sorted(outputs)
    if inputs != sorted(INPUTS) or OUTPUT not in outputs:
        raise BundleCorruptError(
            f"The graph {model_path} maps {inputs} to {outputs}, a bundle's graph maps "
            f"{sorted(INPUTS)} to ['{OUTPUT}'].",
            next_step="Export the bundle again with this version of LUSIFER.",
        )


def is_out_of_memory(error: object) -> bool:
    """Return whether an error of a runtime, or its message, reports a lack of memory."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _MEMORY_WORDS)


@dataclass(frozen=True)
class RuntimeErrors:
    """Translates the errors of a runtime in this process to ours; other errors pass unchanged."""

    runtime: str
    """Display name of the runtime."""
    is_own: Callable[[Exception], bool]
    """Returns whether an error comes from the runtime."""

    def loading(self, model_path: Path | str) -> AbstractContextManager[None]:
        """Translate the errors of a block that loads a graph.

        Raises:
            EngineBusyError: There is not enough memory.
            BundleCorruptError: The runtime can't load the graph.
        """
        return self._translating(
            f"to load {model_path}",
            lambda error: BundleCorruptError(
                f"{self.runtime} can't load {model_path}: {error}",
                next_step="Open the bundle with verify=True to see which file is damaged, or "
                "export again.",
            ),
        )

    def running(self, shape: tuple[int, ...]) -> AbstractContextManager[None]:
        """Translate the errors of a block that computes a batch ``(B, T)``.

        Raises:
            EngineBusyError: There is not enough memory.
            EngineError: The graph failed on the batch.
        """
        rows, length = shape
        batch = f"a batch of {rows} rows x {length} tokens"
        return self._translating(
            f"for {batch}",
            lambda error: EngineError(
                f"The graph failed on {batch}: {error}",
                next_step="Check the bundle with Bundle.open(path, verify=True); if whole, export "
                "again.",
            ),
        )

    @contextmanager
    def _translating(
        self, purpose: str, failure: Callable[[Exception], LusiferError]
    ) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each runtime has classes of its own
            if is_out_of_memory(error):
                raise EngineBusyError(
                    f"No memory {purpose}: {error}",
                    next_step="Lower batch_tokens, free memory, or try again later.",
                ) from error
            if not self.is_own(error):
                raise
            raise failure(error) from error


def closed_error(engine: str) -> EngineError:
    """Return the error for a call of an engine that was closed."""
    return EngineError(f"The engine {engine} is closed.", next_step="Load the vectorizer again.")
