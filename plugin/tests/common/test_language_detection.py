from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lusifer.common.language_detection import UNKNOWN, detect_language

SIB200 = Path(os.environ.get("LUSIFER_DATA", "../shared/data")) / "eval" / "sib200"
CODES = {
    "arb": "ar", "ben": "bn", "deu": "de", "eng": "en", "fin": "fi", "fra": "fr", "hin": "hi",
    "ind": "id", "jpn": "ja", "kor": "ko", "pes": "fa", "rus": "ru", "spa": "es", "swh": "sw",
    "tel": "te", "tha": "th", "vie": "vi", "zho": "zh",
}  # fmt: skip
SENTENCES = 100


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Wie packe ich ein Archiv aus und was ist das?", "de"),
        ("how do I unpack this", "en"),
        ("как мне распаковать это", "ru"),
        ("猫はマットの上にいます", "ja"),
        ("如何解压", "zh"),
        ("كيف أفك هذا الأرشيف في المجلد", "ar"),
        ("मैं इसे कैसे खोल सकता हूँ और क्या है", "hi"),
        ("สวัสดี", "th"),
        ("12345 !!", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_languages(text: str, language: str) -> None:
    assert detect_language(text) == language


@given(st.text(max_size=500))
def test_every_text_has_a_short_answer(text: str) -> None:
    assert detect_language(text) == UNKNOWN or len(detect_language(text)) in (2, 3)


def test_the_end_of_a_long_text_does_not_count() -> None:
    assert detect_language("This is an English sentence. " * 20 + "Это русское. " * 400) == "en"


@pytest.mark.parametrize("code", CODES)
def test_sentences_of_the_evaluation_languages(code: str) -> None:
    if not SIB200.is_dir():
        pytest.skip("the evaluation data is not here; LUSIFER_DATA names its folder")
    (path,) = SIB200.glob(f"{code}_*.jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines][:SENTENCES]
    right = sum(detect_language(text) == CODES[code] for text in texts)
    assert right >= 0.9 * SENTENCES
