"""The evaluation commands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from training.tests.oracle import LANGUAGES

if TYPE_CHECKING:
    from pathlib import Path


class TestCommands:
    @pytest.fixture
    def run(self, data: Path) -> Any:
        from typer.testing import CliRunner

        from lusifer_evaluation.cli import eval_app

        def run(*arguments: str) -> str:
            result = CliRunner().invoke(eval_app, [*arguments, "--data", str(data)])
            assert result.exit_code == 0, result.output
            return result.stdout

        return run

    def test_table(self, run: Any, tiny: Any, tmp_path: Path) -> None:
        checkpoint = tiny.checkpoint(tmp_path / "c", tiny.config(language_rank=2))
        arguments = (
            "table",
            f"mine={checkpoint}",
            f"plain=unprojected:{checkpoint}",
            "--cache",
            str(tmp_path / "k"),
        )
        found = json.loads(run(*arguments, "--task", "xquad", "--json"))
        assert list(found) == ["mine", "plain"]
        value = found["plain"]["measures"]["pool.map"]
        assert value["interval_95"][0] <= value["value"] <= value["interval_95"][1]
        assert run(*arguments, "--task", "xquad").startswith("| | mine | plain |")

    def test_pictures_of_a_table(self, run: Any, tiny: Any, tmp_path: Path) -> None:
        checkpoint = tiny.checkpoint(tmp_path / "c")
        options = (
            "--cache",
            str(tmp_path / "k"),
            "--task",
            "xquad",
            "--plots",
            str(tmp_path / "plots"),
        )
        run("table", f"mine={checkpoint}", *options)
        names = {path.name for path in (tmp_path / "plots").iterdir()}
        assert names == {
            "report.html",
            "xquad-mine.png",
            "tasks.png",
            "map-mine.png",
            "layers-mine.png",
        }

    def test_xmrc(self, run: Any, tmp_path: Path, write_module: Any) -> None:
        write_module(
            "their_model",
            "import zlib\nimport numpy as np\n"
            "def embed(texts, role):\n"
            "    return [np.random.default_rng(zlib.crc32(t.encode())).normal(size=8) for t in texts]\n",
        )
        command = ("xmrc", "their_model:embed", "--cache", str(tmp_path / "k"), "--pair", "de-en")
        found = json.loads(run(*command, "--json"), parse_constant=pytest.fail)
        assert set(found) == {"ratios", "error_split", "readout_oracle", "evidence_oracle"}
        # No answer of these sets lies in one of several sentences.
        assert found["evidence_oracle"]["de-en"]["oracle"] is None
        assert "| de-en | – |" in run(*command)

    def test_phases(self, run: Any, tiny: Any, tmp_path: Path) -> None:
        checkpoint = tiny.checkpoint(tmp_path / "c")
        found = json.loads(
            run(
                "phases",
                str(checkpoint),
                "--sentences",
                "10",
                "--plot",
                str(tmp_path / "p.png"),
                "--json",
            )
        )
        assert set(found["meeting"]) == {"de", "ja"}
        assert (tmp_path / "p.png").stat().st_size > 5000

    def test_subspace(self, run: Any, tiny: Any, tmp_path: Path, write_lines: Any) -> None:
        checkpoint = tiny.checkpoint(tmp_path / "c")
        records = [
            {"language": name, "text": f"{name} {n}"} for name in LANGUAGES for n in range(20)
        ]
        texts = write_lines(tmp_path / "m.jsonl", records)
        options = (
            "--texts",
            str(texts),
            "--ranks",
            "1,2,40",
            "--cache",
            str(tmp_path / "k" / "eval"),
        )
        assert list(json.loads(run("subspace", str(checkpoint), *options, "--json"))) == [
            "raw",
            "de-meaned",
            "r = 1",
            "r = 2",
        ]
