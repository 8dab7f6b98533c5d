"""Contrastive losses: English pairs are pulled together, other documents are pushed away.

The paper's stage 2 (arXiv 2501.00874, section 3) is contrastive too. Its reference code uses
Euclidean NT-Xent with a miner. Here it is InfoNCE over cosines, in both directions, over in-batch
and hard negatives. The pairs of a scored dataset are neither right nor wrong: the order of their
cosines is trained to follow the order of their scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy, normalize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from lusifer_training.data.batches import PairBatch

__all__ = ["allowed_documents", "contrastive_loss", "order_loss", "prefixes"]


def contrastive_loss(
    queries: Tensor, documents: Tensor, allowed: Tensor, *, temperature: float
) -> Tensor:
    """Return cosine InfoNCE, the mean of query to document and back.

    Args:
        queries: Unit vectors ``(N, D)``; query i belongs to document i.
        documents: Unit vectors ``(M, D)``, M >= N; those from N on are hard negatives.
        allowed: Documents that a query is contrasted with, its own included, ``(N, M)`` bool.
        temperature: Temperature of the softmax.
    """
    scores = queries @ documents.T / temperature
    target = torch.arange(len(queries), device=queries.device)
    forward = cross_entropy(scores.masked_fill(~allowed, -torch.inf), target)
    square = allowed[:, : len(queries)]
    # Without another query to contrast with, the direction from document to query has no loss.
    if not (square.sum(dim=0) > 1).any():
        return forward
    backward = cross_entropy(scores[:, : len(queries)].masked_fill(~square, -torch.inf).T, target)
    return (forward + backward) / 2


def order_loss(queries: Tensor, documents: Tensor, scores: Tensor, *, temperature: float) -> Tensor:
    """Return the loss of cosines that are not in the order of the scores.

    This is CoSENT, the cosine objective of AnglE (arXiv 2309.12871).

    Args:
        queries: Unit vectors ``(N, D)``.
        documents: Unit vectors ``(N, D)``; document i belongs to query i.
        scores: Similarity scores ``(N,)``. Only their order counts; equal scores have no order.
        temperature: Temperature of the cosines.
    """
    cosines = (queries * documents).sum(dim=-1) / temperature
    higher, lower = (scores[:, None] > scores[None, :]).nonzero(as_tuple=True)
    # exp(0) is the 1 of log(1 + ...): a batch of equal scores has a loss of zero.
    return torch.logsumexp(
        torch.cat([cosines.new_zeros(1), cosines[lower] - cosines[higher]]), dim=0
    )


def prefixes(vectors: Tensor, dimensions: Sequence[int]) -> list[Tensor]:
    """Return vectors ``(N, D)``, and their first dimensions at unit length.

    This is Matryoshka representation learning (arXiv 2205.13147).

    Args:
        vectors: Unit vectors ``(N, D)``.
        dimensions: Lengths of the prefixes.
    """
    return [vectors, *(normalize(vectors[:, :each], dim=-1) for each in dimensions)]


def allowed_documents(batch: PairBatch, maximum_negatives: int | None = None) -> Tensor:
    """Return which documents each query is contrasted with, ``(N, M)`` bool.

    They are all in-batch documents, or those of the query's own example only. Another document with
    the text of the query's own document is never among them.

    Args:
        batch: N pairs and their hard negatives.
        maximum_negatives: Hard negatives used of each pair; None: all.
    """
    pairs = batch.pairs
    negatives = [pair.negatives[:maximum_negatives] for pair in pairs]
    owners = [*range(len(pairs)), *(i for i, own in enumerate(negatives) for _ in own)]
    texts = [pair.document for pair in pairs] + [text for own in negatives for text in own]
    own = torch.tensor(owners)[None, :] == torch.arange(len(pairs))[:, None]
    positive = torch.eye(len(pairs), len(texts), dtype=torch.bool)
    number = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    ids = torch.tensor([number[text] for text in texts])
    duplicate = ids[None, :] == ids[: len(pairs), None]
    contrasted = own if batch.recipe.own_negatives_only else torch.ones_like(own)
    return (contrasted & ~duplicate) | positive
