"""The canary on the default model: it passes with a margin and finds every fault."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.service.canary import SENTENCES, CanaryReport, canary_texts, check, judge

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lusifer.engines.base import Engine

MARGIN = 0.03
"""Minimum margin in cosine of a sentence's own translation over the next one, both ways."""


class Swapping:
    """An engine that swaps the first and the last vector of every call."""

    name = "swapping"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        vectors = self._engine.run(input_ids, attention_mask).copy()
        vectors[[0, -1]] = vectors[[-1, 0]]
        return vectors

    def close(self) -> None:
        self._engine.close()


@pytest.fixture(scope="module")
def vectors(vectorizer: Vectorizer) -> NDArray[np.float32]:
    return vectorizer.embed_documents(canary_texts()).vectors


def look(vectorizer: Vectorizer) -> CanaryReport:
    async def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        return vectorizer.embed_documents(list(texts)).vectors

    return asyncio.run(check(embed))


def test_the_default_model_passes(vectorizer: Vectorizer) -> None:
    report = look(vectorizer)
    assert report.passed, report.reason
    assert report.accuracy == dict.fromkeys(SENTENCES, 1.0)


def test_it_passes_with_a_margin(vectors: NDArray[np.float32]) -> None:
    similarity = vectors.reshape(len(SENTENCES), 4, -1) @ vectors[:4].T
    right = np.einsum("lss->ls", similarity)
    others = similarity - 2 * np.eye(4)
    margins = right - np.maximum(others.max(axis=1), others.max(axis=2))
    assert margins.min() > MARGIN, dict(zip(SENTENCES, margins.min(axis=1), strict=True))
    pairs = (vectors @ vectors.T)[np.triu_indices(48, 1)]
    assert pairs.max() < 0.985, "two swapped vectors could pass for noise"


def test_every_swapped_pair_of_different_topics_is_found(
    vectors: NDArray[np.float32],
) -> None:
    for one in range(48):
        for other in range(one):
            if one % 4 != other % 4:
                spoiled = vectors.copy()
                spoiled[[one, other]] = spoiled[[other, one]]
                assert not judge(spoiled).passed, (one, other)


@pytest.mark.parametrize("batch_tokens", [256, 4096])
def test_an_engine_that_swaps_is_found(vectorizer: Vectorizer, batch_tokens: int) -> None:
    wrong = Vectorizer(vectorizer.bundle, Swapping(vectorizer.engine), batch_tokens=batch_tokens)
    assert not look(wrong).passed


def test_a_wrong_tokenizer_is_found(vectorizer: Vectorizer) -> None:
    class Shifted(Swapping):
        """An engine that gets every token id shifted, as with the vocabulary of a related model."""

        def run(
            self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
        ) -> NDArray[np.float32]:
            return self._engine.run(
                np.where(input_ids > 10, input_ids - 7, input_ids), attention_mask
            )

    report = look(Vectorizer(vectorizer.bundle, Shifted(vectorizer.engine)))
    assert not report.passed
    assert "nearer to a wrong" in report.reason


def test_a_wrong_model_of_the_right_size_is_found(
    real_bundle: Path, vectorizer: Vectorizer
) -> None:
    from lusifer.engines.fake import FakeEngine

    engine = FakeEngine(vectorizer.bundle.manifest.dimension)
    assert not look(Vectorizer(vectorizer.bundle, engine)).passed
