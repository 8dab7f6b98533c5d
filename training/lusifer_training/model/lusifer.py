"""LUSIFER: a multilingual encoder read by an English LLM through a connector (arXiv 2501.00874).

::

    tokens ─▶ Encoder ─▶ Connector ─▶ Llm ─▶ pooling ─▶ head ─▶ (+) ─▶ geometry ─▶ unit vector
                 └────────── its own pooling, unit length ───────┘  residual

The architecture is that of section 3.1. The residual path and the geometry, which subtracts a share
of the centre and projects the language subspace out, are additions.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager, nullcontext
from functools import reduce
from typing import TYPE_CHECKING, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from torch.nn.functional import normalize

from lusifer_training.backbones.load import load_encoder, load_llm
from lusifer_training.backbones.sentence_folder import check_encoder
from lusifer_training.errors import ConfigError
from lusifer_training.model.connector import Connector
from lusifer_training.model.encoder import Encoder
from lusifer_training.model.llm import Llm
from lusifer_training.model.pooling import last_token_pool, mean_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transformers import PreTrainedModel

    from lusifer_training.config import LoraShape, ModelConfig

__all__ = ["Lusifer", "build_model", "with_lora"]


class Lusifer(nn.Module):
    """Turn token ids into unit vectors.

    Args:
        config: Shapes and switches.
        encoder: Hugging Face encoder, without pooler.
        llm: Hugging Face LLM, without LM head; None for the encoder alone.
        keep_token_table: Keep the LLM's token table for stage 1.
        lm_head: LM head of the LLM, for stage 1 with reconstruction.

    Attributes:
        centre: Mean unit vector of English text ``(D,)``; ``(0,)`` without a share of it.
        language_basis: Directions of the language subspace ``(D, r)``, projected out of the vector.
        connector: Only with an LLM.
        head: Only with an LLM.
    """

    connector: Connector
    head: nn.Linear
    centre: Tensor
    language_basis: Tensor

    def __init__(
        self,
        config: ModelConfig,
        encoder: PreTrainedModel,
        llm: PreTrainedModel | None,
        *,
        keep_token_table: bool = False,
        lm_head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.pad_token_id: int = encoder.config.pad_token_id
        self.encoder = Encoder(
            encoder, layer_mix=config.encoder_layer_mix, pooling=config.encoder_pooling
        )
        if config.residual and config.output_dimension != self.encoder.hidden_size:
            raise ConfigError(
                f"The residual path adds the encoder's {self.encoder.hidden_size} dimensions to an "
                f"output of {config.output_dimension}.",
                next_step="Set output_dimension to the encoder's hidden size, "
                "or residual to false.",
            )
        # Backbones are frozen; their LoRA layers train.
        self.encoder.backbone.requires_grad_(False)
        self.encoder.backbone = with_lora(self.encoder.backbone, config.encoder_lora)
        self.llm: Llm | None = None
        if llm is not None:
            self.llm = Llm(
                llm, layers=config.llm_layers, keep_token_table=keep_token_table, lm_head=lm_head
            )
            self.llm.requires_grad_(False)
            self.llm.backbone = with_lora(self.llm.backbone, config.llm_lora)
            self.connector = Connector(
                self.encoder.hidden_size,
                config.connector_hidden,
                self.llm.hidden_size,
                embedding_rms=self.llm.embedding_rms,
            )
            self.head = nn.Linear(self.llm.hidden_size, config.output_dimension)
            if config.residual:
                # With a zero head, training starts exactly at the encoder's own vectors.
                nn.init.zeros_(self.head.weight)
                nn.init.zeros_(self.head.bias)
        self.register_buffer(
            "centre", torch.zeros(config.output_dimension if config.centre_share else 0)
        )
        self.register_buffer(
            "language_basis", torch.zeros(config.output_dimension, config.language_rank)
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Embed tokens.

        Args:
            input_ids: ``(B, T)`` int64, role prompt and special tokens included.
            attention_mask: ``(B, T)``, 1 for tokens and 0 for padding.

        Returns:
            Unit vectors ``(B, D)``.
        """
        states, last = self.encoder(input_ids, attention_mask)
        parts = []
        if self.llm is not None:
            parts.append(self.head(self.read(states, attention_mask)))
        if self.config.residual:
            parts.append(self.encoder.unit_vector(last, attention_mask))
        vector = reduce(torch.add, parts)
        if self.config.centre_share:
            # The centre is a mean of unit vectors.
            vector = normalize(vector, dim=-1) - self.config.centre_share * self.centre
        if self.config.language_rank:
            vector = vector - (vector @ self.language_basis) @ self.language_basis.T
        return normalize(vector, dim=-1)

    def read(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the head's input ``(B, L)``, the LLM's pooled states, of encoder states.

        Args:
            states: ``(B, T, H)``.
            attention_mask: ``(B, T)``.

        Raises:
            ConfigError: The model has no LLM.
        """
        pool = mean_pool if self.config.pooling == "mean" else last_token_pool
        return pool(self.require_llm()(self.connector(states), attention_mask), attention_mask)

    def require_llm(self) -> Llm:
        """Return the LLM.

        Raises:
            ConfigError: The model is an encoder alone.
        """
        if self.llm is None:
            raise ConfigError("The model has no LLM.", next_step="Name a model with an LLM.")
        return self.llm

    def transformer_layers(self) -> list[nn.Module]:
        """Return the transformer layers of both backbones, in the order they run."""
        parts = (self.encoder, self.llm)
        return [layer for part in parts if part is not None for layer in _layers(part.backbone)]

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.language_basis.device

    @contextmanager
    def raw_encoder(self) -> Iterator[Callable[[Tensor, Tensor], Tensor]]:
        """Give the original encoder within the block, without its LoRA and without gradients.

        The function maps ``input_ids (B, T)`` and ``attention_mask (B, T)`` to unit vectors
        ``(B, H)``.
        """

        def embed(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            _, last = self.encoder(input_ids, attention_mask)
            return self.encoder.unit_vector(last, attention_mask)

        backbone = self.encoder.backbone
        disabled = backbone.disable_adapter() if isinstance(backbone, PeftModel) else nullcontext()
        # No dropout: a target must not change between two runs.
        training = backbone.training
        backbone.eval()
        try:
            with torch.no_grad(), disabled:
                yield embed
        finally:
            backbone.train(training)

    def merge_lora(self) -> None:
        """Fold the LoRA layers into the weights that they adapt; this ends training."""
        for part in (self.encoder, self.llm):
            if part is not None and isinstance(part.backbone, PeftModel):
                part.backbone = part.backbone.merge_and_unload()


def build_model(
    config: ModelConfig,
    *,
    keep_token_table: bool = False,
    keep_lm_head: bool = False,
    weights: bool = True,
    llm_dtype: torch.dtype | Literal["auto"] = torch.float32,
) -> Lusifer:
    """Build an untrained model from the backbones that a configuration names.

    Args:
        config: Backbones, shapes and switches.
        keep_token_table: Keep the LLM's token table for stage 1.
        keep_lm_head: Keep the LLM's head too, for stage 1 with reconstruction.
        weights: False builds shapes only, for estimates.
        llm_dtype: Type of the LLM's weights; ``auto`` leaves them as they are stored.

    Raises:
        BackboneError: A source is missing, has another hash or an unsupported kind.
        ConfigError: The configuration doesn't fit the backbones.
    """
    check_encoder(config)
    encoder = load_encoder(config.encoder, weights=weights)
    llm = None
    if config.llm:
        llm = load_llm(config.llm, head=keep_lm_head, weights=weights, dtype=llm_dtype)
    lm_head = None
    if keep_lm_head and llm is not None:
        llm, lm_head = llm.get_decoder(), llm.get_output_embeddings()
    shapes_only = all(part.device.type == "meta" for part in (encoder, llm) if part is not None)
    with torch.device("meta") if shapes_only else nullcontext():
        return Lusifer(
            config, encoder, llm, keep_token_table=keep_token_table or keep_lm_head, lm_head=lm_head
        )


def with_lora(backbone: PreTrainedModel, shape: LoraShape | None) -> PreTrainedModel | PeftModel:
    """Add LoRA to the linear layers of a backbone's last transformer layers.

    Args:
        backbone: The Hugging Face module.
        shape: Rank, and number of layers; None adds nothing.
    """
    if shape is None:
        return backbone
    total = backbone.config.num_hidden_layers
    first = max(0, total - (shape.last_layers or total))
    # Full names, because peft can't restrict "all-linear" to some layers.
    layers = _layers(backbone)
    prefix = next(name for name, child in backbone.named_modules() if child is layers)
    targets = [
        f"{prefix}.{index}.{name}"
        for index in range(first, total)
        for name, child in layers[index].named_modules()
        if isinstance(child, nn.Linear)
    ]
    adapter = LoraConfig(
        r=shape.rank, lora_alpha=shape.alpha, lora_dropout=shape.dropout, target_modules=targets
    )
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5.23 by the old name.
        warnings.filterwarnings(
            "ignore", message=".*is_gradient_checkpointing", category=FutureWarning
        )
        return get_peft_model(backbone, adapter)


def _layers(backbone: nn.Module) -> nn.ModuleList:
    return next(child for child in backbone.modules() if isinstance(child, nn.ModuleList))
