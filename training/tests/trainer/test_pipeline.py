"""A whole run on tiny data: both stages to a checkpoint, the same after a kill."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lusifer_training.checkpoint import (
    load_checkpoint,
)
from lusifer_training.config import BackboneSource
from lusifer_training.embedders import checkpoint_embedder
from lusifer_training.errors import CheckpointError, DataError, TooLargeError
from lusifer_training.objectives.alignment import AlignmentObjective
from lusifer_training.objectives.finetune import FinetuneObjective
from lusifer_training.recipe import Recipe
from lusifer_training.trainer.distributed import Distributed
from lusifer_training.trainer.pipeline import interpolate, train, what_fits

if TYPE_CHECKING:
    from pathlib import Path

WORDS = [
    "archive",
    "library",
    "cat",
    "mat",
    "dog",
    "park",
    "format",
    "reader",
    "writer",
    "network",
    "sound",
    "image",
    "editor",
    "server",
    "game",
]


@pytest.fixture
def data(tmp_path: Path, write_lines: Any) -> Path:
    folder = tmp_path / "data"
    pairs = [
        {"query": f"what is a {a} {b}", "document": f"A {a} is the {b} of the {a}."}
        for a in WORDS
        for b in WORDS[:4]
    ]
    write_lines(folder / "qa.jsonl.gz", pairs)
    labelled = [{"text": f"{a} {b}", "label": a} for a in WORDS[:6] for b in WORDS]
    write_lines(folder / "labels.jsonl", labelled)
    return folder


@pytest.fixture
def recipe(tiny: Any) -> Any:
    def make(model: Any = None, **changes: Any) -> Recipe:
        values: dict[str, Any] = {
            "model": model or tiny.config(),
            "datasets": {
                "qa": {"file": "qa.jsonl.gz", "schema": "query_document"},
                "labels": {
                    "file": "labels.jsonl",
                    "schema": "labelled",
                    "symmetric": True,
                    "own_negatives_only": True,
                },
            },
            "align": {"steps": 22, "batch_texts": 8, "learning_rate": 1e-2, "maximum_tokens": 16},
            "finetune": {
                "steps": 24,
                "batch_pairs": 6,
                "maximum_query_tokens": 16,
                "maximum_document_tokens": 16,
                "learning_rate": 1e-3,
                "new_learning_rate": 1e-2,
            },
        }
        return Recipe.model_validate({**values, **changes})

    return make


def test_both_stages_to_a_checkpoint_and_the_same_after_a_kill(
    recipe: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = train(recipe(), data_folder=data, run_folder=tmp_path / "run")
    report = json.loads((folder / "training_report.json").read_text())
    assert report["stages"]["align"]["steps"] == 22
    assert report["stages"]["align"]["last_loss"] < report["stages"]["align"]["first_loss"]
    assert report["stages"]["finetune"]["steps"] == 24
    # A tenth of 60 pairs is held out, by answer; of 6 labels x 7 pairs, by query.
    assert 40 <= report["data"]["qa"]["kept"] < 60
    assert 30 <= report["data"]["labels"]["kept"] <= 42
    assert report["recipe"]["datasets"]["qa"]["schema"] == "query_document"
    embedder = checkpoint_embedder(folder)
    vectors = embedder(["what is a cat mat", "A cat is the mat of the cat."], "query")
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)

    call, steps = FinetuneObjective.__call__, []

    def killed(objective: FinetuneObjective, batch: Any) -> Any:
        steps.append(batch)
        if len(steps) == 22:
            raise KeyboardInterrupt
        return call(objective, batch)

    with monkeypatch.context() as patch:
        patch.setattr(FinetuneObjective, "__call__", killed)
        with pytest.raises(KeyboardInterrupt):
            train(recipe(), data_folder=data, run_folder=tmp_path / "killed")
    resumed = train(recipe(), data_folder=data, run_folder=tmp_path / "killed")
    ours, theirs = (load_file(each / "adapter.safetensors") for each in (folder, resumed))
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=1e-6)


def test_the_encoder_alone(tiny: Any, recipe: Any, data: Path, tmp_path: Path) -> None:
    small = recipe(tiny.config("xlm-roberta", None), align=None)
    folder = train(small, data_folder=data, run_folder=tmp_path / "run")
    assert load_checkpoint(folder).llm is None
    assert "align" not in json.loads((folder / "training_report.json").read_text())["stages"]


def test_the_teacher_of_a_recipe_is_asked(
    recipe: Any, data: Path, tmp_path: Path, write_lines: Any
) -> None:
    stage = {**recipe().finetune.model_dump(), "steps": 2}
    first = train(
        recipe(align=None, finetune=stage), data_folder=data, run_folder=tmp_path / "first"
    )
    taught = recipe(align=None, finetune={**stage, "teacher": str(first)})
    assert train(taught, data_folder=data, run_folder=tmp_path / "second").is_dir()
    vectors = write_lines(tmp_path / "vectors.jsonl", [{"text": "another", "vector": [1, 0]}])
    taught = recipe(align=None, finetune={**stage, "teacher": str(vectors)})
    with pytest.raises(DataError, match="has no vector of"):
        train(taught, data_folder=data, run_folder=tmp_path / "third")


def test_batches_of_stage_1_end_where_their_tokens_do(
    recipe: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, batches = AlignmentObjective.__call__, []

    def seen(objective: AlignmentObjective, texts: list[str]) -> dict[str, torch.Tensor]:
        losses = call(objective, texts)
        batches.append((len(texts), losses["tokens"].item()))
        return losses

    monkeypatch.setattr(AlignmentObjective, "__call__", seen)
    stage = {**recipe().align.model_dump(), "steps": 6, "batch_tokens": 50}
    train(recipe(align=stage), data_folder=data, run_folder=tmp_path / "run", stages=["align"])
    assert len(batches) == 6
    assert all(2 <= count < stage["batch_texts"] and tokens <= 50 for count, tokens in batches)


def test_another_recipe_in_the_same_folder_is_refused(
    recipe: Any, data: Path, tmp_path: Path
) -> None:
    short = {"align": None, "finetune": {**recipe().finetune.model_dump(), "steps": 2}}
    train(recipe(**short), data_folder=data, run_folder=tmp_path / "run")
    with pytest.raises(CheckpointError, match="another recipe"):
        train(recipe(**short, seed=1), data_folder=data, run_folder=tmp_path / "run")
    # How often a state is saved changes nothing in it, and how much of it is kept is decided after
    # it.
    train(recipe(**short, loop={"save_every": 1}), data_folder=data, run_folder=tmp_path / "run")
    train(recipe(**short, interpolation=0.5), data_folder=data, run_folder=tmp_path / "run")


def test_a_run_is_not_resumed_on_other_weights(
    recipe: Any, data: Path, tmp_path: Path, tiny: Any
) -> None:
    copy = shutil.copytree(tiny.encoder_folder("bert"), tmp_path / "encoder")
    source = BackboneSource(location=f"folder:{copy}", format="huggingface")
    model = recipe().model.model_copy(update={"encoder": source})
    short = {"align": None, "finetune": {**recipe().finetune.model_dump(), "steps": 2}}
    train(recipe(**short, model=model), data_folder=data, run_folder=tmp_path / "run")
    weights = copy / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="or to other files of its backbones"):
        train(recipe(**short, model=model), data_folder=data, run_folder=tmp_path / "run")


def test_missing_data_is_named_before_training(recipe: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data file .*qa\.jsonl\.gz"):
        train(recipe(), data_folder=tmp_path, run_folder=tmp_path / "run")


def test_a_probe_while_training(recipe: Any, data: Path, tmp_path: Path, write_lines: Any) -> None:
    for language in ("deu", "fin"):
        lines = [{"text": f"{word} {language}", "english": f"{word} {word}"} for word in WORDS]
        write_lines(data / "eval" / "tatoeba" / f"{language}.jsonl.gz", lines)
    short = {"align": None, "finetune": {**recipe().finetune.model_dump(), "steps": 2}}
    train(
        recipe(**short, loop={"probe_every": 2, "probe_pairs": 5}),
        data_folder=data,
        run_folder=tmp_path / "run",
    )
    lines = (tmp_path / "run" / "finetune" / "metrics.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    assert "probe_mean" not in json.loads(lines[0])
    assert 0 <= last["probe_deu"] <= 100
    assert last["probe_mean"] == pytest.approx(
        (last["probe_deu"] + last["probe_fin"]) / 2, abs=0.01
    )


class TestMemory:
    def losses(self, limit: int) -> Any:
        def losses_of(batch: int, size: int) -> dict[str, torch.Tensor]:
            self.tried.append(size)
            if size > limit:
                raise torch.OutOfMemoryError("tried to allocate 2 GiB")
            return {"loss": torch.zeros(1, requires_grad=True).sum()}

        self.tried: list[int] = []
        return losses_of

    def test_the_largest_half_that_fits(self) -> None:
        advice = what_fits(
            self.losses(20), 0, 64, "finetune.batch_pairs", "finetune.gradient_cache"
        )
        assert self.tried == [32, 16]
        assert "finetune.batch_pairs 16 fits; or try finetune.gradient_cache" in advice

    def test_a_cpu_s_allocator_is_understood_and_other_errors_are_not_hidden(self) -> None:
        def losses_of(batch: int, size: int) -> dict[str, torch.Tensor]:
            torch.empty(1 << 58 if size > 4 else 1, dtype=torch.uint8)
            if size < 4:
                raise RuntimeError("shapes don't match")
            return {"loss": torch.zeros(1, requires_grad=True).sum()}

        assert "batch_pairs 4 fits" in what_fits(losses_of, 0, 16, "batch_pairs", "less")
        with pytest.raises(RuntimeError, match="shapes"):
            what_fits(losses_of, 0, 6, "batch_pairs", "less")

    def test_with_fsdp_nothing_is_tried(self) -> None:
        distributed = Distributed()
        distributed.sharded = True
        advice = what_fits(
            self.losses(0), 0, 8, "align.batch_texts", "loop.accumulation", distributed
        )
        assert self.tried == []
        assert "try align.batch_texts 4, or loop.accumulation" in advice

    def test_nothing_fits(self) -> None:
        advice = what_fits(self.losses(0), 0, 8, "align.batch_texts", "loop.accumulation")
        assert "not even two fit" in advice

    def test_a_run_says_it(
        self, recipe: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        call = FinetuneObjective.__call__

        def full(objective: FinetuneObjective, batch: Any) -> Any:
            if len(batch.pairs) > 3:
                raise MemoryError
            return call(objective, batch)

        monkeypatch.setattr(FinetuneObjective, "__call__", full)
        with pytest.raises(TooLargeError, match="doesn't fit into memory") as caught:
            train(recipe(align=None), data_folder=data, run_folder=tmp_path / "run")
        assert "finetune.batch_pairs 3 fits" in caught.value.next_step


def vectors(model: Any) -> torch.Tensor:
    ids = torch.randint(4, 320, (3, 11), generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        return model(ids, torch.ones_like(ids))


class TestInterpolation:
    def test_nothing_kept_is_the_raw_encoder_and_all_the_trained_model(self, tiny: Any) -> None:
        raw, model = vectors(tiny.model(trained=False)), tiny.model()
        trained = vectors(model)
        interpolate(model, 1.0, 1.0)
        assert torch.equal(vectors(model), trained)
        interpolate(model, 0.0, 0.0)
        torch.testing.assert_close(vectors(model), raw, rtol=0, atol=1e-6)

    def test_half_lies_between(self, tiny: Any) -> None:
        raw, model = vectors(tiny.model(trained=False)), tiny.model()
        trained = vectors(model)
        interpolate(model, 0.5, 0.5)
        half = vectors(model)
        assert ((half * raw).sum(1) > (trained * raw).sum(1)).all()

    def test_without_the_head_the_trained_encoder_is_left(self, tiny: Any) -> None:
        model, other, raw = tiny.model(), tiny.model(), vectors(tiny.model(trained=False))
        interpolate(model, 1.0, 0.0)
        with torch.no_grad():
            other.head.weight.zero_()
            other.head.bias.zero_()
        assert torch.equal(vectors(model), vectors(other))
        assert (vectors(model) - raw).abs().max() > 1e-4
