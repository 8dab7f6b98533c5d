from __future__ import annotations

import re
import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import pytest
import typer
from plugin.tests.cli.commands import ENVIRONMENT, run

import lusifer
from lusifer.cli.app import app
from lusifer.cli.common import option_helps
from lusifer.errors import LusiferError

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS = ["embed", "index", "search", "delete", "info", "demo"]


def test_version() -> None:
    assert run("--version") == (0, f"lusifer {lusifer.__version__}\n", "")


def test_help_names_every_command() -> None:
    code, text, _ = run("--help")
    assert code == 0
    assert all(command in text for command in [*COMMANDS, "train", "eval", "export", "adapt"])


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(command: str) -> None:
    code, text, _ = run(command, "--help")
    assert code == 0
    assert "Examples:" in text
    assert f"lusifer {command}" in text.split("Examples:")[1]


def paths(command: object, *names: str) -> Iterator[tuple[str, ...]]:
    """Yield the names of all commands; the other components have tests of their own."""
    yield names
    for name, child in getattr(command, "commands", {}).items():
        if name not in {"train", "eval", "export", "adapt"}:
            yield from paths(child, *names, name)


ALL = list(paths(typer.main.get_command(app)))


def test_every_command_is_registered() -> None:
    assert {" ".join(path) for path in ALL if path[:1] != ("reindex",)} == {
        "",
        "embed",
        "index",
        "search",
        "delete",
        "serve",
        "info",
        "demo",
        "keys",
        "keys add",
        "keys list",
        "keys revoke",
        "qdrant",
        "qdrant setup",
        "qdrant alias",
        "weaviate",
        "weaviate setup",
        "doctor",
        "doctor index",
        "doctor qdrant",
        "doctor weaviate",
    }


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_option_has_a_help_and_every_help_an_option(path: tuple[str, ...]) -> None:
    command = typer.main.get_command(app)
    for name in path:
        command = command.commands[name]  # type: ignore[attr-defined]
    parameters = command.get_params(command.context_class(command))
    assert [each.name for each in parameters if not getattr(each, "help", None)] == []
    described = option_helps(command.callback.__doc__ or "")
    assert set(described) <= {each.name for each in parameters}


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_fits_80_columns(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, text, _ = run(*path, "--help")
    assert code == 0
    assert max(map(len, text.split("\n"))) <= 80
    # A word that does not fit into its column is cut with an ellipsis, and a list of choices is
    # broken within a word.
    assert not re.search(r"\w…", text)
    assert not re.search(r"<\w[^=>\n]*\n", text)


def test_help_paragraphs_take_the_width_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert (
        "A record that can't be indexed is reported and skipped, and the exit code is 1. After "
        "Ctrl-C or a crash, the same command continues where it stopped."
    ) in run("index", "--help")[1]


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


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        ("train", "lusifer_training.cli", "train"),
        ("eval", "lusifer_evaluation.cli", "eval"),
        ("export", "lusifer_export.cli", "export"),
    ],
)
def test_without_the_extra_its_name_is_reported(
    monkeypatch: pytest.MonkeyPatch, command: str, module: str, extra: str
) -> None:
    # Another test may have loaded it already.
    monkeypatch.setitem(sys.modules, module, None)  # type: ignore[arg-type]
    code, stdout, stderr = run(command, "--config", "x.yaml")
    assert (code, stdout) == (1, "")
    assert f"Run pip install 'lusifer[{extra}]'" in stderr


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the training component by a small one, with an error of the common tree."""

    class TrainingError(LusiferError):
        pass

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
            raise TrainingError("It broke.", next_step="Do this.")
        typer.echo(f"{config} {names}")
        raise typer.Exit(code)

    @group.command()
    def resume() -> None:
        """Continue it."""

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
