"""Keep a teacher's similarities while the model is finetuned (relational distillation).

Narrow English data makes a multilingual encoder forget. So the similarities of the raw encoder, or
of another teacher, within a batch are a second target (RKD, arXiv 1904.05068, section 3). The same
similarities show which in-batch documents may be right answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import kl_div, log_softmax, softmax

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["false_negatives", "similarity_distillation"]


def similarity_distillation(vectors: Tensor, target: Tensor, *, temperature: float) -> Tensor:
    """Return the KL divergence of a batch's similarity distributions from the teacher's.

    Args:
        vectors: Unit vectors ``(N, D)``.
        target: Unit vectors of the teacher ``(N, E)``.
        temperature: Temperature of both softmaxes.
    """
    off_diagonal = ~torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    scores = (vectors @ vectors.T)[off_diagonal].view(len(vectors), -1) / temperature
    target_scores = (target @ target.T)[off_diagonal].view(len(vectors), -1) / temperature
    return kl_div(
        log_softmax(scores, dim=-1), softmax(target_scores, dim=-1), reduction="batchmean"
    )


def false_negatives(queries: Tensor, documents: Tensor, margin: float) -> Tensor:
    """Mark the documents that are too near to a query to be a negative, by the teacher's vectors.

    Args:
        queries: Unit vectors of the teacher ``(N, D)``.
        documents: Unit vectors of the teacher ``(M, D)``; document i belongs to query i.
        margin: Documents with a cosine above that of the own document less this are marked.

    Returns:
        ``(N, M)`` bool.
    """
    scores = queries @ documents.T
    suspect = scores > scores.diagonal()[:, None] - margin
    return suspect & ~torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)
