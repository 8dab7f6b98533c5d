"""Documents of the demonstration: descriptions of Debian's programs, or the shipped corpus.

The documents are kept on disk, so that a second run needs no network.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from lusifer.common.files import write_atomic
from lusifer.common.paths import make_private
from lusifer.demo.debian import DebianUnavailableError, Package, download_lists, read_packages
from lusifer.demo.questions import load_questions
from lusifer.ingest.line_reader import decode_utf8, read_lines
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Corpus", "choose_documents", "load_corpus", "read_documents", "shipped_documents"]

logger = logging.getLogger(__name__)

DOCUMENTS = 5_000
"""Number of documents. At about 50 tokens each, two processor cores embed them in a few minutes."""

_CHARACTERS = 220
"""Longest text, about 50 tokens."""

# Packages that are no programs for people.
_PARTS = re.compile(
    r"^(lib|python3?-|node-|ruby-|golang-|r-(cran|bioc|other)-|elpa-|php-|lua-|ocaml|fonts-|xfonts|gir1\.2|task-"
    r"|hunspell-|aspell-|myspell-|mythes-|hyphen-|linux-|firmware-|haskell-|ghc|texlive-|gcc|g\+\+|cpp-|gnat"
    r"|binutils|xul-|webext-|education-|science-|med-|astro-|games-|junior-|debian-|dh-|postgresql-|erlang-|rust-"
    r"|libreoffice-|openstack|globus|resource-agents|puppet-|jupyter|sphinx|vim-|octave-|gap-|indi-|asterisk-)"
    r"|-(dev|docs?|dbg|dbgsym|data|common|l10n|i18n|perl|java|plugins?|modules?|examples?|dkms|locales?|themes?|el)$"
)
_NO_CONTENT = re.compile(r"transitional|dummy|meta-?package|empty package", re.IGNORECASE)


@dataclass(frozen=True)
class Corpus:
    """The documents to search."""

    source: Literal["debian", "shipped"]
    """Origin of the documents."""
    documents: tuple[Document, ...]
    """Documents, sorted by id if they come from Debian."""
    reused: bool
    """Whether an earlier run chose the documents."""
    note: str = ""
    """Why the shipped corpus is used; empty if the documents come from Debian."""

    @property
    def checksum(self) -> str:
        """Sha256 of the documents' ids and texts."""
        content = json.dumps([[document.id, document.text] for document in self.documents])
        return hashlib.sha256(content.encode()).hexdigest()


def load_corpus(folder: Path, *, documents: int = DOCUMENTS) -> Corpus:
    """Load the corpus kept in ``folder``, or make one and keep it.

    A new corpus comes from Debian. If Debian is not available, it is the shipped one.
    """
    kept = folder / "corpus.json"
    if (corpus := _read(kept)) is not None:
        return corpus
    make_private(folder)
    try:
        with tempfile.TemporaryDirectory(prefix="apt-", dir=folder) as lists:
            chosen = choose_documents(read_packages(download_lists(Path(lists))), documents)
        if len(chosen) < documents:
            raise DebianUnavailableError(
                f"apt's sources describe {len(chosen)} programs, "
                f"the demonstration needs {documents}.",
                next_step="Add Debian's main component to apt's sources.",
            )
        corpus = Corpus("debian", tuple(chosen), reused=False)
    except DebianUnavailableError as error:
        logger.info("%s", error)
        corpus = Corpus("shipped", shipped_documents(), reused=False, note=error.message)
    _write(kept, corpus)
    return corpus


def choose_documents(packages: Sequence[Package], count: int) -> list[Document]:
    """Choose programs, one of each source package; the same packages give the same choice.

    Args:
        packages: All packages.
        count: Number of programs to choose.

    Returns:
        At most ``count`` documents, sorted by id. They include the answers to the demonstration's
        questions.
    """
    answers = {name for question in load_questions() for name in question.expected["debian"]}
    by_source: dict[str, Package] = {}
    for package in packages:
        if package.package in answers:
            continue
        if _PARTS.search(package.package) or _NO_CONTENT.search(package.short) or not package.long:
            continue
        best = by_source.get(package.source)
        if best is None or _preference(package) < _preference(best):
            by_source[package.source] = package
    chosen = [package for package in packages if package.package in answers]
    # The order of hashes spreads the choice over all of Debian, and does not depend on the other
    # packages.
    spread = sorted(
        by_source.values(), key=lambda package: hashlib.sha256(package.package.encode()).digest()
    )
    taken = {package.source for package in chosen}
    chosen += [package for package in spread if package.source not in taken][
        : max(0, count - len(chosen))
    ]
    return [_document(package) for package in sorted(chosen, key=lambda package: package.package)]


def shipped_documents() -> tuple[Document, ...]:
    """Return the small multilingual corpus that ships with the package."""
    with files("lusifer.demo").joinpath("corpus.jsonl").open("rb") as file:
        return read_documents(file)


def read_documents(file: IO[bytes]) -> tuple[Document, ...]:
    """Read a corpus of JSON lines with the fields ``id``, ``text`` and ``language``."""
    records = (json.loads(decode_utf8(line)) for line in read_lines(file))
    return tuple(Document(r["id"], r["text"], {"language": r["language"]}) for r in records)


def _preference(package: Package) -> tuple[bool, int, str]:
    return (package.package != package.source, len(package.package), package.package)


def _document(package: Package) -> Document:
    paragraph = " ".join(package.long.split("\n\n", 1)[0].split())
    short = package.short.rstrip(".")
    return Document(
        package.package,
        _cut(f"{package.package}: {short}. {paragraph}"),
        {"source": package.source},
    )


def _cut(text: str) -> str:
    """Cut a text to the limit, after a sentence or else after a word."""
    if len(text) <= _CHARACTERS:
        return text
    text = text[:_CHARACTERS]
    end = text.rfind(". ")
    # A first sentence below half the limit says too little.
    return text[: end + 1] if end > _CHARACTERS // 2 else text.rsplit(" ", 1)[0] + " …"


def _read(path: Path) -> Corpus | None:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        documents = tuple(
            Document(id_, text, metadata) for id_, text, metadata in kept["documents"]
        )
        corpus = Corpus(kept["source"], documents, True, kept["note"])
        return corpus if kept["checksum"] == corpus.checksum else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, corpus: Corpus) -> None:
    kept = {
        "source": corpus.source,
        "note": corpus.note,
        "checksum": corpus.checksum,
        "documents": [
            [document.id, document.text, dict(document.metadata)] for document in corpus.documents
        ],
    }
    write_atomic(path, json.dumps(kept, ensure_ascii=False))
