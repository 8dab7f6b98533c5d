"""Checkpoint to bundle: nothing appears at the target that isn't whole and near PyTorch."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from export.tests.helpers import change_config, names
from safetensors.torch import load_file, save_file

from lusifer.bundle.format import PRECISIONS, Bundle
from lusifer.bundle.probe import read_probe
from lusifer.engines.onnx import OnnxEngine
from lusifer.errors import BundleGateError
from lusifer_export import build as build_module
from lusifer_export.build import export_checkpoint
from lusifer_export.cases import parity_texts
from lusifer_export.errors import GateError, NoSpaceError
from lusifer_export.fingerprint import checkpoint_fingerprint
from lusifer_export.gate import BARS
from lusifer_training.embedders import checkpoint_embedder
from lusifer_training.errors import TrainingError


class TestBundle:
    def test_the_plugin_opens_it(self, bundle: Bundle, checkpoint: Path, tiny: Any) -> None:
        manifest = Bundle.open(bundle.path, verify=True).manifest
        assert manifest.fingerprint == checkpoint_fingerprint(checkpoint, "fp32")
        assert (manifest.name, manifest.dimension, manifest.precision) == (
            "tiny",
            tiny.HIDDEN,
            "fp32",
        )
        assert manifest.matryoshka_dimensions == (tiny.HIDDEN,)
        assert manifest.role_prompts.model_dump() == {"query": "query: ", "document": "passage: "}
        assert manifest.maximum_tokens == tiny.MAXIMUM_TOKENS
        assert manifest.pad_token_id == 1
        assert manifest.languages_evaluated == tuple(sorted(parity_texts()))
        assert {"lusifer", "torch", "transformers", "onnx", "onnxruntime"} == set(
            manifest.created_with
        )
        assert names(bundle.path) == [
            "manifest.json",
            "model.onnx",
            "model.onnx.data",
            "parity_report.json",
            "probe.npz",
            "tokenizer.json",
        ]

    def test_nothing_is_left_beside_it(self, bundle: Bundle) -> None:
        assert names(bundle.path.parent) == ["tiny"]

    def test_the_report(self, bundle: Bundle) -> None:
        report = json.loads((bundle.path / "parity_report.json").read_text())
        assert (report["verdict"], report["failures"], bundle.manifest.gate) == (
            "passed",
            [],
            "passed",
        )
        assert report["texts"] >= 1000
        assert len(report["languages"]) >= 18
        assert report["mean"] > 0.9999
        assert report["worst"] <= report["percentile_1"] <= 1.000001
        assert report["alone_against_batch"] < 1e-5
        assert report["precision"] == "fp32"
        assert report["tokens"]["longest"] == bundle.manifest.maximum_tokens
        for scores in report["languages"].values():
            assert set(scores["roles"]) == {"query", "document"}
            assert scores["retrieval"]["questions"] == 48
            assert scores["retrieval"]["lost"] == 0
        assert {"empty prompt", "mixed scripts", "short", "one token below the limit"} < set(
            report["cases"]
        )
        assert report["sha256"]["model.onnx"] == bundle.manifest.files["model.onnx"].sha256

    def test_the_probe(self, bundle: Bundle) -> None:
        assert bundle.probe_path
        ids, mask, vectors = read_probe(bundle.probe_path)
        assert len(ids) == len(parity_texts()) + 2
        engine = OnnxEngine(bundle.model_path, threads=1)
        np.testing.assert_allclose(engine.run(ids, mask), vectors, atol=1e-5)

    def test_the_plugins_vectors_are_the_training_rooms(
        self, bundle: Bundle, checkpoint: Path
    ) -> None:
        from lusifer import Vectorizer

        texts = ["The cat sits on the mat.", "猫", "archive formats"]
        expected = checkpoint_embedder(checkpoint)
        with Vectorizer.load(bundle.path) as vectorizer:
            documents = np.asarray([each.vector for each in vectorizer.embed_documents(texts)])
            query = np.asarray(vectorizer.embed_query(texts[0]).vector)
        np.testing.assert_allclose(documents, expected(texts, "document"), atol=1e-5)
        np.testing.assert_allclose(query, expected(texts[:1], "query")[0], atol=1e-5)

    @pytest.mark.usefixtures("quick")
    def test_int8_replaces_an_older_bundle(
        self, checkpoint: Path, bundle: Bundle, tmp_path: Path
    ) -> None:
        target = tmp_path / "b"
        shutil.copytree(bundle.path, target)
        exported = export_checkpoint(checkpoint, target, precision="int8")
        assert Bundle.open(target).manifest == exported.manifest
        assert exported.manifest.precision == "int8"
        assert exported.manifest.fingerprint != bundle.manifest.fingerprint
        assert names(tmp_path) == ["b"]


@pytest.mark.usefixtures("quick")
class TestFailure:
    @pytest.mark.parametrize("precision", ["fp32", "int8-dynamic"])
    def test_the_gate_leaves_nothing(
        self, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Any
    ) -> None:
        run = OnnxEngine.run
        monkeypatch.setattr(OnnxEngine, "run", lambda engine, ids, mask: -run(engine, ids, mask))
        with pytest.raises(
            GateError,
            match=rf"gate failed for {precision}\. (en|ja) \((query|document)\): mean cosine -",
        ):
            export_checkpoint(checkpoint, tmp_path / "b", precision=precision)
        assert names(tmp_path) == []

    def test_the_gate_keeps_what_was_there(
        self, bundle: Bundle, checkpoint: Path, tmp_path: Path, strict: None
    ) -> None:
        target = tmp_path / "b"
        shutil.copytree(bundle.path, target)
        with pytest.raises(GateError):
            export_checkpoint(checkpoint, target, precision="fp32")
        assert Bundle.open(target).manifest == bundle.manifest

    @pytest.fixture
    def strict(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(BARS, "fp32", replace(BARS["fp32"], mean=1.1))

    def test_a_refused_one_can_be_kept_and_is_refused_again(
        self, checkpoint: Path, tmp_path: Path, strict: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kept = export_checkpoint(checkpoint, tmp_path / "b", precision="fp32", keep_failed=True)
        assert kept.manifest.gate == "failed"
        with pytest.raises(BundleGateError, match="parity_report"):
            Bundle.open(kept.path)
        assert Bundle.open(kept.path, allow_failed_gate=True).manifest == kept.manifest
        monkeypatch.setenv("LUSIFER_ALLOW_FAILED_GATE", "1")
        assert Bundle.open(kept.path).manifest == kept.manifest
        report = json.loads((kept.path / "parity_report.json").read_text())
        assert report["verdict"] == "failed"
        assert any(failure.startswith("en (query)") for failure in report["failures"])

    @pytest.mark.parametrize("where", ["mkdtemp", "write_lowered", "tokenizer", "finish_bundle"])
    def test_a_full_disk(
        self, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
    ) -> None:
        def full(*args: Any, **options: Any) -> Any:
            if where == "tokenizer":
                # What the library really raises.
                raise Exception("No space left on device (os error 28)")
            raise OSError(errno.ENOSPC, "No space left on device")

        if where == "mkdtemp":
            monkeypatch.setattr(build_module.tempfile, "mkdtemp", full)
        elif where == "tokenizer":
            monkeypatch.setattr(
                build_module, "load_tokenizer", lambda source: type("T", (), {"save": full})()
            )
        else:
            monkeypatch.setattr(build_module, where, full)
        with pytest.raises(NoSpaceError, match="No space left in") as caught:
            export_checkpoint(checkpoint, tmp_path / "b", precision="fp32")
        assert "Free about" in caught.value.next_step
        assert names(tmp_path) == []

    def test_a_checkpoint_that_lacks_a_tensor(self, checkpoint: Path, tmp_path: Path) -> None:
        copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
        tensors = load_file(copy / "adapter.safetensors")
        del tensors["head.weight"]
        save_file(tensors, copy / "adapter.safetensors")
        with pytest.raises(TrainingError, match=r"head\.weight"):
            export_checkpoint(copy, tmp_path / "b", precision="fp32")
        assert names(tmp_path) == ["copy"]

    def test_a_backbone_of_an_unsupported_kind(
        self, checkpoint: Path, tiny: Any, tmp_path: Path
    ) -> None:
        copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
        encoder = Path(shutil.copytree(tiny.encoder_folder("bert"), tmp_path / "encoder"))
        kind = json.loads((encoder / "config.json").read_text()) | {"model_type": "gpt2"}
        (encoder / "config.json").write_text(json.dumps(kind))
        change_config(copy, lambda values: values["encoder"].update(location=f"folder:{encoder}"))
        with pytest.raises(TrainingError, match="gpt2"):
            export_checkpoint(copy, tmp_path / "b", precision="fp32")
        assert names(tmp_path) == ["copy", "encoder"]

    def test_other_errors_are_not_called_full_disks(
        self, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def denied(*args: Any) -> None:
            raise PermissionError(errno.EACCES, "denied")

        monkeypatch.setattr(build_module, "write_lowered", denied)
        with pytest.raises(PermissionError):
            export_checkpoint(checkpoint, tmp_path / "b", precision="fp32")
        assert names(tmp_path) == []


_KILLED = """
import os, signal, sys
from pathlib import Path
from lusifer_export import build
from lusifer_export.graph import load_graph
build.trace_graph = lambda model: load_graph(Path(sys.argv[2]))
def killed(*args):
    os.kill(os.getpid(), signal.SIGKILL)
build.measure_gate = killed
build.export_checkpoint(Path(sys.argv[1]), Path(sys.argv[3]), precision="fp32")
"""


def test_a_killed_export_leaves_no_bundle(checkpoint: Path, bundle: Bundle, tmp_path: Path) -> None:
    # The parent's path: pytest may have found the packages without an installation.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    arguments = [str(checkpoint), str(bundle.model_path), str(tmp_path / "b")]
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, *arguments],
        env=environment, check=False, timeout=200, capture_output=True,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    (left,) = tmp_path.iterdir()
    # Hidden, and without the manifest that would make it a bundle.
    assert left.name.startswith(".b.")
    assert "model.onnx" in names(left)
    assert "manifest.json" not in names(left)


@pytest.mark.usefixtures("quick")
class TestLadder:
    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    def test_half_precision(
        self, checkpoint: Path, bundle: Bundle, tmp_path: Path, precision: Any
    ) -> None:
        exported = export_checkpoint(
            checkpoint, tmp_path / "b", precision=precision, keep_failed=True
        )
        assert exported.manifest.precision == precision
        sizes = [each.manifest.files["model.onnx.data"].bytes for each in (exported, bundle)]
        assert sizes[0] < 0.6 * sizes[1]

    def test_auto_takes_the_smallest_that_passes(
        self, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tried: list[str] = []

        def judged(report: Any, precision: str) -> list[str]:
            tried.append(precision)
            return ["th (query): mean cosine 0.5"] if len(tried) < 3 else []

        monkeypatch.setattr(build_module, "judge", judged)
        exported = export_checkpoint(checkpoint, tmp_path / "b", precision="auto")
        assert tried == list(PRECISIONS[:3])
        assert exported.manifest.precision == PRECISIONS[2]
        assert exported.manifest.fingerprint == checkpoint_fingerprint(checkpoint, PRECISIONS[2])
        report = json.loads((exported.path / "parity_report.json").read_text())
        assert report["precision"] == PRECISIONS[2]

    def test_auto_at_the_end_of_the_ladder(
        self, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            build_module, "judge", lambda report, precision: ["th (query): mean 0.5"]
        )
        with pytest.raises(GateError, match="gate failed for fp32"):
            export_checkpoint(checkpoint, tmp_path / "b", precision="auto")
        assert names(tmp_path) == []
