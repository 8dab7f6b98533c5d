"""Parts common to all commands: declaration, errors, exit codes and output."""

from __future__ import annotations

import errno
import functools
import inspect
import json
import logging
import os
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import typer
from typer.core import TyperArgument, TyperCommand, TyperOption

from lusifer.common.terminal import ACTING, printable
from lusifer.errors import LusiferError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import Console

    # typer 0.29 has its own copy of click, and exports neither class.
    from typer._click import Context, Parameter

__all__ = [
    "EXIT_ERROR",
    "EXIT_INTERRUPTED",
    "Command",
    "DocumentedCommand",
    "console",
    "description_of",
    "epilog_of",
    "guarded",
    "option_helps",
    "show",
    "start_logging",
    "write_json",
]

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130
"""Exit code that shells report for a command that Ctrl-C ended: 128 + SIGINT."""

_OPTIONS = "\n\nOptions:\n"

_Parameters = ParamSpec("_Parameters")
_Answer = TypeVar("_Answer")


class DocumentedCommand(TyperCommand):
    """A command whose options take their help from the section Options of its docstring.

    An option with a help of its own keeps it, as those that commands share do.
    """

    def get_params(self, ctx: Context) -> list[Parameter]:
        """Return options and arguments, each with its help."""
        helps = option_helps(self.callback.__doc__ or "")
        parameters = super().get_params(ctx)
        for parameter in parameters:
            if isinstance(parameter, TyperOption | TyperArgument) and not parameter.help:
                parameter.help = helps.get(parameter.name or "")
        return parameters


@dataclass(frozen=True)
class Command:
    """A command as its module declares it."""

    run: Callable[..., object]
    """Function whose parameters are the command's options and arguments. Its docstring is the help.
    """
    examples: tuple[str, ...]
    """Command lines that the help ends with."""
    kind: type[TyperCommand] = DocumentedCommand
    """Class of the command."""
    context_settings: Mapping[str, bool] = field(default_factory=dict)
    """Settings of click for this command."""


def description_of(docstring: str) -> str:
    """Return a docstring without its section Options, one line for each paragraph.

    Lines of a paragraph would otherwise break at our width, not at the terminal's.
    """
    description = inspect.cleandoc(docstring).partition(_OPTIONS)[0]
    return "\n\n".join(" ".join(each.split()) for each in description.split("\n\n"))


def option_helps(docstring: str) -> dict[str, str]:
    """Return the help of each parameter that the section Options of a docstring describes."""
    entries = re.split(
        r"^ {4}(\w+): ", inspect.cleandoc(docstring).partition(_OPTIONS)[2], flags=re.M
    )
    return {
        name: " ".join(text.split())
        for name, text in zip(entries[1::2], entries[2::2], strict=True)
    }


def epilog_of(*examples: str) -> str:
    """Return the end of a command's help: its examples."""
    # Empty lines, because the help joins lines that follow each other.
    return "\n\n".join(("Examples:", *examples))


def guarded(command: Callable[_Parameters, _Answer]) -> Callable[_Parameters, _Answer]:
    """Turn expected errors of a command into two lines on standard error and an exit code.

    With ``--json`` the error is one line of JSON on standard output instead. Any other exception is
    a bug and keeps its traceback.
    """

    @functools.wraps(command)
    def run(*arguments: _Parameters.args, **options: _Parameters.kwargs) -> _Answer:
        as_json = bool(options.get("as_json"))
        try:
            answer = command(*arguments, **options)
            # Flush now: an error at exit could no longer be reported.
            sys.stdout.flush()
        except KeyboardInterrupt:
            sys.stderr.write("Interrupted.\n")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            # The reader, such as head, has closed the pipe.
            _silence_stdout()
            raise typer.Exit(EXIT_ERROR) from None
        except OSError as error:
            if (
                error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EIO}
                or error.filename is not None
            ):
                raise
            _silence_stdout()
            report_error(_output_error(error), as_json=False)
            raise typer.Exit(EXIT_ERROR) from None
        except LusiferError as error:
            logging.getLogger(__name__).debug("The error in full", exc_info=True)
            report_error(error, as_json=as_json)
            raise typer.Exit(EXIT_ERROR) from None
        return answer

    return run


def report_error(error: LusiferError, *, as_json: bool) -> None:
    """Write what went wrong and what to do next, for a person or a machine."""
    if as_json:
        write_json({"error": error.as_dict()})
        sys.stdout.flush()
        return
    # Two lines, whatever the message quotes.
    for line in (f"Error: {error.message}", error.next_step):
        show(f"{printable(line)}\n", err=True)


def show(text: str, *, err: bool = False) -> None:
    """Write text for people to standard output or error; see :mod:`lusifer.common.terminal`.

    Every command writes by this, since most of what they write quotes a document or a server.
    """
    (sys.stderr if err else sys.stdout).write(printable(text, lines=True))


def write_json(value: object) -> None:
    """Write one line of JSON to standard output, with what acts on a terminal escaped."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    # Such a character can only stand in a string, where JSON has its own escapes.
    sys.stdout.write(ACTING.sub(lambda found: json.dumps(found[0])[1:-1], line) + "\n")


def console(*, stderr: bool = False) -> Console:
    """Return a rich console that draws only on a terminal and reads no markup in users' texts."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)


def start_logging(verbosity: int) -> None:
    """Log to standard error: warnings and the progress of long work, more with -v and -vv."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)]
    logging.basicConfig(
        level=logging.WARNING,
        stream=sys.stderr,
        force=True,
    )
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("lusifer").setLevel(level)
    for name in ("lusifer_training", "lusifer_evaluation", "lusifer_export"):
        # Their work takes minutes to hours. Without progress it would look like a hang.
        logging.getLogger(name).setLevel(min(level, logging.INFO))


class _Formatter(logging.Formatter):
    """Writes a record on one line, and its traceback on the lines below."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's name)
        return printable(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), lines=True)


def _output_error(error: OSError) -> LusiferError:
    return LusiferError(
        f"Could not write to standard output: {error.strerror}.",
        next_step="Free some space or write to another place, then run the same command again.",
    )


def _silence_stdout() -> None:
    """Send further output to nothing, so that Python's flush at exit does not fail again."""
    try:
        descriptor = sys.stdout.fileno()
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, descriptor)
        os.close(nothing)
    except (OSError, ValueError):  # no real file, as in tests
        return
