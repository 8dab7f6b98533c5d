from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from plugin.tests.cli.commands import run, run_json

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("qdrant_edge")


@pytest.fixture
def database(tmp_path: Path, tiny_bundle: Path) -> tuple[Any, ...]:
    """Return the options of a folder with one empty collection ``v1``."""
    place = ("--index", tmp_path / "database")
    setup = ("qdrant", "setup", "--collection", "v1", "--bundle", tiny_bundle)
    assert run(*setup, *place)[0] == 0
    return place


def test_an_empty_collection_gets_no_alias(database: tuple[Any, ...]) -> None:
    alias = ("qdrant", "alias", "--alias", "live", "--collection", "v1", *database)
    assert run(*alias) == (
        1,
        "",
        "Error: The collection v1 is empty.\nIndex its documents first.\n",
    )


def test_a_filled_collection_gets_the_alias(
    database: tuple[Any, ...], source: Path, tiny_bundle: Path
) -> None:
    index = ("index", source, "--collection", "v1", "--bundle", tiny_bundle)
    assert run(*index, *database)[0] == 0
    alias = ("qdrant", "alias", "--alias", "live", "--collection", "v1", *database)
    assert run(*alias) == (0, "The alias live points to v1.\n", "")
    assert run_json(*alias) == (0, [{"alias": "live", "collection": "v1"}])
    search = ("search", "number", "--collection", "live", "--limit", 2, "--bundle", tiny_bundle)
    code, hits = run_json(*search, *database)
    assert (code, len(hits)) == (0, 2)


def test_a_place_is_needed() -> None:
    code, _, stderr = run("qdrant", "alias", "--alias", "live", "--collection", "v1")
    assert (code, stderr) == (
        1,
        "Error: Neither a server nor a folder is named.\n"
        "Name a server by its URL, or a folder with --index.\n",
    )
