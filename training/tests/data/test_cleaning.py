"""Empty, duplicate and contaminated pairs are dropped and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lusifer_training.data.cleaning import load_clean_pairs, normal_form
from lusifer_training.data.pairs import is_held_out
from lusifer_training.errors import DataError
from lusifer_training.recipe import DatasetRecipe

if TYPE_CHECKING:
    from pathlib import Path


class TestCleaning:
    RUN = "one two three four five six seven eight nine ten eleven twelve thirteen"

    def load(
        self, tmp_path: Path, write_lines: Any, pairs: list[Any]
    ) -> tuple[set[str], dict[str, int]]:
        # Document by document, so that the held-out tenth doesn't depend on the texts under test.
        records = [{"query": query, "document": document} for query, document in pairs]
        write_lines(tmp_path / "d.jsonl", records)
        dataset = DatasetRecipe(file="d.jsonl", schema="query_document")
        kept, report = load_clean_pairs({"set": dataset}, tmp_path, seed=0)
        return {pair.query for pair in kept["set"]}, report["set"]

    def test_doubles_and_empty_texts_are_dropped_and_counted(
        self, tmp_path: Path, write_lines: Any
    ) -> None:
        pairs = [
            ("What?", "The answer."),
            (" what ", "the ANSWER"),
            ("", "The answer."),
            ("Where", " - "),
        ]
        assert not any(is_held_out(document) for _, document in pairs)
        kept, report = self.load(tmp_path, write_lines, pairs)
        assert len(kept) == report["kept"] == 1
        assert (report["read"], report["empty"], report["duplicate"]) == (4, 2, 1)

    def test_what_is_evaluated_is_not_trained_on(self, tmp_path: Path, write_lines: Any) -> None:
        write_lines(
            tmp_path / "eval" / "a" / "en.jsonl.gz",
            [
                {
                    "context": f"It starts. {self.RUN}.",
                    "questions": [{"question": "Who was it then?"}],
                },
                {"t": "Yes."},
            ],
        )
        pairs = [
            ("WHO was it, then", "A."),
            ("in a longer text", f"Before {self.RUN.title()} after"),
            ("a shorter run", self.RUN.removesuffix(" thirteen")),
            ("Yes", "Too short to be a sign of anything."),
        ]
        kept, report = self.load(tmp_path, write_lines, pairs)
        assert report["contaminated"] + sum(is_held_out(document) for _, document in pairs[:2]) == 2
        assert kept == {query for query, document in pairs[2:] if not is_held_out(document)}

    def test_nothing_left_is_an_error_with_the_reasons(
        self, tmp_path: Path, write_lines: Any
    ) -> None:
        with pytest.raises(DataError, match="of 2, 2 were empty"):
            self.load(tmp_path, write_lines, [("", "The answer."), ("?", "The answer.")])

    @given(text=st.text(max_size=40))
    def test_the_normal_form_of_a_normal_form_is_itself(self, text: str) -> None:
        form = normal_form(text)
        assert normal_form(f" {form.upper()}! ") == normal_form(form.upper())
        assert form == " ".join(form.split())
