"""Evaluation sets: roles, samples, and faults in the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lusifer_evaluation.tasks import load_tatoeba, load_xquad
from lusifer_training.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


class TestTasks:
    def test_roles(self, data: Path) -> None:
        ours, english = load_tatoeba(data)["de"]
        assert (ours.role, english.role) == ("query", "query")
        sets = load_xquad(data)
        assert (sets.questions["ja"].role, sets.paragraphs["ja"].role) == ("query", "document")
        assert sets.answers.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]

    def test_a_sample_takes_one_paragraph_of_every_article_first(
        self, tmp_path: Path, write_lines: Any
    ) -> None:
        records = [
            {"context": f"en {n}", "questions": [{"question": f"en {n}"}], "article": n // 5}
            for n in range(15)
        ]
        write_lines(tmp_path / "eval" / "xquad" / "en.jsonl.gz", records)
        assert load_xquad(tmp_path, 3).articles.tolist() == [0, 1, 2]
        assert load_xquad(tmp_path, 4).paragraphs["en"].texts == ("en 0", "en 1", "en 5", "en 10")

    def test_languages_that_are_not_parallel(self, data: Path, write_lines: Any) -> None:
        write_lines(
            data / "eval" / "xquad" / "ja.jsonl.gz",
            [{"context": "ja 0", "questions": [{"question": "ja 0"}]}],
        )
        with pytest.raises(DataError, match=r"ja\.jsonl\.gz has other questions than de"):
            load_xquad(data)
