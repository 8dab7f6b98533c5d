"""Evaluation sets: roles, samples, and faults in the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lusifer_evaluation.tasks import (
    NEWS_CHARACTERS,
    load_news,
    load_package_set,
    load_tatoeba,
    load_xquad,
)
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

    def test_news_have_other_articles_in_every_language(
        self, tmp_path: Path, write_lines: Any
    ) -> None:
        for language, count in (("hau", 3), ("swa", 2)):
            write_lines(
                tmp_path / "eval" / "masakhanews" / f"{language}.jsonl.gz",
                [{"headline": f"{n}", "text": f"{n} " + "long " * 200} for n in range(count)],
            )
        sets = load_news(tmp_path)
        assert {name: len(each.texts) for name, each in sets.questions.items()} == {
            "hau": 3,
            "swa": 2,
        }
        assert sets.questions["hau"].role == "query"
        assert sets.documents["hau"].role == "document"
        assert {len(text) for text in sets.documents["hau"].texts} == {NEWS_CHARACTERS}
        assert sets.answers["hau"].tolist() == [0, 1, 2]
        assert sets.documents["hau"].name != sets.documents["swa"].name

    def test_languages_share_the_documents_of_a_package_set(self, data: Path) -> None:
        sets = load_package_set("debian", data)
        assert sets.documents["de"] is sets.documents["ja"]
        assert len(sets.documents["ja"].texts) == 7
        for language in ("de", "ja"):
            for question, answer in zip(
                sets.questions[language].texts, sets.answers[language], strict=True
            ):
                assert question.split()[1] == sets.documents[language].texts[answer].split()[1]

    def test_a_sample_of_a_package_set_keeps_the_questions_of_its_documents(
        self, data: Path
    ) -> None:
        sets = load_package_set("debian", data, 3)
        numbers = {text.split()[1] for text in sets.documents["de"].texts}
        assert len(numbers) == 3
        assert {text.split()[1] for text in sets.questions["de"].texts} == numbers
        larger = load_package_set("debian", data, 5)
        assert set(sets.documents["de"].texts) < set(larger.documents["de"].texts)
