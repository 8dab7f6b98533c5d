"""One checkpoint and its bundle, exported once for all tests of export: tracing takes seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer.bundle.format import Bundle


@pytest.fixture(scope="session")
def checkpoint(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a checkpoint of BERT and Llama, with the residual and LoRA on both."""
    return tiny.checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="session")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Export the checkpoint with nothing replaced."""
    from lusifer_export.build import export_checkpoint

    return export_checkpoint(
        checkpoint, tmp_path_factory.mktemp("bundles") / "tiny", precision="fp32"
    )


FEW = {"en": ["archive", "The cat sits on the mat. " * 30], "ja": ["猫", "猫はマットの上"]}
SAME = {
    "en": ["The cat sits on the mat.", "A library."],
    "ja": ["猫はマットの上に座っています。", "図書館。"],
}


@pytest.fixture
def quick(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the graph of further exports from the bundle, and compare a few texts."""
    from lusifer_export.graph import load_graph

    monkeypatch.setattr(
        "lusifer_export.build.trace_graph", lambda model: load_graph(bundle.model_path)
    )
    monkeypatch.setattr("lusifer_export.cases.parity_texts", lambda: FEW)
    monkeypatch.setattr("lusifer_export.cases.translations", lambda: SAME)
