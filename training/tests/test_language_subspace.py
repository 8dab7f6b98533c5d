"""The language subspace: what it spans, what projecting it out repairs, and the side vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from training.tests.oracle import LANGUAGES, MONOLINGUAL, Oracle

from lusifer_training.errors import CheckpointError, ConfigError, DataError
from lusifer_training.language_subspace import (
    LanguageIdentifier,
    LanguageMeans,
    language_basis,
    language_means,
    load_monolingual,
    project_out,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def means_of(*arrays: np.ndarray) -> list[LanguageMeans]:
    return [LanguageMeans("", "query", tuple(map(str, range(len(each)))), each) for each in arrays]


class TestBasis:
    @given(seed=st.integers(0, 10_000), languages=st.integers(2, 6), offset=st.floats(1, 4))
    @settings(max_examples=8, deadline=None)
    def test_language_is_inside_and_only_inside(
        self, seed: int, languages: int, offset: float
    ) -> None:
        """Of an encoder with a pure language offset, a linear probe reads the language from M_s alone."""
        rng = np.random.default_rng(seed)
        # Equally strong: of accents that are not, unit length leaves the languages spreads by which
        # a probe can distinguish them though their means are one.
        accents = rng.normal(size=(languages, 64))
        accents *= offset * np.sqrt(64) / np.linalg.norm(accents, axis=1, keepdims=True)

        def embed(count: int) -> np.ndarray:
            # Other texts in every language, as monolingual text is.
            vectors = rng.normal(size=(languages, count, 64)) + accents[:, None]
            return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

        basis = language_basis(means_of(embed(2000).mean(axis=1)))
        train, test = (embed(count).reshape(-1, 64) for count in (200, 500))
        labels = [np.repeat(np.arange(languages), count) for count in (200, 500)]

        def accuracy(part: Callable[[np.ndarray], np.ndarray]) -> float:
            probe = LogisticRegression(max_iter=500).fit(part(train), labels[0])
            return float(probe.score(part(test), labels[1]))

        assert accuracy(lambda vectors: vectors @ basis) >= 0.95
        assert accuracy(lambda vectors: project_out(vectors, basis)) < 1 / languages + 0.12

    def test_directions_between_roles_and_sources_stay(self) -> None:
        rng = np.random.default_rng(0)
        means, between_roles = rng.normal(size=(4, 20)), rng.normal(size=20)
        basis = language_basis(means_of(means, means + between_roles), rank=3)
        alone = language_basis(means_of(means))
        # The same subspace: projecting one on the other loses nothing.
        np.testing.assert_allclose(np.linalg.norm(alone.T @ basis), np.sqrt(3), atol=1e-5)

    @given(
        languages=st.integers(2, 6),
        dimension=st.integers(8, 24),
        sources=st.integers(1, 3),
        seed=st.integers(0, 99),
    )
    @settings(max_examples=25, deadline=None)
    def test_without_it_the_means_of_each_source_are_one(
        self, languages: int, dimension: int, sources: int, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        means = [rng.normal(size=(languages, dimension)) for _ in range(sources)]
        basis = language_basis(means_of(*means))
        assert basis.shape == (dimension, min(dimension, sources * (languages - 1)))
        for each in means:
            left = each - (each @ basis) @ basis.T
            np.testing.assert_allclose(left, np.broadcast_to(left[0], left.shape), atol=1e-5)

    @pytest.mark.parametrize("rank", [0, 3, 9])
    def test_a_rank_that_three_languages_can_not_have(self, rank: int) -> None:
        with pytest.raises(ConfigError, match="Choose a rank from 1 to 2"):
            language_basis(means_of(np.eye(3)), rank)

    def test_monolingual_texts(self, tmp_path: Path, write_lines: Any) -> None:
        records = [
            {"language": language, "text": f"{n}"} for language in ("en", "de") for n in range(20)
        ]
        path = write_lines(tmp_path / "m.jsonl", records)
        found = load_monolingual(path)
        assert {name: len(each) for name, each in found[""].items()} == {"en": 20, "de": 20}
        write_lines(path, [*records, *({**each, "source": "guide"} for each in records[:20])])
        assert {source: list(each) for source, each in load_monolingual(path).items()} == {
            "": ["en", "de"],
            "guide": ["en"],
        }
        write_lines(path, records[:-1])
        with pytest.raises(DataError, match="fewer than 20 texts of a source in de"):
            load_monolingual(path)


class TestIdentifier:
    def test_the_side_vector_names_the_language(self, tmp_path: Path) -> None:
        embedder = Oracle(offset=1.5)
        means = language_means(embedder, MONOLINGUAL)
        identifier = LanguageIdentifier.fit(means, language_basis(means))
        texts = [f"{language} {n}" for language in LANGUAGES for n in range(40)]
        vectors = embedder(texts, "document")
        assert identifier.side_vectors(vectors).shape == (120, identifier.basis.shape[1])
        right = np.array(identifier.identify(vectors, "document")) == np.repeat(LANGUAGES, 40)
        assert right.mean() >= 0.95
        identifier.save(tmp_path)
        again = LanguageIdentifier.load(tmp_path)
        assert again.languages == identifier.languages
        assert again.identify(vectors, "document") == identifier.identify(vectors, "document")

    def test_a_checkpoint_without_one(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="lusifer train subspace"):
            LanguageIdentifier.load(tmp_path)
