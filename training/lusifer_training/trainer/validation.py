"""Scores while training: does a sentence still find its translation, language by language?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lusifer_evaluation.metrics import tatoeba
from lusifer_evaluation.tasks import load_tatoeba
from lusifer_training.data.batches import pad, token_budget_batches, tokenize

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from tokenizers import Tokenizer

    from lusifer_training.model.lusifer import Lusifer

__all__ = ["Validation"]


class Validation:
    """Translation retrieval of a model in training.

    Args:
        model: In training.
        tokenizer: The encoder's.
        data_folder: Holds ``eval/tatoeba``.
        pairs: Of each language: few, so the score is easier than the evaluation's.

    Raises:
        DataError: There is no evaluation data.
    """

    def __init__(
        self, model: Lusifer, tokenizer: Tokenizer, data_folder: Path, *, pairs: int
    ) -> None:
        self.model = model
        prompt = model.config.query_prompt
        self.rows = {
            language: [
                tokenize(
                    tokenizer, [prompt + text for text in side.texts], model.config.maximum_tokens
                )
                for side in sides
            ]
            for language, sides in load_tatoeba(data_folder, pairs).items()
        }

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """``probe_`` and the language: accuracy of both directions in percent; ``probe_mean``."""
        training = self.model.training
        self.model.eval()
        try:
            mean, scores = tatoeba(
                {
                    language: (self._embed(ours), self._embed(english))
                    for language, (ours, english) in self.rows.items()
                }
            )
        finally:
            self.model.train(training)
        scores = {**scores, "mean": mean.value}
        return {f"probe_{language}": round(score, 2) for language, score in scores.items()}

    def _embed(self, rows: list[list[int]]) -> np.ndarray:
        groups = token_budget_batches([len(row) for row in rows], budget_tokens=2048)
        device, padding = self.model.device, self.model.pad_token_id
        parts = [
            self.model(*pad([rows[at] for at in group], padding, device=device)) for group in groups
        ]
        order = torch.tensor([index for group in groups for index in group])
        return torch.cat(parts).cpu()[order.argsort()].numpy()
