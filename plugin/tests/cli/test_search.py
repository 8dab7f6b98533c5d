from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from plugin.tests.cli.commands import run, run_json

from lusifer.cli.search import _parse_where
from lusifer.errors import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer.types import JSON


def test_no_index(tiny_bundle: Path, tmp_path: Path) -> None:
    code, (line,) = run_json(
        "search", "x", "--index", tmp_path / "no", "--bundle", tiny_bundle, "--json"
    )
    assert (code, line["error"]["type"]) == (1, "IndexNotFoundError")


@pytest.mark.parametrize("question", ["", "  ", "a\x00b", "a\ud800b"])
def test_a_question_that_is_no_text(
    tiny_bundle: Path, source: Path, tmp_path: Path, question: str
) -> None:
    run_json("index", source, "--index", tmp_path / "index", "--bundle", tiny_bundle)
    code, (line,) = run_json(
        "search", question, "--index", tmp_path / "index", "--bundle", tiny_bundle, "--json"
    )
    assert (code, line["error"]["type"]) == (1, "InvalidTextError")


@pytest.mark.parametrize(
    ("condition", "parsed"),
    [
        ("lang=en", ("lang", "en")),
        ("a.b=c=d", ("a.b", "c=d")),
        ("year:=2024", ("year", 2024)),
        ("open:=true", ("open", True)),
        ('lang:=["de","fr"]', ("lang", ["de", "fr"])),
    ],
)
def test_a_condition(condition: str, parsed: tuple[str, JSON]) -> None:
    assert _parse_where(condition) == parsed


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("lang", "--where 'lang' is no condition."),
        ("=en", "--where '=en' is no condition."),
        (":=1", "--where ':=1' is no condition."),
    ],
)
def test_what_is_no_condition(condition: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        _parse_where(condition)
    assert caught.value.message == message


def test_a_condition_whose_value_is_not_json() -> None:
    with pytest.raises(InvalidInputError, match="--where 'year:=x': 'x' is not JSON"):
        _parse_where("year:=x")


def test_only_weaviate_embeds_a_question_itself(tmp_path: Path) -> None:
    code, stdout, stderr = run("search", "x", "--by-server", "--index", tmp_path)
    assert (code, stdout) == (1, "")
    assert stderr == (
        "Error: --by-server is given without --weaviate.\n"
        "Add --weaviate URL, or leave out --by-server.\n"
    )


def test_nothing_found(tiny_bundle: Path, source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    place = ("--index", folder, "--bundle", tiny_bundle)
    assert run_json("index", source, *place)[0] == 0
    assert run("search", "x", *place, "--where", "lang=xx") == (
        0,
        "",
        f"Nothing found in {folder}.\n",
    )
