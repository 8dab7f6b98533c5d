"""The engine that is chosen gives right vectors on this machine, and the choice is made once."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lusifer import Vectorizer
from lusifer.bundle.format import Bundle, ManifestFields, finish_bundle
from lusifer.bundle.probe import write_probe
from lusifer.engines import selection as module
from lusifer.engines.onnx import OnnxEngine
from lusifer.engines.selection import choose_engine, kept_choice, open_engine
from lusifer.errors import BundleCorruptError, EngineError

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("openvino")
from lusifer.engines.openvino import OpenVinoEngine


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUSIFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LUSIFER_ENGINE", raising=False)
    return tmp_path / "cache" / "engines"


@pytest.fixture(scope="module")
def probed_path(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probed")
    shutil.copytree(tiny_bundle, folder / "staging")
    rng = np.random.default_rng(0)
    ids = rng.integers(4, 200, (24, 20))
    mask = (np.arange(20) < rng.integers(14, 21, 24)[:, None]).astype(np.int64)
    write_probe(
        folder / "staging", ids, mask, OnnxEngine(tiny_bundle / "model.onnx").run(ids, mask)
    )
    fields = ManifestFields(**Bundle.open(tiny_bundle).manifest.model_dump(exclude={"files"}))
    return finish_bundle(folder / "staging", folder / "bundle", fields).path


@pytest.fixture
def probed(probed_path: Path) -> Bundle:
    """Open the tiny bundle with a probe."""
    return Bundle.open(probed_path)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUDGET_S", 600.0)


def test_candidates_are_measured_and_the_fastest_wins(probed: Bundle) -> None:
    choice = choose_engine(probed, threads=1)
    assert choice.trials[0].engine == "onnx"
    for trial in choice.trials:
        assert trial.problem is None
        assert trial.worst_cosine is not None
        assert trial.worst_cosine > 0.99
        assert trial.query_ms is not None
        assert trial.query_ms > 0
        assert trial.tokens_per_s
    assert choice.engine == min(choice.trials, key=module._cost).engine
    assert choice.threads == 1


def test_the_choice_is_kept_for_this_bundle_and_these_threads(
    probed: Bundle, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    first = choose_engine(probed, threads=1)
    assert [path.suffix for path in cache.iterdir()] == [".json"]

    def never(*arguments: Any) -> Any:
        raise AssertionError("measured again")

    monkeypatch.setattr(module, "_measure", never)
    assert choose_engine(probed, threads=1) == first
    assert kept_choice(probed, threads=2) is None
    monkeypatch.setattr(module, "describe_cpu", lambda: "another processor")
    assert kept_choice(probed, threads=1) is None


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"engine": "onnx"}', '{"trials": [{"x": 1}]}'])
def test_a_damaged_note_is_measured_again(probed: Bundle, cache: Path, damage: str) -> None:
    choose_engine(probed, threads=1)
    (note,) = cache.iterdir()
    note.write_text(damage)
    assert kept_choice(probed, threads=1) is None
    choice = choose_engine(probed, threads=1)
    assert json.loads(note.read_text()) == json.loads(json.dumps(asdict(choice)))


def test_wrong_vectors_are_never_chosen(probed: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    run = OpenVinoEngine.run
    monkeypatch.setattr(OpenVinoEngine, "run", lambda engine, ids, mask: -run(engine, ids, mask))
    choice = choose_engine(probed, threads=1)
    assert choice.engine == "onnx"
    assert "wrong vectors here: cosine -1" in str(choice.trials[1].problem)
    monkeypatch.setattr(
        OnnxEngine, "run", lambda engine, ids, mask: np.full((len(ids), 16), np.nan)
    )
    with pytest.raises(EngineError, match="onnx: wrong vectors here: cosine nan"):
        choose_engine(probed, threads=2)


def test_an_engine_that_fails_is_passed_over(
    probed: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise BundleCorruptError("OpenVINO can't load it", next_step="Export again.")

    monkeypatch.setattr(OpenVinoEngine, "__init__", fail)
    choice = choose_engine(probed, threads=1)
    assert choice.engine == "onnx"
    assert "can't load it" in str(choice.trials[1].problem)


def test_a_slow_machine_tries_no_second_one(
    probed: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUDGET_S", 0.0)
    choice = choose_engine(probed, threads=1)
    assert choice.engine == "onnx"
    assert "not tried" in str(choice.trials[1].problem)
    # Not kept: it may be idle at the next start.
    assert kept_choice(probed, threads=1) is None


def test_without_openvino_or_probe_it_is_onnx(
    probed: Bundle, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose_engine(bundle, threads=1).engine == "onnx"
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    assert [trial.engine for trial in choose_engine(probed, threads=2).trials] == ["onnx"]


def test_names(probed: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match="no engine 'tpu'") as caught:
        open_engine("tpu", probed)
    assert "openvino-bf16" in caught.value.next_step
    assert open_engine("openvino", probed).name == "openvino-f32"
    assert open_engine("auto", probed, threads=1).name in (
        "onnx-cpu",
        "openvino-f32",
        "openvino-bf16",
    )
    monkeypatch.setenv("LUSIFER_ENGINE", "openvino")
    with Vectorizer.load(probed.path) as vectorizer:
        assert vectorizer.engine.name == "openvino-f32"
        assert np.isfinite(vectorizer.embed_query("the cat").vector).all()
    with Vectorizer.load(probed.path, engine="onnx") as vectorizer:
        assert vectorizer.engine.name == "onnx-cpu"


def test_info_shows_the_choice(probed: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from lusifer.cli.app import app

    arguments = ["info", "--bundle", str(probed.path)]
    assert "not measured" in CliRunner().invoke(app, arguments).stdout
    monkeypatch.setenv("LUSIFER_ENGINE", "auto")
    fields = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert fields["engine"] == "auto"
    assert fields["fastest_engine"]["trials"][0]["engine"] == "onnx"
    assert " ms a query, " in CliRunner().invoke(app, arguments).stdout
