"""Pairs by schema, and the held-out tenth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from training.tests.data.loading import everything

from lusifer_training.data.cleaning import load_clean_pairs
from lusifer_training.data.pairs import Pair, is_held_out, load_pairs
from lusifer_training.errors import DataError
from lusifer_training.recipe import DatasetRecipe

if TYPE_CHECKING:
    from pathlib import Path

LONG = "It reads archives of many formats. It writes them as well, and fast. It has no dependencies at all."


def schema(name: str, **fields: Any) -> DatasetRecipe:
    return DatasetRecipe(file="unused", schema=name, **fields)


class TestSchemas:
    def test_debian(self, tmp_path: Path, write_lines: Any) -> None:
        path = write_lines(
            tmp_path / "d.jsonl",
            [
                {"source": "tar", "short": "archiver", "long": LONG},
                {"source": "tar", "short": "empty", "long": "too short"},
            ],
        )
        assert everything(schema("debian"), path) == [Pair("archiver", LONG)]

    @pytest.mark.parametrize("name", ["debian_sentences", "document_sentences"])
    def test_a_sentence_to_its_neighbourhood(
        self, tmp_path: Path, write_lines: Any, name: str
    ) -> None:
        path = write_lines(
            tmp_path / "d.jsonl", [{"source": "tar", "long": LONG, "document": LONG}]
        )
        (pair,) = everything(schema(name), path)
        assert pair.query in LONG
        assert pair.query not in pair.document
        sentences = [each.strip() + "." for each in LONG.rstrip(".").split(".")]
        assert pair.document == " ".join(each for each in sentences if each != pair.query)

    def test_texts_without_a_sentence_to_take_are_left_out(
        self, tmp_path: Path, write_lines: Any
    ) -> None:
        path = write_lines(
            tmp_path / "d.jsonl", [{"document": "One. Two."}, {"document": "A. B. C. D."}]
        )
        assert everything(schema("document_sentences"), path) == []

    def test_query_document_with_and_without_negatives(
        self, tmp_path: Path, write_lines: Any
    ) -> None:
        path = write_lines(
            tmp_path / "d.jsonl",
            [
                {"query": "q", "document": "d", "negatives": ["n", "m"]},
                {"query": "p", "document": "e"},
            ],
        )
        pairs = everything(schema("query_document"), path)
        assert sorted(pairs, key=lambda pair: pair.query) == [
            Pair("p", "e"),
            Pair("q", "d", ("n", "m")),
        ]

    def test_scored_pairs_keep_their_scores(self, tmp_path: Path, write_lines: Any) -> None:
        path = write_lines(
            tmp_path / "d.jsonl",
            [
                {"sentence1": "a", "sentence2": "b", "score": 5},
                {"sentence1": "c", "sentence2": "d", "score": 0.4},
                {"sentence1": "same", "sentence2": "same", "score": 5.0},
            ],
        )
        pairs = everything(schema("scored_pairs"), path)
        assert sorted(pairs, key=lambda pair: pair.query) == [
            Pair("a", "b", score=5.0),
            Pair("c", "d", score=0.4),
        ]

    @pytest.mark.parametrize("labels", [2, 3, 6])
    def test_labelled_pairs_have_negatives_of_other_labels(
        self, tmp_path: Path, write_lines: Any, labels: int
    ) -> None:
        records = [
            {"text": f"{label} {number}", "label": label}
            for label in range(labels)
            for number in range(4)
        ]
        pairs = everything(schema("labelled"), write_lines(tmp_path / "d.jsonl", records))
        assert len(pairs) == 2 * labels
        for pair in pairs:
            label = pair.query.split()[0]
            others = [negative.split()[0] for negative in pair.negatives]
            assert pair.document.split()[0] == label
            assert pair.document != pair.query
            assert len(set(others)) == len(others) == min(3, labels - 1)
            assert label not in others

    def test_plain_text_is_for_stage_1(self, tmp_path: Path, write_lines: Any) -> None:
        path = write_lines(tmp_path / "d.jsonl", [{"text": " one "}, {"text": "  "}])
        assert everything(schema("text", stages=["align"]), path) == [Pair("", "one")]
        with pytest.raises(ValueError, match="set stages to"):
            schema("text")

    def test_clusters_come_with_their_pairs(self, tmp_path: Path, write_lines: Any) -> None:
        path = write_lines(tmp_path / "d.jsonl", [{"query": "q", "document": "d", "cluster": 3}])
        assert everything(schema("query_document"), path) == [Pair("q", "d", (), 3)]

    @pytest.mark.parametrize(
        ("wrong", "expected"),
        [
            ({"query": 7}, "query is 7, expected a text"),
            ({"document": None}, "document is None, expected a text"),
            ({"negatives": 1}, "negatives is 1, expected a list of texts"),
            ({"negatives": ["n", 1]}, "expected a list of texts"),
            ({"cluster": True}, "cluster is True, expected a number"),
        ],
    )
    def test_a_value_of_the_wrong_kind_is_named(
        self, tmp_path: Path, write_lines: Any, wrong: dict[str, Any], expected: str
    ) -> None:
        good = {"query": "q", "document": "d"}
        path = write_lines(tmp_path / "d.jsonl", [good, {**good, **wrong}])
        with pytest.raises(DataError, match=f"line 2: .*{expected.replace('[', '.')}"):
            load_pairs(schema("query_document"), path, seed=0)

    def test_a_score_is_a_number(self, tmp_path: Path, write_lines: Any) -> None:
        record = {"sentence1": "a", "sentence2": "b", "score": "5"}
        path = write_lines(tmp_path / "d.jsonl", [record])
        with pytest.raises(DataError, match="line 1: score is '5', expected a number"):
            load_pairs(schema("scored_pairs"), path, seed=0)

    def test_a_file_without_pairs(self, tmp_path: Path, write_lines: Any) -> None:
        path = write_lines(tmp_path / "d.jsonl", [])
        with pytest.raises(DataError, match="has no pairs"):
            load_pairs(schema("debian"), path, seed=0)


class TestHeldOut:
    @pytest.fixture
    def path(self, tmp_path: Path, write_lines: Any) -> Path:
        records = [
            {
                "source": f"source{number // 3}",
                "short": f"short {number}",
                "long": f"{number} {LONG}",
            }
            for number in range(600)
        ]
        return write_lines(tmp_path / "d.jsonl", records)

    def test_no_source_is_on_both_sides(self, path: Path) -> None:
        sources = [
            {
                int(pair.query.split()[1]) // 3
                for pair in load_pairs(schema("debian"), path, seed=0, held_out=held_out)
            }
            for held_out in (False, True)
        ]
        assert not sources[0] & sources[1]
        assert len(sources[0] | sources[1]) == 200
        assert 10 <= len(sources[1]) <= 35

    def test_the_split_does_not_follow_the_seed(self, path: Path) -> None:
        ones = [
            {pair.query for pair in load_pairs(schema("debian"), path, seed=seed, held_out=True)}
            for seed in (0, 1)
        ]
        assert ones[0] == ones[1]

    def test_order_follows_the_seed_and_nothing_else(self, path: Path) -> None:
        orders = [load_pairs(schema("debian_sentences"), path, seed=seed) for seed in (0, 0, 1)]
        assert orders[0] == orders[1] != orders[2]

    def test_the_cap(self, path: Path) -> None:
        capped = schema("debian", maximum_examples=7).model_copy(update={"file": path.name})
        pairs, report = load_clean_pairs({"debian": capped}, path.parent, seed=0)
        assert len(pairs["debian"]) == report["debian"]["kept"] == 7
        assert report["debian"]["read"] == 7 + report["debian"]["over_maximum"]

    def test_one_key_in_ten(self) -> None:
        share = sum(is_held_out(str(number)) for number in range(5000)) / 5000
        assert 0.08 < share < 0.13
