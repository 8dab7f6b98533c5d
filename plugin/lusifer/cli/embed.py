"""``lusifer embed``: reads texts and prints their vectors."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from lusifer.cli import options
from lusifer.cli.common import EXIT_ERROR, Command, show, write_json
from lusifer.cli.embedders import load_vectorizer
from lusifer.common.terminal import printable
from lusifer.errors import InvalidInputError, InvalidTextError, LusiferError
from lusifer.ingest.line_reader import decode_utf8, read_lines
from lusifer.types import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lusifer.types import Embedding

__all__ = ["COMMAND", "embed"]

WINDOW = 512
"""Texts that are embedded together before they are written."""

_NUMBERS_SHOWN = 8


def embed(
    role: Annotated[Role, typer.Option()],
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT")] = None,
    source: Annotated[str | None, typer.Option("--input", metavar="FILE")] = None,
    as_json: options.Json = False,
    bundle: options.Bundle = None,
    dimension: Annotated[int | None, typer.Option(metavar="N")] = None,
    long_text: options.LongText = "truncate",
) -> None:
    """Embed texts as unit vectors.

    With --json every text gives one line, in the order given. A text that can't be embedded gives a
    line with its error instead, and the exit code is 1.

    Options:
        role: Whether the texts are queries or documents.
        texts: Texts to embed.
        source: Read one text a line, UTF-8; - is standard input.
        dimension: Length of the vectors, if the model offers it.
    """
    if bool(texts) == (source is not None):
        raise typer.BadParameter("Give either texts or --input.")
    failed = 0
    with (
        _lines(texts or [], source) as (lines, bad),
        load_vectorizer(bundle, long_text=long_text, dimension=dimension) as vectorizer,
    ):
        results = vectorizer.stream(lines, role, window=WINDOW)
        for number, result in enumerate(results, start=1):
            result = bad.pop(number, result)
            failed += isinstance(result, LusiferError)
            _show(number, result, as_json=as_json)
            if number % WINDOW == 0:
                sys.stdout.flush()
    if failed:
        raise typer.Exit(EXIT_ERROR)


COMMAND = Command(
    embed,
    (
        'lusifer embed --role query "Wie spät ist es?"',
        "lusifer embed --role document --input texts.txt --json > vectors.jsonl",
    ),
)


@contextmanager
def _lines(
    texts: list[str], source: str | None
) -> Iterator[tuple[Iterable[str], dict[int, InvalidTextError]]]:
    """Yield the texts, and the errors of lines that are no text by line number.

    Such a line passes the vectorizer as an empty text, so that the results keep their order.
    """
    bad: dict[int, InvalidTextError] = {}
    if source is None:
        yield texts, bad
    elif source == "-":
        yield _decoded(sys.stdin.buffer, bad), bad
    else:
        with _opened(Path(source)) as file:
            yield _decoded(file, bad), bad


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInputError(
            f"{path} can't be opened: {reason}.",
            next_step="Name a text file, or - for standard input.",
        ) from error


def _decoded(file: IO[bytes], bad: dict[int, InvalidTextError]) -> Iterator[str]:
    for line in read_lines(file):
        try:
            text = decode_utf8(line)
        except InvalidTextError as error:
            bad[line.number] = error
            text = ""
        yield text


def _show(number: int, result: Embedding | LusiferError, *, as_json: bool) -> None:
    if isinstance(result, LusiferError):
        if as_json:
            write_json({"error": {**result.as_dict(), "line": number}})
        else:
            show(f"Text {number}: {printable(result.message)}\n{result.next_step}\n", err=True)
        return
    if as_json:
        # A float32 holds seven digits reliably. They take half the bytes of repr.
        vector = ", ".join([f"{value:.7g}" for value in result.vector.tolist()])
        truncated = "true" if result.truncated else "false"
        sys.stdout.write(
            f'{{"embedding": [{vector}], "tokens": {result.tokens}, "truncated": {truncated}}}\n'
        )
        return
    shown = " ".join(f"{value:+.4f}" for value in result.vector[:_NUMBERS_SHOWN].tolist())
    cut = ", cut at the token limit" if result.truncated else ""
    more = " …" if len(result.vector) > _NUMBERS_SHOWN else ""
    show(f"{number}: {len(result.vector)} numbers, {result.tokens} tokens{cut}: {shown}{more}\n")
