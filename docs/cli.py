"""Writes the reference of commands and settings from the code, so that it is always current.

::

    python docs/cli.py            # write it
    python docs/cli.py --check    # status 1 if it is not what would be written
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    # typer 0.29 has its own copy of click, and exports none of these classes.
    from typer._click import Command, Context, Parameter

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ROOT / "docs" / "reference" / "cli.md"
SETTINGS = ROOT / "docs" / "reference" / "settings.md"
HEAD = """\
# Command line

<!-- Written by docs/cli.py from the commands' help. Change a command, then run the script. -->

Results go to standard output, progress and errors to standard error. An error is two lines: what
failed, and what to do next. With `--json` it is one line of JSON on standard output.

| exit code | meaning |
|---:|---|
| 0 | success |
| 1 | an error |
| 2 | a wrong option or argument |
| 130 | ended by Ctrl-C |
"""


SETTINGS_HEAD = """\
# Settings of the service

<!-- Written by docs/cli.py from the class Settings. Change the class, then run the script. -->

A setting can be given in three places. A flag comes before the environment, the environment before
the file. An unknown name is refused, and the message names the nearest right one.

| place | example |
|---|---|
| flag | `lusifer serve --port 9000` |
| environment | `LUSIFER_SERVE_PORT=9000` |
| TOML file, named by `--config` or `LUSIFER_SERVE_CONFIG` | `port = 9000` |

| setting | default | meaning |
|---|---|---|
"""


def settings_page() -> str:
    """Return the page of the service's settings."""
    from lusifer.service.settings import settings_help

    rows = [
        f"| `{name}` | {f'`{setting.default}`' if setting.default else ''} | "
        f"{setting.description} |"
        for name, setting in settings_help().items()
    ]
    return SETTINGS_HEAD + "\n".join(rows) + "\n"


def commands_page() -> str:
    """Return the page of the commands."""
    from lusifer.cli.app import app
    from lusifer_evaluation.cli import eval_app
    from lusifer_export.adapt_cli import adapt_app
    from lusifer_export.cli import export_app
    from lusifer_training.cli import train_app

    group = typer.main.get_group(app)
    # These are loaded only when they are called, so their options are read here.
    lazy = {"train": train_app, "eval": eval_app, "export": export_app, "adapt": adapt_app}
    commands = {
        name: typer.main.get_command(lazy[name]) if name in lazy else command
        for name, command in group.commands.items()
    }
    sections = [_section("lusifer", group)]
    for name, command in commands.items():
        sections += _sections(f"lusifer {name}", command)
    return "\n".join([HEAD, *sections])


def _sections(path: str, command: Command) -> Iterator[str]:
    yield _section(path, command)
    for name, child in getattr(command, "commands", {}).items():
        yield from _sections(f"{path} {name}", child)


def _section(path: str, command: Command) -> str:
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


def _text_and_examples(command: Command) -> tuple[list[str], list[str]]:
    """Split the help and its epilog into paragraphs of text and examples."""
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


def _row(parameter: Parameter, context: Context) -> str | None:
    record = parameter.get_help_record(context)
    # Every command has --help, and the options for shell completion are typer's.
    if record is None or "--help" in record[0] or "completion" in record[0]:
        return None
    names, meaning = (" ".join(part.split()).replace("|", "\\|") for part in record)
    return f"| `{names}` | {meaning} |"


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` compare them; return the exit status."""
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
