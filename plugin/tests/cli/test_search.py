from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from plugin.tests.cli.commands import run, run_json

if TYPE_CHECKING:
    from pathlib import Path


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


def test_only_weaviate_embeds_a_question_itself(tmp_path: Path) -> None:
    code, stdout, stderr = run("search", "x", "--by-server", "--index", tmp_path)
    assert (code, stdout) == (1, "")
    assert stderr == (
        "Error: --by-server is given without --weaviate.\n"
        "Add --weaviate URL, or leave out --by-server.\n"
    )


def test_conditions(tiny_bundle: Path, tmp_path: Path) -> None:
    source, folder = tmp_path / "news.jsonl", tmp_path / "index"
    rows = [
        {"id": "a", "text": "one", "lang": "en", "publication date": 2020, "dc:title": "x/y"},
        {"id": "b", "text": "two", "lang": "de", "publication date": 2021, "a": {"b": 1}},
        {"id": "c", "text": "three", "lang": "de", "a": [{"b": 2}], "c.d": 3},
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    place = ("--index", folder, "--bundle", tiny_bundle)
    assert run_json("index", source, *place)[0] == 0

    def ids(*conditions: str) -> list[str]:
        where = [option for condition in conditions for option in ("--where", condition)]
        code, hits = run_json("search", "x", *place, "--json", *where)
        assert code == 0, hits
        return sorted(hit["id"] for hit in hits)

    assert ids("publication date:=2020") == ["a"]
    assert ids("publication date>2020", "lang=de") == ["b"]
    assert ids("dc:title=x/y") == ["a"]
    assert ids("a.b>=1") == ["b", "c"]
    assert ids('"c.d":=3') == ["c"]
    assert ids("lang!=de") == ["a"]
    assert ids("lang=xx") == []
    for condition, said in (
        ("publication date=2020", "'publication date' holds number such as 202"),
        ("c.d:=3", 'Write "c.d" with the quotes'),
        ("langg!=de", "a.b (number), dc:title (text), lang (text)"),
        ("a[0].b:=2", "Leave the brackets out"),
    ):
        code, _, stderr = run("search", "x", *place, "--where", condition)
        assert code == 1
        assert said in stderr


def test_nothing_found(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    (tmp_path / "news.jsonl").write_text('{"id": "a", "text": "one", "lang": "en"}\n')
    place = ("--index", folder, "--bundle", tiny_bundle)
    assert run_json("index", tmp_path / "news.jsonl", *place)[0] == 0
    assert run("search", "x", *place, "--where", "lang=xx") == (
        0,
        "",
        f"Nothing found in {folder}.\n",
    )


def test_what_acts_on_a_terminal_is_escaped_in_hits(tiny_bundle: Path, tmp_path: Path) -> None:
    source, index = tmp_path / "d.jsonl", tmp_path / "index"
    hostile = "\x1b]0;owned\x07\x9b2J\u202e"
    record = {"id": f"i{hostile}\n  1  1.000  forged", "text": f"the cat{hostile} sits\nhere"}
    source.write_text(json.dumps(record) + "\n" + json.dumps({**record, "text": hostile}) + "\n")
    common = ("--index", index, "--bundle", tiny_bundle)
    code, shown, rejected = run("index", source, *common)
    assert code == 1
    assert "Rejected d.jsonl line 2" in rejected
    code, found, _ = run("search", "the cat", *common)
    assert code == 0
    assert found.count("\n") == 2
    assert r"i\x1b]0;owned\x07\x9b2J\u202e\n  1  1.000  forged" in found
    assert r"the cat\x1b]0;owned\x07\x9b2J\u202e sits here" in found
    assert not set("\x1b\x07\x9b\u202e") & set(shown + rejected + found)
    (hit,) = run_json("search", "the cat", *common)[1]
    assert (hit["id"], hit["text"]) == (record["id"], record["text"])
