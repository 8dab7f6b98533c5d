"""Estimate the cost of a recipe: data, tokens, trained parameters, memory and time.

Nothing is trained. For Hugging Face backbones no weights are read, because shapes are enough.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lusifer_training.backbones.load import load_tokenizer
from lusifer_training.checkpoint import trained_parameters
from lusifer_training.data.batches import PairSampler, TextSampler
from lusifer_training.model.lusifer import build_model
from lusifer_training.token_rows import tokenize

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Tokenizer
    from torch import nn

    from lusifer_training.model.lusifer import Lusifer
    from lusifer_training.recipe import Recipe

__all__ = [
    "StageEstimate",
    "estimate",
    "forward_flops_per_token",
    "matrix_peak_flops",
    "report_lines",
]

EFFICIENCY = 0.5
"""Share of the matrix peak that training reaches; benchmarks/training.py measures it."""
SAMPLE_STEPS = 4
SAMPLE_SIZE = 64
BYTES_PER_FLOAT = 4
ACTIVATIONS_PER_TOKEN_AND_LAYER = 17
"""Number of floats kept for the backward pass, in units of the hidden size.

The figure is for fp32 (Megatron-LM, arXiv 2205.05198, section 4.1).
"""


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """Cost of one stage of a recipe.

    Attributes:
        name: ``align`` or ``finetune``.
        steps: Optimiser steps.
        tokens: Encoder tokens of the whole stage, without padding.
        trainable_parameters: Count of the numbers that the optimiser changes.
        flops: Floating-point operations of the whole stage, forward and backward.
        memory_bytes: Weights, gradients, optimiser and activations.
        duration_s: Duration at half of this machine's matrix peak.
    """

    name: str
    steps: int
    tokens: int
    trainable_parameters: int
    flops: float
    memory_bytes: int
    duration_s: float


def estimate(
    recipe: Recipe, data_folder: Path
) -> tuple[dict[str, dict[str, int]], list[StageEstimate]]:
    """Count a recipe's data and estimate its stages.

    Returns:
        The numbers of read, dropped and kept pairs of each dataset, and the stages.

    Raises:
        TrainingError: The configuration of a backbone or the data can't be read.
    """
    sampler = PairSampler(recipe, data_folder)
    tokenizer = load_tokenizer(recipe.model.tokenizer)
    model = build_model(recipe.model, keep_token_table=recipe.align is not None, weights=False)
    peak = matrix_peak_flops()
    stages = []
    if recipe.align:
        parts = ("connector.", "encoder.") if recipe.align.train_encoder else ("connector.",)
        # The LLM reads twice: the connector's output, and its own tokens.
        flops = _training_flops(model, encoder_trained=recipe.align.train_encoder) + _flops(
            model.llm
        )
        per_step = _align_tokens(recipe, sampler, tokenizer)
        stages.append(
            _stage("align", model, recipe.align.steps, per_step, per_step, parts, flops, peak)
        )
    stage = recipe.finetune
    flops = _training_flops(model, encoder_trained=True)
    if not stage.teacher and (stage.distillation_weight or stage.false_negative_margin):
        flops += _flops(model.encoder)
    flops += forward_flops_per_token(model) * stage.gradient_cache
    per_step = _finetune_tokens(recipe, sampler, tokenizer)
    at_once = min(per_step, stage.group_tokens) if stage.gradient_cache else per_step
    stages.append(_stage("finetune", model, stage.steps, per_step, at_once, ("",), flops, peak))
    return sampler.report, stages


def forward_flops_per_token(model: nn.Module) -> float:
    """Count the FLOPs of a forward pass: two for every weight of a matrix that a token passes.

    Attention scores are not counted.

    Args:
        model: Its parts ``encoder``, ``connector`` and ``llm`` are counted, as far as it has them.
    """
    return sum(_flops(getattr(model, part, None)) for part in ("encoder", "connector", "llm"))


def matrix_peak_flops(size: int = 1024, *, seconds: float = 0.5) -> float:
    """Measure products of two fp32 matrices on the training device; return the best in FLOP/s."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    left, right = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    best, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter()
        # A GPU returns before it is done; reading a number waits for it.
        (left @ right)[0, 0].item()
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def report_lines(data: dict[str, dict[str, int]], stages: list[StageEstimate]) -> list[str]:
    """Format an estimate for the terminal."""
    lines = ["data"]
    for name, counts in data.items():
        dropped = ", ".join(
            f"{count:,} {what}" for what, count in counts.items() if what != "kept" and count
        )
        lines.append(f"  {name}: {counts['kept']:,} kept ({dropped.replace('_', ' ')})")
    for stage in stages:
        lines += [
            stage.name,
            f"  {stage.steps:,} steps, {stage.tokens:,} tokens",
            f"  {stage.trainable_parameters:,} trained parameters",
            f"  {stage.flops / 1e12:,.1f} TFLOP",
            f"  about {stage.memory_bytes / 2**30:.1f} GiB of memory",
            f"  about {_duration(stage.duration_s)} here, at {EFFICIENCY:.0%} of the matrix peak",
        ]
    return lines


def _stage(
    name: str,
    model: Lusifer,
    steps: int,
    tokens_per_step: int,
    tokens_at_once: int,
    parts: tuple[str, ...],
    flops_per_token: float,
    peak: float,
) -> StageEstimate:
    parameters = trained_parameters(model)
    trainable = sum(value.numel() for key, value in parameters.items() if key.startswith(parts))
    weights = sum(value.numel() for value in model.parameters())
    tokens = tokens_per_step * steps
    # Each trained number has a gradient and two moments of Adam.
    floats = (
        weights + 3 * trainable + tokens_at_once * ACTIVATIONS_PER_TOKEN_AND_LAYER * _widths(model)
    )
    return StageEstimate(
        name=name,
        steps=steps,
        tokens=tokens,
        trainable_parameters=trainable,
        flops=flops_per_token * tokens,
        memory_bytes=floats * BYTES_PER_FLOAT,
        duration_s=flops_per_token * tokens / (peak * EFFICIENCY),
    )


def _flops(part: nn.Module | None) -> float:
    # A token table is a lookup, not a product. LoRA is counted with the weights that it adapts.
    if part is None:
        return 0.0
    return 2.0 * sum(
        value.numel()
        for name, value in part.named_parameters()
        if value.dim() == 2 and "embedding" not in name and "token_table" not in name
    )


def _training_flops(model: Lusifer, *, encoder_trained: bool) -> float:
    """Count the FLOPs per token of a forward and a backward pass.

    The backward pass ends at the lowest trained layer. Gradients of frozen weights are not
    computed.
    """
    later = _flops(model.llm) + _flops(getattr(model, "connector", None))
    encoder, backward = _flops(model.encoder), later
    lora = model.config.encoder_lora
    if encoder_trained and lora:
        layers = model.encoder.backbone.config.num_hidden_layers
        backward += encoder * min(lora.last_layers or layers, layers) / layers
    return encoder + later + backward


def _widths(model: Lusifer) -> int:
    """Sum the hidden sizes of all layers that keep activations."""
    shape, lora = model.encoder.backbone.config, model.config.encoder_lora
    kept = min(lora.last_layers or shape.num_hidden_layers, shape.num_hidden_layers) if lora else 0
    total: int = kept * shape.hidden_size
    if model.llm is not None:
        total += model.llm.backbone.config.num_hidden_layers * model.llm.hidden_size
    return total


def _align_tokens(recipe: Recipe, sampler: PairSampler, tokenizer: Tokenizer) -> int:
    stage, texts = recipe.align, TextSampler(sampler)
    if stage is None:
        return 0
    rows = [
        len(row)
        for step in range(SAMPLE_STEPS)
        for row in tokenize(
            tokenizer, texts.batch(step, min(SAMPLE_SIZE, stage.batch_texts)), stage.maximum_tokens
        )
    ]
    return _limited(sum(rows) / len(rows) * stage.batch_texts, stage.batch_tokens)


def _finetune_tokens(recipe: Recipe, sampler: PairSampler, tokenizer: Tokenizer) -> int:
    stage, rng = recipe.finetune, random.Random(recipe.seed)
    names = sampler.names("finetune")
    weights = [recipe.datasets[name].weight for name in names]
    queries, documents = [], []
    pairs = SAMPLE_SIZE * SAMPLE_STEPS
    for name in rng.choices(names, weights, k=pairs):
        pair = rng.choice(sampler.pairs[name])
        queries.append(recipe.model.query_prompt + pair.query)
        negatives = pair.negatives[: stage.maximum_negatives]
        documents += [recipe.model.document_prompt + text for text in (pair.document, *negatives)]
    tokens = sum(map(len, tokenize(tokenizer, queries, stage.maximum_query_tokens)))
    tokens += sum(map(len, tokenize(tokenizer, documents, stage.maximum_document_tokens)))
    return _limited(tokens / pairs * stage.batch_pairs, stage.batch_tokens)


def _limited(tokens: float, budget: int | None) -> int:
    return round(tokens if budget is None else min(tokens, budget))


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return (
        f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{max(1, minutes)} min"
    )
