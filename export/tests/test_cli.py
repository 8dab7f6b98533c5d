from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from export.tests.helpers import names, run_command

from lusifer_export.triton.repository import live_version
from lusifer_training.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer.bundle.format import Bundle


@pytest.mark.usefixtures("quick")
class TestExport:
    def test_export(self, checkpoint: Path, tmp_path: Path) -> None:
        arguments = [str(checkpoint), str(tmp_path / "b"), "--precision", "fp32"]
        result = run_command(*arguments, "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["verdict"] == "passed"
        result = run_command(*arguments)
        assert result.exit_code == 0, result.output
        assert "  ja  mean 1.0" in result.stdout
        assert "R@1 " in result.stdout

    @pytest.mark.parametrize("kind", ["sentence-transformers", "Hugging Face"])
    def test_a_model_folder_is_no_checkpoint(self, tiny: Any, tmp_path: Path, kind: str) -> None:
        folder = shutil.copytree(tiny.encoder_folder("bert"), tmp_path / "model")
        if kind == "sentence-transformers":
            (folder / "modules.json").write_text("[]")
        error = run_command(folder, tmp_path / "b").exception
        assert isinstance(error, CheckpointError)
        assert error.message == f"{folder} is a {kind} model, not a checkpoint."
        assert f"folder:{folder} in a recipe" in error.next_step

    def test_an_unknown_precision(self, checkpoint: Path, tmp_path: Path) -> None:
        result = run_command(checkpoint, tmp_path / "b", "--precision", "fp8")
        assert result.exit_code == 2
        assert names(tmp_path) == []


class TestTriton:
    def test_a_bundle_becomes_a_version_and_back(self, bundle: Bundle, tmp_path: Path) -> None:
        for version in (1, 2):
            result = run_command(bundle.path, "--triton", tmp_path)
            assert result.exit_code == 0, result.output
            assert f"version {version} is the one" in result.output
            assert "models/lusifer_core/load" in result.output
        result = run_command("--triton", tmp_path, "--rollback", "1")
        assert result.exit_code == 0, result.output
        assert live_version(tmp_path) == 1

    def test_json_stays_json(self, bundle: Bundle, tmp_path: Path) -> None:
        result = run_command(bundle.path, "--triton", tmp_path, "--json")
        assert json.loads(result.stdout)["verdict"] == "passed"

    @pytest.mark.parametrize(
        "arguments",
        [[], ["x"], ["--rollback", "1"], ["x", "--triton", "r", "--rollback", "1"]],
        ids=str,
    )
    def test_arguments_that_do_not_fit(self, arguments: list[str]) -> None:
        assert run_command(*arguments).exit_code == 2

    def test_an_unknown_device(self, bundle: Bundle, tmp_path: Path) -> None:
        assert run_command(bundle.path, "--triton", tmp_path, "--device", "tpu").exit_code == 2
