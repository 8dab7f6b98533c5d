from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lusifer.common.language_detection import detect_language
from lusifer.engines.fake import FakeEngine
from lusifer.service.canary import SENTENCES, CanaryReport, canary_texts, check, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

TEXTS = canary_texts()


def good_vectors() -> NDArray[np.float32]:
    """Return vectors in which a translation is close to, but not equal to, its English sentence."""
    random = np.random.default_rng(0)
    topics = np.tile(np.eye(4, 32), (len(SENTENCES), 1))
    vectors = topics + 0.15 * random.normal(size=topics.shape) / np.sqrt(32)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Model:
    """A model that answers :func:`good_vectors`, which ``spoil`` changes on some calls."""

    def __init__(self, spoil: Callable[[int, NDArray[np.float32]], NDArray[np.float32]]) -> None:
        self.calls = 0
        self._spoil = spoil
        self._vectors = dict(zip(TEXTS, good_vectors(), strict=True))

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls += 1
        return self._spoil(self.calls, np.stack([self._vectors[text] for text in texts]))


def look(spoil: Callable[[int, NDArray[np.float32]], NDArray[np.float32]]) -> CanaryReport:
    return asyncio.run(check(Model(spoil).embed))


def swapped(vectors: NDArray[np.float32], one: int, other: int) -> NDArray[np.float32]:
    vectors = vectors.copy()
    vectors[[one, other]] = vectors[[other, one]]
    return vectors


def test_the_sentences_are_in_their_languages() -> None:
    assert len(SENTENCES) == 12
    assert len(set(TEXTS)) == 48
    assert TEXTS[:4] == list(SENTENCES["en"])
    for language, sentences in SENTENCES.items():
        # All four sentences, because detection is uncertain on a single short one.
        assert detect_language(" ".join(sentences)) == language


def test_a_good_model_passes() -> None:
    report = look(lambda _, vectors: vectors)
    assert report.passed
    assert report.accuracy == dict.fromkeys(SENTENCES, 1.0)


def test_any_two_swapped_answers_of_different_topics_are_found() -> None:
    vectors = good_vectors()
    for one in range(48):
        for other in range(one):
            if one % 4 != other % 4:
                assert not judge(swapped(vectors, one, other)).passed, (one, other)


@pytest.mark.parametrize(("one", "other"), [(0, -1), (1, 5), (44, 4), (3, 2), (10, 38)])
@pytest.mark.parametrize(
    "calls", [range(1, 2), range(2, 14), range(1, 14)], ids=["first", "later", "all"]
)
def test_swapped_answers_are_found_on_any_call(one: int, other: int, calls: range) -> None:
    def spoil(call: int, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        # An index beyond a small call is the fault that swaps first and last.
        inside = max(one, other) < len(vectors)
        return (
            swapped(vectors, *((one, other) if inside else (0, -1))) if call in calls else vectors
        )

    report = look(spoil)
    assert not report.passed
    assert "canary" in report.reason


def test_a_reversed_order_is_found() -> None:
    report = look(lambda _, vectors: vectors[::-1])
    assert not report.passed


def test_a_vector_that_depends_on_its_batch_is_found() -> None:
    def spoil(_: int, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        drawn = vectors + 0.5 * vectors.mean(axis=0) * (len(vectors) == 48)
        return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)

    def colder(call: int, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        random = np.random.default_rng(call)
        drawn = vectors + 0.3 * random.normal(size=vectors.shape) / np.sqrt(32)
        return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)

    for fault in (spoil, colder):
        report = look(fault)
        assert not report.passed
        assert "two vectors" in report.reason


def test_a_model_without_meaning_fails() -> None:
    engine = FakeEngine(64)

    async def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        rows = [
            np.frombuffer(text.encode()[:40].ljust(40), np.uint8).astype(np.int64) for text in texts
        ]
        return engine.run(np.stack(rows), np.ones((len(rows), 40), np.int64))

    report = asyncio.run(check(embed))
    assert not report.passed
    assert "nearer to a wrong" in report.reason
    random = np.random.default_rng(0)
    assert not any(
        judge(random.normal(size=(48, 64)).astype(np.float32)).passed for _ in range(200)
    )


@pytest.mark.parametrize(
    "vectors",
    [
        np.ones((48, 8), np.float32) / np.sqrt(8),
        np.zeros((48, 8), np.float32),
        np.full((48, 8), np.nan, np.float32),
        good_vectors()[:47],
        good_vectors()[:36],
        np.zeros((0, 8), np.float32),
        good_vectors()[0],
    ],
    ids=["equal", "zero", "nan", "47", "36", "none", "flat"],
)
def test_what_is_no_answer_fails(vectors: NDArray[np.float32]) -> None:
    report = judge(vectors)
    assert not report.passed
    assert report.reason.startswith("The canary: ")


def test_one_language_gone_wrong_is_named() -> None:
    vectors = good_vectors()
    at = 4 * list(SENTENCES).index("ja")
    vectors[at : at + 4] = vectors[[at + 1, at + 2, at + 3, at]]
    report = judge(vectors)
    assert not report.passed
    assert report.accuracy["ja"] == 0
    assert "worst: ja, 0% right" in report.reason
