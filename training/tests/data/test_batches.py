"""A batch is a function of seed and step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lusifer_training.data.batches import PairSampler, TextSampler
from lusifer_training.recipe import DatasetRecipe, Recipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def schema(name: str, **fields: Any) -> DatasetRecipe:
    return DatasetRecipe(file="unused", schema=name, **fields)


@pytest.fixture
def recipe(tiny: Any, tmp_path: Path, write_lines: Any) -> Callable[[int], PairSampler]:
    """A sampler over two datasets, one of nine times the weight, by seed."""
    for name in ("a", "b"):
        records = [
            {"query": f"{name} q{number}", "document": f"{name} d{number}"} for number in range(40)
        ]
        write_lines(tmp_path / f"{name}.jsonl", records)

    def sampler(seed: int) -> PairSampler:
        values = {
            "model": tiny.config(),
            "seed": seed,
            "datasets": {
                "a": {"file": "a.jsonl", "schema": "query_document", "weight": 9},
                "b": {"file": "b.jsonl", "schema": "query_document"},
            },
            "finetune": {
                "steps": 1,
                "batch_pairs": 4,
                "learning_rate": 1e-3,
                "new_learning_rate": 1e-3,
            },
        }
        return PairSampler(Recipe.model_validate(values), tmp_path)

    return sampler


class TestSamplers:
    def test_a_batch_follows_from_seed_and_step(self, recipe: Callable[[int], PairSampler]) -> None:
        one, two, other = recipe(0), recipe(0), recipe(1)
        # In another order: a resumed run starts in the middle.
        for step in (7, 0, 3):
            assert one.batch(step, 4) == two.batch(step, 4)
            assert TextSampler(one).batch(step, 9) == TextSampler(two).batch(step, 9)
        assert [one.batch(step, 4) for step in range(5)] != [
            other.batch(step, 4) for step in range(5)
        ]
        assert len({tuple(one.batch(step, 4).pairs) for step in range(5)}) == 5

    def test_a_batch_is_of_one_dataset_and_has_no_pair_twice(
        self, recipe: Callable[[int], PairSampler]
    ) -> None:
        sampler = recipe(0)
        for step in range(20):
            batch = sampler.batch(step, 16)
            assert len(set(batch.pairs)) == 16
            assert {pair.query[0] for pair in batch.pairs} == {batch.dataset}
            assert batch.recipe is sampler.recipe.datasets[batch.dataset]

    def test_datasets_come_by_weight(self, recipe: Callable[[int], PairSampler]) -> None:
        sampler = recipe(0)
        names = [sampler.batch(step, 2).dataset for step in range(400)]
        assert 0.84 < names.count("a") / 400 < 0.96

    def test_a_small_dataset_gives_small_batches(
        self, recipe: Callable[[int], PairSampler]
    ) -> None:
        sampler = recipe(0)
        batch = sampler.batch(0, 500)
        assert len(batch.pairs) == len(sampler.pairs[batch.dataset])

    def test_texts_are_of_both_sides(self, recipe: Callable[[int], PairSampler]) -> None:
        texts = TextSampler(recipe(0)).batch(0, 300)
        documents = sum(text.split()[1].startswith("d") for text in texts)
        assert len(texts) == 300
        assert 180 < documents < 240
