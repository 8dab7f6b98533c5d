"""A model's centre, replaced by the mean of a team's own texts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from export.tests.conftest import FEW, SAME
from export.tests.helpers import names
from typer.testing import CliRunner

from lusifer.bundle.format import Bundle
from lusifer.bundle.probe import read_probe
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.onnx import OnnxEngine
from lusifer.errors import InvalidInputError
from lusifer_export.adapt import TextSample, adapt_bundle, adapt_checkpoint, read_texts
from lusifer_export.adapt_cli import adapt_app
from lusifer_export.errors import ExportError
from lusifer_training.checkpoint import geometry_of, read_adapter
from lusifer_training.config import read_config
from lusifer_training.embedders import checkpoint_embedder
from lusifer_training.geometry import DEFAULT_SHARE, Geometry

if TYPE_CHECKING:
    from pathlib import Path

SAMPLE = TextSample(
    tuple(f"The library keeps {n} archives." for n in range(30)),
    tuple(f"where are {n} formats" for n in range(20)),
)


@pytest.fixture(scope="module")
def centred_checkpoint(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a checkpoint with a centre and a language subspace."""
    config = tiny.config(llm=None, centre_share=0.6, language_rank=3)
    return tiny.checkpoint(tmp_path_factory.mktemp("checkpoints") / "centred", config)


@pytest.fixture(scope="module", params=["fp32", "int8-dynamic"])
def centred_bundle(
    request: pytest.FixtureRequest,
    centred_checkpoint: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    from lusifer_export.build import export_checkpoint

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lusifer_export.cases.parity_texts", lambda: FEW)
        patch.setattr("lusifer_export.cases.translations", lambda: SAME)
        folder = tmp_path_factory.mktemp("bundles") / request.param
        # Wild weights may fail the gate in int8; the graph is what is tested here.
        return export_checkpoint(
            centred_checkpoint, folder, precision=request.param, keep_failed=True
        )


def served(bundle: Bundle) -> np.ndarray:
    with Vectorizer(bundle, OnnxEngine(bundle.model_path)) as vectorizer:
        return vectorizer.embed_documents(SAMPLE.documents[:5]).vectors


class TestBundle:
    @pytest.mark.parametrize("share", [None, 0.9])
    def test_the_centre_is_the_mean_of_the_texts(
        self, centred_bundle: Bundle, centred_checkpoint: Path, tmp_path: Path, share: float | None
    ) -> None:
        found = adapt_bundle(centred_bundle, tmp_path / "ours", SAMPLE, share=share)
        ours = Bundle.open(found.path, allow_failed_gate=True)
        plain = checkpoint_embedder(centred_checkpoint, projected=False)
        centre = (
            plain(SAMPLE.documents, "document").mean(axis=0)
            + plain(SAMPLE.queries, "query").mean(axis=0)
        ) / 2
        basis = read_adapter(centred_checkpoint)["language_basis"].numpy()
        expected = Geometry(centre, share or 0.6, basis).apply(
            plain(SAMPLE.documents[:5], "document")
        )
        if centred_bundle.manifest.precision == "fp32":
            np.testing.assert_allclose(served(ours), expected, atol=2e-6)
        else:
            assert (served(ours) * expected).sum(axis=1).min() > 0.9
        assert np.abs(served(ours) - served(centred_bundle)).max() > 0.02
        # It is a model of its own, and whole.
        assert ours.manifest.fingerprint == found.fingerprint != centred_bundle.manifest.fingerprint
        assert names(ours.path) == names(centred_bundle.path)
        ids, mask, right = read_probe(ours.path / "probe.npz")
        engine = OnnxEngine(ours.model_path)
        np.testing.assert_allclose(engine.run(ids, mask), right, atol=1e-3)
        report = json.loads((ours.path / "parity_report.json").read_text())
        assert report["adapted"]["base"] == centred_bundle.manifest.fingerprint
        assert report["adapted"]["texts"] == {"documents": 30, "queries": 20}

    def test_other_texts_give_another_fingerprint(
        self, centred_bundle: Bundle, tmp_path: Path
    ) -> None:
        one = adapt_bundle(centred_bundle, tmp_path / "a", SAMPLE)
        again = adapt_bundle(centred_bundle, tmp_path / "b", SAMPLE)
        other = adapt_bundle(centred_bundle, tmp_path / "c", TextSample(SAMPLE.documents))
        assert one.fingerprint == again.fingerprint != other.fingerprint
        # An adapted bundle can be adapted again, from the plain vectors.
        twice = adapt_bundle(
            Bundle.open(other.path, allow_failed_gate=True), tmp_path / "d", SAMPLE
        )
        np.testing.assert_allclose(
            served(Bundle.open(twice.path, allow_failed_gate=True)),
            served(Bundle.open(one.path, allow_failed_gate=True)),
            atol=1e-6,
        )

    def test_a_bundle_without_a_centre(self, bundle: Bundle, tmp_path: Path) -> None:
        with pytest.raises(ExportError, match=r"has no centre\. Fit one .* lusifer train subspace"):
            adapt_bundle(bundle, tmp_path / "ours", SAMPLE)
        assert not (tmp_path / "ours").exists()


class TestCheckpoint:
    def test_a_checkpoint_stays_a_checkpoint(
        self, centred_checkpoint: Path, tmp_path: Path
    ) -> None:
        found = adapt_checkpoint(centred_checkpoint, tmp_path / "ours", SAMPLE)
        assert found.fingerprint is None
        config = read_config(found.path)
        assert (config.centre_share, config.language_rank) == (0.6, 3)
        before, after = (
            geometry_of(read_config(each), read_adapter(each))
            for each in (centred_checkpoint, found.path)
        )
        assert before is not None
        assert after is not None
        np.testing.assert_array_equal(after.basis, before.basis)
        plain = checkpoint_embedder(centred_checkpoint, projected=False)
        centre = (
            plain(SAMPLE.documents, "document").mean(axis=0)
            + plain(SAMPLE.queries, "query").mean(axis=0)
        ) / 2
        np.testing.assert_allclose(after.centre, centre, atol=1e-6)

    def test_a_checkpoint_without_a_centre_gets_one(self, tiny: Any, tmp_path: Path) -> None:
        checkpoint = tiny.checkpoint(tmp_path / "c", tiny.config(llm=None))
        found = adapt_checkpoint(checkpoint, tmp_path / "ours", TextSample(SAMPLE.documents))
        assert read_config(found.path).centre_share == DEFAULT_SHARE
        before, after = found.table["before"], found.table["after"]
        # What all texts share is gone from their cosines.
        assert after["mean_cosine"] < before["mean_cosine"]


class TestCommand:
    def run(self, *arguments: object) -> Any:
        return CliRunner().invoke(adapt_app, [str(each) for each in arguments])

    def test_documents_and_queries(
        self,
        centred_bundle: Bundle,
        tmp_path: Path,
        write_lines: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("LUSIFER_ALLOW_FAILED_GATE", "1")
        documents = write_lines(
            tmp_path / "d.jsonl", [{"body": each} for each in SAMPLE.documents] + [{"no": "text"}]
        )
        queries = write_lines(tmp_path / "q.jsonl", [{"body": each} for each in SAMPLE.queries])
        arguments = (documents, "--model", centred_bundle.path, "--output", tmp_path / "ours")
        options = ("--centre-only", "--queries", queries, "--text-field", "body")
        result = self.run(*arguments, *options)
        assert result.exit_code == 0, result.output
        expected = adapt_bundle(centred_bundle, tmp_path / "expected", SAMPLE)
        assert f"{tmp_path / 'ours'}  {expected.fingerprint}" in result.output
        lines = [line.split() for line in result.output.splitlines()]
        assert lines[1] == ["before", "after"]
        cosines = [expected.table[row]["mean_cosine"] for row in ("before", "after")]
        assert [float(each) for each in lines[4][-2:]] == cosines
        again = self.run(*arguments, *options, "--json")
        assert json.loads(again.stdout) == {
            "path": str(tmp_path / "ours"),
            "fingerprint": expected.fingerprint,
            **expected.table,
        }

    def test_it_says_what_it_needs(self, tmp_path: Path, write_lines: Any) -> None:
        documents = write_lines(tmp_path / "d.jsonl", [{"text": "one"}] * 3)
        assert "--centre-only" in self.run(documents, "--output", tmp_path / "o").output
        result = self.run(documents, "--output", tmp_path / "o", "--centre-only")
        assert isinstance(result.exception, InvalidInputError)
        assert "at least 20" in str(result.exception)


def test_texts_are_drawn_from_all_sources(tmp_path: Path, write_lines: Any) -> None:
    paths = [
        str(write_lines(tmp_path / f"{name}.jsonl", [{"text": f"{name} {n}"} for n in range(200)]))
        for name in ("a", "b")
    ]
    assert len(read_texts(paths, limit=1000)) == 400
    drawn = read_texts(paths, limit=100)
    assert drawn == read_texts(paths, limit=100)
    assert 30 < sum(each.startswith("a") for each in drawn) < 70
