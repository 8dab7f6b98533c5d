"""Scores worked out by hand, the cache of vectors, and a language offset that the subspace repairs."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lusifer_training.errors import ConfigError, DataError
from lusifer_training.evaluation.embedders import (
    checkpoint_embedder,
    raw_encoder_embedder,
    raw_llm_embedder,
)
from lusifer_training.evaluation.table import evaluate, markdown_table
from lusifer_training.evaluation.tasks import load_tatoeba, load_xquad, tatoeba_accuracy, xquad_matrix
from lusifer_training.subspace import language_basis, language_means, load_monolingual

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LANGUAGES = ("de", "en", "ja")
DIMENSION = 64


class Oracle:
    """Reads the meaning, the number in a text; an offset is added that gives away the language before it."""

    def __init__(self, offset: float = 0.0) -> None:
        self.identity = f"oracle:{offset}"
        self.offset = offset
        self.calls: list[str] = []

    def __call__(self, texts: Sequence[str], role: str) -> np.ndarray:
        self.calls.append(role)
        vectors = np.stack(
            [meaning(int(text.split()[1])) + self.offset * accent(text.split()[0]) for text in texts]
        )
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def meaning(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=DIMENSION)


def accent(language: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(language.encode()).digest()[:4])
    return np.random.default_rng(seed).normal(size=DIMENSION)


@pytest.fixture
def data(tmp_path: Path, write_lines: Any) -> Path:
    """Tatoeba in two languages of 12 sentences; XQuAD in three of 5 paragraphs with 2 questions each."""
    folder = tmp_path / "data"
    for language in ("de", "ja"):
        records = [{"text": f"{language} {n}", "english": f"en {n}"} for n in range(12)]
        write_lines(folder / "eval" / "tatoeba" / f"{language}.jsonl.gz", records)
    for language in LANGUAGES:
        records = [
            {"context": f"{language} {n}", "questions": [{"question": f"{language} {n}"}] * 2}
            for n in range(5)
        ]
        write_lines(folder / "eval" / "xquad" / f"{language}.jsonl.gz", records)
    return folder


class TestMetrics:
    def test_tatoeba_by_hand(self) -> None:
        english = np.eye(3, dtype=np.float32)
        # Two of three find their translation; back, columns 0 and 1 find theirs and column 2 doesn't.
        ours = np.array([[1, 0, 0.1], [0, 1, 0], [0.9, 0, 0.05]], dtype=np.float32)
        assert tatoeba_accuracy(ours, english) == pytest.approx((2 / 3 + 2 / 3) / 2)
        assert tatoeba_accuracy(english, english) == 1.0

    def test_tatoeba_directions_are_averaged(self) -> None:
        english = np.array([[1.0, 0.0], [0.8, 0.6]])
        ours = np.array([[1.0, 0.0], [1.0, 0.0]])
        # Forward: both find row 0: one of two. Back: both columns find row 0: one of two.
        assert tatoeba_accuracy(ours, english) == 0.5

    def test_xquad_by_hand(self) -> None:
        eye = np.eye(2, dtype=np.float32)
        answers = np.array([0, 0, 1])
        vectors = {"de": (eye[[0, 1, 1]], eye), "en": (eye[[0, 0, 1]], eye[[1, 0]])}
        matrix = xquad_matrix(vectors, answers)
        # Rows are question languages: de is wrong once; English paragraphs are swapped.
        np.testing.assert_allclose(matrix.recall_at_1, [[2 / 3, 1 / 3], [1.0, 0.0]])
        assert matrix.off_diagonal == pytest.approx((1 / 3 + 1) / 2)
        assert matrix.diagonal == pytest.approx(1 / 3)
        assert matrix.english == 0.0


class TestEvaluate:
    def test_a_perfect_embedder_scores_100_everywhere(self, data: Path, tmp_path: Path) -> None:
        scores = evaluate(Oracle(), data_folder=data, cache_folder=tmp_path / "cache")
        assert scores.tatoeba == {"de": 100.0, "ja": 100.0}
        assert scores.xquad == {a: dict.fromkeys(LANGUAGES, 100.0) for a in LANGUAGES}
        whole = scores.as_dict()
        assert {name: value for name, value in whole.items() if isinstance(value, float)} == {
            "tatoeba_mean": 100.0,
            "xquad_off_diagonal": 100.0,
            "xquad_diagonal": 100.0,
            "xquad_english": 100.0,
        }

    def test_the_cache_is_used_and_does_not_mix_models(self, data: Path, tmp_path: Path) -> None:
        first, again, other = Oracle(), Oracle(), Oracle(offset=3.0)
        before = evaluate(first, data_folder=data, cache_folder=tmp_path / "cache")
        # Tatoeba: 2 x 2 sets of which the English sides are one; XQuAD: 3 x 2.
        assert len(first.calls) == 9
        assert evaluate(again, data_folder=data, cache_folder=tmp_path / "cache") == before
        assert again.calls == []
        assert evaluate(other, data_folder=data, cache_folder=tmp_path / "cache") != before
        assert len(other.calls) == 9
        assert not list((tmp_path / "cache").glob("*.new.npy"))

    def test_roles(self, data: Path) -> None:
        ours, english = load_tatoeba(data)["de"]
        assert (ours.role, english.role) == ("query", "query")
        sets, answers = load_xquad(data)
        questions, paragraphs = sets["ja"]
        assert (questions.role, paragraphs.role) == ("query", "document")
        assert answers.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]

    def test_missing_data(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no evaluation data") as caught:
            evaluate(Oracle(), data_folder=tmp_path, cache_folder=tmp_path / "cache")
        assert "LUSIFER_DATA" in caught.value.next_step

    def test_languages_that_are_not_parallel(self, data: Path, write_lines: Any) -> None:
        write_lines(
            data / "eval" / "xquad" / "ja.jsonl.gz",
            [{"context": "ja 0", "questions": [{"question": "ja 0"}]}],
        )
        with pytest.raises(DataError, match=r"ja\.jsonl\.gz has other questions than de"):
            load_xquad(data)

    def test_the_table(self, data: Path, tmp_path: Path) -> None:
        scores = {
            name: evaluate(embedder, data_folder=data, cache_folder=tmp_path / "cache")
            for name, embedder in (("raw", Oracle(5.0)), ("LUSIFER", Oracle()))
        }
        lines = markdown_table(scores).splitlines()
        assert lines[:2] == ["| | raw | LUSIFER |", "|---|---:|---:|"]
        assert lines[2].startswith("| **XQuAD R@1, different languages** (mean of 6 pairs) | ")
        assert len(lines) == 2 + 4 + 3 + 2
        assert {line.count("|") for line in lines} == {4}
        assert all(line.endswith("| 100.0 |") for line in lines[2:])
        assert lines[-1].startswith("| Tatoeba ja | ")


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


class TestSubspace:
    def test_a_pure_language_offset_is_repaired(self, data: Path, tmp_path: Path) -> None:
        embedder = Oracle(offset=3.0)
        monolingual = {language: [f"{language} {n}" for n in range(100, 200)] for language in LANGUAGES}
        basis = language_basis(language_means(embedder, monolingual), rank=2)
        assert basis.shape == (DIMENSION, 2)
        np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-6)

        class Projected(Oracle):
            def __call__(self, texts: Sequence[str], role: str) -> np.ndarray:
                vectors = super().__call__(texts, role)
                vectors -= vectors @ basis @ basis.T
                return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

        broken = self._mixed(embedder)
        repaired = self._mixed(Projected(offset=3.0))
        assert broken < 0.1
        assert repaired > 0.9

    @staticmethod
    def _mixed(embedder: Oracle) -> float:
        """How often a German question finds its English answer before any German text."""
        questions = embedder([f"de {n}" for n in range(30)], "query")
        answers = embedder([f"en {n}" for n in range(30)] + [f"de {n}" for n in range(30, 60)], "document")
        return float(((questions @ answers.T).argmax(axis=1) == np.arange(30)).mean())

    def test_the_direction_between_roles_stays(self) -> None:
        rng = np.random.default_rng(0)
        means, between_roles = rng.normal(size=(4, 20)), rng.normal(size=20)
        basis = language_basis([means, means + between_roles], rank=3)
        alone = language_basis([means], rank=3)
        # The same subspace: projecting one on the other loses nothing.
        np.testing.assert_allclose(np.linalg.norm(alone.T @ basis), np.sqrt(3), atol=1e-5)

    @pytest.mark.parametrize("rank", [0, 3, 9])
    def test_a_rank_that_three_languages_can_not_have(self, rank: int) -> None:
        with pytest.raises(ConfigError, match="Choose a rank from 1 to 2"):
            language_basis([np.eye(3)], rank)

    def test_monolingual_texts(self, tmp_path: Path, write_lines: Any) -> None:
        records = [{"language": language, "text": f"{n}"} for language in ("en", "de") for n in range(20)]
        path = write_lines(tmp_path / "m.jsonl", records)
        assert {name: len(each) for name, each in load_monolingual(path).items()} == {"en": 20, "de": 20}
        write_lines(path, records[:-1])
        with pytest.raises(DataError, match="fewer than 20 texts in de"):
            load_monolingual(path)


class TestCommands:
    def test_subspace_of_a_checkpoint(self, tiny: Any, tmp_path: Path, write_lines: Any) -> None:
        from typer.testing import CliRunner

        from lusifer_training.cli import train_app

        checkpoint = tiny.checkpoint(tmp_path / "c")
        records = [
            {"language": language, "text": f"{word} {n}"}
            for language, word in (("en", "the cat"), ("de", "die Katze"), ("ja", "猫"))
            for n in range(20)
        ]
        texts = write_lines(tmp_path / "m.jsonl", records)
        output = tmp_path / "projected"
        result = CliRunner().invoke(
            train_app, ["subspace", str(checkpoint), str(output), "--texts", str(texts), "--rank", "2"]
        )
        assert result.exit_code == 0, result.output
        means = language_means(checkpoint_embedder(output), load_monolingual(texts))
        # What is left between the languages is what the third direction and the roles left.
        before = language_means(checkpoint_embedder(checkpoint), load_monolingual(texts))
        spread = [np.ptp(np.concatenate(each), axis=0).sum() for each in (before, means)]
        assert spread[1] < spread[0]
