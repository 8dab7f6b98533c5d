"""The questions: the same few wishes in many languages, and the documents that answer them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Question", "load_questions"]


@dataclass(frozen=True)
class Question:
    """One question in one language."""

    language: str
    """ISO 639 code."""
    language_name: str
    intent: str
    """The wish in English."""
    text: str
    expected: Mapping[str, frozenset[str]]
    """Ids of documents that answer it, by corpus: ``debian`` or ``shipped``."""


def load_questions() -> list[Question]:
    """All questions, grouped by language."""
    data: dict[str, Any] = json.loads(
        files("lusifer.demo").joinpath("questions.json").read_text(encoding="utf-8")
    )
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
