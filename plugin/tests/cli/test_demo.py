from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from plugin.tests.cli.commands import run, run_json

from lusifer.demo import corpus as corpus_module
from lusifer.demo.corpus import shipped_documents
from lusifer.demo.debian import DebianUnavailableError
from lusifer.demo.questions import load_questions

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("LUSIFER_CACHE", str(tmp_path / "cache"))

    def fail(folder: Path) -> Path:
        raise DebianUnavailableError("There is no network.", next_step="Plug it in.")

    monkeypatch.setattr(corpus_module, "download_lists", fail)
    return tmp_path / "cache" / "demo"


def run_demo(bundle: Path, *arguments: str) -> dict[str, Any]:
    code, (answer,) = run_json("demo", "--bundle", bundle, *arguments)
    assert code == 0
    return answer


def test_demo_is_kept_for_the_next_run(tiny_bundle: Path, offline: Path) -> None:
    count = len(shipped_documents())
    first = run_demo(tiny_bundle)
    assert (first["corpus"], first["documents"]) == ("shipped", count)
    assert first["index"]["added"] == count
    second = run_demo(tiny_bundle)
    assert (second["index"]["added"], second["index"]["unchanged"]) == (0, count)
    assert first["answers"] == second["answers"]
    assert len(second["answers"]) == len(load_questions())
    assert set(second["stages_s"]) == {"corpus", "model", "index", "questions"}
    assert run_demo(tiny_bundle, "--fresh")["index"]["added"] == count


def test_demo_repairs_what_it_kept(tiny_bundle: Path, offline: Path) -> None:
    run_demo(tiny_bundle)
    (offline / "corpus.json").write_text('{"cut": ')
    (index,) = offline.glob("index-*")
    (index / "index.json").write_text("{}")
    assert run_demo(tiny_bundle)["index"]["added"] == len(shipped_documents())


def test_demo_for_people(tiny_bundle: Path, offline: Path) -> None:
    code, stdout, _ = run("demo", "--bundle", tiny_bundle)
    assert code == 0
    for text in ("Swahili", "Ninawezaje kuhariri picha zangu?", "There is no network.", "Index"):
        assert text in stdout
