"""What the gate embeds: texts of 20 languages in both roles, translations, and the edges of every
limit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tokenizers import Tokenizer

__all__ = ["ROLES", "Row", "gate_rows", "parity_texts", "translations"]

ROLES = ("query", "document")
ENGLISH = "en"
MIXED_SCRIPTS = (
    "Wie sagt man 圖書館 по-русски? المكتبة, библиотека 🙂 thư viện पुस्तकालय, ห้องสมุด e\u0301!"
)


@dataclass(frozen=True)
class Row:
    """One input of the model."""

    ids: tuple[int, ...]
    """Token ids, prompt and special tokens included, within the model's limit."""
    role: str
    language: str | None = None
    """ISO 639 code; None for the edge cases, which are of all languages."""
    article: int | None = None
    """Of a translation: rows with the same number say the same."""
    case: str | None = None
    """Of an edge case: its name."""


def parity_texts() -> dict[str, list[str]]:
    """At least 200 texts by language, from one word to beyond the token limit."""
    texts: dict[str, list[str]] = _read("parity_texts.json")
    return texts


def translations() -> dict[str, list[str]]:
    """By language the same 24 sentences, of the Universal Declaration of Human Rights."""
    texts: dict[str, list[str]] = _read("translations.json")
    return texts


def gate_rows(
    tokenizer: Tokenizer, role_prompts: Mapping[str, str], maximum_tokens: int
) -> list[Row]:
    """All inputs of the gate.

    Args:
        tokenizer: The encoder's, without truncation of its own.
        role_prompts: Prompt by role.
        maximum_tokens: Longest input T.
    """
    return [
        *_parity_rows(tokenizer, role_prompts, maximum_tokens),
        *_translation_rows(tokenizer, role_prompts, maximum_tokens),
        *_edge_rows(tokenizer, role_prompts, maximum_tokens),
    ]


def _parity_rows(tokenizer: Tokenizer, prompts: Mapping[str, str], maximum: int) -> Iterator[Row]:
    # Roles alternate, so that both prompts are seen in every language and length.
    number = 0
    for language, texts in parity_texts().items():
        for text in texts:
            role = ROLES[number % len(ROLES)]
            number += 1
            yield Row(_cut(tokenizer.encode(prompts[role] + text).ids, maximum), role, language)


def _translation_rows(
    tokenizer: Tokenizer, prompts: Mapping[str, str], maximum: int
) -> Iterator[Row]:
    for language, texts in translations().items():
        for article, text in enumerate(texts):
            for role in ROLES:
                ids = _cut(tokenizer.encode(prompts[role] + text).ids, maximum)
                yield Row(ids, role, language, article)


def _edge_rows(tokenizer: Tokenizer, prompts: Mapping[str, str], maximum: int) -> Iterator[Row]:
    passages = translations()
    # Scripts change within one text, and it is longer than any limit.
    mixed = " ".join(text for row in zip(*passages.values(), strict=True) for text in row)
    for role in ROLES:
        long = tokenizer.encode(prompts[role] + mixed).ids
        yield Row(_cut(tokenizer.encode(prompts[role] + "a").ids, maximum), role, case="short")
        yield Row(_cut(long, maximum), role, case="long, cut at the limit")
        yield Row(_cut(long, maximum - 1), role, case="one token below the limit")
        # What a text of one token too many comes to: another last token than the text's own end.
        yield Row(_cut(long[: maximum + 1], maximum), role, case="one token above the limit")
        yield Row(
            _cut(tokenizer.encode(prompts[role] + MIXED_SCRIPTS).ids, maximum),
            role,
            case="mixed scripts",
        )
    # Text as a client of another model would send it.
    yield Row(_cut(tokenizer.encode(MIXED_SCRIPTS).ids, maximum), "query", case="empty prompt")
    yield Row(
        _cut(tokenizer.encode(passages[ENGLISH][0]).ids, maximum), "document", case="empty prompt"
    )


def _cut(ids: Sequence[int], maximum: int) -> tuple[int, ...]:
    """As the plugin cuts: the last special token stays."""
    return tuple(ids) if len(ids) <= maximum else (*ids[: maximum - 1], ids[-1])


def _read(name: str) -> dict[str, list[str]]:
    path = resources.files("lusifer_export") / name
    texts: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    return texts
