"""One checkpoint and its bundle, exported once for all tests of this room: tracing takes seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer.bundle.format import Bundle


@pytest.fixture(scope="session")
def checkpoint(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BERT and Llama, residual, LoRA on both sides."""
    return tiny.checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="session")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The whole way, with nothing replaced."""
    from lusifer_export.build import export_checkpoint

    return export_checkpoint(
        checkpoint, tmp_path_factory.mktemp("bundles") / "tiny", precision="fp32"
    )
