"""The training commands: dry run, stages, kill and resume."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from lusifer_training.cli import train_app
from lusifer_training.errors import DataError

CONFIGS = Path(__file__).parents[1] / "configs"


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
