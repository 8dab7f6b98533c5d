"""Scores of retrieval worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lusifer_evaluation import retrieval


class TestRetrieval:
    def test_the_matrix_by_hand(self) -> None:
        eye = np.eye(2, dtype=np.float32)
        answers = np.array([0, 0, 1])
        matrix = retrieval.retrieval_matrix(
            {"de": eye[[0, 1, 1]], "en": eye[[0, 0, 1]]}, {"de": eye, "en": eye[[1, 0]]}, answers
        )
        # Rows are question languages: de is wrong once; English paragraphs are swapped.
        assert matrix.cells("r1") == {
            "de": {"de": pytest.approx(200 / 3), "en": pytest.approx(100 / 3)},
            "en": {"de": 100.0, "en": 0.0},
        }
        assert matrix.measures("r1")["different"].value == pytest.approx(200 / 3)
        # A miss is second of two: 1 / 2, and 1 / log2(3) for nDCG.
        assert matrix.measures("mrr10")["en"].value == pytest.approx(50)
        assert matrix.measures("ndcg10")["en"].value == pytest.approx(100 / np.log2(3))

    def test_pooled_retrieval_by_hand(self) -> None:
        eye = np.eye(3, dtype=np.float32)
        # German asks two questions and finds one; Japanese asks one and finds it second.
        questions = {"de": eye[[0, 1]], "ja": np.array([[0.9, 0.5, 0]], dtype=np.float32)}
        answers = {"de": np.array([0, 2]), "ja": np.array([1])}
        measures, by_language = retrieval.pooled_retrieval(
            questions, dict.fromkeys(questions, eye), answers, answers
        )
        assert by_language["r1"] == {"de": 50.0, "ja": 0.0}
        assert by_language["mrr10"]["ja"] == 50.0
        # Languages count alike, however many questions they have.
        assert measures["r1"].value == pytest.approx(25)

    def test_questions_of_one_document_are_drawn_together(self) -> None:
        rng = np.random.default_rng(0)
        documents = np.eye(20, dtype=np.float32)
        found = rng.random(20) < 0.5
        asked = np.where(found[:, None], documents, np.roll(documents, 1, axis=0))
        one = {"de": np.arange(20)}
        four = dict.fromkeys(("de", "ja", "ko", "sw"), np.arange(20))

        def spread(answers: dict[str, np.ndarray], pools: dict[str, str]) -> float:
            found = dict.fromkeys(answers, documents)
            units = retrieval.document_units(found, pools, answers)
            measures, _ = retrieval.pooled_retrieval(
                dict.fromkeys(answers, asked), found, answers, units
            )
            return float(measures["r1"].replicates.std())

        alone = spread(one, {"de": "pool"})
        # Four copies of the same questions are no more evidence than one; four sets are.
        assert spread(four, dict.fromkeys(four, "pool")) == pytest.approx(alone)
        assert spread(four, {name: name for name in four}) < 0.6 * alone

    def test_the_mixed_pool_by_hand(self) -> None:
        # Two languages, two paragraphs each. The German question finds the wrong German paragraph
        # first, then the right English one, then the right German one.
        questions = {"de": np.array([[1.0, 0, 0, 0]]), "en": np.array([[0.0, 0, 1, 0]])}
        paragraphs = {
            "de": np.array([[0.5, 0, 0.9, 0], [0.9, 0, 0, 0]]),
            "en": np.array([[0.7, 0, 1, 0], [0, 0, 0.1, 0]]),
        }
        measures, by_language = retrieval.mixed_pool(questions, paragraphs, np.array([0]))
        assert by_language["bias"] == {"de": 100.0, "en": 0.0}
        assert by_language["map"] == {"de": pytest.approx(100 * (1 / 2 + 2 / 3) / 2), "en": 100.0}
        # Without the German paragraphs, the right English one is first.
        assert by_language["map_other"] == {"de": 100.0, "en": 100.0}
        assert by_language["mean_rank"] == {"de": 2.0, "en": 2.0}
        assert measures["own_share"].value == 50.0

    @given(seed=st.integers(0, 1000), languages=st.integers(2, 4))
    @settings(max_examples=20, deadline=None)
    def test_a_perfect_encoder_scores_one(self, seed: int, languages: int) -> None:
        rng = np.random.default_rng(seed)
        points = rng.normal(size=(6, 16))
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        codes = [f"l{number}" for number in range(languages)]
        texts = dict.fromkeys(codes, points)
        matrix = retrieval.retrieval_matrix(texts, texts, np.arange(6))
        assert all((each == 1).all() for each in matrix.by_question.values())
        pool, _ = retrieval.mixed_pool(texts, texts, np.arange(6))
        assert pool["map"].value == pytest.approx(100)
        assert pool["bias"].value == 0

    def test_hits_are_in_order(self) -> None:
        documents = np.eye(12, dtype=np.float32)
        questions = np.arange(12, dtype=np.float32)[None, :]
        assert retrieval.first_hits(questions, documents).tolist() == [list(range(11, 1, -1))]
        # Fewer than ten documents.
        assert retrieval.first_hits(documents[:, :3], documents[:3, :3])[0].tolist() == [0, 1, 2]

    def test_hubness_by_hand(self) -> None:
        # Three of four German questions find document 0 first; the Japanese ones find four others.
        hits = {"de": np.array([[0], [0], [0], [1]]), "ja": np.array([[0], [1], [2], [3]])}
        measures, by_language = retrieval.hubness_measures(
            hits, dict.fromkeys(hits, 4), dict.fromkeys(hits, np.arange(4))
        )
        assert by_language["first_share"] == {"de": 75.0, "ja": 25.0}
        assert measures["first_share"].value == 75
        # Occurrences 3, 1, 0, 0: deviations 2, 0, -1, -1.
        assert by_language["skew"]["de"] == pytest.approx((6 / 4) / (6 / 4) ** 1.5)
        assert by_language["skew"]["ja"] == 0
        assert measures["skew"].value == pytest.approx(by_language["skew"]["de"] / 2)
        low, high = measures["first_share"].interval
        assert low < 75 <= high

    def test_a_large_common_direction_makes_hubs_and_centring_removes_them(self) -> None:
        rng = np.random.default_rng(0)

        def random_unit(count: int) -> np.ndarray:
            vectors = rng.normal(size=(count, 32))
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

        common = np.zeros(32)
        common[0] = 2
        documents, noise = random_unit(200), random_unit(200)
        questions = 0.5 * documents + noise
        # One document says little, so that nothing but the common direction is left of it.
        documents[7] *= 0.2

        def share(centre: np.ndarray) -> float:
            unit = [
                each / np.linalg.norm(each, axis=1, keepdims=True)
                for each in (questions + common - centre, documents + common - centre)
            ]
            answers = {"ha": np.arange(200)}
            measures, _ = retrieval.hubness_measures(
                {"ha": retrieval.first_hits(*unit)}, {"ha": 200}, answers
            )
            return measures["first_share"].value

        assert share(np.zeros(32)) > 10
        assert share(common) < 5
