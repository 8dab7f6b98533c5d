from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from lusifer.cli.app import app
from lusifer.common.validation import check_text
from lusifer.demo import corpus as corpus_module
from lusifer.demo import debian
from lusifer.demo.corpus import choose_documents, load_corpus, shipped_documents
from lusifer.demo.debian import DebianUnavailableError, Package, download_lists, main, read_packages
from lusifer.demo.questions import load_questions

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = """\
Package: gimp
Version: 2.10
Depends: libc6
 continued
Description: GNU Image Manipulation Program
Description-md5: aaa

Package: gimp-data
Source: gimp (2.10-1)
Description: Data files for GIMP
Description-md5: bbb

Package: third-party
Description: described in place
 First paragraph
 goes on.
 .
 Second.
"""
UPDATES = """\
Package: gimp
Description: newer
Description-md5: ccc

Package: only-in-updates
Description: short only
Description-md5: ddd
"""
TRANSLATION = """\
Package: gimp
Description-md5: aaa
Description-en: GNU Image Manipulation Program
 GIMP edits photos: you can
 retouch them.
 .
 Features:
  * layers
  * masks
 - and more

Package: gimp
Description-md5: old
Description-en: Another version
 Old text.
"""


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    folder = tmp_path / "lists"
    folder.mkdir()
    base = "deb.example_debian_dists_stable"
    (folder / f"{base}_main_binary-amd64_Packages").write_text(PACKAGES)
    (folder / f"{base}-updates_main_binary-amd64_Packages").write_text(UPDATES)
    (folder / f"{base}_main_i18n_Translation-en").write_text(TRANSLATION)
    return folder


def test_packages_and_descriptions_are_joined(lists: Path) -> None:
    gimp, data, updates, third = read_packages(lists)
    assert gimp == Package(
        id="gimp",
        package="gimp",
        source="gimp",
        short="GNU Image Manipulation Program",
        long="GIMP edits photos: you can retouch them.\n\nFeatures:\n* layers\n* masks\n- and more",
    )
    assert (data.source, data.short, data.long) == ("gimp", "Data files for GIMP", "")
    assert (updates.id, updates.short) == ("only-in-updates", "short only")
    assert (third.short, third.long) == (
        "described in place",
        "First paragraph goes on.\n\nSecond.",
    )


def fake_apt(folder: Path, script: str) -> str:
    for name, body in (("apt-get", script), ("apt-config", "exit 0\n")):
        path = folder / name
        path.write_text(f"#!/bin/sh\n{body}")
        path.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_a_source_that_fails_does_not_stop_the_others(
    lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, tools = tmp_path / "private", tmp_path / "tools"
    tools.mkdir()
    script = f"cp {lists}/* {private}/lists/\necho 'E: third party failed' >&2\nexit 100\n"
    monkeypatch.setenv("PATH", fake_apt(tools, script))
    assert len(read_packages(download_lists(private))) == 4


@pytest.mark.parametrize(
    "script", ["echo 'E: no network' >&2\nexit 100\n", "exit 0\n", "sleep 5\n"]
)
def test_nothing_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setenv(
        "PATH",
        fake_apt(tmp_path, f"exec 2>&1 >/dev/null\n{script}" if "sleep" in script else script),
    )
    with pytest.raises(DebianUnavailableError, match="no package list"):
        download_lists(tmp_path / "private", timeout_s=0.5)


def test_no_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DebianUnavailableError, match="no apt-get"):
        download_lists(tmp_path)
    assert main([str(tmp_path / "out.jsonl")]) == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_debian_command(lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "download_lists", lambda folder: lists)
    assert main([str(tmp_path / "deep" / "out.jsonl")]) == 0
    lines = (tmp_path / "deep" / "out.jsonl").read_text().splitlines()
    assert [list(json.loads(line)) for line in lines] == [
        ["id", "package", "source", "short", "long"]
    ] * 4
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out.jsonl"]
    assert main([]) == 2


def package(
    name: str, source: str = "", short: str = "a program", long: str = "It does things."
) -> Package:
    return Package(name, name, source or name, short, long)


def test_choice_of_documents() -> None:
    packages = [
        package("libx1"),
        package("x-dev"),
        package("gimp", long="word " * 100),
        package("gimp-data", "gimp"),
        package("tool-b", "tool"),
        package("tool"),
        package("old", short="transitional package"),
        package("empty", long=""),
        *(package(f"program{i}") for i in range(50)),
    ]
    chosen = choose_documents(packages, 20)
    ids = [document.id for document in chosen]
    assert len(ids) == 20
    assert ids == sorted(ids)
    assert "gimp" in ids
    assert not {"libx1", "x-dev", "gimp-data", "tool-b", "old", "empty"} & set(ids)
    assert choose_documents(list(reversed(packages)), 20) == chosen
    assert {document.id for document in choose_documents(packages, 19)} < set(ids)
    assert all(len(document.text) <= 225 for document in chosen)


def test_shipped_corpus_and_questions() -> None:
    documents = shipped_documents()
    ids = {document.id for document in documents}
    languages = [document.metadata["language"] for document in documents]
    assert len(ids) == len(documents)
    assert languages.count("en") >= 60
    assert len(set(languages)) >= 9
    questions = load_questions()
    by_language: dict[str, list[str]] = {}
    for question in questions:
        check_text(question.text)
        by_language.setdefault(question.language, []).append(question.text)
        assert question.expected["shipped"] <= ids
        assert question.expected["shipped"]
        assert question.expected["debian"]
    assert {"de", "ja", "ru", "ar", "hi", "ko", "zh", "vi", "sw", "fi"} <= set(by_language)
    assert all(len(set(texts)) >= 3 for texts in by_language.values())


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("LUSIFER_CACHE", str(tmp_path / "cache"))

    def fail(folder: Path) -> Path:
        raise DebianUnavailableError("There is no network.", next_step="Plug it in.")

    monkeypatch.setattr(corpus_module, "download_lists", fail)
    return tmp_path / "cache" / "demo"


def run_demo(bundle: Path, *arguments: str) -> dict[str, object]:
    command = ["demo", "--json", "--bundle", str(bundle), *arguments]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0
    answer: dict[str, object] = json.loads(result.stdout)
    return answer


def test_demo_is_kept_for_the_next_run(tiny_bundle: Path, offline: Path) -> None:
    count = len(shipped_documents())
    first = run_demo(tiny_bundle)
    assert (first["corpus"], first["documents"]) == ("shipped", count)
    assert first["index"]["added"] == count  # type: ignore[index]
    second = run_demo(tiny_bundle)
    assert (second["index"]["added"], second["index"]["unchanged"]) == (0, count)  # type: ignore[index]
    assert first["answers"] == second["answers"]
    assert len(second["answers"]) == len(load_questions())  # type: ignore[arg-type]
    assert set(second["stages_s"]) == {"corpus", "model", "index", "questions"}  # type: ignore[call-overload]
    assert run_demo(tiny_bundle, "--fresh")["index"]["added"] == count  # type: ignore[index]


def test_demo_mends_what_it_kept(tiny_bundle: Path, offline: Path) -> None:
    run_demo(tiny_bundle)
    (offline / "corpus.json").write_text('{"cut": ')
    (index,) = offline.glob("index-*")
    (index / "index.json").write_text("{}")
    assert run_demo(tiny_bundle)["index"]["added"] == len(shipped_documents())  # type: ignore[index]


def test_demo_for_people(tiny_bundle: Path, offline: Path) -> None:
    result = CliRunner().invoke(app, ["demo", "--bundle", str(tiny_bundle)], catch_exceptions=False)
    assert result.exit_code == 0
    for text in ("Swahili", "Ninawezaje kuhariri picha zangu?", "There is no network.", "Index"):
        assert text in result.stdout


def test_corpus_of_debian_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lists: Path
) -> None:
    monkeypatch.setattr(corpus_module, "download_lists", lambda folder: lists)
    first = load_corpus(tmp_path / "kept", documents=2)
    monkeypatch.undo()
    second = load_corpus(tmp_path / "kept", documents=2)
    assert (first.source, first.reused, second.reused) == ("debian", False, True)
    assert first.documents == second.documents
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["corpus.json"]
