"""Retrieval sets from Debian packages, made by programs that stand for apt and dpkg."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from lusifer.demo.debian import DebianUnavailableError
from lusifer_evaluation import package_sets
from lusifer_evaluation.package_sets import DEBIAN, HELP
from lusifer_evaluation.tasks import load_package_set
from lusifer_training.data.pairs import is_held_out

if TYPE_CHECKING:
    from pathlib import Path

SOURCES = [f"source{n}" for n in range(200)]
HELD_OUT = {name for name in SOURCES if is_held_out(name)}


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def checksum(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def descriptions(language: str, short: str) -> str:
    return "\n".join(
        f"Package: {name}\nDescription-md5: {checksum(name)}\n"
        f"Description-{language}: {short} {name}\n The long description of {name} in English.\n"
        for name in (each + part for each in SOURCES for part in ("", "-doc"))
    )


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a folder of programs first on the path."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}:/usr/bin:/bin")
    monkeypatch.setattr(package_sets, "FEWEST_QUESTIONS", 2)
    program(tmp_path / "tools", "apt-config", "exit 0")
    return tmp_path / "tools"


@pytest.fixture
def debian(tools: Path, tmp_path: Path) -> Path:
    """Return lists of packages in which German is translated, and French only the first half."""
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "host_Packages").write_text(
        "\n".join(
            f"Package: {name}{part}\nSource: {name} (1.0)\nDescription: a program named {name}{part}\n"
            f"Description-md5: {checksum(name + part)}\n"
            for name in SOURCES
            for part in ("", "-doc")
        )
    )
    (lists / "host_i18n_Translation-en").write_text(descriptions("en", "a program named"))
    (lists / "host_i18n_Translation-de").write_text(descriptions("de", "ein Programm namens"))
    french = descriptions("fr", "un programme qui s'appelle")
    (lists / "host_i18n_Translation-fr").write_text(french[: len(french) // 2])
    # An entry that is not translated repeats the English one.
    (lists / "host_i18n_Translation-it").write_text(descriptions("it", "a program named"))
    (lists / "host_i18n_Translation-pt%5fBR").write_text(descriptions("pt_BR", "um programa de"))
    program(tools, "apt-get", f'cp {lists}/* "$(dirname "${{2#--config-file=}}")/lists/"')
    return lists


class TestDebian:
    def test_only_held_out_sources_are_asked_for(self, debian: Path, tmp_path: Path) -> None:
        folder = DEBIAN.folder(tmp_path / "data", tmp_path / "cache")
        sets = load_package_set("debian", folder)
        assert set(sets.questions) == {"de", "fr", "pt"}
        english = sets.documents["de"].texts
        # One package of each source.
        assert len(english) == len(HELD_OUT)
        assert {text.split()[4].removesuffix("-doc") for text in english} == HELD_OUT
        assert len(sets.questions["fr"].texts) < len(HELD_OUT)
        for language, each in sets.questions.items():
            for question, answer in zip(each.texts, sets.answers[language], strict=True):
                assert question.split()[-1] == english[answer].split()[4]

    def test_apt_runs_once(self, debian: Path, tools: Path, tmp_path: Path) -> None:
        first = DEBIAN.folder(tmp_path / "data", tmp_path / "cache")
        program(tools, "apt-get", "exit 1")
        assert DEBIAN.folder(tmp_path / "data", tmp_path / "cache") == first
        assert [path.name for path in first.iterdir()] == ["eval"]

    def test_a_set_in_the_data_folder_is_taken(self, tools: Path, tmp_path: Path) -> None:
        program(tools, "apt-get", "exit 1")
        (tmp_path / "data" / "eval" / "debian").mkdir(parents=True)
        assert DEBIAN.folder(tmp_path / "data", tmp_path / "cache") == tmp_path / "data"

    def test_sources_without_translations(self, debian: Path, tmp_path: Path) -> None:
        for path in debian.glob("*Translation-[dfp]*"):
            path.unlink()
        with pytest.raises(DebianUnavailableError, match="no language with 2 questions"):
            DEBIAN.folder(tmp_path / "data", tmp_path / "cache")
        assert not (tmp_path / "cache" / "package-sets" / "eval" / "debian").exists()


PAGE = """<html><head><title>{title}</title></head><body><p>Navigation</p>
<div id="DisplayArea" itemscope="true"><h1 id="x">{title}</h1><p class="paragraph">Page {n} tells
how to <b>print</b> &amp; save a document of that kind.</p>
<div class="relatedtopics"><p>Elsewhere</p></div></div>
<div id="SearchFrame"></div></body></html>"""


class TestHelp:
    @pytest.fixture
    def pages(self, tools: Path, tmp_path: Path) -> Path:
        """Return unpacked packages in English and Finnish; apt has no other language."""
        unpacked = tmp_path / "unpacked"

        def write(language: str, titles: list[str]) -> None:
            folder = unpacked / f"libreoffice-help-{language}" / "usr" / language / "text" / "guide"
            folder.mkdir(parents=True)
            for n, title in enumerate(titles):
                (folder / f"{n}.html").write_text(PAGE.format(title=title, n=n), encoding="utf-8")

        write("en-us", ["Print a page", "Options", "Save a file", "Save a file", "Sort the rows"])
        write("fi", ["Tulosta sivu", "Asetukset", "Tallenna", "Tallenna", "Lajittele rivit"])
        script = (
            'config="${2#--config-file=}"\n'
            'if [ "$3" = update ]; then touch "$(dirname "$config")/lists/x_Packages"\n'
            f'elif [ -d "{unpacked}/$4" ]; then echo "$4" > "$4.deb"; fi'
        )
        program(tools, "apt-get", script)
        program(tools, "dpkg-deb", f'cp -r "{unpacked}/$(cat "$2")" "$3"')
        return unpacked

    def test_titles_ask_and_english_pages_answer(self, pages: Path, tmp_path: Path) -> None:
        sets = load_package_set("help", HELP.folder(tmp_path / "data", tmp_path / "cache"))
        # A short title and a title of two pages describe none.
        assert sets.questions["fi"].texts == ("Tulosta sivu", "Lajittele rivit")
        assert sets.documents["fi"].texts == (
            "Print a page\nPage 0 tells how to print & save a document of that kind.",
            "Sort the rows\nPage 4 tells how to print & save a document of that kind.",
        )
        assert sets.answers["fi"].tolist() == [0, 1]

    def test_without_the_english_pages(self, pages: Path, tmp_path: Path) -> None:
        (pages / "libreoffice-help-en-us").rename(pages / "gone")
        with pytest.raises(DebianUnavailableError, match="did not download libreoffice-help-en-us"):
            HELP.folder(tmp_path / "data", tmp_path / "cache")

    def test_no_package_at_all(self, pages: Path, tmp_path: Path) -> None:
        for path in pages.iterdir():
            path.rename(tmp_path / path.name)
        with pytest.raises(DebianUnavailableError, match="none of 13 packages"):
            HELP.folder(tmp_path / "data", tmp_path / "cache")
