"""Stage 2: losses, head, gradient cache, teachers and prompts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from lusifer_training.backbones.load import load_tokenizer
from lusifer_training.checkpoint import trained_parameters
from lusifer_training.data.batches import PairBatch
from lusifer_training.data.pairs import Pair
from lusifer_training.errors import TooLargeError
from lusifer_training.objectives.contrastive import (
    allowed_documents,
    prefixes,
)
from lusifer_training.objectives.finetune import FinetuneObjective
from lusifer_training.recipe import DatasetRecipe, FinetuneRecipe
from lusifer_training.trainer.distributed import Distributed


def batch_of(pairs: list[Pair], **fields: Any) -> PairBatch:
    return PairBatch("set", DatasetRecipe(file="f", schema="query_document", **fields), pairs)


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

    def test_states_that_do_not_fit_are_reported(
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
