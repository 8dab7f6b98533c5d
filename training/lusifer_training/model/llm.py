"""The first layers of an English LLM, which read the connector's output bidirectionally."""

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
    """Run the first layers of a Llama, Mistral or Qwen2, without token table and LM head.

    Only the BOS row of the token table is kept. LLMs expect BOS in first place and use it as an
    attention sink (StreamingLLM, arXiv 2309.17453). The reference code has it in stage 1 and loses
    it in stage 2 and at inference.

    Args:
        backbone: The Hugging Face module without LM head; its layers and token table are cut here.
        layers: Number of first layers to keep; None keeps all.
        keep_token_table: Keep the token table. Stage 1 needs it, inference does not.
        lm_head: The LM head, for stage 1 with reconstruction.

    Raises:
        ConfigError: The LLM has fewer layers.
    """

    bos: Tensor

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
        # A model on the meta device has shapes but no numbers to measure.
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
        """Read the connector's output behind BOS, with bidirectional attention.

        Args:
            inputs: ``(B, T, H)``.
            attention_mask: ``(B, T)``.

        Returns:
            The last kept layer's normalised states ``(B, T, H)``, without BOS.
        """
        inputs = torch.cat([self._bos_of(inputs), inputs], dim=1)
        mask = torch.cat([torch.ones_like(attention_mask[:, :1]), attention_mask], dim=1)
        output = self.backbone(
            inputs_embeds=inputs,
            # A mask of four dimensions replaces the causal one.
            attention_mask=additive_mask(mask, inputs.dtype),
            # Positions come from the mask: a rotary position must not depend on padding.
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
            use_cache=False,
        )
        states: Tensor = output.last_hidden_state[:, 1:]
        return states

    def write(
        self, inputs: Tensor, attention_mask: Tensor, target_ids: Tensor, target_mask: Tensor
    ) -> Tensor:
        """Predict a text token by token after the connector's output.

        The LLM reads BOS, inputs and target with causal attention.

        Args:
            inputs: ``(B, S, H)``.
            attention_mask: ``(B, S)``.
            target_ids: Tokens of the LLM's tokenizer, BOS first ``(B, T)``.
            target_mask: ``(B, T)``.

        Returns:
            Logits of the token after each target position ``(B, T, V)``.

        Raises:
            ConfigError: The model has no token table or no LM head.
        """
        if self.token_table is None or self.lm_head is None:
            raise ConfigError("The LM head was dropped.", next_step="Build with keep_lm_head=True.")
        targets = self.token_table(target_ids).to(inputs.dtype)
        inputs = torch.cat([self._bos_of(inputs), inputs, targets], dim=1)
        mask = torch.cat(
            [torch.ones_like(attention_mask[:, :1]), attention_mask, target_mask], dim=1
        )
        output = self.backbone(
            inputs_embeds=inputs,
            attention_mask=mask,
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
            use_cache=False,
        )
        # Logits are wide, so that they are computed at the target's positions only.
        logits: Tensor = self.lm_head(output.last_hidden_state[:, -target_ids.shape[1] :])
        return logits

    def read_tokens(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Read the LLM's own tokens with causal attention: the target of stage 1.

        Args:
            input_ids: Tokens of the LLM's tokenizer ``(B, T)``, padded on the right.
            attention_mask: ``(B, T)``.

        Returns:
            Token embeddings ``(B, T, H)`` and the last kept layer's states ``(B, T, H)``.

        Raises:
            ConfigError: The model has no token table.
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

    def _bos_of(self, inputs: Tensor) -> Tensor:
        return self.bos.expand(inputs.shape[0], 1, -1).to(inputs.dtype)
