"""Plots, and the page of all plots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from training.tests.oracle import LANGUAGES, Oracle

from lusifer_evaluation.layer_analysis import analyse_layers
from lusifer_evaluation.plots import layer_curves, map_of_sentences, report, score_pictures

if TYPE_CHECKING:
    from pathlib import Path


class TestPlots:
    def test_one_page_holds_everything(self, tmp_path: Path, scores_of: Any) -> None:
        scores = scores_of({"raw": Oracle(2.0), "<b>": Oracle()})
        pictures = score_pictures(scores)
        assert set(pictures) == {"xquad-raw", "xquad--b-", "languages-tatoeba", "tasks"}
        page = report(pictures, scores, tmp_path / "plots").read_text(encoding="utf-8")
        assert page.count("data:image/png;base64,") == len(pictures)
        assert 'src="http' not in page
        assert "&lt;b&gt;" in page
        assert "Mixed pool mAP" in page
        assert all((tmp_path / "plots" / f"{name}.png").stat().st_size > 5000 for name in pictures)

    def test_the_other_figures(self) -> None:
        rng = np.random.default_rng(0)
        vectors = {language: rng.normal(size=(12, 8)) for language in LANGUAGES}
        figure = map_of_sentences(vectors, ["art", "law"] * 6, "oracle")
        assert [axes.get_title() for axes in figure.axes] == [
            "oracle, by language",
            "oracle, by topic",
        ]
        found = analyse_layers({"one": vectors, "two": vectors})
        axes = layer_curves(found).axes[0]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["one", "two"]
