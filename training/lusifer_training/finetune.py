"""Stage 2, representation finetuning: English pairs pulled together, other documents pushed away.

Cosine InfoNCE in both directions over in-batch and hard negatives, where the reference code used Euclidean
NT-Xent with a miner. Narrow English data makes a multilingual encoder forget, so the raw encoder's own
similarities of the same batch are kept as a second target (relational distillation, arXiv 1904.05068).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from lusifer_training.data.batches import PairBatch, pad, token_budget_batches, tokenize

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokenizers import Tokenizer

    from lusifer_training.model.lusifer import Lusifer
    from lusifer_training.recipe import FinetuneRecipe

__all__ = ["FinetuneObjective", "contrastive_loss", "similarity_distillation"]


class FinetuneObjective:
    """Loss of one batch of pairs.

    Args:
        model: The model in training.
        tokenizer: The encoder's.
        recipe: Temperatures, lengths and weights.
    """

    def __init__(self, model: Lusifer, tokenizer: Tokenizer, recipe: FinetuneRecipe) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.recipe = recipe

    def __call__(self, batch: PairBatch) -> dict[str, Tensor]:
        """Losses of a batch: ``loss`` and its parts ``contrastive`` and ``distillation``, scalars."""
        config, recipe = self.model.config, self.recipe
        n_pairs = len(batch.pairs)
        document_prompt = config.query_prompt if batch.recipe.symmetric else config.document_prompt
        queries = tokenize(
            self.tokenizer,
            [config.query_prompt + pair.query for pair in batch.pairs],
            recipe.maximum_query_tokens,
        )
        documents = tokenize(
            self.tokenizer,
            [document_prompt + pair.document for pair in batch.pairs]
            + [document_prompt + negative for pair in batch.pairs for negative in pair.negatives],
            recipe.maximum_document_tokens,
        )
        rows = queries + documents
        vectors = self._embed(rows, self.model)
        # Which documents each query is contrasted with: (N, documents).
        allowed = _allowed(batch)
        contrastive = contrastive_loss(
            vectors[:n_pairs], vectors[n_pairs:], allowed, temperature=recipe.temperature
        )
        losses = {"loss": contrastive, "contrastive": contrastive.detach()}
        if recipe.distillation_weight:
            with self.model.raw_encoder() as raw:
                target = self._embed(rows, raw)
            distillation = similarity_distillation(
                vectors, target, temperature=recipe.distillation_temperature
            )
            losses["loss"] = contrastive + recipe.distillation_weight * distillation
            losses["distillation"] = distillation.detach()
        return losses

    def _embed(self, rows: Sequence[list[int]], embed: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Vectors ``(N, D)`` of token rows, run in groups of like length: little padding is computed."""
        groups = token_budget_batches([len(row) for row in rows], budget_tokens=2048)
        parts = [embed(*pad([rows[index] for index in group], self.model.pad_token_id)) for group in groups]
        order = torch.tensor([index for group in groups for index in group])
        return torch.cat(parts)[order.argsort()]


def contrastive_loss(queries: Tensor, documents: Tensor, allowed: Tensor, *, temperature: float) -> Tensor:
    """Cosine InfoNCE, query to document and back.

    Args:
        queries: ``(N, D)`` unit vectors; query i belongs to document i.
        documents: ``(M, D)`` unit vectors, M >= N; those from N on are hard negatives.
        allowed: ``(N, M)`` bool, the documents a query is contrasted with, its own included.
        temperature: Of the softmax.
    """
    scores = queries @ documents.T / temperature
    target = torch.arange(len(queries))
    forward = cross_entropy(scores.masked_fill(~allowed, -torch.inf), target)
    square = allowed[:, : len(queries)]
    # A document that has no query but its own to be told from says nothing.
    if not (square.sum(dim=0) > 1).any():
        return forward
    backward = cross_entropy(scores[:, : len(queries)].masked_fill(~square, -torch.inf).T, target)
    return (forward + backward) / 2


def similarity_distillation(vectors: Tensor, target: Tensor, *, temperature: float) -> Tensor:
    """KL divergence of a batch's similarity distributions from the teacher's.

    Args:
        vectors: ``(N, D)`` unit vectors.
        target: ``(N, E)`` unit vectors of the teacher.
        temperature: Of both softmaxes.
    """
    off_diagonal = ~torch.eye(len(vectors), dtype=torch.bool)
    scores = (vectors @ vectors.T)[off_diagonal].view(len(vectors), -1) / temperature
    target_scores = (target @ target.T)[off_diagonal].view(len(vectors), -1) / temperature
    return kl_div(log_softmax(scores, dim=-1), softmax(target_scores, dim=-1), reduction="batchmean")


def _allowed(batch: PairBatch) -> Tensor:
    """``(N, M)``: all in-batch documents, or the example's own only; never another document of equal text."""
    pairs = batch.pairs
    owners = [*range(len(pairs)), *(i for i, pair in enumerate(pairs) for _ in pair.negatives)]
    texts = [pair.document for pair in pairs] + [text for pair in pairs for text in pair.negatives]
    own = torch.tensor(owners)[None, :] == torch.arange(len(pairs))[:, None]
    positive = torch.eye(len(pairs), len(texts), dtype=torch.bool)
    number = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    ids = torch.tensor([number[text] for text in texts])
    duplicate = ids[None, :] == ids[: len(pairs), None]
    contrasted = own if batch.recipe.own_negatives_only else torch.ones_like(own)
    return (contrasted & ~duplicate) | positive
