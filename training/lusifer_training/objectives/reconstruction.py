"""Stage 1 of the paper (arXiv 2501.00874, section 3.2): the frozen LLM writes the encoder's text.

::

    BOS ─ connector(encoder(text, half of its tokens masked)) ─ BOS ─ text's tokens ─▶ next tokens

Masked reconstruction: the target is the text itself. Completion: the encoder reads a query, and the
target is the document that answers it. Two faults of the reference code are repaired:

* The mask is on the encoder's input, as in the paper, not on the target.
* The LLM reads causally, so that no token attends to the token that it predicts.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lusifer_training.errors import ConfigError
from lusifer_training.token_rows import pad, tokenize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

    from lusifer_training.data.pairs import Pair
    from lusifer_training.model.lusifer import Lusifer
    from lusifer_training.recipe import AlignRecipe

__all__ = ["ReconstructionObjective", "masked"]

IGNORED = -100
"""Label of a position without a prediction; cross_entropy defines the number."""


class ReconstructionObjective:
    """Compute the loss of one batch of English pairs.

    Args:
        model: Built with ``keep_lm_head=True``, with all LLM layers.
        tokenizer: Tokenizer of the encoder.
        llm_tokenizer: Tokenizer of the LLM.
        recipe: Shares of masked tokens and of completion, lengths.
        seed: Seed of the masks and of the choice of completed pairs.
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
        self.mask_token_id = _mask_token_id(tokenizer)

    def __call__(self, pairs: Sequence[Pair], step: int) -> dict[str, Tensor]:
        """Return ``loss``, the mean over all predicted tokens, and the count ``tokens``."""
        rng = random.Random(f"{self.seed}/reconstruction/{step}")
        sources, targets, shares = [], [], []
        for pair in pairs:
            completed = bool(pair.query) and rng.random() < self.recipe.completion_share
            sources.append(pair.query if completed else pair.document)
            targets.append(pair.document)
            # A masked query can't be completed.
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
        """Predict the tokens of each target from the encoder's tokens.

        Args:
            rows: Encoder tokens.
            targets: Texts to be written.

        Returns:
            Logits ``(B, T, V)`` and labels ``(B, T)``. The label of a position is the token after
            the one that is read there.
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
        logits = self.model.require_llm().write(
            self.model.connector(states), mask, target_ids, target_mask
        )
        return logits, labels


def _mask_token_id(tokenizer: Tokenizer) -> int:
    for token in ("<mask>", "<unk>"):
        if (token_id := tokenizer.token_to_id(token)) is not None:
            return token_id
    raise ConfigError(
        "The tokenizer has neither <mask> nor <unk>.", next_step="Use objective: reading."
    )


def masked(row: Sequence[int], share: float, mask_token_id: int, rng: random.Random) -> list[int]:
    """Mask a share of a row's tokens; the special tokens at both ends stay."""
    inner = range(1, len(row) - 1)
    chosen = set(rng.sample(inner, round(share * len(inner))))
    return [mask_token_id if index in chosen else token for index, token in enumerate(row)]
