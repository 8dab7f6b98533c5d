"""Embedders of what can be evaluated: a checkpoint, the raw encoder, the raw LLM."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import normalize

from lusifer_training.backbones.load import load_llm, load_llm_tokenizer, load_tokenizer
from lusifer_training.backbones.source import folder_identities, source_identity
from lusifer_training.checkpoint import geometry_of, load_checkpoint, read_adapter
from lusifer_training.config import read_config
from lusifer_training.errors import ConfigError
from lusifer_training.geometry import GeometryEmbedder
from lusifer_training.model.llm import Llm
from lusifer_training.model.lusifer import build_model
from lusifer_training.model.pooling import mean_pool
from lusifer_training.token_rows import run_rows, tokenize

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from lusifer_training.config import ModelConfig
    from lusifer_training.embed_function import EmbedFunction, Role, Vectors

__all__ = ["checkpoint_embedder", "raw_encoder_embedder", "raw_llm_embedder"]


class _TorchEmbedder:
    """Embed with a model that is loaded at the first call: a cached evaluation never loads it."""

    def __init__(self, identity: str, load: Callable[[], _Loaded]) -> None:
        self.identity = identity
        self._load = load
        self._loaded: _Loaded | None = None

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str], role: Role) -> Vectors:
        if self._loaded is None:
            self._loaded = self._load()
        loaded = self._loaded
        rows = loaded.rows_of(texts, role)
        vectors: Vectors = run_rows(loaded.forward, rows, loaded.pad_token_id).numpy()
        return vectors


@dataclass(frozen=True)
class _Loaded:
    rows_of: Callable[[Sequence[str], Role], list[list[int]]]
    forward: Callable[[Tensor, Tensor], Tensor]
    pad_token_id: int


def checkpoint_embedder(folder: Path, *, projected: bool = True) -> EmbedFunction:
    """Return the embedder of a trained checkpoint, in fp32.

    Args:
        folder: The checkpoint.
        projected: Whether to apply the checkpoint's geometry, if it has one.

    Raises:
        CheckpointError: The checkpoint can't be read.
    """
    config = read_config(folder)
    tensors = read_adapter(folder)
    geometry = geometry_of(config, tensors)
    # The vectors before the geometry don't depend on it, so that their identity doesn't either.
    plain = config.model_copy(update={"language_rank": 0, "centre_share": 0.0})
    # Models of the time before these fields keep their identity, and their cached vectors.
    left_out = {"name", "centre_share"}
    if config.encoder_pooling == "mean":
        left_out.add("encoder_pooling")
    adapter = hashlib.sha256(plain.model_dump_json(exclude=left_out).encode())
    # The configuration has the hashes of packages, but only the paths of folders.
    for key, identity in folder_identities(config).items():
        adapter.update(f"{key}={identity}".encode())
    for name in sorted(tensors.keys() - {"centre", "language_basis"}):
        adapter.update(name.encode() + tensors[name].contiguous().numpy().tobytes())

    def load() -> _Loaded:
        model = load_checkpoint(folder)
        model.merge_lora()
        model.config = plain
        return _Loaded(_encoder_rows(config), model, model.pad_token_id)

    base = _TorchEmbedder(f"checkpoint:{adapter.hexdigest()}", load)
    return GeometryEmbedder(base, geometry) if projected and geometry else base


def raw_encoder_embedder(folder: Path) -> EmbedFunction:
    """Return the embedder of a checkpoint's untrained encoder: role prompts, its own pooling."""
    config = read_config(folder).model_copy(
        update={"llm": None, "encoder_lora": None, "language_rank": 0, "centre_share": 0.0}
    )
    config = config.model_copy(update={"residual": True})
    # Two checkpoints of one encoder may have different prompts and token limits.
    reading = (
        source_identity(config.tokenizer),
        config.query_prompt,
        config.document_prompt,
        config.maximum_tokens,
        *((config.encoder_pooling,) if config.encoder_pooling != "mean" else ()),
    )

    def load() -> _Loaded:
        model = build_model(config).eval()
        return _Loaded(_encoder_rows(config), model, model.pad_token_id)

    return _TorchEmbedder(f"raw:{source_identity(config.encoder)}:{reading}", load)


def raw_llm_embedder(folder: Path, *, maximum_tokens: int = 256) -> EmbedFunction:
    """Return the embedder of the untrained LLM layers that a checkpoint keeps.

    They read the LLM's own tokens with causal attention. The vector is the mean of the last states.

    Args:
        folder: The checkpoint.
        maximum_tokens: Texts are cut to this length. An English vocabulary spells other scripts in
            bytes, so that paragraphs get long and slow.

    Raises:
        ConfigError: The checkpoint has no LLM.
    """
    config = read_config(folder)
    source = config.llm
    if source is None:
        raise ConfigError(f"{folder} has no LLM.", next_step="Name a checkpoint with an LLM.")

    def load() -> _Loaded:
        tokenizer = load_llm_tokenizer(source)
        llm = Llm(load_llm(source), layers=config.llm_layers, keep_token_table=True)
        bos: int = tokenizer.bos_token_id

        def rows_of(texts: Sequence[str], role: Role) -> list[list[int]]:
            encoded = tokenizer.backend_tokenizer.encode_batch(
                list(texts), add_special_tokens=False
            )
            return [[bos, *each.ids[: maximum_tokens - 1]] for each in encoded]

        def forward(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            _, states = llm.read_tokens(input_ids, attention_mask)
            return normalize(mean_pool(states, attention_mask), dim=-1)

        return _Loaded(rows_of, forward, bos)

    identity = f"raw:{source_identity(source)}:{config.llm_layers}:{maximum_tokens}"
    return _TorchEmbedder(identity, load)


def _encoder_rows(config: ModelConfig) -> Callable[[Sequence[str], Role], list[list[int]]]:
    tokenizer = load_tokenizer(config.tokenizer)

    def rows_of(texts: Sequence[str], role: Role) -> list[list[int]]:
        prompt = config.role_prompts[role]
        return tokenize(tokenizer, [prompt + text for text in texts], config.maximum_tokens)

    return rows_of
