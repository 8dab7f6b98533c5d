"""The three files ``config.pbtxt`` of a repository, as Triton's own protobuf messages.

::

    lusifer        text, role ─▶ embedding, tokens, truncated        (ensemble)
    lusifer_tokenizer  text, role ─▶ input_ids, attention_mask, ...  (Python backend)
    lusifer_core   input_ids, attention_mask ─▶ embedding            (ONNX Runtime or TensorRT)

Triton only batches requests of equal shape, so the tokenizer pads every text to one of a few
lengths. A vector does not depend on its padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as messages

if TYPE_CHECKING:
    from lusifer.bundle.format import Manifest

__all__ = [
    "CORE",
    "ENSEMBLE",
    "TOKENIZER",
    "WARMUP_FILE",
    "Device",
    "Serving",
    "configs",
    "length_buckets",
]

CORE, TOKENIZER, ENSEMBLE = "lusifer_core", "lusifer_tokenizer", "lusifer"
WARMUP_FILE = "ones_{tokens}"
Device = Literal["cpu", "gpu", "gpu-tensorrt"]
_MILLISECOND, _SECOND = 1_000, 1_000_000
"""Number of microseconds, Triton's unit of time."""


@dataclass(frozen=True)
class Serving:
    """Options for serving a repository."""

    device: Device = "cpu"
    """Device that runs the model. ``gpu-tensorrt`` is ONNX Runtime with TensorRT, which builds its
    engines at the first start and stores them."""
    instances: int = 1
    """Number of copies of the model; with GPUs, on each GPU."""
    maximum_batch: int = 64
    """Largest number of texts in one computation."""
    queue_size: int = 1024
    """Largest number of waiting requests; further ones are refused at once."""
    queue_timeout_s: float = 30.0
    """Time after which a waiting request is refused."""
    queue_delay_ms: float = 2.0
    """Time that a batch waits for more requests."""


def length_buckets(maximum_tokens: int) -> list[int]:
    """Return the lengths T that texts are padded to: powers of two from 16, then the limit."""
    lengths = [16]
    while lengths[-1] * 2 < maximum_tokens:
        lengths.append(lengths[-1] * 2)
    return [length for length in lengths if length < maximum_tokens] + [maximum_tokens]


def configs(manifest: Manifest, version: int, serving: Serving) -> dict[str, str]:
    """Return the content of ``config.pbtxt`` by model name, for one version."""
    built = {
        CORE: _core(manifest, serving),
        TOKENIZER: _tokenizer(manifest, serving),
        ENSEMBLE: _ensemble(manifest, serving),
    }
    for config in built.values():
        # One version only: a newer folder must not go live by itself.
        config.version_policy.specific.versions.append(version)
        config.parameters["fingerprint"].string_value = manifest.fingerprint
        config.response_cache.enable = False
    return {name: text_format.MessageToString(config) for name, config in built.items()}


def _core(manifest: Manifest, serving: Serving) -> messages.ModelConfig:
    config = messages.ModelConfig(
        name=CORE,
        backend="onnxruntime",
        max_batch_size=serving.maximum_batch,
        input=[
            messages.ModelInput(name=name, data_type=messages.TYPE_INT64, dims=[-1])
            for name in ("input_ids", "attention_mask")
        ],
        output=[
            messages.ModelOutput(
                name="embedding", data_type=messages.TYPE_FP32, dims=[manifest.dimension]
            )
        ],
        instance_group=[_instances(serving)],
        dynamic_batching=_batching(serving),
        model_warmup=[_warm_up(tokens) for tokens in length_buckets(manifest.maximum_tokens)],
    )
    if serving.device == "gpu-tensorrt":
        config.optimization.execution_accelerators.gpu_execution_accelerator.append(
            _tensorrt(manifest)
        )
    return config


def _tokenizer(manifest: Manifest, serving: Serving) -> messages.ModelConfig:
    config = messages.ModelConfig(
        name=TOKENIZER,
        backend="python",
        max_batch_size=serving.maximum_batch,
        input=_text_inputs(),
        output=[
            messages.ModelOutput(name="input_ids", data_type=messages.TYPE_INT64, dims=[-1]),
            messages.ModelOutput(name="attention_mask", data_type=messages.TYPE_INT64, dims=[-1]),
            *_text_reports(),
        ],
        instance_group=[
            messages.ModelInstanceGroup(count=1, kind=messages.ModelInstanceGroup.KIND_CPU)
        ],
    )
    buckets = ",".join(map(str, length_buckets(manifest.maximum_tokens)))
    config.parameters["length_buckets"].string_value = buckets
    return config


def _ensemble(manifest: Manifest, serving: Serving) -> messages.ModelConfig:
    step = messages.ModelEnsembling.Step
    reports = {output.name: output.name for output in _text_reports()}
    tensors = {name: name for name in ("input_ids", "attention_mask")}
    return messages.ModelConfig(
        name=ENSEMBLE,
        platform="ensemble",
        max_batch_size=serving.maximum_batch,
        input=_text_inputs(),
        output=[
            messages.ModelOutput(
                name="embedding", data_type=messages.TYPE_FP32, dims=[manifest.dimension]
            ),
            *_text_reports(),
        ],
        ensemble_scheduling=messages.ModelEnsembling(
            step=[
                step(
                    model_name=TOKENIZER,
                    model_version=-1,
                    input_map={"text": "text", "role": "role"},
                    output_map={**tensors, **reports},
                ),
                step(
                    model_name=CORE,
                    model_version=-1,
                    input_map=tensors,
                    output_map={"embedding": "embedding"},
                ),
            ]
        ),
    )


def _text_inputs() -> list[messages.ModelInput]:
    return [
        messages.ModelInput(name=name, data_type=messages.TYPE_STRING, dims=[1])
        for name in ("text", "role")
    ]


def _text_reports() -> list[messages.ModelOutput]:
    return [
        messages.ModelOutput(name="tokens", data_type=messages.TYPE_INT32, dims=[1]),
        messages.ModelOutput(name="truncated", data_type=messages.TYPE_BOOL, dims=[1]),
    ]


def _instances(serving: Serving) -> messages.ModelInstanceGroup:
    group = messages.ModelInstanceGroup
    return group(
        count=serving.instances, kind=group.KIND_CPU if serving.device == "cpu" else group.KIND_GPU
    )


def _batching(serving: Serving) -> messages.ModelDynamicBatching:
    sizes = [size for size in (8, 16, 32, 64, 128) if size <= serving.maximum_batch]
    return messages.ModelDynamicBatching(
        preferred_batch_size=sizes,
        max_queue_delay_microseconds=int(serving.queue_delay_ms * _MILLISECOND),
        default_queue_policy=messages.ModelQueuePolicy(
            timeout_action=messages.ModelQueuePolicy.REJECT,
            default_timeout_microseconds=int(serving.queue_timeout_s * _SECOND),
            max_queue_size=serving.queue_size,
        ),
    )


def _warm_up(tokens: int) -> messages.ModelWarmup:
    """Return one request of a length: it allocates memory and chooses kernels before any user."""
    value = messages.ModelWarmup.Input(
        data_type=messages.TYPE_INT64,
        dims=[tokens],
        input_data_file=WARMUP_FILE.format(tokens=tokens),
    )
    return messages.ModelWarmup(
        name=f"{tokens} tokens", batch_size=1, inputs={"input_ids": value, "attention_mask": value}
    )


def _tensorrt(
    manifest: Manifest,
) -> messages.ModelOptimizationPolicy.ExecutionAccelerators.Accelerator:
    accelerator = messages.ModelOptimizationPolicy.ExecutionAccelerators.Accelerator(
        name="tensorrt"
    )
    half = manifest.precision if manifest.precision in ("fp16", "bf16") else "fp32"
    accelerator.parameters.update(
        {
            "precision_mode": half.upper(),
            "max_workspace_size_bytes": str(4 * 2**30),
            "trt_engine_cache_enable": "true",
            "trt_engine_cache_path": f"/var/cache/lusifer/tensorrt/{manifest.fingerprint[7:19]}",
            "trt_timing_cache_enable": "true",
        }
    )
    return accelerator
