"""The way to TensorRT's builder, with a builder that notes what it is asked; the real one needs a
GPU."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lusifer_export import tensorrt as module
from lusifer_export.errors import NoSpaceError, TensorRtError
from lusifer_export.gate import judge, measure_gate, reference_vectors
from lusifer_export.tensorrt import (
    build_engine,
    engine_name,
    profiles,
    require_gpu,
    require_tensorrt,
)
from lusifer_training.backbones.load import load_tokenizer
from lusifer_training.checkpoint import load_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer.bundle.format import Bundle


class Recorder:
    """Stands where the module ``tensorrt`` would; names and order of calls are TensorRT 10's."""

    __version__ = "10.9.0"
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")

    def __init__(self) -> None:
        self.shapes: list[tuple[Any, ...]] = []
        self.asked: dict[str, Any] = {}
        self.plan: Any = b"a plan"
        self.parses = True
        self.num_errors = 1

    class Logger:
        WARNING = 1

        def __init__(self, level: int) -> None: ...

    def Builder(self, logger: Any) -> Any:  # noqa: N802
        return self

    def OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: N802
        return self

    def create_network(self, flags: int) -> Any:
        self.asked["flags"] = flags
        return self

    def parse_from_file(self, path: str) -> bool:
        self.asked["path"] = path
        return self.parses

    def get_error(self, index: int) -> str:
        return "no importer for MatMulNBits"

    def create_builder_config(self) -> Any:
        return self

    def set_memory_pool_limit(self, pool: str, size_bytes: int) -> None:
        self.asked["workspace"] = size_bytes

    def create_timing_cache(self, content: bytes) -> Any:
        self.asked["timings"] = content
        return self

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> None:
        assert not ignore_mismatch

    def get_timing_cache(self) -> Any:
        return SimpleNamespace(serialize=lambda: memoryview(b"timings"))

    def create_optimization_profile(self) -> Any:
        return self

    def set_shape(self, *shape: Any) -> None:
        self.shapes.append(shape)

    def add_optimization_profile(self, profile: Any) -> None: ...

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        return self.plan


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(module, "require_tensorrt", lambda: recorder)
    monkeypatch.setattr(module, "require_gpu", lambda: "NVIDIA L4")
    return recorder


@pytest.fixture
def own(bundle: Bundle, tmp_path: Path) -> Bundle:
    return replace(bundle, path=tmp_path)


def test_profiles_cover_every_length_once() -> None:
    found = profiles(512)
    assert [each.maximum[1] for each in found] == [16, 32, 64, 128, 256, 512]
    assert [each.minimum for each in found] == [
        (1, 1),
        (1, 17),
        (1, 33),
        (1, 65),
        (1, 129),
        (1, 257),
    ]
    for each in found:
        assert each.minimum[0] <= each.optimum[0] <= each.maximum[0] <= 64
        assert each.optimum[1] == each.maximum[1]
        assert each.maximum[0] * each.maximum[1] <= 16_384
    assert profiles(8192)[-1].maximum == (2, 8192)


def test_names_say_what_an_engine_is_tied_to(bundle: Bundle) -> None:
    name = engine_name("NVIDIA H100 80GB HBM3", "10.9.0", bundle.manifest)
    assert (
        name
        == f"nvidia-h100-80gb-hbm3_tensorrt-10.9.0_fp32_{bundle.manifest.fingerprint[7:19]}.plan"
    )


def test_what_the_builder_is_asked(recorder: Recorder, own: Bundle) -> None:
    path = build_engine(own)
    assert path.parent == own.path / "engines"
    assert path.read_bytes() == b"a plan"
    assert recorder.asked["flags"] == 1 << 1
    assert recorder.asked["path"] == str(own.model_path)
    assert recorder.asked["workspace"] == 4 * 2**30
    expected = [
        (name, each.minimum, each.optimum, each.maximum)
        for each in profiles(own.manifest.maximum_tokens)
        for name in ("input_ids", "attention_mask")
    ]
    assert recorder.shapes == expected
    notes = json.loads(path.with_suffix(".json").read_text())
    assert (notes["gpu"], notes["tensorrt"]) == ("NVIDIA L4", "10.9.0")
    assert notes["fingerprint"] == own.manifest.fingerprint


def test_an_engine_is_built_once_for_a_gpu_and_a_version(
    recorder: Recorder, own: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build_engine(own)
    recorder.plan = b"another plan"
    assert build_engine(own) == first
    assert first.read_bytes() == b"a plan"
    monkeypatch.setattr(module, "require_gpu", lambda: "NVIDIA H200")
    second = build_engine(own)
    assert second != first
    assert second.read_bytes() == b"another plan"
    # What was measured for the first is not measured again.
    assert recorder.asked["timings"] == b"timings"


def test_a_graph_that_tensorrt_refuses(recorder: Recorder, own: Bundle) -> None:
    recorder.parses = False
    with pytest.raises(TensorRtError, match="no importer for MatMulNBits"):
        build_engine(own)
    recorder.parses, recorder.plan = True, None
    with pytest.raises(TensorRtError, match="built no engine"):
        build_engine(own)
    assert not list((own.path / "engines").glob("*.plan"))


def test_a_full_disk_leaves_no_engine(
    recorder: Recorder, own: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "atomic_writer", full)
    with pytest.raises(NoSpaceError):
        build_engine(own)
    assert not list((own.path / "engines").glob("*.plan*"))


def test_blocks_are_refused_before_anything_is_looked_for(own: Bundle) -> None:
    manifest = own.manifest.model_copy(update={"precision": "int4"})
    with pytest.raises(TensorRtError, match="blocks of int4"):
        build_engine(replace(own, manifest=manifest))


class TestWhatIsMissing:
    def test_the_package(self, own: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tensorrt", None)
        with pytest.raises(TensorRtError, match="package tensorrt is missing") as caught:
            build_engine(own)
        assert "pip install tensorrt" in caught.value.next_step

    def test_the_driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        with pytest.raises(TensorRtError, match="No NVIDIA driver"):
            require_gpu()

    def test_the_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def none(command: list[str], **options: Any) -> Any:
            return subprocess.CompletedProcess(command, 6, "", "No devices were found")

        monkeypatch.setattr(module.subprocess, "run", none)
        with pytest.raises(TensorRtError, match="No devices were found"):
            require_gpu()


class OnGpu:
    """A TensorRT engine, with PyTorch for the GPU's memory."""

    name = "tensorrt"

    def __init__(self, tensorrt: Any, plan: bytes, dimension: int) -> None:
        runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.WARNING))
        self.engine = runtime.deserialize_cuda_engine(plan)
        self._context = self.engine.create_execution_context()
        self._dimension = dimension

    def run(self, ids: Any, mask: Any) -> Any:
        import torch

        shapes = range(self.engine.num_optimization_profiles)
        widest = [self.engine.get_tensor_profile_shape("input_ids", index)[2] for index in shapes]
        rows, tokens = ids.shape
        index = next(index for index in shapes if widest[index][1] >= tokens)
        if rows > widest[index][0]:
            halves = [slice(0, widest[index][0]), slice(widest[index][0], rows)]
            return np.concatenate([self.run(ids[half], mask[half]) for half in halves])
        stream = torch.cuda.current_stream()
        self._context.set_optimization_profile_async(index, stream.cuda_stream)
        held = {
            "input_ids": torch.from_numpy(ids).cuda(),
            "attention_mask": torch.from_numpy(mask).cuda(),
        }
        for name, value in held.items():
            self._context.set_input_shape(name, tuple(value.shape))
        held["embedding"] = torch.empty((rows, self._dimension), device="cuda")
        for name, value in held.items():
            self._context.set_tensor_address(name, value.data_ptr())
        assert self._context.execute_async_v3(stream.cuda_stream)
        stream.synchronize()
        return held["embedding"].cpu().numpy()

    def close(self) -> None: ...


def test_a_real_engine_passes_the_gate(own: Bundle, bundle: Bundle, checkpoint: Path) -> None:
    try:
        tensorrt = require_tensorrt()
        require_gpu()
    except TensorRtError as error:
        pytest.skip(str(error))
    for name in bundle.manifest.files:
        (own.path / name).write_bytes((bundle.path / name).read_bytes())
    engine = OnGpu(tensorrt, build_engine(own).read_bytes(), own.manifest.dimension)
    assert engine.engine.num_optimization_profiles == len(profiles(own.manifest.maximum_tokens))
    model = load_checkpoint(checkpoint)
    reference = reference_vectors(model, load_tokenizer(model.config.tokenizer))
    # TensorFloat-32, its way of multiplying fp32, keeps as many bits as fp16.
    assert judge(measure_gate(reference, engine), "fp16") == []
