"""Scores worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

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
