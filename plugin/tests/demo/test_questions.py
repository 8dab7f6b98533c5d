from __future__ import annotations

from lusifer.common.validation import check_text
from lusifer.demo.corpus import shipped_documents
from lusifer.demo.questions import Question, load_questions


def test_the_first_question_is_in_english() -> None:
    first = load_questions()[0]
    assert (first.language, first.language_name, first.intent) == ("en", "English", "edit photos")
    assert first.expected["shipped"] == frozenset({"en-photo-editor", "en-photo-light"})
    assert "gimp" in first.expected["debian"]


def test_every_language_asks_at_least_three_different_questions() -> None:
    by_language: dict[str, list[str]] = {}
    for question in load_questions():
        check_text(question.text)
        by_language.setdefault(question.language, []).append(question.text)
    assert {"de", "ja", "ru", "ar", "hi", "ko", "zh", "vi", "sw", "fi"} <= set(by_language)
    assert all(len(set(texts)) >= 3 for texts in by_language.values())


def test_every_question_has_an_answer_in_each_corpus() -> None:
    ids = {document.id for document in shipped_documents()}
    for question in load_questions():
        assert isinstance(question, Question)
        assert question.expected["shipped"] <= ids
        assert question.expected["shipped"]
        assert question.expected["debian"]
