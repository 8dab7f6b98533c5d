"""Scores worked out by hand, the cache of vectors, and a language offset that the subspace repairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training.tests.oracle import LANGUAGES, Oracle, accent, write_data

from lusifer_evaluation import metrics
from lusifer_evaluation.bootstrap import mean_measure, resampled_measure
from lusifer_evaluation.suite import TASKS, TITLES
from lusifer_evaluation.table import evaluate, markdown_table
from lusifer_evaluation.tasks import Size, load_tatoeba, load_xquad
from lusifer_training.embedders import checkpoint_embedder, raw_encoder_embedder, raw_llm_embedder
from lusifer_training.errors import ConfigError, DataError
from lusifer_training.language_subspace import LanguageMeans, ProjectedEmbedder, language_basis
from lusifer_training.vector_cache import CachedEmbedder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@pytest.fixture
def data(tmp_path: Path, write_lines: Any) -> Path:
    """A data folder that the oracle can read."""
    return write_data(tmp_path / "data", write_lines)


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

    def test_sts_of_a_model_that_tells_nothing_apart(self) -> None:
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


class TestBootstrap:
    def test_the_interval_of_a_mean_is_that_of_theory(self) -> None:
        hits = np.array([1.0] * 300 + [0.0] * 100)
        low, high = mean_measure(hits).interval
        # 75 % of 400: a standard error of 2.165 points.
        assert low == pytest.approx(75 - 1.96 * 2.165, abs=0.6)
        assert high == pytest.approx(75 + 1.96 * 2.165, abs=0.6)

    def test_pairing_sees_what_two_intervals_hide(self) -> None:
        rng = np.random.default_rng(0)
        one = (rng.random(400) < 0.5).astype(float)
        two = one.copy()
        two[np.flatnonzero(one == 0)[:8]] = 1
        better, worse = mean_measure(two), mean_measure(one)
        assert worse.interval[1] > better.interval[0]
        difference, (low, high) = better.difference(worse)
        assert difference == pytest.approx(2)
        assert 0 < low < 2 < high

    def test_units_are_drawn_whole(self) -> None:
        # Ten paragraphs of ten questions that stand or fall together: as uncertain as ten
        # questions.
        together = mean_measure(np.array([10.0, 0.0] * 5), np.full(10, 10.0))
        apart = mean_measure(np.array([1.0, 0.0] * 50))
        assert together.value == apart.value == 50
        assert np.std(together.replicates) > 2.5 * np.std(apart.replicates)

    def test_repeats_do_not_move_the_interval(self) -> None:
        # The number of distinct units falls when some are drawn twice; the interval is about all of
        # them.
        measure = resampled_measure(100, lambda drawn: len(np.unique(drawn)), scale=1)
        low, high = measure.interval
        assert low < measure.value == 100 < high

    def test_any_statistic(self) -> None:
        values = np.arange(101.0)
        measure = resampled_measure(101, lambda drawn: float(np.median(values[drawn])), scale=1)
        assert measure.value == 50
        assert measure.interval[0] < 50 < measure.interval[1]


class TestEvaluate:
    def test_a_perfect_embedder_scores_100_everywhere(self, data: Path, tmp_path: Path) -> None:
        scores = evaluate(Oracle(), data_folder=data, cache_folder=tmp_path / "cache")
        assert scores.details["tatoeba"] == {"de": 100.0, "ja": 100.0}
        assert scores.details["xquad"]["r1"] == {
            a: dict.fromkeys(LANGUAGES, 100.0) for a in LANGUAGES
        }
        exact = ("xquad.", "pool.map", "tatoeba.", "sib200.")
        for name, measure in scores.measures.items():
            assert not name.startswith(exact) or measure.value == pytest.approx(100), name
        assert scores["pool.bias"] == 0
        # A score of 0 or 5 has ties that cosines don't have.
        assert scores["stsb.different"] == pytest.approx(scores["stsb.same"])
        assert scores["stsb.different"] > 80
        assert set(TITLES) <= set(scores.measures)

    def test_an_accent_shows_in_the_pool_and_not_in_the_matrix(
        self, data: Path, tmp_path: Path
    ) -> None:
        scores = evaluate(
            Oracle(2.0), data_folder=data, cache_folder=tmp_path / "cache", tasks=["xquad"]
        )
        assert scores["xquad.r1.different"] > 90
        assert scores["pool.own_share"] > 95 / 2
        assert scores["pool.map"] < 65

    def test_the_cache_is_used_and_does_not_mix_models(self, data: Path, tmp_path: Path) -> None:
        first, again, other = Oracle(), Oracle(), Oracle(offset=3.0)
        where = {
            "data_folder": data,
            "cache_folder": tmp_path / "cache",
            "tasks": ["xquad", "tatoeba"],
        }
        before = evaluate(first, **where).as_dict()
        assert first.texts == len(set(first.seen))
        assert evaluate(again, **where).as_dict() == before
        assert again.texts == 0
        assert evaluate(other, **where).as_dict() != before
        assert other.texts == first.texts

    def test_a_larger_size_computes_only_what_is_new(self, data: Path, tmp_path: Path) -> None:
        small, whole = Oracle(), Oracle()
        where = {"data_folder": data, "cache_folder": tmp_path / "cache", "tasks": ["tatoeba"]}
        evaluate(small, **where, size=Size(tatoeba=4))
        # Two languages and the English of both.
        assert small.texts == 4 * 3
        evaluate(whole, **where, size="full")
        assert not set(small.seen) & set(whole.seen)

    def test_a_projection_shares_the_vectors_before_it(self, data: Path, tmp_path: Path) -> None:
        where = {"data_folder": data, "cache_folder": tmp_path / "cache", "tasks": ["xquad"]}
        base = Oracle(2.0)
        before = evaluate(base, **where)
        basis = language_basis(
            [
                LanguageMeans(
                    "", "query", LANGUAGES, np.stack([accent(language) for language in LANGUAGES])
                )
            ]
        )
        projected = ProjectedEmbedder(Oracle(2.0), basis)
        after = evaluate(projected, **where)
        assert projected.base.texts == 0
        assert after["pool.map"] > before["pool.map"] + 20

    def test_an_interrupted_run_goes_on(self, data: Path, tmp_path: Path) -> None:
        class Dying(Oracle):
            def __call__(self, texts: Sequence[str], role: str) -> np.ndarray:
                if self.texts > 10:
                    raise KeyboardInterrupt
                return super().__call__(texts, role)

        where = {
            "data_folder": data,
            "cache_folder": tmp_path / "cache",
            "tasks": ["xquad", "tatoeba"],
        }
        dying, resumed = Dying(), Oracle()
        with pytest.raises(KeyboardInterrupt):
            evaluate(dying, **where)
        evaluate(resumed, **where)
        assert not set(dying.seen) & set(resumed.seen)

    def test_like_lengths_are_embedded_together(self, tmp_path: Path) -> None:
        """Long chunks, so that batches hold texts of like length, but no more text than half a minute."""

        class Sizes:
            identity = "sizes"

            def __init__(self) -> None:
                self.chunks: list[list[int]] = []

            def __call__(self, texts: Sequence[str], role: str) -> np.ndarray:
                self.chunks.append([len(text) for text in texts])
                return np.ones((len(texts), 1))

        texts = [f"{n:04}" for n in range(3000)] + [f"{n}".rjust(90_000) for n in range(3)]
        embedder = Sizes()
        CachedEmbedder(tmp_path, embedder)(texts[::-1] + texts, "query")
        assert [len(chunk) for chunk in embedder.chunks] == [2048, 954, 1]
        assert [length for chunk in embedder.chunks for length in chunk] == sorted(map(len, texts))

    def test_progress(self, data: Path, tmp_path: Path) -> None:
        told: list[tuple[str, int, int]] = []
        evaluate(
            Oracle(),
            data_folder=data,
            cache_folder=tmp_path / "cache",
            tasks=["tatoeba"],
            progress=lambda *each: told.append(each),
        )
        assert [name for name, _, _ in told] == ["tatoeba"] * len(told)
        assert told[-1][1] == told[-1][2]

    @pytest.mark.parametrize("wrong", [np.zeros((1, 2)), np.full((2, 4), np.nan)])
    def test_a_model_that_answers_nonsense(self, wrong: np.ndarray, tmp_path: Path) -> None:
        class Broken:
            identity = "broken"

            def __call__(self, texts: Sequence[str], role: str) -> np.ndarray:
                return wrong

        with pytest.raises(DataError, match="not all of them are finite"):
            CachedEmbedder(tmp_path, Broken())(["a", "b"], "query")

    def test_roles(self, data: Path) -> None:
        ours, english = load_tatoeba(data)["de"]
        assert (ours.role, english.role) == ("query", "query")
        sets = load_xquad(data)
        assert (sets.questions["ja"].role, sets.paragraphs["ja"].role) == ("query", "document")
        assert sets.answers.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]

    def test_a_sample_takes_one_paragraph_of_every_article_first(
        self, tmp_path: Path, write_lines: Any
    ) -> None:
        records = [
            {"context": f"en {n}", "questions": [{"question": f"en {n}"}], "article": n // 5}
            for n in range(15)
        ]
        write_lines(tmp_path / "eval" / "xquad" / "en.jsonl.gz", records)
        assert load_xquad(tmp_path, 3).articles.tolist() == [0, 1, 2]
        assert load_xquad(tmp_path, 4).paragraphs["en"].texts == ("en 0", "en 1", "en 5", "en 10")

    @pytest.mark.parametrize("task", list(TASKS))
    def test_missing_data(self, tmp_path: Path, task: str) -> None:
        with pytest.raises(DataError, match="no evaluation data") as caught:
            evaluate(Oracle(), data_folder=tmp_path, cache_folder=tmp_path / "cache", tasks=[task])
        assert "LUSIFER_DATA" in caught.value.next_step

    @pytest.mark.parametrize("wrong", [{"size": "huge"}, {"tasks": ["xnli"]}])
    def test_unknown_names(self, data: Path, tmp_path: Path, wrong: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match="There is no") as caught:
            evaluate(Oracle(), data_folder=data, cache_folder=tmp_path / "cache", **wrong)
        assert "Choose from" in caught.value.next_step

    def test_languages_that_are_not_parallel(self, data: Path, write_lines: Any) -> None:
        write_lines(
            data / "eval" / "xquad" / "ja.jsonl.gz",
            [{"context": "ja 0", "questions": [{"question": "ja 0"}]}],
        )
        with pytest.raises(DataError, match=r"ja\.jsonl\.gz has other questions than de"):
            load_xquad(data)

    def test_the_table(self, data: Path, tmp_path: Path) -> None:
        scores = {
            name: evaluate(
                embedder,
                data_folder=data,
                cache_folder=tmp_path / "cache",
                tasks=["xquad", "tatoeba"],
            )
            for name, embedder in (("raw", Oracle(9.0)), ("LUSIFER", Oracle()))
        }
        lines = markdown_table(scores).splitlines()
        assert lines[:2] == ["| | raw | LUSIFER |", "|---|---:|---:|"]
        assert lines[2].startswith("| XQuAD R@1, different languages | ")
        assert len(lines) == 2 + 6 + 5 + 1
        assert {line.count("|") for line in lines} == {4}
        assert lines[2].endswith("| 100.0 (100.0–100.0) **+** |")
        longer = markdown_table(scores, languages=True).splitlines()
        assert len(longer) == len(lines) + 3 + 2
        assert longer[-1].startswith("| Tatoeba ja | ")


class TestEmbedders:
    @pytest.fixture
    def checkpoint(self, tiny: Any, tmp_path: Path) -> Path:
        return tiny.checkpoint(tmp_path / "c")

    TEXTS = ("The cat sits on the mat.", "猫", "a " * 200, "archive")

    def test_order_and_batches_do_not_matter(self, checkpoint: Path) -> None:
        embedder = checkpoint_embedder(checkpoint)
        together = embedder(self.TEXTS, "query")
        alone = np.concatenate([embedder([text], "query") for text in self.TEXTS])
        assert together.dtype == np.float32
        np.testing.assert_allclose(together, alone, atol=5e-6)
        assert np.abs(embedder(self.TEXTS, "document") - together).max() > 1e-2

    def test_identities_change_with_what_changes_vectors(self, tiny: Any, tmp_path: Path) -> None:
        config = tiny.config()
        changes: list[dict[str, Any]] = [{}, {"query_prompt": "q: "}, {"maximum_tokens": 32}]
        folders = [
            tiny.checkpoint(tmp_path / str(number), config.model_copy(update=change))
            for number, change in enumerate(changes)
        ]
        for make in (checkpoint_embedder, raw_encoder_embedder):
            assert len({make(folder).identity for folder in folders}) == 3
            assert make(folders[0]).identity == make(folders[0]).identity

    def test_the_raw_encoder_ignores_what_was_trained(self, tiny: Any, tmp_path: Path) -> None:
        from lusifer_training.checkpoint import save_checkpoint

        one = tiny.checkpoint(tmp_path / "trained")
        two = save_checkpoint(tiny.model(trained=False), tmp_path / "untrained", {})
        raw = raw_encoder_embedder(one)(self.TEXTS, "document")
        np.testing.assert_allclose(raw, checkpoint_embedder(two)(self.TEXTS, "document"), atol=1e-6)

    def test_the_raw_llm(self, checkpoint: Path, tiny: Any, tmp_path: Path) -> None:
        embedder = raw_llm_embedder(checkpoint, maximum_tokens=32)
        vectors = embedder(self.TEXTS, "query")
        assert vectors.shape == (4, tiny.LLM_HIDDEN)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        alone = np.concatenate([embedder([text], "query") for text in self.TEXTS])
        np.testing.assert_allclose(vectors, alone, atol=5e-6)
        with pytest.raises(ConfigError, match="has no LLM"):
            raw_llm_embedder(tiny.checkpoint(tmp_path / "e", tiny.config(llm=None)))
