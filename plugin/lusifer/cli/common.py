"""What every command shares: options, the way errors are told, and output for people and machines."""

from __future__ import annotations

import errno
import functools
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer

from lusifer.errors import LusiferError
from lusifer.types import LongTextPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from lusifer.bundle.format import Manifest
    from lusifer.embedding.vectorizer import Vectorizer

__all__ = [
    "DEFAULT_INDEX",
    "EXIT_ERROR",
    "EXIT_INTERRUPTED",
    "BundleOption",
    "DimensionOption",
    "IndexOption",
    "JsonOption",
    "LongTextOption",
    "console",
    "epilog_of",
    "guarded",
    "load_vectorizer",
    "read_manifest",
    "start_logging",
    "write_json",
]

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130
"""What shells report for a command that Ctrl-C ended: 128 + SIGINT."""

DEFAULT_INDEX = Path("lusifer-index")

BundleOption = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        metavar="DIR",
        help="Folder of the model's bundle; without it the default one, which is built once.",
    ),
]
IndexOption = Annotated[Path, typer.Option("--index", metavar="DIR", help="Folder of the index.")]
DimensionOption = Annotated[
    int | None,
    typer.Option("--dimension", min=1, help="Length of the vectors (default: the model's)."),
]
LongTextOption = Annotated[
    LongTextPolicy, typer.Option("--long-text", help="What happens to a text over the token limit.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

_Parameters = ParamSpec("_Parameters")
_Answer = TypeVar("_Answer")


def epilog_of(*examples: str) -> str:
    """What ``--help`` ends with."""
    return "\n\n".join(("Examples:", *examples))


def guarded(command: Callable[_Parameters, _Answer]) -> Callable[_Parameters, _Answer]:
    """Turn expected errors of a command into two lines on standard error and an exit code.

    With ``--json`` the error is one line of JSON on standard output instead. Anything else that is
    raised is a fault of ours and keeps its traceback.
    """

    @functools.wraps(command)
    def run(*arguments: _Parameters.args, **options: _Parameters.kwargs) -> _Answer:
        as_json = bool(options.get("as_json"))
        try:
            answer = command(*arguments, **options)
            # Here and not at exit, where Python could only mutter about it.
            sys.stdout.flush()
        except KeyboardInterrupt:
            sys.stderr.write("Interrupted.\n")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            # The reader, such as head, has seen enough.
            _silence_stdout()
            raise typer.Exit(EXIT_ERROR) from None
        except OSError as error:
            if (
                error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EIO}
                or error.filename is not None
            ):
                raise
            _silence_stdout()
            tell_error(_output_error(error), as_json=False)
            raise typer.Exit(EXIT_ERROR) from None
        except Exception as error:
            # Training and export have error trees of their own, with the same two attributes.
            if not isinstance(getattr(error, "next_step", None), str):
                raise
            logging.getLogger(__name__).debug("The error in full", exc_info=True)
            tell_error(error, as_json=as_json)
            raise typer.Exit(EXIT_ERROR) from None
        return answer

    return run


def tell_error(error: Exception, *, as_json: bool) -> None:
    """What went wrong and what to do next, for a person or a machine."""
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


def write_json(value: Any) -> None:
    """One line of JSON on standard output."""
    # A lone surrogate, in an error about it, can't be written as UTF-8.
    line = (
        json.dumps(value, ensure_ascii=False, allow_nan=False)
        .encode("utf-8", "backslashreplace")
        .decode()
    )
    sys.stdout.write(line + "\n")


def console(*, stderr: bool = False) -> Console:
    """A rich console that draws only on a terminal and guesses no markup in texts of users."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)


def load_vectorizer(
    bundle: Path | None,
    *,
    long_text: LongTextPolicy = "truncate",
    dimension: int | None = None,
    quiet: bool = False,
) -> Vectorizer:
    """Open the bundle, with a notice on a terminal: building the default one takes minutes."""
    from lusifer.embedding.vectorizer import Vectorizer

    notice = (
        "Loading the model"
        if bundle
        else "Loading the default model (the first time builds it: minutes)"
    )
    terminal = console(stderr=True)
    if quiet or not terminal.is_terminal:
        return Vectorizer.load(bundle, long_text=long_text, dimension=dimension)
    with terminal.status(notice):
        return Vectorizer.load(bundle, long_text=long_text, dimension=dimension)


def read_manifest(bundle: Path | None) -> Manifest:
    """What a bundle, or the default one, says of itself; the model is not loaded."""
    from lusifer.bundle.default import default_bundle
    from lusifer.bundle.format import Bundle

    return Bundle.open(default_bundle() if bundle is None else bundle, verify=False).manifest


def start_logging(verbosity: int) -> None:
    """Log to standard error: warnings and the progress of long work, more with ``-v`` and ``-vv``."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)]
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    logging.getLogger("lusifer").setLevel(level)
    for name in ("lusifer_training", "lusifer_export"):
        # What these two do takes minutes to hours; silence would look like a hang.
        logging.getLogger(name).setLevel(min(level, logging.INFO))


def _output_error(error: OSError) -> LusiferError:
    return LusiferError(
        f"Could not write to standard output: {error.strerror}.",
        next_step="Free some space or write to another place, then run the same command again.",
    )


def _silence_stdout() -> None:
    """Point standard output at nothing, so that Python's flush at exit does not fail once more."""
    try:
        descriptor = sys.stdout.fileno()
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, descriptor)
        os.close(nothing)
    except (OSError, ValueError):  # no real file, as in tests
        return
