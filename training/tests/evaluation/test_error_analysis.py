"""The error analysis, on encoders whose mistakes are known."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lusifer_evaluation import error_analysis
from lusifer_evaluation.tasks import TextSet, XquadSet

if TYPE_CHECKING:
    from collections.abc import Sequence


class Words:
    """A bag of words: a text's vector is the sum of its words' vectors, whatever the language."""

    identity = "words"

    def __call__(self, texts: Sequence[str], role: str) -> np.ndarray:
        rows = []
        for text in texts:
            words = text.lower().replace(".", " ").replace("?", " ").split()
            rows.append(
                sum(np.random.default_rng(zlib.crc32(w.encode())).normal(size=256) for w in words)
            )
        vectors = np.stack(rows)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def parallel(count: int, languages: Sequence[str], articles: np.ndarray | None = None) -> XquadSet:
    """Paragraphs of three sentences; the second holds the answer, and the question its words."""
    questions = tuple(f"alpha{n} beta{n}?" for n in range(count))
    paragraphs = tuple(
        f"Gamma{n} delta{n}. Alpha{n} beta{n} epsilon{n}. Zeta{n} eta{n}." for n in range(count)
    )
    return XquadSet(
        {name: TextSet(name, "query", questions) for name in languages},
        {name: TextSet(name, "document", paragraphs) for name in languages},
        np.arange(count),
        np.arange(count) if articles is None else articles,
        {name: tuple(f"epsilon{n}" for n in range(count)) for name in languages},
    )


class TestErrorAnalysis:
    def test_ratios(self) -> None:
        assert error_analysis.ratios(
            {"en": {"en": 80.0, "de": 60.0}, "de": {"en": 40.0, "de": 80.0}}
        )["de"] == {
            "en": 0.5,
            "de": 1.0,
        }

    def test_every_first_hit_has_one_kind(self) -> None:
        eye = np.eye(8)
        data = parallel(4, ("de", "en"), articles=np.array([0, 0, 1, 2]))
        paragraphs = {"de": eye[:4], "en": eye[4:]}
        # Right, though in English; the article's other paragraph; another article in German; one in
        # English.
        questions = {"de": eye[[4, 0, 0, 6]], "en": eye[[4, 5, 6, 7]]}
        split = error_analysis.error_split(questions, paragraphs, data)
        assert split["de"] == {"right": 25.0, "near": 25.0, "language": 25.0, "content": 25.0}
        assert split["en"]["right"] == 100.0

    def test_sentences(self) -> None:
        assert error_analysis.sentences("One. Two! Three?") == ["One.", "Two!", "Three?"]
        assert error_analysis.sentences("これは本です。あれは？はい。") == [
            "これは本です。",
            "あれは？",
            "はい。",
        ]
        assert error_analysis.sentences("यह एक है। वह दो है।") == ["यह एक है।", "वह दो है।"]
        thai = "ประโยคแรกของย่อหน้านี้ยาวพอ และวลีที่สองก็ยาวพอเหมือนกัน กับวลีที่สามที่ยาวพอ"
        assert len(error_analysis.sentences(thai)) == 3

    def test_the_evidence_is_seen(self) -> None:
        data = parallel(12, ("de", "en"))
        found = error_analysis.evidence_oracle(Words(), data, [("de", "en")])["de", "en"]
        assert found["oracle"] == 100.0
        assert found["chance"] == pytest.approx(100 / 3)
        assert found["r1"] == 100.0

        class Deaf(Words):
            def __call__(self, texts: Sequence[str], role: str) -> np.ndarray:
                return super().__call__([f"{role} {len(text)}" for text in texts], role)

        deaf = error_analysis.evidence_oracle(Deaf(), data, [("de", "en")])["de", "en"]
        assert deaf["oracle"] < 70
        assert deaf["seen_but_missed"] < 70

    def test_what_has_no_value_is_none(self) -> None:
        assert error_analysis.ratios({"en": {"en": 0.0}}) == {"en": {"en": None}}
        # Every paragraph is found, so none is missed.
        found = error_analysis.evidence_oracle(Words(), parallel(12, ("de", "en")), [("de", "en")])[
            "de", "en"
        ]
        assert found["seen_but_missed"] is None

    def test_the_readout_oracle_repairs_an_offset_and_a_rotation(self) -> None:
        rng = np.random.default_rng(0)
        points = rng.normal(size=(60, 24))
        rotation = np.linalg.qr(rng.normal(size=(24, 24)))[0]
        noisy = {name: points + 0.05 * rng.normal(size=points.shape) for name in ("de", "en", "ja")}
        offset = {"de": 9.0, "en": 0.0, "ja": -9.0}

        def unit(each: np.ndarray) -> np.ndarray:
            return each / np.linalg.norm(each, axis=1, keepdims=True)

        moved = {name: unit(each + offset[name] * np.eye(24)[0]) for name, each in noisy.items()}
        turned = {
            name: unit(each @ rotation if name == "de" else each) for name, each in noisy.items()
        }
        data = parallel(60, ("de", "en", "ja"), articles=np.arange(60) // 3)
        found = error_analysis.readout_oracle(moved, moved, data)
        assert found["raw"]["map"] < 70
        assert found["demean"]["map"] > 95
        assert found["project"]["map"] > 95
        found = error_analysis.readout_oracle(turned, turned, data)
        assert found["raw"]["different"] < 60
        assert found["procrustes"]["different"] > 95

    def test_the_needle_grid(self) -> None:
        rows = error_analysis.needle_grid(
            Words(), parallel(8, ("de", "en")), ["de", "en"], distractors=2
        )
        # Two needles alone, and with two kinds of hay at three places, for questions of two
        # languages.
        assert len(rows) == 2 * (2 + 2 * 2 * 3)
        assert {row["position"] for row in rows} == {"alone", "start", "middle", "end"}
        assert {row["r1"] for row in rows} == {100.0}
        with_hay = error_analysis.needle_grid(
            Words(), parallel(8, ("de", "en")), ["de"], distractors=3
        )
        assert len(with_hay) == 4
