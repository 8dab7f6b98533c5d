"""Stage 1 with the LLM's own states as target."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from training.tests.objectives.connector_training import losses_of_training

from lusifer_training.backbones.load import load_llm_tokenizer, load_tokenizer
from lusifer_training.checkpoint import trained_parameters
from lusifer_training.objectives.alignment import AlignmentObjective, _shared_words, word_means

TEXTS = [
    "the archive formats of a library",
    "The cat sits on the mat.",
    "reads   and writes archives",
    "runs in the park",
]


class TestWords:
    def test_means_by_hand(self) -> None:
        states = torch.tensor([[[1.0], [3.0], [10.0], [100.0]], [[2.0], [4.0], [6.0], [100.0]]])
        words = torch.tensor([[0, 0, 1, -1], [1, 1, 1, -1]])
        assert word_means(states, words, 2).tolist() == [[[2.0], [10.0]], [[0.0], [4.0]]]

    def test_words_shared_by_two_tokenisations(self) -> None:
        text = "ab cde f"
        ours = [([0, 5, 6, 7, 8, 2], [(0, 0), (0, 2), (3, 4), (4, 6), (7, 8), (0, 0)])]
        # Here a token starts with the space before its word, and the text was cut after "cd".
        theirs = [([9, 10, 11], [(0, 1), (1, 2), (2, 5)])]
        our_words, their_words = _shared_words([text], ours, theirs)
        assert our_words.tolist() == [[-1, 0, 1, 1, -1, -1]]
        assert their_words.tolist() == [[0, 0, 1]]

    def test_rows_are_padded_with_no_word(self) -> None:
        tokens = [([1], [(0, 1)]), ([1, 2], [(0, 1), (2, 3)])]
        words, _ = _shared_words(["a", "a b"], tokens, tokens)
        assert words.tolist() == [[0, -1], [0, 1]]


class TestAlignment:
    @pytest.fixture(params=[False, True], ids=["frozen-encoder", "trained-encoder"])
    def objective(self, tiny: Any, request: pytest.FixtureRequest) -> AlignmentObjective:
        config = tiny.config()
        model = tiny.model(config, trained=False, keep_token_table=True)
        return AlignmentObjective(
            model,
            load_tokenizer(config.tokenizer),
            load_llm_tokenizer(config.llm),
            maximum_tokens=16,
            train_encoder=request.param,
        )

    def test_gradients_reach_the_connector_and_what_the_recipe_says(
        self, objective: AlignmentObjective
    ) -> None:
        model = objective.model
        before = model.llm.token_table.weight.clone()
        objective(TEXTS)["loss"].backward()
        reached = {name for name, value in model.named_parameters() if value.grad is not None}
        assert {
            name for name in trained_parameters(model) if name.startswith("connector.")
        } <= reached
        assert any(name.startswith("encoder.") for name in reached) == objective.train_encoder
        assert not any("token_table" in name or name.startswith("head") for name in reached)
        assert torch.equal(model.llm.token_table.weight, before)
        assert not model.llm.token_table.weight.requires_grad

    def test_the_loss_falls(self, objective: AlignmentObjective) -> None:
        losses = losses_of_training(objective, lambda _: objective(TEXTS)["loss"], steps=15)
        assert all(map(math.isfinite, losses))
        assert losses[-1] < 0.8 * losses[0]

    def test_the_loss_is_its_two_parts_and_spaces_do_not_count(
        self, objective: AlignmentObjective
    ) -> None:
        with torch.no_grad():
            losses = objective(TEXTS)
            spaced = objective([f"  {text}\n" for text in TEXTS])
        torch.testing.assert_close(losses["loss"], losses["input"] + losses["state"])
        assert torch.equal(losses["loss"], spaced["loss"])

    def test_a_loss_does_not_change_with_its_neighbours_padding(
        self, objective: AlignmentObjective
    ) -> None:
        with torch.no_grad():
            one = objective(["the cat"])["loss"]
            # Twice the same word means: the mean over words is the same, only the padding is new.
            words = [objective([text])["loss"] for text in ("the cat", "the archive formats")]
            both = objective(["the cat", "the archive formats"])["loss"]
        torch.testing.assert_close(one, words[0])
        torch.testing.assert_close(both, (2 * words[0] + 3 * words[1]) / 5, rtol=0, atol=1e-5)

    def test_groups_of_like_length_give_what_one_batch_gives(
        self, objective: AlignmentObjective, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        texts, found = [*TEXTS, "the archive formats of a library " * 2, "cat"], []
        for groups in (1, 4):
            monkeypatch.setattr("lusifer_training.objectives.alignment.GROUPS", groups)
            losses = objective(texts)
            losses["loss"].backward()
            found.append((losses, objective.model.connector.up.weight.grad.clone()))
            objective.model.zero_grad()
        (one, gradient), (four, grouped) = found
        for name, value in one.items():
            torch.testing.assert_close(four[name], value, msg=name)
        torch.testing.assert_close(grouped, gradient, rtol=1e-4, atol=1e-6)

    def test_texts_longer_than_the_limit(self, objective: AlignmentObjective) -> None:
        assert objective(["archive formats of a library " * 30])["loss"].isfinite()
