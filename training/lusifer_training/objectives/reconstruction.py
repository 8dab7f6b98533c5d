"""Stage 1 as the paper has it (arXiv 2501.00874, section 3.2): the frozen LLM writes what the encoder read.

::

    BOS ─ connector(encoder(text, half of its tokens masked)) ─ BOS ─ text's own tokens ─▶ the same, one ahead

Masked reconstruction: the target is the text itself. Completion: the encoder reads a query, the
target is the document that answers it. Two repairs of the reference code: the mask is on the
encoder's input, as the paper says, not on the target; and the LLM reads causally, so that no token
sees the one it has to predict.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lusifer_training.data.batches import pad, tokenize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

    from lusifer_training.data.readers import Pair
    from lusifer_training.model.lusifer import Lusifer
    from lusifer_training.recipe import AlignRecipe

__all__ = ["ReconstructionObjective", "masked"]

IGNORED = -100
"""Label of a position that has nothing to predict; the number is cross_entropy's."""


class ReconstructionObjective:
    """Loss of one batch of English pairs.

    Args:
        model: Built with ``keep_lm_head=True``, all LLM layers kept.
        tokenizer: The encoder's.
        llm_tokenizer: The LLM's own.
        recipe: Shares of masked tokens and of completion, lengths.
        seed: Of what is masked and which pairs are completed.
    """

    def __init__(
        self,
        model: Lusifer,
        tokenizer: Tokenizer,
        llm_tokenizer: PreTrainedTokenizerBase,
        recipe: AlignRecipe,
        *,
        seed: int,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.llm_tokenizer: Tokenizer = llm_tokenizer.backend_tokenizer
        self.bos: int = llm_tokenizer.bos_token_id
        self.eos: int = llm_tokenizer.eos_token_id
        self.recipe = recipe
        self.seed = seed
        mask = tokenizer.token_to_id("<mask>")
        self.mask_token_id: int = tokenizer.token_to_id("<unk>") if mask is None else mask

    def __call__(self, pairs: Sequence[Pair], step: int) -> dict[str, Tensor]:
        """Losses of a batch: ``loss``, the mean over all predicted tokens; ``tokens``."""
        rng = random.Random(f"{self.seed}/reconstruction/{step}")
        sources, targets, shares = [], [], []
        for pair in pairs:
            completed = bool(pair.query) and rng.random() < self.recipe.completion_share
            sources.append(pair.query if completed else pair.document)
            targets.append(pair.document)
            # A query that is hidden can't be completed.
            shares.append(0.0 if completed else self.recipe.mask_share)
        rows = [
            masked(row, share, self.mask_token_id, rng)
            for row, share in zip(
                tokenize(self.tokenizer, sources, self.recipe.maximum_tokens), shares, strict=True
            )
        ]
        logits, labels = self.predict(rows, targets)
        loss = cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED)
        return {"loss": loss, "tokens": torch.tensor(sum(map(len, rows)))}

    def predict(self, rows: Sequence[list[int]], targets: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The LLM's predictions of each target's tokens after what the encoder has read.

        Args:
            rows: Encoder tokens.
            targets: Texts to be written.

        Returns:
            Logits ``(B, T, V)`` and labels ``(B, T)``, one label ahead of the token read at its
            place.
        """
        device = self.model.device
        ids, mask = pad(rows, self.model.pad_token_id, device=device)
        with torch.set_grad_enabled(self.recipe.train_encoder and torch.is_grad_enabled()):
            states, _ = self.model.encoder(ids, mask)
        tokens = [
            each.ids[: self.recipe.maximum_tokens]
            for each in self.llm_tokenizer.encode_batch(list(targets), add_special_tokens=False)
        ]
        target_ids, target_mask = pad(
            [[self.bos, *each] for each in tokens], self.bos, device=device
        )
        labels, _ = pad([[*each, self.eos] for each in tokens], IGNORED, device=device)
        logits = self.model.llm.write(self.model.connector(states), mask, target_ids, target_mask)
        return logits, labels


def masked(row: Sequence[int], share: float, mask_token_id: int, rng: random.Random) -> list[int]:
    """A row of tokens with a share of them masked; the special ones at both ends stay."""
    inner = range(1, len(row) - 1)
    chosen = set(rng.sample(inner, round(share * len(inner))))
    return [mask_token_id if index in chosen else token for index, token in enumerate(row)]
