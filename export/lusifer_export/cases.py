"""Texts of the quality gate: 20 languages in both roles, translations, and edge cases of limits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from itertools import cycle
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
    """Token ids within the model's limit, prompt and special tokens included."""
    role: str
    language: str | None = None
    """ISO 639 code; None for the edge cases, which belong to all languages."""
    article: int | None = None
    """Number of a translated sentence: rows with one number are translations of each other."""
    case: str | None = None
    """Name of an edge case."""


def parity_texts() -> dict[str, list[str]]:
    """Return at least 200 texts by language, from one word to beyond the token limit."""
    texts: dict[str, list[str]] = _read("parity_texts.json")
    return texts


def translations() -> dict[str, list[str]]:
    """Return 24 sentences of the Universal Declaration of Human Rights in each language."""
    texts: dict[str, list[str]] = _read("translations.json")
    return texts


def gate_rows(
    tokenizer: Tokenizer, role_prompts: Mapping[str, str], maximum_tokens: int
) -> list[Row]:
    """Return all inputs of the gate.

    Args:
        tokenizer: Tokenizer of the encoder, without truncation of its own.
        role_prompts: Prompt by role.
        maximum_tokens: Longest input T.
    """
    return [
        *_parity_rows(tokenizer, role_prompts, maximum_tokens),
        *_translation_rows(tokenizer, role_prompts, maximum_tokens),
        *_edge_rows(tokenizer, role_prompts, maximum_tokens),
    ]


def _parity_rows(tokenizer: Tokenizer, prompts: Mapping[str, str], maximum: int) -> Iterator[Row]:
    # Roles alternate, so that both prompts occur in every language and length.
    roles = cycle(ROLES)
    for language, texts in parity_texts().items():
        for text in texts:
            role = next(roles)
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
    # A text whose scripts change, longer than any limit.
    mixed = " ".join(text for row in zip(*passages.values(), strict=True) for text in row)
    for role in ROLES:
        long = tokenizer.encode(prompts[role] + mixed).ids
        yield Row(_cut(tokenizer.encode(prompts[role] + "a").ids, maximum), role, case="short")
        yield Row(_cut(long, maximum), role, case="long, cut at the limit")
        yield Row(_cut(long, maximum - 1), role, case="one token below the limit")
        # A text of one token too many: the token before its end is cut, the last one stays.
        yield Row(_cut(long[: maximum + 1], maximum), role, case="one token above the limit")
        yield Row(
            _cut(tokenizer.encode(prompts[role] + MIXED_SCRIPTS).ids, maximum),
            role,
            case="mixed scripts",
        )
    # Texts without a prompt, as a client of another model sends them.
    yield Row(_cut(tokenizer.encode(MIXED_SCRIPTS).ids, maximum), "query", case="empty prompt")
    yield Row(
        _cut(tokenizer.encode(passages[ENGLISH][0]).ids, maximum), "document", case="empty prompt"
    )


def _cut(ids: Sequence[int], maximum: int) -> tuple[int, ...]:
    """Cut ids as the plugin does: the last special token stays."""
    return tuple(ids) if len(ids) <= maximum else (*ids[: maximum - 1], ids[-1])


def _read(name: str) -> dict[str, list[str]]:
    path = resources.files("lusifer_export") / name
    texts: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    return texts
