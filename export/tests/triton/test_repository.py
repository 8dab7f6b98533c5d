"""Versions beside each other, one of them live."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as messages

from lusifer_export.errors import ExportError, NoSpaceError
from lusifer_export.triton import repository as module
from lusifer_export.triton.config import CORE, ENSEMBLE, TOKENIZER, Serving
from lusifer_export.triton.repository import (
    LOAD_ORDER,
    activate,
    live_version,
    versions,
    write_repository,
)

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer.bundle.format import Bundle


def config_of(folder: Path, name: str) -> Any:
    text = (folder / name / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, messages.ModelConfig())


def files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


class TestRepository:
    def test_versions_lie_beside_each_other(self, bundle: Bundle, tmp_path: Path) -> None:
        assert versions(tmp_path / "r") == []
        assert live_version(tmp_path / "r") is None
        assert write_repository(bundle, tmp_path / "r") == 1
        assert write_repository(bundle, tmp_path / "r") == 2
        assert versions(tmp_path / "r") == [1, 2]
        assert live_version(tmp_path / "r") == 2
        found = files(tmp_path / "r" / TOKENIZER / "2")
        assert found == ["manifest.json", "model.py", "tokenizer.json"]
        assert files(tmp_path / "r" / CORE / "2") == ["model.onnx", "model.onnx.data"]
        assert (tmp_path / "r" / ENSEMBLE / "2").is_dir()
        ones = np.fromfile(tmp_path / "r" / CORE / "warmup" / "ones_16", dtype=np.int64)
        assert ones.tolist() == [1] * 16

    def test_the_way_back(self, bundle: Bundle, tmp_path: Path) -> None:
        for _ in range(2):
            write_repository(bundle, tmp_path)
        activate(tmp_path, 1)
        assert live_version(tmp_path) == 1
        for name in LOAD_ORDER:
            assert list(config_of(tmp_path, name).version_policy.specific.versions) == [1]
        with pytest.raises(ExportError, match=r"no version 3; it has \[1, 2\]"):
            activate(tmp_path, 3)
        # The next one does not take the place of a version that was rolled back.
        assert write_repository(bundle, tmp_path) == 3

    def test_a_full_disk_leaves_the_live_version(
        self, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_repository(bundle, tmp_path)
        before = files(tmp_path)

        def full(*arguments: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(module, "_write_warm_up", full)
            with pytest.raises(NoSpaceError, match="version 2"):
                write_repository(bundle, tmp_path)
        assert (versions(tmp_path), live_version(tmp_path)) == ([1], 1)
        assert files(tmp_path) == before

    def test_a_killed_write_is_no_version(self, bundle: Bundle, tmp_path: Path) -> None:
        write_repository(bundle, tmp_path)
        (tmp_path / CORE / "2").mkdir()
        (tmp_path / TOKENIZER / ".2.new").mkdir()
        assert versions(tmp_path) == [1]
        assert live_version(tmp_path) == 1

    def test_tensorrt_does_not_take_blocks(self, bundle: Bundle, tmp_path: Path) -> None:
        from dataclasses import replace

        manifest = bundle.manifest.model_copy(update={"precision": "int8-dynamic"})
        with pytest.raises(ExportError, match="int8-dynamic") as caught:
            write_repository(
                replace(bundle, manifest=manifest), tmp_path, Serving(device="gpu-tensorrt")
            )
        assert "--precision fp16" in caught.value.next_step
