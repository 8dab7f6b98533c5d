"""Hard negatives: which ranks they come from, what is too near to be one, and clusters in batches."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lusifer_training.data.batches import PairSampler
from lusifer_training.data.mining import hard_negatives, kmeans, mine
from lusifer_training.errors import ConfigError
from lusifer_training.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def angles(*degrees: float) -> np.ndarray:
    radians = np.deg2rad(np.array(degrees))
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


class TestHardNegatives:
    QUERY, OWN = angles(0), np.array([1])
    # By rank: 2 (5 degrees), the own 1 (10), 0 (20), 3 (40), 4 (80).
    DOCUMENTS = angles(20, 10, 5, 40, 80)

    def found(self, **changes: Any) -> list[int]:
        options = {"negatives": 9, "ranks": (0, 9), "margin": 0.0, **changes}
        return hard_negatives(self.QUERY, self.DOCUMENTS, self.OWN, **options)[0].tolist()

    def test_nearest_first_without_the_own_and_what_is_nearer(self) -> None:
        assert self.found() == [0, 3, 4]

    def test_a_window_of_ranks(self) -> None:
        assert self.found(ranks=(2, 9)) == [3, 4]
        assert self.found(ranks=(1, 3)) == [0, 3]

    def test_a_margin_below_the_own(self) -> None:
        # cos 10 - cos 20 is .045, cos 10 - cos 40 is .22.
        assert self.found(margin=0.1) == [3, 4]
        assert self.found(margin=2.0) == []

    def test_no_more_than_asked_for(self) -> None:
        assert len(self.found(negatives=2)) == 2

    @pytest.mark.parametrize("ranks", [(3, 3), (4, 9), (-1, 3)])
    def test_a_window_that_holds_nothing(self, ranks: tuple[int, int]) -> None:
        with pytest.raises(ConfigError, match="of 5 documents hold no negatives"):
            self.found(ranks=ranks)

    @settings(deadline=None, max_examples=40)
    @given(seed=st.integers(0, 99), first=st.integers(0, 5), margin=st.floats(0, 0.5))
    def test_never_the_own_never_too_near_never_twice(
        self, seed: int, first: int, margin: float
    ) -> None:
        rng = np.random.default_rng(seed)
        vectors = rng.normal(size=(40, 4)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        queries, documents, own = vectors[:10], vectors[10:], rng.integers(0, 30, 10)
        found = hard_negatives(
            queries, documents, own, negatives=5, ranks=(first, 20), margin=margin
        )
        scores = queries @ documents.T
        for row, chosen in enumerate(found):
            assert len(set(chosen)) == len(chosen) <= 5
            assert own[row] not in chosen
            assert (scores[row, chosen] <= scores[row, own[row]] - margin + 1e-6).all()
            others = np.delete(scores[row], own[row])
            assert all((others > scores[row, index]).sum() >= first for index in chosen)


def test_clusters_are_what_lies_together() -> None:
    groups = kmeans(angles(0, 1, 2, 120, 121, 240, 241, 242), 3, seed=0)
    assert [len(set(groups[part])) for part in (slice(3), slice(3, 5), slice(5, 8))] == [1, 1, 1]
    assert kmeans(angles(0, 90), 5).max() < 2


class _Letters:
    """Texts of one first letter lie together."""

    identity = "letters"

    def __call__(self, texts: Sequence[str], role: str) -> np.ndarray:
        return angles(*(40 * (ord(text[0]) - ord("a")) + len(text) for text in texts))


def test_a_mined_file_is_a_dataset_with_batches_of_one_cluster(
    tmp_path: Path, write_lines: Any, tiny: Any
) -> None:
    pairs = [
        {"query": f"{letter} {'x' * at}", "document": f"{letter}{'y' * at} {at}"}
        for letter in "aceg"
        for at in range(1, 16)
    ]
    source = write_lines(tmp_path / "pairs.jsonl", pairs)
    report = mine(
        source,
        tmp_path / "mined.jsonl",
        _Letters(),
        negatives=2,
        ranks=(1, 30),
        margin=0.01,
        clusters=4,
    )
    records = [json.loads(line) for line in (tmp_path / "mined.jsonl").read_text().splitlines()]
    assert [record["query"] for record in records] == [pair["query"] for pair in pairs]
    assert report["pairs"] == report["documents"] == 60
    assert report["negatives"] > 0.5
    assert len({(record["query"][0], record["cluster"]) for record in records}) == 4
    recipe = Recipe.model_validate(
        {
            "model": tiny.config(),
            "datasets": {"mined": {"file": "mined.jsonl", "schema": "query_document"}},
            "finetune": {
                "steps": 1,
                "batch_pairs": 4,
                "learning_rate": 1e-3,
                "new_learning_rate": 1e-3,
            },
        }
    )
    sampler = PairSampler(recipe, tmp_path)
    batches = [sampler.batch(step, 4).pairs for step in range(40)]
    # A batch spans two clusters only where one ends.
    assert sum(len({pair.query[0] for pair in batch}) == 1 for batch in batches) > 25
    assert any(pair.negatives for batch in batches for pair in batch)
    assert {pair.query[0] for batch in batches for pair in batch} == set("aceg")
