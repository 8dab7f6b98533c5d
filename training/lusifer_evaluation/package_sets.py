"""Retrieval sets from Debian packages, which neither the encoder nor our training has read.

* ``debian``: a translated short description of a package finds its English long description. Only
  the source packages that training holds out are asked for, one package of each.
* ``help``: the translated title of a page of LibreOffice's help finds the English page. Nothing in
  this project is trained or fitted on these pages.

apt downloads the packages at the first evaluation, because their licences forbid to ship them here.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import json
import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lusifer.demo.debian import (
    DebianUnavailableError,
    download_lists,
    download_packages,
    read_packages,
)
from lusifer_training.data.ddtp import SHORTEST_CHARACTERS, short_descriptions
from lusifer_training.data.pairs import is_held_out

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["DEBIAN", "HELP", "PackageSet"]

POOL = 400
"""English documents of a set."""
FEWEST_QUESTIONS = 100
"""Languages with fewer translated questions are left out."""
FEWEST_CHARACTERS = 40
"""Shorter documents are left out."""
PAGE_CHARACTERS = 1000
"""Length of a document of the help; pages have up to 20,000 characters."""
TITLE_WORDS = 3
"""Shorter English titles, such as "Options", describe no page."""

DEBIAN_LANGUAGES = (
    "cs", "da", "de", "es", "fr", "it", "ja", "ko", "pl", "pt_BR", "ru", "sk", "uk", "zh_CN"
)  # fmt: skip
HELP_LANGUAGES = (
    "eu", "fi", "hi", "id", "ja", "km", "ko", "om", "ru", "tr", "vi", "zh-cn"
)  # fmt: skip
_HELP = "libreoffice-help-"

_TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)
_CONTENT = re.compile(r'<div id="DisplayArea".*?>(.*?)<div id="SearchFrame">', re.DOTALL)
_RELATED = re.compile(r'<div class="relatedtopics">.*', re.DOTALL)
_PARAGRAPH = re.compile(r"<(h[1-6]|p)\b[^>]*>(.*?)</\1>", re.DOTALL)
_TAG = re.compile(r"<[^>]+>")


@dataclass(frozen=True, slots=True)
class PackageSet:
    """A retrieval set that is made from Debian packages once for each machine.

    Attributes:
        name: Name of its folder below ``eval``.
        fetch: Downloads packages into a folder; returns questions by language and document id, and
            documents by id.
    """

    name: str
    fetch: Callable[[Path], tuple[dict[str, dict[str, str]], dict[str, str]]]

    def folder(self, data_folder: Path, cache_folder: Path) -> Path:
        """Return the folder whose ``eval`` has the set; download it if neither folder has it.

        Raises:
            DebianUnavailableError: The packages can't be downloaded.
        """
        if (data_folder / "eval" / self.name).is_dir():
            return data_folder
        folder = cache_folder / "package-sets"
        target = folder / "eval" / self.name
        if not target.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as work:
                questions, documents = self.fetch(Path(work) / "apt")
                chosen = _choose(questions, documents)
                if not chosen:
                    raise DebianUnavailableError(
                        f"apt's sources have no language with {FEWEST_QUESTIONS} questions for the "
                        f"set {self.name}.",
                        next_step="Add Debian's main component to apt's sources.",
                    )
                made = Path(work) / self.name
                made.mkdir()
                for language, records in chosen.items():
                    _write(made / f"{language}.jsonl.gz", records)
                made.rename(target)
        return folder


def _choose(
    questions: Mapping[str, Mapping[str, str]], documents: Mapping[str, str]
) -> dict[str, list[dict[str, str]]]:
    """Choose the most translated documents and the languages that ask for enough of them.

    Documents with equally many translations are ordered by hash, so that no topic comes first.
    """
    translations = Counter(key for asked in questions.values() for key in asked)
    order = sorted(
        (key for key in documents if translations[key]),
        key=lambda key: (-translations[key], hashlib.sha256(key.encode()).digest()),
    )
    pool = sorted(order[:POOL])
    records = {
        language: [
            {"id": key, "question": asked[key], "document": documents[key]}
            for key in pool
            if key in asked
        ]
        for language, asked in questions.items()
    }
    return {language: each for language, each in records.items() if len(each) >= FEWEST_QUESTIONS}


def _write(path: Path, records: list[dict[str, str]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8", newline="\n") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _debian(folder: Path) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    lists = download_lists(folder, languages=("en", *DEBIAN_LANGUAGES))
    packages = {}
    sources: set[str] = set()
    long_texts: set[str] = set()
    for package in read_packages(lists):
        new = package.source not in sources and package.long not in long_texts
        if new and is_held_out(package.source) and len(package.long) >= FEWEST_CHARACTERS:
            sources.add(package.source)
            long_texts.add(package.long)
            packages[package.id] = package
    questions: dict[str, dict[str, str]] = {}
    for language in DEBIAN_LANGUAGES:
        # apt escapes the underscore in names of files.
        name = language.replace("_", "%5f")
        translated: dict[str, str] = {}
        for path in sorted(lists.glob(f"*_i18n_Translation-{name}")):
            translated = short_descriptions(path) | translated
        questions[language.partition("_")[0]] = {
            package.id: text
            for package in packages.values()
            if (text := translated.get(package.checksum, package.short)) != package.short
            and len(text) >= SHORTEST_CHARACTERS
        }
    return questions, {package.id: package.long for package in packages.values()}


def _help(folder: Path) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    download_lists(folder)
    names = {language: _HELP + language for language in ("en-us", *HELP_LANGUAGES)}
    unpacked = download_packages(folder, list(names.values()))
    if names["en-us"] not in unpacked:
        raise DebianUnavailableError(
            f"apt did not download {names['en-us']}.",
            next_step="Check the network, then run the same command again.",
        )
    titles = {
        language: _titles(unpacked[name]) for language, name in names.items() if name in unpacked
    }
    english = titles.pop("en-us")
    counts = Counter(english.values())
    documents = {
        key: page
        for key, path in _pages(unpacked[names["en-us"]]).items()
        if counts[title := english.get(key, "")] == 1
        and len(title.split()) >= TITLE_WORDS
        and len(page := _page(path)) >= FEWEST_CHARACTERS
    }
    questions = {
        language.partition("-")[0]: {
            key: title
            for key, title in theirs.items()
            if key in documents and title != english[key]
        }
        for language, theirs in titles.items()
    }
    return questions, documents


def _pages(files: Path) -> dict[str, Path]:
    """Return the pages of a package by their place below its folder ``text``."""
    return {
        path.as_posix().rpartition("/text/")[2]: path
        for path in sorted(files.rglob("text/**/*.html"))
    }


def _titles(files: Path) -> dict[str, str]:
    found = {}
    for key, path in _pages(files).items():
        if match := _TITLE.search(path.read_text(encoding="utf-8")):
            found[key] = _plain(match[1])
    return found


def _page(path: Path) -> str:
    """Return the start of a page's text, without navigation and links to other pages."""
    content = _CONTENT.search(path.read_text(encoding="utf-8"))
    if not content:
        return ""
    paragraphs = _PARAGRAPH.findall(_RELATED.sub("", content[1]))
    return "\n".join(filter(None, (_plain(text) for _, text in paragraphs)))[:PAGE_CHARACTERS]


def _plain(markup: str) -> str:
    return " ".join(html.unescape(_TAG.sub("", markup)).split())


DEBIAN = PackageSet("debian", _debian)
HELP = PackageSet("help", _help)
