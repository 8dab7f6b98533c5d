"""The gate sees what a mean over all texts hides: one language, one role, one edge, one lost
neighbour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lusifer.engines.onnx import OnnxEngine
from lusifer_export import cases
from lusifer_export.cases import Row, parity_texts, translations
from lusifer_export.errors import GateError
from lusifer_export.gate import (
    BARS,
    Reference,
    _hubness,
    check_gate,
    judge,
    measure_gate,
    reference_vectors,
)
from lusifer_training.backbones.load import load_tokenizer
from lusifer_training.checkpoint import load_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from lusifer.bundle.format import Bundle

LANGUAGES = ("en", "th", "ja")


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> Reference:
    model = load_checkpoint(checkpoint)
    model.merge_lora()
    with pytest.MonkeyPatch.context() as patch:
        for name, texts in (("parity_texts", parity_texts()), ("translations", translations())):
            few = {language: texts[language][:6] for language in LANGUAGES}
            patch.setattr(cases, name, lambda few=few: few)
        return reference_vectors(model, load_tokenizer(model.config.tokenizer))


class Changed:
    """The exported graph with an accident."""

    name = "changed"

    def __init__(
        self, bundle: Bundle, change: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
    ) -> None:
        self._engine = OnnxEngine(bundle.model_path, threads=1)
        self._change = change

    def run(self, ids: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
        return self._change(ids, self._engine.run(ids, mask))

    def close(self) -> None:
        self._engine.close()


def report_of(reference: Reference, bundle: Bundle, change: Callable[..., Any]) -> dict[str, Any]:
    return measure_gate(reference, Changed(bundle, change))


def of_language(
    reference: Reference, language: str, role: str | None = None
) -> Callable[[Any], Any]:
    wanted = {
        row.ids for row in reference.rows if row.language == language and role in (None, row.role)
    }
    return lambda ids: np.array([tuple(row[row != 1]) in wanted for row in ids])


class TestVerdict:
    def test_the_graph_itself_passes(self, reference: Reference, bundle: Bundle) -> None:
        report = report_of(reference, bundle, lambda ids, vectors: vectors)
        assert judge(report, "fp32") == []
        assert report["mean"] > 0.9999
        assert report["alone_against_batch"] < 1e-5
        assert report["alone_against_batch_pytorch"] < 1e-5
        assert list(report["languages"]) == list(LANGUAGES)

    def test_one_broken_language_is_named(self, reference: Reference, bundle: Bundle) -> None:
        broken = of_language(reference, "th")

        def change(ids: Any, vectors: Any) -> Any:
            return np.where(broken(ids)[:, None], -vectors, vectors)

        report = report_of(reference, bundle, change)
        reasons = judge(report, "int8")
        assert reasons[0].startswith(("th (query): mean cosine -", "th (document): mean cosine -"))
        assert not any(reason.startswith(("en", "ja")) for reason in reasons)
        with pytest.raises(GateError, match=r"gate failed for int8\. th \(") as caught:
            check_gate(reasons, "int8")
        assert "--precision auto" in caught.value.next_step

    def test_one_broken_role_is_named(self, reference: Reference, bundle: Bundle) -> None:
        broken = of_language(reference, "ja", "document")

        def change(ids: Any, vectors: Any) -> Any:
            return np.where(broken(ids)[:, None], -vectors, vectors)

        reasons = judge(report_of(reference, bundle, change), "int8")
        assert reasons[0].startswith("ja (document)")
        assert not any("(query)" in reason for reason in reasons)

    def test_neighbours_that_move_a_vector(self, reference: Reference, bundle: Bundle) -> None:
        def change(ids: Any, vectors: Any) -> Any:
            return vectors + (1e-3 if len(ids) > 1 else 0.0)

        report = report_of(reference, bundle, change)
        assert report["alone_against_batch"] == pytest.approx(1e-3, abs=1e-4)
        (reason,) = judge(report, "int8")
        assert "moves by 1.0e-03 with its neighbours" in reason
        # Half precision may flip a rounding: that is its noise floor.
        assert judge(report, "bf16") == []

    def test_nan_is_refused_first(self, reference: Reference, bundle: Bundle) -> None:
        report = report_of(reference, bundle, lambda ids, vectors: vectors * np.nan)
        assert "nan" in judge(report, "int8")[0]

    def test_lost_translations(self, reference: Reference, bundle: Bundle) -> None:
        report = report_of(reference, bundle, lambda ids, vectors: vectors)
        report["languages"]["th"]["retrieval"] |= {"lost": BARS["int8"].lost + 1, "exported": 0.9}
        (reason,) = judge(report, "int8")
        assert reason.startswith("th: 2 of 12 translations are lost")

    def test_retrieval_counts_what_was_lost(self, reference: Reference, bundle: Bundle) -> None:
        def change(ids: Any, vectors: Any) -> Any:
            return np.where(np.ones((len(ids), 1), bool), np.eye(1, vectors.shape[1]), vectors)

        retrieval = report_of(reference, bundle, change)["languages"]["en"]["retrieval"]
        assert retrieval["questions"] == 12
        # All vectors equal: the first document always wins.
        assert retrieval["exported"] == pytest.approx(1 / 6, abs=1e-4)
        # Random weights translate little; of what they found, at most the first document is left.
        found = round(retrieval["pytorch"] * 12)
        assert found >= 3
        assert retrieval["lost"] >= found - 2

    def test_an_edge_case_is_named(self, reference: Reference, bundle: Bundle) -> None:
        report = report_of(reference, bundle, lambda ids, vectors: vectors)
        report["cases"]["mixed scripts"]["worst"] = 0.5
        assert judge(report, "int8") == [
            "mixed scripts: the worst text has cosine 0.500000, below 0.9"
        ]


def random_unit(seed: int, count: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, 64))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


class TestHubs:
    """500 articles in five languages, in both roles, without a model."""

    ROWS = tuple(
        Row((), role, language, article)
        for role in ("query", "document")
        for language in ("en", "de", "ja", "th", "sw")
        for article in range(100)
    )

    def report(self, before: Any, after: Any) -> dict[str, Any]:
        names = dict.fromkeys(row.language for row in self.ROWS)
        same = {"mean": 1.0, "worst": 1.0}
        return {
            "languages": {
                name: {
                    **same,
                    "roles": {},
                    "retrieval": {"lost": 0},
                    "hubness": _hubness(self.ROWS, name, before, after),
                }
                for name in names
            },
            "cases": {},
            "alone_against_batch": 0.0,
            "hubness": _hubness(self.ROWS, None, before, after),
        }

    def with_hub(self, vectors: Any, languages: tuple[str, ...]) -> Any:
        """Move the queries of languages towards the last document."""
        chosen = [row.role == "query" and row.language in languages for row in self.ROWS]
        moved = np.where(np.array(chosen)[:, None], vectors + 2 * vectors[-1], vectors)
        return moved / np.linalg.norm(moved, axis=1, keepdims=True)

    def test_isotropic_vectors_have_none(self) -> None:
        vectors = random_unit(0, len(self.ROWS))
        report = self.report(vectors, vectors)
        assert report["hubness"]["queries"] == report["hubness"]["documents"] == 500
        assert report["hubness"]["exported"] < 0.03
        assert judge(report, "fp32") == []

    def test_a_hub_made_on_purpose_is_named_also_if_the_model_has_it(self) -> None:
        vectors = random_unit(0, len(self.ROWS))
        broken = self.with_hub(vectors, ("en", "de", "ja", "th", "sw"))
        (reason,) = judge(self.report(broken, broken), "fp32")
        assert reason.startswith("all languages: one document is the first wrong hit of 4")
        assert reason.endswith("at most 50 are allowed")

    def test_a_hub_of_one_language_that_the_export_made(self) -> None:
        vectors = random_unit(0, len(self.ROWS))
        broken = self.with_hub(vectors, ("th",))
        reasons = judge(self.report(vectors, broken), "fp32")
        assert reasons[0].startswith("th: one document is the first wrong hit of 9")
        assert not any(reason.startswith(("en", "de", "ja", "sw")) for reason in reasons)

    def test_the_right_answer_is_no_hub(self) -> None:
        # All queries ask the same article, which answers them all.
        rows = [Row((), role, "en", 0) for role in ("query", "document") for _ in range(400)]
        vectors = np.tile(random_unit(0, 1), (800, 1))
        rows.append(Row((), "document", "en", 1))
        found = _hubness(rows, None, np.vstack([vectors, random_unit(1, 1)]), vectors[[0] * 801])
        # Only the other article is left.
        assert found["exported"] == 1.0
        assert found["queries"] == 400

    def test_few_queries_do_not_decide(self) -> None:
        rows = tuple(row for row in self.ROWS if row.article is not None and row.article < 79)
        vectors = random_unit(0, len(rows))
        scores = _hubness(rows, None, vectors, np.tile(vectors[:1], (len(rows), 1)))
        assert scores["queries"] == 395
        report = {"languages": {}, "cases": {}, "alone_against_batch": 0.0, "hubness": scores}
        assert judge(report, "fp32") == []
