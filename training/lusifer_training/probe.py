"""Scores while training: does a sentence still find its translation, language by language?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lusifer_training.data.batches import pad, token_budget_batches, tokenize
from lusifer_training.evaluation.tasks import load_tatoeba, tatoeba_accuracy

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Tokenizer

    from lusifer_training.model.lusifer import Lusifer

__all__ = ["Probe"]


class Probe:
    """Translation retrieval of a model in training.

    Args:
        model: In training.
        tokenizer: The encoder's.
        data_folder: Holds ``eval/tatoeba``.
        pairs: Of each language, the first of its file: few, so the score is easier than the evaluation's.

    Raises:
        DataError: There is no evaluation data.
    """

    def __init__(self, model: Lusifer, tokenizer: Tokenizer, data_folder: Path, *, pairs: int) -> None:
        self.model = model
        prompt = model.config.query_prompt
        self.rows = {
            language: [
                tokenize(tokenizer, [prompt + text for text in side.texts], model.config.maximum_tokens)
                for side in sides
            ]
            for language, sides in load_tatoeba(data_folder, pairs).items()
        }

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """``probe_`` and the language: accuracy of both directions, 0 to 1; ``probe_mean``."""
        training = self.model.training
        self.model.eval()
        try:
            scores = {
                f"probe_{language}": round(tatoeba_accuracy(*map(self._embed, sides)), 4)
                for language, sides in self.rows.items()
            }
        finally:
            self.model.train(training)
        return {**scores, "probe_mean": round(sum(scores.values()) / len(scores), 4)}

    def _embed(self, rows: list[list[int]]) -> torch.Tensor:
        groups = token_budget_batches([len(row) for row in rows], budget_tokens=2048)
        device, padding = self.model.device, self.model.pad_token_id
        parts = [self.model(*pad([rows[at] for at in group], padding, device=device)) for group in groups]
        order = torch.tensor([index for group in groups for index in group])
        return torch.cat(parts).cpu()[order.argsort()].numpy()
