"""Scores worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lusifer_evaluation import metrics


class TestMetrics:
    def test_tatoeba_by_hand(self) -> None:
        english = np.eye(3, dtype=np.float32)
        # Two of three find their translation; back, columns 0 and 1 find theirs and column 2
        # doesn't.
        ours = np.array([[1, 0, 0.1], [0, 1, 0], [0.9, 0, 0.05]], dtype=np.float32)
        measure, by_language = metrics.tatoeba({"de": (ours, english), "ja": (english, english)})
        assert by_language == {"de": pytest.approx(200 / 3), "ja": 100.0}
        # Languages count alike, however many pairs they have.
        assert measure.value == pytest.approx((200 / 3 + 100) / 2)

    def test_tatoeba_directions_are_averaged(self) -> None:
        english = np.array([[1.0, 0.0], [0.8, 0.6]])
        ours = np.array([[1.0, 0.0], [1.0, 0.0]])
        # Forward: both find row 0: one of two. Back: both columns find row 0: one of two.
        assert metrics.tatoeba({"de": (ours, english)})[0].value == 50.0

    def test_the_matrix_by_hand(self) -> None:
        eye = np.eye(2, dtype=np.float32)
        answers = np.array([0, 0, 1])
        matrix = metrics.retrieval_matrix(
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
        measures, by_language = metrics.pooled_retrieval(
            questions, dict.fromkeys(questions, eye), answers, dict.fromkeys(questions, "pool")
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
            measures, _ = metrics.pooled_retrieval(
                dict.fromkeys(answers, asked), dict.fromkeys(answers, documents), answers, pools
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
        measures, by_language = metrics.mixed_pool(questions, paragraphs, np.array([0]))
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
        matrix = metrics.retrieval_matrix(texts, texts, np.arange(6))
        assert all((each == 1).all() for each in matrix.by_question.values())
        pool, _ = metrics.mixed_pool(texts, texts, np.arange(6))
        assert pool["map"].value == pytest.approx(100)
        assert pool["bias"].value == 0

    def test_sts_by_hand(self) -> None:
        scores = np.array([0.0, 2.0, 5.0])
        first = np.tile([1.0, 0.0], (3, 1))
        in_order = np.array([[0.0, 1.0], [0.6, 0.8], [1.0, 0.0]])
        pairs = {"de": (first, in_order), "en": (first, in_order[::-1])}
        measures, table = metrics.sts_matrix(pairs, scores)
        assert table["de"] == {"de": pytest.approx(100), "en": pytest.approx(-100)}
        assert measures["same"].value == pytest.approx(0)
        assert measures["en"].value == pytest.approx(-100)

    def test_sts_of_a_model_that_distinguishes_nothing(self) -> None:
        same = np.tile([1.0, 0.0], (4, 1))
        measures, table = metrics.sts_matrix({"en": (same, same)}, np.arange(4.0))
        assert table == {"en": {"en": 0.0}}
        assert measures["en"].value == 0

    def test_the_probe_learns_from_english_only(self) -> None:
        rng = np.random.default_rng(0)
        labels = np.array(["art", "law"] * 20)
        english = rng.normal(size=(40, 4)) + 4 * (labels == "law")[:, None]
        probe = metrics.english_probe(english, labels)
        test = {"eng": english, "deu": english, "jpn": -english}
        measures, by_language = metrics.probe_accuracy(
            probe, test, dict.fromkeys(test, labels), parallel=True
        )
        assert by_language["eng"] == by_language["deu"] == 100.0
        assert by_language["jpn"] < 60
        assert measures["other"].value == pytest.approx((100 + by_language["jpn"]) / 2)

    def test_clusters_that_are_languages(self) -> None:
        rng = np.random.default_rng(0)
        labels = np.array(["art", "law"] * 10)
        topics = np.where(labels == "law", 1.0, -1.0)[:, None] * np.array([1.0, 0, 0])
        noise = 0.01 * rng.normal(size=(20, 3))
        # The third axis is the language, and longer than the topic's.
        vectors = {"eng": topics + noise + [0, 0, 9], "deu": topics + noise - [0, 0, 9]}
        measures, by_language = metrics.clustering(vectors, dict.fromkeys(vectors, labels))
        assert by_language == {"eng": pytest.approx(100), "deu": pytest.approx(100)}
        assert measures["pool"].value == pytest.approx(0, abs=1e-6)
