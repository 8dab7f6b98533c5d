"""Turn texts into checked unit vectors: prompts, tokens, long texts, batches, dimensions.

::

    text ─ check ─ prompt ─ tokens ─ cut or windows ─ batches by length ─ engine ─ checks ─ order

A text has one vector: alone, in a batch, in any order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np

from lusifer.bundle.format import Bundle
from lusifer.common.iteration import chunked
from lusifer.common.validation import check_text, check_texts
from lusifer.embedding.base import BaseEmbedder
from lusifer.embedding.batching import run_batches
from lusifer.embedding.tokenization import TextTokenizer, TokenRows
from lusifer.errors import EngineOutputError, InvalidDimensionError, InvalidInputError, LusiferError
from lusifer.types import Embedding, Embeddings, LongTextPolicy, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lusifer.engines.base import Engine

__all__ = ["Vectorizer"]

_CHUNK_CHARACTERS = 1_000_000
"""Largest number of characters that :meth:`Vectorizer.stream` embeds together."""


class Vectorizer(BaseEmbedder):
    """Embeds texts with the model of a bundle.

    Args:
        bundle: The opened bundle, for prompts, limits and tokenizer.
        engine: Runs the model. :meth:`close` closes it.
        long_text: What happens to a text over the token limit.
        batch_tokens: Largest number of padded tokens (rows x longest row) that the engine gets at
            once; bounds memory.
        dimension: Length of the vectors, one of the bundle's Matryoshka dimensions; by default the
            full one.

    Raises:
        InvalidDimensionError: The model was not trained for this dimension.
        InvalidInputError: An unknown policy, or ``batch_tokens`` below 1.
        BundleCorruptError: The tokenizer can't be read, or a prompt leaves no room for text.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        *,
        long_text: LongTextPolicy = "truncate",
        batch_tokens: int = 4096,
        dimension: int | None = None,
    ) -> None:
        manifest = bundle.manifest
        _one_of("long_text", long_text, get_args(LongTextPolicy))
        if batch_tokens < 1:
            raise InvalidInputError(
                f"batch_tokens is {batch_tokens}, at least 1 is needed.",
                next_step="Leave it out, or use 4096.",
            )
        self.bundle = bundle
        if dimension is not None:
            self.check_dimension(dimension)
        self.engine = engine
        self.long_text: LongTextPolicy = long_text
        self.batch_tokens = batch_tokens
        self._dimension = dimension or manifest.dimension
        self._tokenizer = TextTokenizer(bundle)

    @classmethod
    def load(
        cls,
        path: Path | str | None = None,
        *,
        long_text: LongTextPolicy = "truncate",
        batch_tokens: int = 4096,
        dimension: int | None = None,
        threads: int | None = None,
        engine: str | None = None,
        verify: bool = True,
    ) -> Vectorizer:
        """Open a bundle and run it in this process.

        Args:
            path: The bundle's folder; by default that of
                :func:`lusifer.bundle.default.default_bundle`.
            long_text: See the class.
            batch_tokens: See the class.
            dimension: See the class.
            threads: Engine threads; by default one for each usable physical core.
            engine: ``onnx``, ``openvino``, ``openvino-bf16``, or ``auto``: the fastest on this
                machine, measured once. By default what ``LUSIFER_ENGINE`` names, else ``onnx``.
            verify: Hash the bundle's files before trusting them.

        Raises:
            BundleError: The bundle is missing, damaged or too new.
            MissingExtraError: An optional dependency is not installed.
            InvalidDimensionError: The model was not trained for this dimension.
        """
        from lusifer.bundle.default import default_bundle
        from lusifer.engines.selection import default_engine, open_engine

        bundle = Bundle.open(default_bundle() if path is None else path, verify=verify)
        opened = open_engine(engine or default_engine(), bundle, threads=threads)
        return cls(
            bundle, opened, long_text=long_text, batch_tokens=batch_tokens, dimension=dimension
        )

    @property
    def model_name(self) -> str:
        """Display name of the model."""
        return self.bundle.manifest.name

    @property
    def role_prompts(self) -> dict[str, str]:
        """Prompt that precedes a text, by role."""
        return self.bundle.manifest.role_prompts.model_dump()

    @property
    def dimension(self) -> int:
        """Length D of the vectors that this vectorizer returns."""
        return self._dimension

    @property
    def fingerprint(self) -> str:
        """Identity of the model; vectors of different fingerprints must not be compared."""
        return self.bundle.manifest.fingerprint

    def embed(self, texts: Sequence[str], role: Role) -> Embeddings:
        """Embed N texts and return vectors ``(N, D)`` in their order.

        Raises:
            InvalidTextError: A text can't be embedded; the message names its index, and nothing was
                computed.
            TextTooLongError: The policy is ``error`` and a text is over the limit; nothing was
                computed.
            EngineOutputError: The engine's answer failed a check.
            EngineBusyError: Not even one text fits in memory.
            EngineError: The engine can't run.
        """
        return self._embed_rows(self.tokenize(texts, role))

    def tokenize(
        self,
        texts: Sequence[str],
        role: Role,
        *,
        long_text: LongTextPolicy | None = None,
        index_of: Callable[[str], int] | None = None,
        between: Callable[[], None] = lambda: None,
    ) -> list[TokenRows]:
        """Check N texts and turn each into rows of token ids: the first half of :meth:`embed`.

        Args:
            texts: The texts as the caller gave them.
            role: Role of all texts.
            long_text: Another policy than the vectorizer's own.
            index_of: Returns the index that errors name for a text, where ``texts`` are part of a
                longer list.
            between: Called between two slices of the work. What it raises ends the work.

        Raises:
            InvalidTextError: A text can't be embedded; the message names its index.
            TextTooLongError: The policy is ``error`` and a text is over the limit.
        """
        _one_of("role", role, get_args(Role))
        if isinstance(texts, str):
            raise InvalidInputError(
                "Got one string where a list of texts is expected.",
                next_step="Put the text in a list.",
            )
        check_texts(texts)
        rows: list[TokenRows] = []
        policy = long_text or self.long_text
        for outcome in self._tokenizer.rows(texts, role, policy, between=between):
            if isinstance(outcome, InvalidInputError):
                index = index_of(texts[len(rows)]) if index_of else len(rows)
                raise _with_index(index, outcome) from outcome
            rows.append(outcome)
        return rows

    def assemble(
        self,
        rows: Sequence[TokenRows],
        computed: NDArray[np.float32],
        *,
        dimension: int | None = None,
    ) -> Embeddings:
        """Compute each text's vector from those of its windows: the second half of :meth:`embed`.

        Args:
            rows: Result of :meth:`tokenize`, N texts with W windows in all.
            computed: Checked unit vectors ``(W, D_full)``, in the order of the windows.
            dimension: Another length than the vectorizer's own; see :meth:`check_dimension`.

        Raises:
            EngineOutputError: A mean or a cut vector has no direction.
        """
        dimension = dimension or self._dimension
        vectors = np.empty((len(rows), dimension), dtype=np.float32)
        start = 0
        for index, text in enumerate(rows):
            end = start + len(text.windows)
            vectors[index] = _pool_windows(computed[start:end], text.weights, dimension)
            start = end
        return Embeddings(
            vectors, tuple(text.tokens for text in rows), tuple(text.truncated for text in rows)
        )

    def maximum_content_tokens(self, role: Role) -> int:
        """Return how many tokens of a text the model reads beside the prompt of a role."""
        return self._tokenizer.content_tokens(role)

    def check_dimension(self, dimension: int) -> None:
        """Refuse a length that the model was not trained for.

        Raises:
            InvalidDimensionError: It is not one of the bundle's Matryoshka dimensions.
        """
        manifest = self.bundle.manifest
        if dimension not in manifest.matryoshka_dimensions:
            valid = ", ".join(map(str, manifest.matryoshka_dimensions))
            raise InvalidDimensionError(
                f"Dimension {dimension} is not one the model {manifest.name} was trained for: "
                f"{valid}.",
                next_step=f"Use one of {valid}.",
            )

    def stream(
        self, texts: Iterable[str], role: Role, *, window: int = 512
    ) -> Iterator[Embedding | LusiferError]:
        """Embed any number of texts in constant memory, in their order.

        A text that can't be embedded yields its error in its place, so that one bad line does not
        lose the others. Errors that are not about one text, such as a broken engine, are raised.

        Args:
            texts: Read one window ahead, no further.
            role: Role of all texts.
            window: Number of texts that are sorted by length and embedded together; more texts need
                less padding.

        Raises:
            EngineError: As in :meth:`embed`.
        """
        _one_of("role", role, get_args(Role))
        parts = chunked(texts, window, size=_characters, maximum_size=_CHUNK_CHARACTERS)
        for part in parts:
            yield from self._embed_part(part, role)

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    def _embed_part(self, texts: Sequence[str], role: Role) -> Iterator[Embedding | LusiferError]:
        errors: dict[int, InvalidInputError] = {}
        for index, text in enumerate(texts):
            try:
                check_text(text)
            except InvalidInputError as error:
                errors[index] = error
        outcomes = iter(
            self._tokenizer.rows(
                [t for i, t in enumerate(texts) if i not in errors], role, self.long_text
            )
        )
        merged = [
            errors[index] if index in errors else next(outcomes) for index in range(len(texts))
        ]
        embedded = iter(self._embed_rows([rows for rows in merged if isinstance(rows, TokenRows)]))
        for outcome in merged:
            yield next(embedded) if isinstance(outcome, TokenRows) else outcome

    def _embed_rows(self, rows: Sequence[TokenRows]) -> Embeddings:
        manifest = self.bundle.manifest
        computed = run_batches(
            self.engine,
            [window for text in rows for window in text.windows],
            dimension=manifest.dimension,
            pad_token_id=manifest.pad_token_id,
            batch_tokens=self.batch_tokens,
        )
        return self.assemble(rows, computed)


def _pool_windows(
    windows: NDArray[np.float32], weights: Sequence[int], dimension: int
) -> NDArray[np.float32]:
    """Return the mean ``(D,)`` of windows ``(W, D_full)``, cut to D, with unit norm.

    The windows are weighted by their content tokens.
    """
    if len(windows) == 1 and dimension == windows.shape[1]:
        whole: NDArray[np.float32] = windows[0]
        return whole
    # Float64 keeps the mean of hundreds of windows as exact as one vector.
    total = np.asarray(weights, dtype=np.float64) @ windows.astype(np.float64)
    cut = total[:dimension]
    norm = float(np.linalg.norm(cut))
    if norm < 1e-6 * float(np.sum(weights)):
        raise EngineOutputError(
            f"The first {dimension} numbers of a vector have norm {norm:.1e}: it has no direction.",
            next_step="Use the full dimension, or the policy 'truncate'.",
        )
    unit: NDArray[np.float32] = (cut / norm).astype(np.float32)
    return unit


def _one_of(name: str, value: object, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise InvalidInputError(
            f"{name} is {value!r}.", next_step=f"Use one of {', '.join(valid)}."
        )


def _characters(text: object) -> int:
    return len(text) if isinstance(text, str) else 0


def _with_index(index: int, error: LusiferError) -> LusiferError:
    return type(error)(f"Text {index}: {error.message}", next_step=error.next_step)
