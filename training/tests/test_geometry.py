"""The geometry: hubs and constants removed, folding into checkpoints, fitting."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training.tests.oracle import write_data
from typer.testing import CliRunner

from lusifer_training.checkpoint import (
    geometry_of,
    load_checkpoint,
    read_adapter,
    with_geometry,
)
from lusifer_training.cli import train_app
from lusifer_training.config import read_config
from lusifer_training.embedders import checkpoint_embedder
from lusifer_training.geometry import Geometry, GeometryEmbedder, centre_of, without_languages
from lusifer_training.language_subspace import (
    LanguageIdentifier,
    project_out,
)

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = ("The cat sits on the mat.", "Die Katze", "猫はマットの上に座っています。", "archive")


def random_geometry(
    dimension: int, *, share: float = 0.7, rank: int = 3, seed: int = 0
) -> Geometry:
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(dimension, max(rank, 1))))[0][:, :rank]
    centre = rng.normal(size=dimension) / np.sqrt(dimension)
    return Geometry(centre.astype(np.float32), share, basis.astype(np.float32))


def identifier_of(geometry: Geometry) -> LanguageIdentifier:
    sides = geometry.basis[:2]
    return LanguageIdentifier(geometry.basis, ("de", "en"), {"query": sides, "document": sides})


class TestGeometry:
    @given(
        seed=st.integers(0, 10_000),
        length=st.floats(0.1, 30),
        rank=st.integers(0, 6),
        count=st.integers(8, 40),
    )
    @settings(max_examples=25, deadline=None)
    def test_a_constant_changes_no_ranking(
        self, seed: int, length: float, rank: int, count: int
    ) -> None:
        """An encoder that adds one vector to all texts ranks as it did, centred with share 1."""
        rng = np.random.default_rng(seed)
        vectors = rng.normal(size=(count, 32))
        constant = rng.normal(size=32)
        constant *= length / np.linalg.norm(constant)
        basis = np.linalg.qr(rng.normal(size=(32, 6)))[0][:, :rank]

        def cosines(texts: np.ndarray) -> np.ndarray:
            served = Geometry(texts.mean(axis=0), 1.0, basis).apply(texts)
            return served[: count // 2] @ served[count // 2 :].T

        before, after = cosines(vectors), cosines(vectors + constant)
        np.testing.assert_allclose(after, before, atol=1e-9)
        np.testing.assert_array_equal(before.argsort(axis=1), after.argsort(axis=1))

    def test_a_hub_is_no_hub_after_centring(self) -> None:
        """A short text with nothing of its own lies where all vectors point, near every query."""
        rng = np.random.default_rng(0)
        common = np.r_[1.0, np.zeros(63)]
        meanings = rng.normal(size=(100, 64)) / 8
        noise = rng.normal(size=(2, 100, 64)) / 6
        queries, documents = (unit(1.5 * common + meanings + each) for each in noise)
        documents = np.concatenate([documents, unit(common[None] + rng.normal(size=64) / 80)])
        centre = np.concatenate([queries, documents]).mean(axis=0)

        def hub_share(share: float) -> float:
            geometry = Geometry(centre, share, np.zeros((64, 0)))
            first = (geometry.apply(queries) @ geometry.apply(documents).T).argmax(axis=1)
            return float((first == 100).mean())

        assert hub_share(0) > 0.3
        assert hub_share(0.9) < 0.05

    def test_without_a_share_it_is_the_projection(self) -> None:
        geometry = random_geometry(16, share=0.0)
        vectors = unit(np.random.default_rng(1).normal(size=(5, 16))).astype(np.float32)
        expected = project_out(vectors, geometry.basis)
        assert np.array_equal(geometry.apply(vectors), expected)
        assert np.array_equal(without_languages(geometry.basis).apply(vectors), expected)

    def test_identities_change_with_what_changes_vectors(self) -> None:
        one = random_geometry(16)
        others = [
            Geometry(one.centre, 0.6, one.basis),
            Geometry(one.centre + 1e-3, one.share, one.basis),
            Geometry(one.centre, one.share, one.basis[:, :2]),
        ]
        assert len({each.identity for each in (one, *others)}) == 4
        # Without a share the centre says nothing.
        plain = [Geometry(centre, 0.0, one.basis) for centre in (one.centre, one.centre * 2)]
        assert plain[0].identity == plain[1].identity


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_parts_of_the_centre_count_alike() -> None:
    parts = [
        np.array([[each] for each in values], np.float32) for values in ([1, 3], [10], [8] * 9)
    ]
    assert centre_of(parts).tolist() == pytest.approx([(2 + 10 + 8) / 3])


class TestCheckpoints:
    @pytest.mark.parametrize("share", [0.0, 0.7])
    @pytest.mark.parametrize("residual", [True, False])
    def test_a_checkpoint_with_a_geometry(
        self, tiny: Any, tmp_path: Path, residual: bool, share: float
    ) -> None:
        checkpoint = tiny.checkpoint(tmp_path / "c", tiny.config(residual=residual))
        geometry = random_geometry(tiny.HIDDEN, share=share)
        written = with_geometry(
            checkpoint, tmp_path / "f", geometry, identifier_of(geometry), {"texts": {}}
        )
        before = checkpoint_embedder(checkpoint)(TEXTS, "query")
        after = checkpoint_embedder(written)(TEXTS, "query")
        # Folding P into a head rounds other sums than projecting its output does.
        atol = 1e-6 if residual or share else 1e-5
        np.testing.assert_allclose(after, geometry.apply(before), atol=atol)
        config = load_checkpoint(written).config
        # A projection alone, without a residual path, leaves nothing to do at run time.
        assert config.language_rank == (3 if residual or share else 0)
        assert config.centre_share == share
        assert LanguageIdentifier.load(written).languages == ("de", "en")
        assert json.loads((written / "training_report.json").read_text())["texts"] == {}

    def test_a_geometry_is_replaced(self, tiny: Any, tmp_path: Path) -> None:
        checkpoint = tiny.checkpoint(tmp_path / "c")
        plain = checkpoint_embedder(checkpoint)
        for geometry in (
            random_geometry(tiny.HIDDEN, seed=1, rank=2),
            random_geometry(tiny.HIDDEN, seed=2, share=0.4),
        ):
            checkpoint = with_geometry(
                checkpoint, checkpoint, geometry, identifier_of(geometry), {}
            )
        found = checkpoint_embedder(checkpoint)
        assert isinstance(found, GeometryEmbedder)
        # The cached vectors before a geometry serve every geometry.
        assert found.base.identity == plain.identity
        assert checkpoint_embedder(checkpoint, projected=False).identity == plain.identity
        np.testing.assert_allclose(
            found(TEXTS, "query"), geometry.apply(plain(TEXTS, "query")), atol=1e-6
        )
        without = with_geometry(
            checkpoint, tmp_path / "none", without_languages(geometry.basis[:, :0]), None, {}
        )
        assert checkpoint_embedder(without).identity == plain.identity
        assert not (without / "language_centroids.safetensors").exists()
        assert torch.equal(load_checkpoint(without).centre, torch.zeros(0))


class TestCommand:
    @pytest.fixture
    def texts(self, tmp_path: Path, write_lines: Any) -> Path:
        records = [
            {"language": language, "text": f"{word} {n}"}
            for language, word in (("en", "the cat"), ("de", "die Katze"), ("ja", "猫"))
            for n in range(20)
        ]
        return write_lines(tmp_path / "m.jsonl", records)

    def run(self, *arguments: object) -> str:
        result = CliRunner().invoke(train_app, ["subspace", *map(str, arguments)])
        assert result.exit_code == 0, result.output
        return result.output

    def test_centre_and_subspace_are_fitted_in_one_go(
        self, tiny: Any, tmp_path: Path, texts: Path, write_lines: Any
    ) -> None:
        checkpoint, output = tiny.checkpoint(tmp_path / "c"), tmp_path / "fitted"
        english = [f"a library of {n} books" for n in range(20)]
        records = [
            *({"text": each, "role": "query", "source": "a"} for each in english[:12]),
            *({"text": each} for each in english[12:]),
        ]
        path = write_lines(tmp_path / "e.jsonl", records)
        data = write_data(tmp_path / "data", write_lines)
        options = ("--texts", texts, "--english", path, "--cache", tmp_path / "cache")
        shown = self.run(checkpoint, output, *options, "--data", data, "--rank", 2, "--share", 0.8)
        plain = checkpoint_embedder(checkpoint)
        parts = [(english[:12], "query"), (english[12:], "query"), (english[12:], "document")]
        centre = np.mean([plain(each, role).mean(axis=0) for each, role in parts], axis=0)
        config = read_config(output)
        geometry = geometry_of(config, read_adapter(output))
        assert geometry is not None
        assert (config.centre_share, config.language_rank) == (0.8, 2)
        np.testing.assert_allclose(geometry.centre, centre, atol=1e-6)
        served = checkpoint_embedder(output)(TEXTS, "query")
        np.testing.assert_allclose(served @ geometry.basis, 0, atol=1e-6)
        assert LanguageIdentifier.load(output).languages == ("de", "en", "ja")
        report = json.loads((output / "training_report.json").read_text())
        assert report["centre"] == {
            "share": 0.8,
            "texts": {"a (query)": 12, " (query)": 8, " (document)": 8},
        }
        assert report["language_subspace"]["texts"] == {"": {"en": 20, "de": 20, "ja": 20}}
        # Three languages in two roles differ in four directions: ranks 8, 16 and 24 are left out.
        rows = [line.split(" | ")[:2] for line in shown.splitlines() if line.startswith("| ")]
        assert rows[1:] == [
            ["| 0", "0"],
            ["| 0.5", "0"],
            ["| 0.7", "0"],
            ["| 0.9", "0"],
            ["| 1", "0"],
        ]

    def test_no_centre_and_no_subspace_is_the_plain_model(
        self, tiny: Any, tmp_path: Path, texts: Path
    ) -> None:
        checkpoint, output = tiny.checkpoint(tmp_path / "c"), tmp_path / "plain"
        options = ("--texts", texts, "--english", texts, "--cache", tmp_path / "cache")
        shown = self.run(
            checkpoint, output, *options, "--rank", 0, "--share", 0, "--data", tmp_path
        )
        assert "has no evaluation sets" in shown
        assert checkpoint_embedder(output).identity == checkpoint_embedder(checkpoint).identity
