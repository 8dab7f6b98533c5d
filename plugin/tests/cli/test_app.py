from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

import lusifer
from lusifer.cli.app import app

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(lusifer.__file__).parents[1]),
    "PYTHONWARNINGS": "error",
}
COMMANDS = ["embed", "index", "search", "info", "demo"]


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_version() -> None:
    assert run("--version") == (0, f"lusifer {lusifer.__version__}\n", "")


def test_help_names_every_command() -> None:
    code, text, _ = run("--help")
    assert code == 0
    assert all(command in text for command in [*COMMANDS, "train", "eval", "export"])


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(command: str) -> None:
    code, text, _ = run(command, "--help")
    assert code == 0
    assert "Examples:" in text
    assert f"lusifer {command}" in text.split("Examples:")[1]


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom lusifer.cli.app import main\n"
        "try:\n    main(['--help'])\nfinally:\n"
        "    heavy = {'numpy', 'onnxruntime', 'tokenizers', 'qdrant_edge', 'torch', 'pydantic'}\n"
        "    heavy &= set(sys.modules)\n"
        "    print(sorted(heavy), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=ENVIRONMENT, check=True
    )
    assert done.stderr == "[]\n"


def test_info(tiny_bundle: Path) -> None:
    code, text, _ = run("info", "--json", "--bundle", str(tiny_bundle))
    info = json.loads(text)
    assert code == 0
    assert info["model"] == "lusifer-tiny-test"
    assert (info["dimension"], info["matryoshka_dimensions"]) == (16, [16, 8, 4])
    assert info["fingerprint"].startswith("sha256:")
    assert info["bundle"] == str(tiny_bundle.resolve())
    assert {"lusifer", "python", "onnxruntime", "tokenizers", "qdrant-edge-py"} <= set(
        info["versions"]
    )
    code, text, _ = run("info", "--bundle", str(tiny_bundle))
    assert code == 0
    assert info["fingerprint"] in re.sub(r"\s", "", text)


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        ("train", "lusifer_training.cli", "train"),
        ("eval", "lusifer_evaluation.cli", "eval"),
        ("export", "lusifer_export.cli", "export"),
    ],
)
def test_without_the_extra_its_name_is_told(
    monkeypatch: pytest.MonkeyPatch, command: str, module: str, extra: str
) -> None:
    # Another test may have loaded it already.
    monkeypatch.setitem(sys.modules, module, None)  # type: ignore[arg-type]
    code, stdout, stderr = run(command, "--config", "x.yaml")
    assert (code, stdout) == (1, "")
    assert f"Run pip install 'lusifer[{extra}]'" in stderr


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the training component, with an error tree of its own."""

    class TrainingError(Exception):
        next_step = "Do this."

    group = typer.Typer(no_args_is_help=True)

    @group.command()
    def start(
        names: Annotated[list[str] | None, typer.Argument()] = None,
        config: Annotated[str, typer.Option("--config", "-c")] = "none",
        fail: bool = False,
        code: int = 0,
    ) -> None:
        """Start it."""
        if fail:
            raise TrainingError("It broke.")
        typer.echo(f"{config} {names}")
        raise typer.Exit(code)

    @group.command()
    def resume() -> None:
        """Go on."""

    module = ModuleType("lusifer_training.cli")
    module.train_app = group  # type: ignore[attr-defined]
    single = typer.Typer()
    single.command()(lambda: typer.echo("measured"))
    evaluation = ModuleType("lusifer_evaluation.cli")
    evaluation.eval_app = single  # type: ignore[attr-defined]
    for package in ("lusifer_training", "lusifer_evaluation"):
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
    for stand_in in (module, evaluation):
        monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)


@pytest.mark.usefixtures("training")
def test_a_single_command_of_another_component() -> None:
    assert run("eval") == (0, "measured\n", "")


@pytest.mark.usefixtures("training")
def test_a_group_of_another_component() -> None:
    assert run("train", "start", "-c", "x", "a", "b") == (0, "x ['a', 'b']\n", "")
    assert run("train", "start", "--code", "3")[0] == 3
    code, text, _ = run("train", "--help")
    assert code == 0
    assert "resume" in text
    assert "resume" in run("train")[1]
    assert "Start it" in run("train", "start", "--help")[1]
    assert run("train", "start", "--unknown")[0] == 2
    code, _, stderr = run("train", "start", "--fail")
    assert (code, stderr) == (1, "Error: It broke.\nDo this.\n")
