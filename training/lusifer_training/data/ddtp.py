r"""Parallel sentences for stage 3: the translated short descriptions of Debian's packages (DDTP).

apt downloads the translations into a folder of its own::

    mkdir -p lists/partial
    apt-get -o Dir::State::Lists=$PWD/lists -o Acquire::GzipIndexes=false \
        -o Acquire::Languages=en,de,es,fr,it,ja,ko,pl,pt_BR,ru,uk,zh_CN update
    python -m lusifer_training.data.ddtp lists ddtp.jsonl
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from lusifer_training.data.writing import write_json_lines
from lusifer_training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["short_descriptions", "write_parallel"]

SHORTEST_CHARACTERS = 15
"""Shorter descriptions are left out."""

_FILE = re.compile(r"_i18n_Translation-([A-Za-z_%0-9]+)$")
_SHORT = re.compile(r"Description-(?!md5)[A-Za-z_]+: (.+)")


def short_descriptions(path: Path) -> dict[str, str]:
    """Read the short descriptions of one translation file.

    Returns:
        Descriptions by the md5 checksum of the English description.
    """
    found: dict[str, str] = {}
    checksum = ""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("Description-md5:"):
                checksum = line.split()[1]
            elif checksum and (match := _SHORT.match(line)):
                found.setdefault(checksum, match.group(1).strip())
    return found


def write_parallel(lists: Path, output: Path) -> int:
    """Write ``{"language", "text", "english"}`` lines; the file is written whole or not at all.

    Returns:
        The number of pairs.

    Raises:
        DataError: The folder has no English descriptions, or no translated ones.
    """
    by_language: dict[str, dict[str, str]] = {}
    for path in sorted(lists.glob("*_i18n_Translation-*")):
        if match := _FILE.search(path.name):
            by_language.setdefault(unquote(match.group(1)), {}).update(short_descriptions(path))
    english = by_language.pop("en", {})
    pairs = list(_pairs(by_language, english))
    if not pairs:
        raise DataError(
            f"{lists} has no translated descriptions of packages.",
            next_step="Run the apt-get command of this module's documentation.",
        )
    write_json_lines(output, pairs)
    return len(pairs)


def _pairs(
    by_language: dict[str, dict[str, str]], english: dict[str, str]
) -> Iterator[dict[str, str]]:
    for language, texts in by_language.items():
        for checksum, text in texts.items():
            # An untranslated entry repeats the English description.
            translated = checksum in english and text != english[checksum]
            if translated and len(text) >= SHORTEST_CHARACTERS:
                code = language.partition("_")[0]
                yield {"language": code, "text": text, "english": english[checksum]}


if __name__ == "__main__":
    sys.stderr.write(f"{write_parallel(Path(sys.argv[1]), Path(sys.argv[2]))} pairs\n")
