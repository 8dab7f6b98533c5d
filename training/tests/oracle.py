"""An encoder whose mistakes are known, and evaluation data that it can read."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["DIMENSION", "LANGUAGES", "Oracle", "accent", "write_data"]

LANGUAGES = ("de", "en", "ja")
DIMENSION = 64
MONOLINGUAL = {
    "guide": {language: [f"{language} {n}" for n in range(100, 400)] for language in LANGUAGES}
}
"""Texts of one source by language, as many as means need."""


class Oracle:
    """Reads the meaning, the number in a text; an offset is added that gives away the language before it."""

    def __init__(self, offset: float = 0.0) -> None:
        self.identity = f"oracle:{offset}"
        self.offset = offset
        self.seen: list[tuple[str, str]] = []

    @property
    def texts(self) -> int:
        """Number of texts that were embedded."""
        return len(self.seen)

    def __call__(self, texts: Sequence[str], role: str) -> np.ndarray:
        self.seen += [(text, role) for text in texts]
        vectors = np.stack(
            [
                meaning(int(text.split()[1])) + self.offset * accent(text.split()[0])
                for text in texts
            ]
        )
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def meaning(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=DIMENSION)


def accent(language: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(language.encode()).digest()[:4])
    return np.random.default_rng(seed).normal(size=DIMENSION)


def write_data(folder: Path, write_lines: Any) -> Path:
    """Tatoeba of 12 sentences in two languages, XQuAD of 5 paragraphs in three, and so on."""
    for language in ("de", "ja"):
        records = [{"text": f"{language} {n}", "english": f"en {n}"} for n in range(12)]
        write_lines(folder / "eval" / "tatoeba" / f"{language}.jsonl.gz", records)
    for language in LANGUAGES:
        records = [
            {"context": f"{language} {n}", "questions": [{"question": f"{language} {n}"}] * 2}
            for n in range(5)
        ]
        write_lines(folder / "eval" / "xquad" / f"{language}.jsonl.gz", records)
        records = [
            {
                "sentence1": f"{language} {n}",
                "sentence2": f"{language} {n % 3}",
                "score": 5 * (n < 3),
            }
            for n in range(9)
        ]
        write_lines(folder / "eval" / "stsb" / f"{language}.jsonl.gz", records)
    for language in ("hau", "swa"):
        records = [{"headline": f"{language} {n}", "text": f"{language} {n}"} for n in range(6)]
        write_lines(folder / "eval" / "masakhanews" / f"{language}.jsonl.gz", records)
    for name in ("debian", "help"):
        for language, count in (("de", 7), ("ja", 4)):
            records = [
                {"id": f"{n}", "question": f"{language} {n}", "document": f"en {n}"}
                for n in range(count)
            ]
            write_lines(folder / "eval" / name / f"{language}.jsonl.gz", records)
    for language in ("deu", "eng"):
        records = [
            {
                "id": n,
                "split": split,
                "label": "art" if n % 2 else "law",
                "text": f"{language} {n % 2}",
            }
            for split in ("train", "test")
            for n in range(8)
        ]
        write_lines(folder / "eval" / "sib200" / f"{language}.jsonl.gz", records)
    for name in ("english.train", "english.test", "german.test"):
        records = [{"text": f"{name[:2]} {n}", "label": n % 3} for n in range(6)]
        write_lines(folder / "eval" / "tweet_sentiment" / f"{name}.jsonl.gz", records)
    return folder
