"""The demonstration's questions: the same few in many languages, with the documents that answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files

__all__ = ["Question", "load_questions"]


@dataclass(frozen=True)
class Question:
    """One question in one language."""

    language: str
    """ISO 639 code of the language."""
    language_name: str
    """English name of the language."""
    intent: str
    """Meaning of the question in a few English words."""
    text: str
    """The question in its language."""
    expected: dict[str, frozenset[str]]
    """Ids of documents that answer the question, by corpus: ``debian`` or ``shipped``."""


def load_questions() -> list[Question]:
    """Return all questions, grouped by language."""
    data = json.loads(files("lusifer.demo").joinpath("questions.json").read_bytes())
    return [
        Question(
            language=code,
            language_name=name,
            intent=intent["intent"],
            text=intent["questions"][code],
            expected={corpus: frozenset(ids) for corpus, ids in intent["expected"].items()},
        )
        for code, name in data["languages"].items()
        for intent in data["intents"]
    ]
