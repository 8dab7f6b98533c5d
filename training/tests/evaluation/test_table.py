"""Scores of several models on the same sets, from cached vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from training.tests.oracle import LANGUAGES, Oracle, accent

from lusifer.demo.debian import DebianUnavailableError
from lusifer_evaluation.suite import CHOICE, TASKS, TITLES
from lusifer_evaluation.table import evaluate, markdown_table
from lusifer_evaluation.tasks import Size
from lusifer_training.errors import ConfigError, DataError
from lusifer_training.geometry import GeometryEmbedder, without_languages
from lusifer_training.language_subspace import LanguageMeans, language_basis

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class TestEvaluate:
    def test_a_perfect_embedder_scores_100_everywhere(self, data: Path, tmp_path: Path) -> None:
        scores = evaluate(Oracle(), data_folder=data, cache_folder=tmp_path / "cache")
        assert scores.details["tatoeba"] == {"de": 100.0, "ja": 100.0}
        assert scores.details["xquad"]["r1"] == {
            a: dict.fromkeys(LANGUAGES, 100.0) for a in LANGUAGES
        }
        exact = ("xquad.", "pool.map", "tatoeba.", "sib200.", "news.", "debian.", "help.")
        for name, measure in scores.measures.items():
            if name.endswith(("first_share", "skew")):
                continue
            assert not name.startswith(exact) or measure.value == pytest.approx(100), name
        assert scores["pool.bias"] == 0
        # Each of five paragraphs is the first hit of its own two questions.
        assert scores["xquad.first_share"] == pytest.approx(20)
        # A score of 0 or 5 has ties that cosines don't have.
        assert scores["stsb.different"] == pytest.approx(scores["stsb.same"])
        assert scores["stsb.different"] > 80
        assert set(TITLES) <= set(scores.measures)
        assert scores.details["debian"]["mrr10"] == {"de": 100.0, "ja": 100.0}
        assert scores["choice"] == pytest.approx(np.mean([scores[name] for name in CHOICE]))

    def test_sets_that_cannot_be_downloaded(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        (data / "eval" / "debian").rename(tmp_path / "elsewhere")
        where = {"data_folder": data, "cache_folder": tmp_path / "cache"}
        scores = evaluate(Oracle(), **where)
        assert scores.left_out == {"debian": "This machine has no apt-get."}
        assert scores.as_dict()["left_out"] == scores.left_out
        # The mean of fewer sets would be another measure.
        assert not {"choice", "debian.mrr10"} & set(scores.measures)
        assert markdown_table({"a": scores}).endswith(
            "\n\nWithout debian: This machine has no apt-get.\n"
        )
        with pytest.raises(DebianUnavailableError):
            evaluate(Oracle(), **where, tasks=["debian"])

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
        projected = GeometryEmbedder(Oracle(2.0), without_languages(basis))
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

    def test_progress(self, data: Path, tmp_path: Path) -> None:
        reported: list[tuple[str, int, int]] = []
        evaluate(
            Oracle(),
            data_folder=data,
            cache_folder=tmp_path / "cache",
            tasks=["tatoeba"],
            progress=lambda *each: reported.append(each),
        )
        assert [name for name, _, _ in reported] == ["tatoeba"] * len(reported)
        assert reported[-1][1] == reported[-1][2]

    @pytest.mark.parametrize("task", [name for name, each in TASKS.items() if not each.package])
    def test_missing_data(self, tmp_path: Path, task: str) -> None:
        with pytest.raises(DataError, match="no evaluation data") as caught:
            evaluate(Oracle(), data_folder=tmp_path, cache_folder=tmp_path / "cache", tasks=[task])
        assert "LUSIFER_DATA" in caught.value.next_step

    @pytest.mark.parametrize("wrong", [{"size": "huge"}, {"tasks": ["xnli"]}])
    def test_unknown_names(self, data: Path, tmp_path: Path, wrong: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match="There is no") as caught:
            evaluate(Oracle(), data_folder=data, cache_folder=tmp_path / "cache", **wrong)
        assert "Choose from" in caught.value.next_step

    def test_the_table(self, scores_of: Any) -> None:
        scores = scores_of({"raw": Oracle(9.0), "LUSIFER": Oracle()})
        lines = markdown_table(scores).splitlines()
        assert lines[:2] == ["| | raw | LUSIFER |", "|---|---:|---:|"]
        assert lines[2].startswith("| XQuAD R@1, different languages | ")
        assert len(lines) == 2 + 6 + 5 + 1 + 2 * 3
        assert {line.count("|") for line in lines} == {4}
        assert lines[2].endswith("| 100.0 (100.0–100.0) **+** |")
        longer = markdown_table(scores, languages=True).splitlines()
        assert len(longer) == len(lines) + 3 + 2 + 2 * (3 + 3 + 2)
        assert longer[len(lines) + 4].startswith("| Tatoeba ja | ")
        assert longer[-1].startswith("| Tatoeba, skew ja | ")
