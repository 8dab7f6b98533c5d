"""Configurations that Triton can read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as messages

from lusifer_export.triton.config import CORE, ENSEMBLE, TOKENIZER, Serving, configs, length_buckets

if TYPE_CHECKING:
    from lusifer.bundle.format import Bundle


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
