"""What every command shares: its declaration, its errors, its exit codes and its output."""

from __future__ import annotations

import errno
import functools
import json
import logging
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import typer

from lusifer.errors import LusiferError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import Console
    from typer.core import TyperCommand

__all__ = [
    "EXIT_ERROR",
    "EXIT_INTERRUPTED",
    "Command",
    "console",
    "epilog_of",
    "guarded",
    "start_logging",
    "write_json",
]

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130
"""Exit code that shells report for a command that Ctrl-C ended: 128 + SIGINT."""

_Parameters = ParamSpec("_Parameters")
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Command:
    """A command as its module declares it; its help is the function's docstring."""

    run: Callable[..., object]
    """Function whose parameters are the command's options and arguments."""
    examples: tuple[str, ...]
    """Command lines that the help ends with."""
    kind: type[TyperCommand] | None = None
    """Class of the command, if it is another than typer's."""
    context_settings: Mapping[str, bool] = field(default_factory=dict)
    """Settings of click for this command."""


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
        except Exception as error:
            # Training and export have error trees of their own, with the same two attributes.
            if not isinstance(getattr(error, "next_step", None), str):
                raise
            logging.getLogger(__name__).debug("The error in full", exc_info=True)
            report_error(error, as_json=as_json)
            raise typer.Exit(EXIT_ERROR) from None
        return answer

    return run


def report_error(error: Exception, *, as_json: bool) -> None:
    """Write what went wrong and what to do next, for a person or a machine."""
    message = getattr(error, "message", None) or str(error)
    next_step = getattr(error, "next_step", "")
    if as_json:
        as_dict = getattr(error, "as_dict", None)
        fields = as_dict() if as_dict else {"type": type(error).__name__, "message": message}
        write_json({"error": {"next_step": next_step, **fields}})
        sys.stdout.flush()
        return
    for line in (f"Error: {message}", next_step):
        sys.stderr.write(line.encode("utf-8", "backslashreplace").decode() + "\n")


def write_json(value: object) -> None:
    """Write one line of JSON to standard output."""
    # A lone surrogate, in an error about it, can't be written as UTF-8.
    line = (
        json.dumps(value, ensure_ascii=False, allow_nan=False)
        .encode("utf-8", "backslashreplace")
        .decode()
    )
    sys.stdout.write(line + "\n")


def console(*, stderr: bool = False) -> Console:
    """Return a rich console that draws only on a terminal and reads no markup in users' texts."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)


def start_logging(verbosity: int) -> None:
    """Log to standard error: warnings and the progress of long work, more with -v and -vv."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)]
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    logging.getLogger("lusifer").setLevel(level)
    for name in ("lusifer_training", "lusifer_export"):
        # Their work takes minutes to hours. Without progress it would look like a hang.
        logging.getLogger(name).setLevel(min(level, logging.INFO))


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
