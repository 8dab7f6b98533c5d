"""``lusifer qdrant setup`` and the commands after it, on folders; servers are integration tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from plugin.tests.cli.commands import run, run_json
from plugin.tests.source_files import write_lines

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer.bundle.format import Bundle

pytest.importorskip("qdrant_edge")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "documents.jsonl"
    records = ({"id": f"d{n}", "text": f"number n{n}"} for n in range(20))
    return write_lines(path, *records)


class Database:
    """The commands on one folder."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder, self.bundle = folder, bundle

    def run(self, *arguments: object) -> tuple[int, list[dict[str, Any]]]:
        return run_json(*arguments, "--index", self.folder, "--bundle", self.bundle)

    def alias(self, *arguments: object) -> tuple[int, list[dict[str, Any]]]:
        return run_json("qdrant", "alias", *arguments, "--index", self.folder)


@pytest.fixture
def database(tmp_path: Path, tiny_bundle: Path) -> Database:
    return Database(tmp_path / "database", tiny_bundle)


def test_from_setup_to_a_switched_alias_without_a_server(database: Database, source: Path) -> None:
    setup = ("qdrant", "setup", "--keywords", "--quantization", "turbo4")
    code, (made,) = database.run(*setup, "--collection", "v1", "--alias", "live")
    assert (code, made["alias"], made["environment"]) == (0, "live", {})
    code, (report,) = database.run("index", source, "--collection", "live")
    assert (code, report["added"], report["count"]) == (0, 20, 20)
    # One document has this word, so its two ranks together are better than any rank alone.
    code, hits = database.run("search", "n7", "--collection", "live", "--limit", 3, "--hybrid")
    assert (code, len(hits), hits[0]["id"]) == (0, 3, "d7")
    # A second one takes its place when it is full, and not before.
    code, (error,) = database.run("qdrant", "setup", "--collection", "v2", "--alias", "live")
    assert (code, "live already points to v1" in error["error"]["message"]) == (1, True)
    assert database.run("qdrant", "setup", "--collection", "v2", "--dimension", 8)[0] == 0
    code, (error,) = database.alias("--alias", "live", "--collection", "v2")
    assert (code, "v2 is empty" in error["error"]["message"]) == (1, True)
    assert database.run("index", source, "--collection", "v2")[0] == 0
    assert database.alias("--alias", "live", "--collection", "v2")[0] == 0
    code, hits = database.run("search", "number 7", "--collection", "live", "--limit", 3)
    assert (code, len(hits)) == (0, 3), "the question takes the collection's dimension"


def test_a_dimension_is_taken_from_what_lies_there(database: Database, source: Path) -> None:
    assert database.run("index", source, "--dimension", 8)[0] == 0
    code, (report,) = database.run("index", source)
    assert (code, report["unchanged"]) == (0, 20)
    assert len(database.run("search", "number", "--limit", 2)[1]) == 2
    code, (error,) = database.run("index", source, "--dimension", 16)
    assert (code, error["error"]["type"]) == (1, "InvalidDimensionError")


def test_a_service_embeds_in_the_length_that_lies_there(
    database: Database, source: Path, bundle: Bundle, start_service: Any
) -> None:
    service = start_service(Vectorizer(bundle, FakeEngine(16))).ready()
    there = ("--index", database.folder, "--service", service.url)
    assert run_json("index", source, *there, "--dimension", 8)[0] == 0
    code, (report,) = run_json("index", source, *there)
    assert (code, report["unchanged"]) == (0, 20)
    code, hits = run_json("search", "number 7", *there, "--limit", 2)
    assert (code, len(hits)) == (0, 2)


@pytest.mark.parametrize("command", ["setup", "alias"])
def test_a_server_or_a_folder(command: str, tmp_path: Path) -> None:
    options = ("--collection", "v1", "--alias", "live")
    code, (error,) = run_json("qdrant", command, *options)
    assert (code, "Neither a server nor a folder is named." in error["error"]["message"]) == (
        1,
        True,
    )
    code, (error,) = run_json(
        "qdrant", command, "http://127.0.0.1:9", "--index", tmp_path, *options
    )
    assert (code, "Both a server and a folder" in error["error"]["message"]) == (1, True)


def test_for_people(database: Database) -> None:
    options = ("--index", database.folder, "--bundle", database.bundle)
    code, stdout, _ = run("qdrant", "setup", "--collection", "v1", "--alias", "live", *options)
    assert code == 0
    assert stdout == (
        "Created the collection v1 for lusifer-tiny-test: vector 'lusifer' of dimension 16, "
        "Cosine.\nThe alias live points to it.\n"
        f"\n  lusifer index FILE --index {database.folder} --collection v1\n"
    )
