"""Validate a model while it trains: the accuracy of retrieving translations, by language."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lusifer_training.data.translations import bitext_hits, load_translations
from lusifer_training.token_rows import run_rows, tokenize

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Tokenizer

    from lusifer_training.embed_function import Vectors
    from lusifer_training.model.lusifer import Lusifer

__all__ = ["Validation"]

BUDGET_TOKENS = 2048
"""Tokens run at once, padding included."""


class Validation:
    """Measure the translation retrieval of a model in training.

    Args:
        model: The model in training.
        tokenizer: Tokenizer of the encoder.
        data_folder: Holds ``eval/tatoeba``.
        pairs: Pairs of each language. With few pairs the score is higher than the evaluation's.

    Raises:
        DataError: There is no evaluation data.
    """

    def __init__(
        self, model: Lusifer, tokenizer: Tokenizer, data_folder: Path, *, pairs: int
    ) -> None:
        self.model = model
        prompt = model.config.query_prompt

        def rows_of(texts: tuple[str, ...]) -> list[list[int]]:
            return tokenize(tokenizer, [prompt + text for text in texts], config.maximum_tokens)

        config = model.config
        self.rows = {
            language: (rows_of(each.texts), rows_of(each.english))
            for language, each in load_translations(data_folder, pairs).items()
        }

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """Return the accuracy in percent, the mean of both directions.

        The keys are ``probe_`` and the language, and ``probe_mean``, where languages count alike.
        """
        training = self.model.training
        self.model.eval()
        try:
            scores = {
                language: 100 * float(bitext_hits(self._embed(texts), self._embed(english)).mean())
                for language, (texts, english) in self.rows.items()
            }
        finally:
            self.model.train(training)
        scores["mean"] = sum(scores.values()) / len(scores)
        return {f"probe_{language}": round(score, 2) for language, score in scores.items()}

    def _embed(self, rows: list[list[int]]) -> Vectors:
        model = self.model
        vectors: Vectors = (
            run_rows(
                model, rows, model.pad_token_id, budget_tokens=BUDGET_TOKENS, device=model.device
            )
            .cpu()
            .numpy()
        )
        return vectors
