"""The losses of both stages: against numbers worked out by hand, and where their gradients go."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from lusifer_training.backbones.load import load_llm_tokenizer, load_tokenizer
from lusifer_training.checkpoint import trained_parameters
from lusifer_training.data.batches import PairBatch
from lusifer_training.data.pairs import Pair
from lusifer_training.errors import TooLargeError
from lusifer_training.objectives.alignment import AlignmentObjective, _shared_words, word_means
from lusifer_training.objectives.contrastive import (
    allowed_documents,
    contrastive_loss,
    order_loss,
    prefixes,
)
from lusifer_training.objectives.distillation import false_negatives, similarity_distillation
from lusifer_training.objectives.finetune import FinetuneObjective
from lusifer_training.objectives.reconstruction import ReconstructionObjective, masked
from lusifer_training.recipe import AlignRecipe, DatasetRecipe, FinetuneRecipe
from lusifer_training.trainer.distributed import Distributed

TEXTS = [
    "the archive formats of a library",
    "The cat sits on the mat.",
    "reads   and writes archives",
    "runs in the park",
]


def batch_of(pairs: list[Pair], **fields: Any) -> PairBatch:
    return PairBatch("set", DatasetRecipe(file="f", schema="query_document", **fields), pairs)


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
        parameters = [
            value
            for name, value in trained_parameters(objective.model).items()
            if name.startswith("connector.")
        ]
        optimizer = torch.optim.AdamW(parameters, lr=1e-2)
        losses = []
        for _ in range(15):
            loss = objective(TEXTS)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
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


class TestContrastiveLoss:
    QUERIES = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    DOCUMENTS = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])

    def test_by_hand(self) -> None:
        allowed = torch.tensor([[True, True, False], [True, True, True]])
        loss = contrastive_loss(self.QUERIES, self.DOCUMENTS, allowed, temperature=0.5)
        # Scores over temperature: query 0: 2, 1.2; query 1: 0, 1.6, 2; back: document 0: 2, 0; 1:
        # 1.2, 1.6.
        forward = -(
            math.log(math.exp(2) / (math.exp(2) + math.exp(1.2)))
            + math.log(math.exp(1.6) / (1 + math.exp(1.6) + math.exp(2)))
        )
        backward = -(
            math.log(math.exp(2) / (math.exp(2) + 1))
            + math.log(math.exp(1.6) / (math.exp(1.2) + math.exp(1.6)))
        )
        assert loss.item() == pytest.approx((forward + backward) / 4, abs=1e-6)

    def test_a_masked_document_has_no_say(self) -> None:
        allowed = torch.tensor([[True, True, False], [True, True, False]])
        moved = self.DOCUMENTS.clone()
        moved[2] = torch.tensor([-1.0, 0.0])
        losses = [
            contrastive_loss(self.QUERIES, documents, allowed, temperature=0.1)
            for documents in (self.DOCUMENTS, moved)
        ]
        assert torch.equal(*losses)

    def test_without_other_queries_only_the_forward_half_counts(self) -> None:
        allowed = torch.tensor([[True, False, True], [False, True, False]])
        loss = contrastive_loss(self.QUERIES, self.DOCUMENTS, allowed, temperature=1.0)
        forward = -math.log(math.e / (math.e + 1)) / 2
        assert loss.item() == pytest.approx(forward, abs=1e-6)

    def test_a_perfect_batch_costs_nothing(self) -> None:
        eye = torch.eye(4)
        loss = contrastive_loss(eye, eye, torch.ones(4, 4, dtype=torch.bool), temperature=0.02)
        assert loss.item() == pytest.approx(0.0, abs=1e-6)


class TestOrderLoss:
    VECTORS = normalize(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), dim=-1)
    """Against the first one: cosines 1, 0.7071 and 0."""

    def loss(self, scores: list[float], temperature: float = 0.5) -> float:
        queries = self.VECTORS[:1].expand(3, 2)
        return order_loss(
            queries, self.VECTORS, torch.tensor(scores), temperature=temperature
        ).item()

    def test_of_the_formula(self) -> None:
        wrong = (math.sqrt(0.5) - 1) / 0.5, -1 / 0.5, -math.sqrt(0.5) / 0.5
        assert self.loss([5.0, 3.0, 0.0]) == pytest.approx(
            math.log(1 + sum(map(math.exp, wrong))), abs=1e-6
        )

    def test_only_the_order_of_scores_counts(self) -> None:
        assert self.loss([5.0, 3.0, 0.0]) == self.loss([0.9, 0.2, 0.1]) < self.loss([3.0, 5.0, 0.0])
        assert self.loss([0.0, 3.0, 5.0]) > self.loss([3.0, 5.0, 0.0])

    def test_equal_scores_have_no_order(self) -> None:
        assert self.loss([2.0, 2.0, 2.0]) == 0.0
        pair = math.log(1 + math.exp(-1 / 0.5) + math.exp(-math.sqrt(0.5) / 0.5))
        assert self.loss([2.0, 2.0, 1.0]) == pytest.approx(pair, abs=1e-6)


class TestAllowed:
    def test_all_but_documents_of_equal_text(self) -> None:
        pairs = [Pair("a", "same", ("n",)), Pair("b", "same"), Pair("c", "other", ("same", "n"))]
        # Columns: same, same, other, n, same, n.
        assert allowed_documents(batch_of(pairs)).tolist() == [
            [True, False, True, True, False, True],
            [False, True, True, True, False, True],
            [True, True, True, True, True, True],
        ]

    def test_own_negatives_only(self) -> None:
        pairs = [Pair("a", "x", ("n", "m")), Pair("b", "y", ("o",))]
        # Columns: x, y, n, m, o.
        assert allowed_documents(batch_of(pairs, own_negatives_only=True)).tolist() == [
            [True, False, True, True, False],
            [False, True, False, False, True],
        ]

    def test_a_negative_equal_to_the_positive_is_no_negative(self) -> None:
        pairs = [Pair("a", "x", ("x", "n")), Pair("b", "y")]
        for own_only, expected in (
            (True, [True, False, False, True]),
            (False, [True, True, False, True]),
        ):
            assert (
                allowed_documents(batch_of(pairs, own_negatives_only=own_only))[0].tolist()
                == expected
            )


class TestDistillation:
    def test_zero_for_equal_geometry(self) -> None:
        vectors = normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
        turned = vectors @ torch.linalg.qr(torch.randn(8, 8)).Q
        wider = torch.cat([turned, torch.zeros(6, 3)], dim=1)
        for target in (vectors, turned, wider):
            assert similarity_distillation(vectors, target, temperature=0.1).abs() < 1e-5

    def test_positive_for_another_geometry(self) -> None:
        generator = torch.Generator().manual_seed(0)
        ours, theirs = (normalize(torch.randn(6, 8, generator=generator), dim=-1) for _ in range(2))
        assert similarity_distillation(ours, theirs, temperature=0.1) > 0.1

    def test_two_texts_have_one_similarity(self) -> None:
        ours, theirs = torch.eye(2), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
        assert similarity_distillation(ours, theirs, temperature=0.1) == 0


def test_false_negatives_by_hand() -> None:
    queries = normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), dim=-1)
    # Cosines of the first query: .8 of its own, .78, 1, .6.
    documents = torch.tensor([[0.8, 0.6], [0.78, 0.6257795], [1.0, 0.0], [0.6, 0.8]])
    assert false_negatives(queries, documents, 0.05)[0].tolist() == [False, True, True, False]
    # The own document of the second one is the second, however near others are.
    assert not false_negatives(queries, documents, 2.0)[1, 1]


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
        parameters = [
            value
            for name, value in trained_parameters(objective.model).items()
            if name.startswith("connector.")
        ]
        optimizer = torch.optim.AdamW(parameters, lr=1e-2)
        losses = []
        for step in range(12):
            loss = objective([Pair("", text) for text in self.TEXTS], step)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
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


class TestFinetune:
    PAIRS = (
        Pair("what reads archives", "A library of archive formats.", ("The cat sits.",)),
        Pair("where is the cat", "The cat sits on the mat and the dog runs in the park."),
        Pair("runs", "in the park"),
    )

    def objective(self, tiny: Any, *, trained: bool = True, **changes: Any) -> FinetuneObjective:
        config = tiny.config(encoder_layer_mix=True)
        recipe = FinetuneRecipe(
            **{
                "steps": 1,
                "batch_pairs": 3,
                "learning_rate": 1e-3,
                "new_learning_rate": 1e-3,
                **changes,
            }
        )
        return FinetuneObjective(
            tiny.model(config, trained=trained),
            load_tokenizer(config.tokenizer),
            recipe,
            Distributed(),
        )

    def test_gradients_reach_all_that_trains_and_nothing_else(self, tiny: Any) -> None:
        objective = self.objective(tiny)
        objective(batch_of(list(self.PAIRS)))["loss"].backward()
        trained = trained_parameters(objective.model)
        assert {"head.weight", "connector.gain", "encoder.mix_logits"} <= set(trained)
        without = [
            name for name, value in trained.items() if value.grad is None or not value.grad.any()
        ]
        assert without == []
        assert all(
            value.grad is None
            for name, value in objective.model.named_parameters()
            if name not in trained
        )

    def test_the_first_step_moves_the_head_from_zero(self, tiny: Any) -> None:
        objective = self.objective(tiny, trained=False)
        objective(batch_of(list(self.PAIRS)))["loss"].backward()
        assert objective.model.head.weight.grad.abs().sum() > 0

    def test_parts_add_up(self, tiny: Any) -> None:
        with torch.no_grad():
            losses = self.objective(tiny, distillation_weight=0.5)(batch_of(list(self.PAIRS)))
        torch.testing.assert_close(
            losses["loss"], losses["contrastive"] + 0.5 * losses["distillation"]
        )
        assert losses["distillation"] > 0

    def scored(self, *scores: float) -> PairBatch:
        pairs = zip(self.PAIRS, scores, strict=True)
        return batch_of([replace(pair, negatives=(), score=score) for pair, score in pairs])

    def test_scored_pairs_are_put_in_order(self, tiny: Any) -> None:
        objective, batch = self.objective(tiny, distillation_weight=0.5), self.scored(2.0, 4.0, 1.0)
        losses = objective(batch)
        assert set(losses) == {"loss", "order", "distillation", "tokens"}
        torch.testing.assert_close(losses["loss"], losses["order"] + 0.5 * losses["distillation"])
        optimizer = torch.optim.Adam(trained_parameters(objective.model).values(), lr=0.01)
        for _ in range(20):
            objective(batch)["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()
        assert objective(batch)["order"] < losses["order"]

    def test_a_batch_of_one_score_moves_nothing(self, tiny: Any) -> None:
        objective = self.objective(tiny, distillation_weight=0.0)
        losses = objective(self.scored(3.0, 3.0, 3.0))
        losses["loss"].backward()
        assert losses["loss"] == 0
        assert not any(value.grad.any() for value in trained_parameters(objective.model).values())

    def test_distillation_is_zero_at_the_start(self, tiny: Any) -> None:
        with torch.no_grad():
            losses = self.objective(tiny, trained=False)(batch_of(list(self.PAIRS)))
        assert losses["distillation"].abs() < 1e-4

    def test_without_distillation_the_raw_encoder_is_not_asked(self, tiny: Any) -> None:
        objective = self.objective(tiny, distillation_weight=0.0)
        objective.model.raw_encoder = None
        with torch.no_grad():
            losses = objective(batch_of(list(self.PAIRS)))
        assert set(losses) == {"loss", "contrastive", "tokens"}

    def test_the_head_reads_standardised_states(self, tiny: Any) -> None:
        objective, batch = self.objective(tiny), batch_of(list(self.PAIRS))
        model = objective.model.eval()
        queries, documents = objective._rows(batch)
        seen: list[torch.Tensor] = []
        with torch.no_grad(), objective.standardised_head([batch]):
            model.head.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
            objective._embed(queries + documents, model)
        read = torch.cat(seen)
        assert read.mean(dim=0).abs().max() < 1e-4
        assert (read**2).sum(dim=1).mean().item() == pytest.approx(1.0, abs=0.25)
        assert model.head(objective._head_inputs(queries + documents)).mean(dim=0).norm() < 1e-4

    @pytest.mark.parametrize("residual", [True, False])
    def test_a_head_is_folded_as_it_was(self, tiny: Any, residual: bool) -> None:
        """Beside the encoder's vector, less the mean of what it adds."""
        objective, batch = self.objective(tiny), batch_of(list(self.PAIRS))
        model = objective.model
        model.config = model.config.model_copy(update={"residual": residual})
        queries, documents = objective._rows(batch)
        states = objective._head_inputs(queries + documents)
        with torch.no_grad(), objective.standardised_head([batch]):
            within = model.head(states)
        expected = within - within.mean(dim=0) if residual else within
        with torch.no_grad():
            torch.testing.assert_close(model.head(states), expected, rtol=1e-4, atol=1e-5)

    def test_states_that_do_not_fit_are_told(
        self, tiny: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        objective = self.objective(tiny)

        def full(*_: Any) -> None:
            torch.empty(1 << 58, dtype=torch.uint8)

        monkeypatch.setattr(objective.model, "read", full)
        objective.model.train()
        with (
            pytest.raises(TooLargeError, match="2048 tokens at once don't fit") as caught,
            objective.standardised_head([batch_of(list(self.PAIRS))]),
        ):
            pass
        assert "group_tokens" in caught.value.next_step
        assert objective.model.training

    def test_an_encoder_alone_has_no_head(self, tiny: Any) -> None:
        config = tiny.config(llm=None)
        objective = FinetuneObjective(
            tiny.model(config),
            load_tokenizer(config.tokenizer),
            self.objective(tiny).recipe,
            Distributed(),
        )
        before = {
            name: value.clone() for name, value in trained_parameters(objective.model).items()
        }
        with objective.standardised_head([batch_of(list(self.PAIRS))]):
            pass
        after = trained_parameters(objective.model)
        assert all(torch.equal(value, after[name]) for name, value in before.items())

    @pytest.mark.parametrize("dropout", [0.0, 0.3])
    def test_the_gradient_cache_gives_the_gradients_of_a_whole_batch(
        self, tiny: Any, dropout: float
    ) -> None:
        gradients = []
        for cached in (False, True):
            objective = self.objective(tiny, gradient_cache=cached, group_tokens=24)
            objective.model.train()
            for module in objective.model.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = dropout
            torch.manual_seed(0)
            objective(batch_of(list(self.PAIRS)))["loss"].backward()
            gradients.append([value.grad for value in trained_parameters(objective.model).values()])
        for whole, cached in zip(*gradients, strict=True):
            torch.testing.assert_close(cached, whole, rtol=1e-4, atol=1e-6)

    def test_the_gradient_cache_keeps_no_activations(self, tiny: Any) -> None:
        kept = []
        for cached in (False, True):
            objective, saved = self.objective(tiny, gradient_cache=cached, group_tokens=24), []
            with torch.autograd.graph.saved_tensors_hooks(
                lambda tensor, saved=saved: saved.append(tensor.numel()) or tensor,
                lambda tensor: tensor,
            ):
                objective(batch_of(list(self.PAIRS)))["loss"]
            kept.append(sum(saved))
        assert kept[1] < kept[0] / 10

    def test_prefixes_are_trained_like_whole_vectors(self, tiny: Any) -> None:
        with torch.no_grad():
            objective = self.objective(tiny, matryoshka_dimensions=[8, 16], distillation_weight=0.0)
            loss = objective(batch_of(list(self.PAIRS)))["loss"]
            plain = self.objective(tiny, distillation_weight=0.0)
            whole = plain(batch_of(list(self.PAIRS)))["loss"]
        assert not torch.isclose(loss, whole)
        vectors = torch.eye(3)[:, :2]
        torch.testing.assert_close(prefixes(torch.eye(3), [2])[1], vectors)
        assert prefixes(torch.rand(4, 8), [2])[1][:3].norm(dim=1).tolist() == pytest.approx(
            [1, 1, 1]
        )

    def test_no_more_negatives_than_the_recipe_says(self, tiny: Any) -> None:
        pairs = [Pair("runs", "in the park", ("The cat sits.",) * 2 + ("the mat",))] * 2
        assert allowed_documents(batch_of(pairs), 1).shape == (2, 4)
        with torch.no_grad():
            tokens = [
                self.objective(tiny, maximum_negatives=each)(batch_of(pairs))["tokens"]
                for each in (0, 1, 3)
            ]
        assert tokens[0] < tokens[1] < tokens[2]

    def test_a_batch_ends_where_its_tokens_do(self, tiny: Any) -> None:
        pairs = [*self.PAIRS, *self.PAIRS]
        with torch.no_grad():
            tokens = [
                self.objective(tiny, batch_tokens=budget)(batch_of(pairs))["tokens"].item()
                for budget in (None, 10_000, 150, 1)
            ]
            two = self.objective(tiny)(batch_of(pairs[:2]))["tokens"].item()
        assert tokens[0] == tokens[1] > 150 >= tokens[2] > two
        # In-batch negatives need two.
        assert tokens[3] == two

    def test_a_teacher_stands_in_for_the_raw_encoder(self, tiny: Any) -> None:
        objective, asked = self.objective(tiny), []

        def teacher(texts: list[str], role: str) -> torch.Tensor:
            asked.append((texts, role))
            return torch.eye(8)[len(asked) :][: len(texts)]

        with torch.no_grad():
            raw = objective(batch_of(list(self.PAIRS)))
            objective.teacher = teacher
            objective.model.raw_encoder = None
            taught = objective(batch_of(list(self.PAIRS)))
        assert asked == [
            ([pair.query for pair in self.PAIRS], "query"),
            ([*(pair.document for pair in self.PAIRS), "The cat sits."], "document"),
        ]
        assert not torch.isclose(taught["distillation"], raw["distillation"])
        torch.testing.assert_close(taught["contrastive"], raw["contrastive"])

    def test_prompts_of_a_dataset_come_before_the_model_s(self, tiny: Any) -> None:
        objective = self.objective(tiny)
        with torch.no_grad():
            plain = objective(batch_of(list(self.PAIRS)))["tokens"]
            own = objective(batch_of(list(self.PAIRS), query_prompt="", document_prompt=""))[
                "tokens"
            ]
            long = objective(
                batch_of(list(self.PAIRS), query_prompt="Find the passage that answers: ")
            )["tokens"]
        assert own < plain < long

    def test_vectors_come_back_in_the_order_given(self, tiny: Any) -> None:
        objective = self.objective(tiny)
        model = objective.model
        rows = [[0, *range(10, 10 + length), 2] for length in (30, 1, 50, 7, 60, 2)] * 20
        with torch.no_grad():
            together = objective._embed(rows, model)
            alone = [
                model(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.long))[0]
                for row in rows[:6]
            ]
        torch.testing.assert_close(together[:6], torch.stack(alone), rtol=0, atol=5e-6)

    @pytest.mark.parametrize(("symmetric", "prompt"), [(False, "passage: "), (True, "query: ")])
    def test_prompts_by_role(self, tiny: Any, symmetric: bool, prompt: str) -> None:
        objective = self.objective(tiny)
        seen: list[str] = []
        tokenizer = objective.tokenizer

        class Recorder:
            def encode_batch(self, texts: list[str]) -> Any:
                seen.extend(texts)
                return tokenizer.encode_batch(texts)

        objective.tokenizer = Recorder()
        with torch.no_grad():
            objective(batch_of(list(self.PAIRS), symmetric=symmetric))
        assert seen[:3] == ["query: " + pair.query for pair in self.PAIRS]
        assert seen[3:] == [
            prompt + text for text in (*(p.document for p in self.PAIRS), "The cat sits.")
        ]
