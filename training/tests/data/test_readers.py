"""Records of JSON lines and of hub datasets, checked line by line."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest
from training.tests.data.loading import everything

from lusifer_training.data.pairs import load_pairs
from lusifer_training.data.readers import read_json_lines
from lusifer_training.errors import DataError
from lusifer_training.recipe import DatasetRecipe

if TYPE_CHECKING:
    from pathlib import Path


def schema(name: str, **fields: Any) -> DatasetRecipe:
    return DatasetRecipe(file="unused", schema=name, **fields)


class TestReadJsonLines:
    @pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
    def test_plain_and_packed(self, tmp_path: Path, write_lines: Any, name: str) -> None:
        records = [{"text": "猫", "n": 1}, {"text": "two", "n": 2}]
        assert list(read_json_lines(write_lines(tmp_path / name, records), ("text",))) == records

    @pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
    def test_lines_end_at_line_feeds_only(self, tmp_path: Path, name: str) -> None:
        text = b'{"text": "one\xe2\x80\xa8two\xc2\x85"}\r\n{"text": "three"}\n'
        (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
        read = list(read_json_lines(tmp_path / name, ("text",)))
        assert read == [{"text": "one\u2028two\x85"}, {"text": "three"}]

    def test_a_missing_file_says_where_data_comes_from(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no data file") as caught:
            list(read_json_lines(tmp_path / "gone.jsonl", ("text",)))
        assert "LUSIFER_DATA" in caught.value.next_step

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("{", "line 2"),
            ("", "line 2"),
            ("7", "line 2 is not a JSON object"),
            ('"text"', "line 2 is not a JSON object"),
            ('["text"]', "line 2 is not a JSON object"),
            ('{"other": 1}', "line 2 has no text"),
        ],
    )
    def test_a_broken_line_is_named(self, tmp_path: Path, line: str, problem: str) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text('{"text": "one"}\n' + line + '\n{"text": "three"}\n')
        with pytest.raises(DataError, match=problem):
            list(read_json_lines(path, ("text",)))

    def test_bytes_that_are_not_utf8(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_bytes(b'{"text": "\xff\xfe"}\n')
        with pytest.raises(DataError, match="line 1"):
            list(read_json_lines(path, ("text",)))

    @pytest.mark.parametrize("damage", ["cut", "not gzip", "bits"])
    def test_a_damaged_archive(self, tmp_path: Path, damage: str) -> None:
        path = tmp_path / "a.jsonl.gz"
        whole = gzip.compress(b'{"text": "one"}\n' * 5000)
        broken = bytearray(whole)
        broken[20:40] = b"\xff" * 20
        path.write_bytes(
            {"cut": whole[:-20], "not gzip": b'{"text": "one"}', "bits": bytes(broken)}[damage]
        )
        with pytest.raises(DataError, match="line "):
            list(read_json_lines(path, ("text",)))


class TestHub:
    """The ``datasets`` library itself, on a folder instead of a name."""

    def recipe(self, folder: Path, **changes: Any) -> DatasetRecipe:
        columns = {"query": "question", "document": "positive", "negatives": "negative"}
        return DatasetRecipe(
            **{"hub": str(folder), "schema": "query_document", "columns": columns, **changes}
        )

    @pytest.fixture
    def folder(self, tmp_path: Path, write_lines: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
        import datasets

        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        datasets.disable_progress_bars()
        records = [
            {"question": f"q{number}", "positive": f"d{number}", "negative": ["n"]}
            for number in range(9)
        ]
        write_lines(tmp_path / "set" / "train.jsonl", records)
        return tmp_path / "set"

    def test_columns_by_our_names(self, folder: Path) -> None:
        pairs = everything(self.recipe(folder), None)
        assert sorted(pair.query for pair in pairs) == [f"q{number}" for number in range(9)]
        assert pairs[0].negatives == ("n",)

    def test_a_column_that_is_not_there(self, folder: Path) -> None:
        with pytest.raises(
            DataError, match="no column positives; it has question, positive, negative"
        ):
            load_pairs(
                self.recipe(folder, columns={"query": "question", "document": "positives"}),
                None,
                seed=0,
            )

    def test_a_split_that_is_not_there(self, folder: Path) -> None:
        with pytest.raises(DataError, match=r"can't be loaded: .*dev"):
            load_pairs(self.recipe(folder, split="dev"), None, seed=0)

    def test_either_file_or_hub(self, folder: Path) -> None:
        for wrong in ({"file": "a.jsonl"}, {"hub": None}):
            with pytest.raises(ValueError, match="either file or hub"):
                self.recipe(folder, **wrong)
