"""Writes the reference of commands and settings from the code, so that the pages can't say anything else.

::

    python docs/cli.py            # write it
    python docs/cli.py --check    # status 1 if it is not what would be written
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ROOT / "docs" / "reference" / "cli.md"
SETTINGS = ROOT / "docs" / "reference" / "settings.md"
HEAD = """\
# Command line

<!-- Written by docs/cli.py from the commands' own help. Change the command, then run the script. -->

Standard output holds what was asked for; progress and errors go to standard error. Exit codes: 0; 1 for
an error (two lines say what happened and what to do; with `--json`, one line of JSON on standard output); 2
for a wrong option; 130 after Ctrl-C.
"""


SETTINGS_HEAD = """\
# Settings of the service

<!-- Written by docs/cli.py from the class Settings. Change the class, then run the script. -->

Each can be given as a flag (`lusifer serve --port 9000`), in the environment (`LUSIFER_SERVE_PORT=9000`) or
in a TOML file (`port = 9000`, named by `--config` or `LUSIFER_SERVE_CONFIG`). A flag comes before the
environment, the environment before the file. An unknown name is refused, with the nearest right one.

| setting | default | meaning |
|---|---|---|
"""


def settings_page() -> str:
    """The page of the service's settings."""
    from lusifer.service.settings import settings_help

    rows = [
        f"| `{name}` | {f'`{setting.default}`' if setting.default else ''} | "
        f"{setting.description} |"
        for name, setting in settings_help().items()
    ]
    return SETTINGS_HEAD + "\n".join(rows) + "\n"


def commands_page() -> str:
    """The page of the commands."""
    from lusifer.cli.app import app
    from lusifer_evaluation.cli import eval_app
    from lusifer_export.cli import export_app
    from lusifer_training.cli import train_app

    group = typer.main.get_command(app)
    # These three are registered by name and loaded when they are called.
    lazy = {"train": train_app, "eval": eval_app, "export": export_app}
    commands = {
        name: typer.main.get_command(lazy[name]) if name in lazy else command
        for name, command in group.commands.items()
    }
    sections = [_section("lusifer", group)]
    for name, command in commands.items():
        sections += _sections(f"lusifer {name}", command)
    return "\n".join([HEAD, *sections])


def _sections(path: str, command: Any) -> Iterator[str]:
    yield _section(path, command)
    for name, child in getattr(command, "commands", {}).items():
        yield from _sections(f"{path} {name}", child)


def _section(path: str, command: Any) -> str:
    context = command.context_class(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    lines = [f"## {path}", "", "```", usage, "```", ""]
    text, examples = _text_and_examples(command)
    lines += [*text, ""]
    rows = [record for each in command.get_params(context) if (record := _row(each, context))]
    if rows:
        lines += ["| argument or option | meaning |", "|---|---|", *rows, ""]
    if examples:
        lines += ["```console", *examples, "```", ""]
    return "\n".join(lines)


def _text_and_examples(command: Any) -> tuple[list[str], list[str]]:
    """Paragraphs of the help, and the examples that stand at its end or in the epilog."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    epilog = inspect.cleandoc(command.epilog or "").split("\n\n")
    text, examples, among_examples = [], [], False
    for paragraph in (*paragraphs, *epilog):
        line = " ".join(paragraph.split())
        if line.startswith(("Example:", "Examples:")):
            among_examples = True
            # typer puts a docstring's example on the line of its title.
            line = line.partition(":")[2].strip()
        if not line:
            continue
        if among_examples:
            examples.append(line)
        else:
            text += [line, ""]
    return text[:-1], examples


def _row(parameter: Any, context: Any) -> str | None:
    record = parameter.get_help_record(context)
    # Every command has help, and completion of the shell is typer's matter.
    if record is None or "--help" in record[0] or "completion" in record[0]:
        return None
    names, meaning = (" ".join(part.split()).replace("|", "\\|") for part in record)
    return f"| `{names}` | {meaning} |"


def main(arguments: list[str]) -> int:
    """Write the pages, or compare them; the return value is the exit status."""
    sys.path[:0] = [str(ROOT / folder) for folder in ("plugin", "training", "export")]
    status = 0
    for path, expected in ((COMMANDS, commands_page()), (SETTINGS, settings_page())):
        if "--check" not in arguments:
            path.write_text(expected, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != expected:
            sys.stderr.write(f"{path.relative_to(ROOT)} is not current. Run: python docs/cli.py\n")
            status = 1
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
