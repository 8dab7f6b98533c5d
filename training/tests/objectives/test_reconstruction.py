"""Stage 1 of the paper: tokens through the LM head."""

from __future__ import annotations

import random
from typing import Any

import torch
from training.tests.objectives.connector_training import losses_of_training

from lusifer_training.backbones.load import load_llm_tokenizer, load_tokenizer
from lusifer_training.data.pairs import Pair
from lusifer_training.objectives.reconstruction import ReconstructionObjective, masked
from lusifer_training.recipe import AlignRecipe

TEXTS = [
    "the archive formats of a library",
    "The cat sits on the mat.",
    "reads   and writes archives",
    "runs in the park",
]


class TestReconstruction:
    TEXTS = ("the cat sits on the mat", "reads and writes archives")

    def objective(self, tiny: Any, **changes: Any) -> ReconstructionObjective:
        config = tiny.config(llm_layers=None)
        model = tiny.model(config, trained=False, keep_lm_head=True)
        recipe = AlignRecipe(
            **{
                "steps": 1,
                "batch_texts": 2,
                "learning_rate": 1e-2,
                "objective": "reconstruction",
                **changes,
            }
        )
        tokenizers = load_tokenizer(config.tokenizer), load_llm_tokenizer(config.llm)
        return ReconstructionObjective(model, *tokenizers, recipe, seed=0)

    def test_no_target_token_sees_one_after_it(self, tiny: Any) -> None:
        """A token that differs changes no prediction up to its own, and does change the next."""
        objective = self.objective(tiny)
        row = objective.tokenizer.encode("the archive formats").ids
        with torch.no_grad():
            before, one = objective.predict([row], ["the cat sits on the mat"])
            after, other = objective.predict([row], ["the cat sits on the dog"])
        differs = next(
            at for at, (a, b) in enumerate(zip(one[0], other[0], strict=False)) if a != b
        )
        assert differs > 3
        # Up to rounding: the two are of unequal length.
        changes = (before[0, : differs + 2] - after[0, : differs + 2]).abs().amax(dim=-1)
        assert changes[:-1].max() < 1e-3 < 0.1 < changes[-1]

    def test_the_encoder_is_read(self, tiny: Any) -> None:
        objective = self.objective(tiny)
        rows = [objective.tokenizer.encode(text).ids for text in self.TEXTS]
        with torch.no_grad():
            one, _ = objective.predict([rows[0]], [self.TEXTS[0]])
            other, _ = objective.predict([rows[1]], [self.TEXTS[0]])
        assert (one - other).abs().max() > 1e-3

    def test_padding_changes_nothing(self, tiny: Any) -> None:
        objective = self.objective(tiny)
        rows = [objective.tokenizer.encode(text).ids for text in ("cat", self.TEXTS[1])]
        with torch.no_grad():
            alone, labels = objective.predict([rows[0]], ["a cat"])
            both, _ = objective.predict(rows, ["a cat", self.TEXTS[1]])
        torch.testing.assert_close(both[:1, : labels.shape[1]], alone, rtol=1e-4, atol=1e-5)

    def test_the_loss_falls(self, tiny: Any) -> None:
        objective = self.objective(tiny, mask_share=0.0, completion_share=0.0)
        pairs = [Pair("", text) for text in self.TEXTS]
        losses = losses_of_training(
            objective, lambda step: objective(pairs, step)["loss"], steps=12
        )
        assert losses[-1] < losses[0] - 0.1

    def test_half_of_the_inner_tokens_are_masked(self) -> None:
        row = masked([0, *range(10, 20), 2], 0.5, 5, random.Random(0))
        assert row[0] == 0
        assert row[-1] == 2
        assert row.count(5) == 5
        assert masked([0, 2], 0.9, 5, random.Random(0)) == [0, 2]

    def test_completion_hides_nothing_and_needs_a_query(self, tiny: Any) -> None:
        objective = self.objective(tiny, completion_share=1.0, mask_share=0.9)
        seen = []
        objective.predict = lambda rows, targets: (
            seen.append((rows, targets))
            or (
                torch.zeros(2, 1, 4),
                torch.zeros(2, 1, dtype=torch.long),
            )
        )
        objective([Pair("where is the cat", "on the mat"), Pair("", "in the park, in the park")], 0)
        (rows, targets), mask = seen[0], objective.mask_token_id
        assert targets == ["on the mat", "in the park, in the park"]
        assert rows[0] == objective.tokenizer.encode("where is the cat").ids
        assert mask in rows[1]
