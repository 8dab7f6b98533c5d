"""The first layers of an English LLM, reading the connector's output in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lusifer_training.errors import ConfigError
from lusifer_training.model.encoder import additive_mask

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Llm"]


class Llm(nn.Module):
    """Llama, Mistral or Qwen2, cut to its first layers, without token table and LM head.

    Of the token table only the BOS row is kept: LLMs expect it in first place and park attention on
    it (the reference code has it in stage 1 and loses it in stage 2 and at inference).

    Args:
        backbone: The Hugging Face module without LM head; its layers and token table are cut here.
        layers: First layers to keep; None keeps all.
        keep_token_table: Stage 1 needs the table for its teacher; inference never does.
        lm_head: Stage 1 with reconstruction writes with it.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        *,
        layers: int | None,
        keep_token_table: bool,
        lm_head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        available = backbone.config.num_hidden_layers
        if layers is not None and layers > available:
            raise ConfigError(
                f"llm_layers is {layers}, but the LLM has {available}.",
                next_step="Lower llm_layers.",
            )
        self.hidden_size: int = backbone.config.hidden_size
        table = backbone.get_input_embeddings()
        # A model of shapes only has no numbers to measure.
        self.embedding_rms = (
            1.0 if table.weight.is_meta else float(table.weight.detach().pow(2).mean().sqrt())
        )
        bos = backbone.config.bos_token_id
        first = (
            table.weight.detach()[bos].clone() if bos is not None else torch.zeros(self.hidden_size)
        )
        self.register_buffer("bos", first)
        self.token_table = table if keep_token_table else None
        self.lm_head = lm_head
        backbone.embed_tokens = None
        backbone.layers = backbone.layers[:layers]
        backbone.config.num_hidden_layers = len(backbone.layers)
        backbone.config.use_cache = False
        self.backbone = backbone

    def forward(self, inputs: Tensor, attention_mask: Tensor) -> Tensor:
        """Read the connector's output with BOS put first, every position seeing every other.

        Args:
            inputs: ``(B, T, H)``.
            attention_mask: ``(B, T)``.

        Returns:
            The last kept layer's normalised states ``(B, T, H)``, without BOS.
        """
        batch = inputs.shape[0]
        inputs = torch.cat([self.bos.expand(batch, 1, -1).to(inputs.dtype), inputs], dim=1)
        mask = torch.cat([torch.ones_like(attention_mask[:, :1]), attention_mask], dim=1)
        output = self.backbone(
            inputs_embeds=inputs,
            # A mask of four dimensions replaces the causal one.
            attention_mask=additive_mask(mask, inputs.dtype),
            # From the mask: a rotary position must not depend on padding.
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
            use_cache=False,
        )
        return output.last_hidden_state[:, 1:]

    def write(
        self, inputs: Tensor, attention_mask: Tensor, target_ids: Tensor, target_mask: Tensor
    ) -> Tensor:
        """Predict a text, token by token, after the connector's output: BOS, inputs, target, all causal.

        Args:
            inputs: ``(B, S, H)``.
            attention_mask: ``(B, S)``.
            target_ids: Tokens of the LLM's tokenizer, BOS first ``(B, T)``.
            target_mask: ``(B, T)``.

        Returns:
            Logits of the token after each target position ``(B, T, V)``.
        """
        if self.token_table is None or self.lm_head is None:
            raise ConfigError("The LM head was dropped.", next_step="Build with keep_lm_head=True.")
        first = self.bos.expand(inputs.shape[0], 1, -1).to(inputs.dtype)
        inputs = torch.cat([first, inputs, self.token_table(target_ids).to(inputs.dtype)], dim=1)
        mask = torch.cat(
            [torch.ones_like(attention_mask[:, :1]), attention_mask, target_mask], dim=1
        )
        output = self.backbone(
            inputs_embeds=inputs,
            attention_mask=mask,
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
            use_cache=False,
        )
        # Only where something is predicted: a vocabulary is wide.
        return self.lm_head(output.last_hidden_state[:, -target_ids.shape[1] :])

    def read_tokens(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """The LLM's own causal reading of its own tokens: the teacher of stage 1.

        Args:
            input_ids: Tokens of the LLM's tokenizer ``(B, T)``, padded on the right.
            attention_mask: ``(B, T)``.

        Returns:
            Token embeddings ``(B, T, H)`` and the last kept layer's states ``(B, T, H)``.
        """
        if self.token_table is None:
            raise ConfigError(
                "The token table was dropped.", next_step="Build with keep_token_table=True."
            )
        embeddings = self.token_table(input_ids)
        output = self.backbone(
            inputs_embeds=embeddings, attention_mask=attention_mask, use_cache=False
        )
        return embeddings, output.last_hidden_state
