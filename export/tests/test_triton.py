"""The repository: versions beside each other, one of them live, and configurations that Triton can
read."""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as messages

from lusifer_export.errors import ExportError, NoSpaceError
from lusifer_export.triton import repository as module
from lusifer_export.triton.config import CORE, ENSEMBLE, TOKENIZER, Serving, configs, length_buckets
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


def test_length_buckets() -> None:
    assert length_buckets(512) == [16, 32, 64, 128, 256, 512]
    assert length_buckets(64) == [16, 32, 64]
    assert length_buckets(100) == [16, 32, 64, 100]
    assert length_buckets(16) == [16]
    assert length_buckets(12) == [12]


class TestConfigs:
    @pytest.fixture
    def built(self, bundle: Bundle) -> dict[str, Any]:
        texts = configs(bundle.manifest, 7, Serving(queue_timeout_s=5, queue_size=9))
        return {
            name: text_format.Parse(text, messages.ModelConfig()) for name, text in texts.items()
        }

    def test_each_serves_one_version_of_this_fingerprint(
        self, built: dict[str, Any], bundle: Bundle
    ) -> None:
        assert set(built) == {CORE, TOKENIZER, ENSEMBLE}
        for name, config in built.items():
            assert config.name == name
            assert list(config.version_policy.specific.versions) == [7]
            assert config.parameters["fingerprint"].string_value == bundle.manifest.fingerprint
            assert not config.response_cache.enable

    def test_the_core_queues_within_bounds(self, built: dict[str, Any]) -> None:
        batching = built[CORE].dynamic_batching
        assert list(batching.preferred_batch_size) == [8, 16, 32, 64]
        assert batching.default_queue_policy.max_queue_size == 9
        assert batching.default_queue_policy.default_timeout_microseconds == 5_000_000
        assert batching.default_queue_policy.timeout_action == messages.ModelQueuePolicy.REJECT

    def test_every_length_is_warmed_up(self, built: dict[str, Any], bundle: Bundle) -> None:
        warmed = [each.inputs["input_ids"].dims[0] for each in built[CORE].model_warmup]
        assert warmed == length_buckets(bundle.manifest.maximum_tokens)

    def test_the_ensemble_joins_what_the_parts_have(self, built: dict[str, Any]) -> None:
        steps = built[ENSEMBLE].ensemble_scheduling.step
        assert [step.model_name for step in steps] == [TOKENIZER, CORE]
        for step in steps:
            part = built[step.model_name]
            assert set(step.input_map) == {each.name for each in part.input}
            assert set(step.output_map) == {each.name for each in part.output}
        made = {name for step in steps for name in step.output_map.values()}
        assert {each.name for each in built[ENSEMBLE].output} <= made

    def test_devices(self, bundle: Bundle) -> None:
        texts = configs(bundle.manifest, 1, Serving(device="gpu-tensorrt", instances=2))
        core = text_format.Parse(texts[CORE], messages.ModelConfig())
        assert core.instance_group[0].kind == messages.ModelInstanceGroup.KIND_GPU
        assert core.instance_group[0].count == 2
        (accelerator,) = core.optimization.execution_accelerators.gpu_execution_accelerator
        assert accelerator.name == "tensorrt"
        assert accelerator.parameters["precision_mode"] == "FP32"
        assert accelerator.parameters["trt_engine_cache_enable"] == "true"
        # Engines of two models must not meet in one folder.
        assert bundle.manifest.fingerprint[7:19] in accelerator.parameters["trt_engine_cache_path"]
        # Tokenising stays on the CPU.
        tokenizer = text_format.Parse(texts[TOKENIZER], messages.ModelConfig())
        assert tokenizer.instance_group[0].kind == messages.ModelInstanceGroup.KIND_CPU


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


class TestCommand:
    @staticmethod
    def run(*arguments: object) -> Any:
        from typer.testing import CliRunner

        from lusifer_export.cli import export_app

        return CliRunner().invoke(export_app, [str(each) for each in arguments])

    def test_a_bundle_becomes_a_version_and_back(self, bundle: Bundle, tmp_path: Path) -> None:
        for version in (1, 2):
            result = self.run(bundle.path, "--triton", tmp_path)
            assert result.exit_code == 0, result.output
            assert f"version {version} is the one" in result.output
            assert "models/lusifer_core/load" in result.output
        result = self.run("--triton", tmp_path, "--rollback", "1")
        assert result.exit_code == 0, result.output
        assert live_version(tmp_path) == 1

    def test_json_stays_json(self, bundle: Bundle, tmp_path: Path) -> None:
        result = self.run(bundle.path, "--triton", tmp_path, "--json")
        assert json.loads(result.stdout)["verdict"] == "passed"

    @pytest.mark.parametrize(
        "arguments",
        [[], ["x"], ["--rollback", "1"], ["x", "--triton", "r", "--rollback", "1"]],
        ids=str,
    )
    def test_arguments_that_do_not_fit(self, arguments: list[str]) -> None:
        assert self.run(*arguments).exit_code == 2

    def test_an_unknown_device(self, bundle: Bundle, tmp_path: Path) -> None:
        assert self.run(bundle.path, "--triton", tmp_path, "--device", "tpu").exit_code == 2
