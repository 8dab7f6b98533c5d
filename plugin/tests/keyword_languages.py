"""Texts and known words of 14 languages, to search by keyword in each store."""

from __future__ import annotations

import gzip
import json
import os
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from plugin.tests.store_contract import near

from lusifer.common.words import plain_text
from lusifer.types import Document, SearchOptions

if TYPE_CHECKING:
    from lusifer.stores.base import Store

__all__ = ["LANGUAGES", "missing_words", "texts_and_words"]

SIB200 = Path(os.environ.get("LUSIFER_DATA", "../shared/data")) / "eval" / "sib200"
TEXTS = Path(__file__).parent / "embedded" / "texts"
"""Articles of the Universal Declaration of Human Rights, which is free to use."""

FILES = {
    "ar": "arb_Arab", "de": "deu_Latn", "en": "eng_Latn", "fa": "pes_Arab", "fi": "fin_Latn",
    "hi": "hin_Deva", "ja": "jpn_Jpan", "ko": "kor_Hang", "ru": "rus_Cyrl", "th": "tha_Thai",
    "vi": "vie_Latn", "zh": "zho_Hans",
}  # fmt: skip
LANGUAGES = sorted([*FILES, "km", "lo"])

_WORDS = {
    "ja": "東京 日本 価格 政府 世界 大統領 戦争 科学者 電車 海 病院 大学 研究 選挙 映画 地震 ホテル "
    "インターネット 猫 恐竜",
    "zh": "北京 中国 政府 世界 总统 战争 科学家 火车 海洋 水 医院 大学 研究 选举 电影 地震 酒店 互联网 猫 恐龙",
    "ko": "한국 정부 세계 대통령 전쟁 과학자 기차 바다 섬 산 병원 대학 연구 선거 영화 지진 호텔 인터넷 "
    "고양이 공룡",
    "th": "ประเทศ รัฐบาล โลก ประธานาธิบดี สงคราม นักวิทยาศาสตร์ รถไฟ ทะเล น้ำ เกาะ ภูเขา โรงพยาบาล "
    "มหาวิทยาลัย วิจัย เลือกตั้ง ภาพยนตร์ แผ่นดินไหว โรงแรม แมว ไดโนเสาร์",
    "km": "មនុស្ស សិទ្ធិ សេរីភាព សមភាព ច្បាប់ ជាតិ សាសនា ភាសា ការងារ គ្រួសារ ប្រទេស ជីវិត សញ្ជាតិ អប់រំ "
    "តុលាការ កម្មសិទ្ធិ បុគ្គល សង្គម រដ្ឋ ទាសភាព",
    "lo": "ມະນຸດ ສິດ ເສລີພາບ ກົດໝາຍ ສາສະໜາ ຄອບຄົວ ປະເທດ ຊີວິດ ສານ ສັນຊາດ ຊາດ ໂລກ ສັງຄົມ ບຸກຄົນ ອິດສະຫຼະ "
    "ລັດ ຄວາມ ກຽດຕິຍົດ ປະຊາຊົນ ຄຸ້ມຄອງ",
}
"""Words of everyday language that the texts hold; without spaces nobody sees where one ends."""


def texts_and_words(language: str) -> tuple[list[str], list[str]]:
    """Return texts of a language and 20 words that occur in them."""
    if language in {"km", "lo"}:
        name = {"km": "khm", "lo": "lao"}[language]
        texts = (TEXTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    else:
        file = SIB200 / f"{FILES[language]}.jsonl.gz"
        if not file.exists():
            pytest.skip(f"the evaluation data are not at {file}")
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            texts = [json.loads(line)["text"] for line in lines]
    if language in _WORDS:
        words = [word for word in _WORDS[language].split() if any(word in text for text in texts)]
    elif language == "fa":
        found = {word for text in texts for word in re.findall(r"\w+\u200c\w+", text)}
        words = sorted(found)[:: max(1, len(found) // 20)][:20]
    else:
        found = {word for text in texts for word in text.split() if len(word) > 5 and is_word(word)}
        words = sorted(found)[:: max(1, len(found) // 20)][:20]
    if language == "ar":
        texts = list(map(_in_presentation_forms, texts))
    if language == "fa":
        # Half of the queries are typed without the non-joiner, as many keyboards have none.
        words = [word.replace("\u200c", "") if i % 2 else word for i, word in enumerate(words)]
    return texts, words


def missing_words(store: Store, language: str) -> list[str]:
    """Fill a store with texts of a language; return the known words that a search does not find.

    The vectors are opposite to the query's, and those of 100 other documents are equal to it. So a
    text is found by its words only, and the best one is among the first three hits.
    """
    texts, words = texts_and_words(language)
    assert len(words) == 20, words
    query = near(1.0)[0]
    others = [Document(f"other {i}", "–") for i in range(100)]
    documents = [Document(str(i), text) for i, text in enumerate(texts)]
    cosines = [-1.0] * len(documents) + [1.0] * len(others)
    store.upsert(documents + others, near(*cosines))
    return [
        word
        for word in words
        if not any(
            plain_text(word) in plain_text(hit.text)
            for hit in store.search(query, 3, SearchOptions(keywords=word))
        )
    ]


def is_word(text: str) -> bool:
    return all(unicodedata.category(character)[0] in "LM" for character in text)


def _in_presentation_forms(text: str) -> str:
    """Write Arabic letters as PDFs often have them: in the code points of their shapes."""
    return "".join(map(_SHAPES.get, text, text))


_SHAPES = {
    unicodedata.normalize("NFKC", chr(code)): chr(code)
    for code in range(0xFE80, 0xFEF5)
    if len(unicodedata.normalize("NFKC", chr(code))) == 1
}
