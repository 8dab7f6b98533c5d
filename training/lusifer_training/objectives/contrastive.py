"""Stage 2, representation finetuning: English pairs pulled together, other documents pushed away.

Cosine InfoNCE in both directions over in-batch and hard negatives, where the reference code used
Euclidean NT-Xent with a miner. Scored pairs have no right and wrong: their cosines are put in the
order of the scores. Narrow English data makes a multilingual encoder forget, so the raw encoder's
own similarities of the same batch, or another teacher's, are kept as a second target (relational
distillation, arXiv 1904.05068).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, normalize, softmax
from torch.utils.checkpoint import checkpoint

from lusifer_training.data.batches import (
    PairBatch,
    of_number,
    pad,
    token_budget_batches,
    tokenize,
    within_budget,
)
from lusifer_training.errors import TooLargeError
from lusifer_training.trainer.distributed import Distributed
from lusifer_training.trainer.loop import out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tokenizers import Tokenizer

    from lusifer_training.model.lusifer import Lusifer
    from lusifer_training.objectives.teacher import Teacher
    from lusifer_training.recipe import FinetuneRecipe

__all__ = [
    "FinetuneObjective",
    "contrastive_loss",
    "false_negatives",
    "or_else",
    "order_loss",
    "prefixes",
    "similarity_distillation",
]


class FinetuneObjective:
    """Loss of one batch of pairs.

    Args:
        model: The model in training.
        tokenizer: The encoder's.
        recipe: Temperatures, lengths and weights.
        engine: Device and other processes.
        teacher: Whose similarities are kept; the raw encoder's without one.
    """

    def __init__(
        self,
        model: Lusifer,
        tokenizer: Tokenizer,
        recipe: FinetuneRecipe,
        engine: Distributed | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.recipe = recipe
        self.engine = engine or Distributed()
        self.teacher = teacher

    def __call__(self, batch: PairBatch) -> dict[str, Tensor]:
        """``loss``; its parts, ``contrastive`` or ``order``, and ``distillation``; and ``tokens``."""
        recipe = self.recipe
        if recipe.batch_tokens is not None:
            lengths = [
                sum(map(len, chain(*self._rows(replace(batch, pairs=[pair])))))
                for pair in batch.pairs
            ]
            batch = replace(batch, pairs=batch.pairs[: within_budget(lengths, recipe.batch_tokens)])
        n_pairs = len(batch.pairs)
        queries, documents = self._rows(batch)
        rows = queries + documents
        vectors = self._embed(rows, self._model_with_gradient_cache)
        target = None
        if recipe.distillation_weight or recipe.false_negative_margin:
            target = self._target(batch, rows)
        name, loss_of = self._comparison(batch, target)
        compared = torch.stack(
            [
                loss_of(each[:n_pairs], each[n_pairs:])
                for each in prefixes(vectors, recipe.matryoshka_dimensions)
            ]
        ).mean()
        tokens = torch.tensor(sum(map(len, rows)))
        losses = {"loss": compared, name: compared.detach(), "tokens": tokens}
        if target is not None and recipe.distillation_weight:
            distillation = similarity_distillation(
                vectors, target, temperature=recipe.distillation_temperature
            )
            losses["loss"] = compared + recipe.distillation_weight * distillation
            losses["distillation"] = distillation.detach()
        return losses

    @contextmanager
    def standardised_head(self, batches: Iterable[PairBatch]) -> Iterator[None]:
        """Within the block the head reads standardised states, afterwards plain ones, with the same result.

        An LLM's pooled states are nearly one vector for all texts. A head that reads them as they
        are learns to add that vector's image to every text: it spreads similarities out, and what
        the LLM says of a text is a fiftieth of it. With the residual path, the mean of what it adds
        to these texts is taken off.

        Args:
            batches: Whose texts' mean and spread are taken, before and after.

        Raises:
            TooLargeError: They don't fit into memory even without gradients.
        """
        model = self.model
        if model.llm is None:
            yield
            return
        head, rows = model.head, [row for batch in batches for row in chain(*self._rows(batch))]
        states = self._read(rows)
        mean, scale = states.mean(dim=0), states.std(dim=0).clamp(min=1e-6) * states.shape[1] ** 0.5
        hook = head.register_forward_pre_hook(lambda _, inputs: ((inputs[0] - mean) / scale,))
        try:
            yield
        finally:
            hook.remove()
        with torch.no_grad():
            head.weight /= scale
            if model.config.residual:
                # Beside the encoder's vector a constant says nothing of any text.
                head.bias.copy_(-head.weight @ self._read(rows).mean(dim=0))
            else:
                head.bias -= head.weight @ mean

    def _read(self, rows: list[list[int]]) -> Tensor:
        """What the head reads of these texts ``(N, L)``, without gradients and dropout."""
        model, training = self.model, self.model.training
        model.eval()
        try:
            with torch.no_grad():
                return self._embed(
                    rows, lambda ids, mask: model.read(model.encoder(ids, mask)[0], mask)
                )
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise TooLargeError(
                f"{self.recipe.group_tokens} tokens at once don't fit into memory: {error}.",
                next_step="Change the recipe: try a lower finetune.group_tokens, which is 2048 by default.",
            ) from error
        finally:
            model.train(training)

    def _comparison(
        self, batch: PairBatch, target: Tensor | None
    ) -> tuple[str, Callable[[Tensor, Tensor], Tensor]]:
        """What queries ``(N, D)`` and documents ``(M, D)`` of a batch are trained on, and its name."""
        recipe, n_pairs = self.recipe, len(batch.pairs)
        scores = [pair.score for pair in batch.pairs if pair.score is not None]
        if scores:
            order = torch.tensor(scores, device=self.model.device)
            return "order", partial(order_loss, scores=order, temperature=recipe.order_temperature)
        # Which documents each query is contrasted with: (N, documents).
        allowed = _allowed(batch, recipe.maximum_negatives).to(self.model.device)
        if target is not None and recipe.false_negative_margin:
            allowed &= ~false_negatives(
                target[:n_pairs], target[n_pairs:], recipe.false_negative_margin
            )
        return "contrastive", partial(
            contrastive_loss, allowed=allowed, temperature=recipe.temperature
        )

    def _rows(self, batch: PairBatch) -> tuple[list[list[int]], list[list[int]]]:
        """Tokens of the queries, and of the documents with all hard negatives behind them."""
        config, recipe = self.model.config, self.recipe
        query_prompt = or_else(batch.recipe.query_prompt, config.query_prompt)
        document_prompt = query_prompt if batch.recipe.symmetric else config.document_prompt
        document_prompt = or_else(batch.recipe.document_prompt, document_prompt)
        queries = [query_prompt + pair.query for pair in batch.pairs]
        documents = [document_prompt + text for text in self._documents(batch)]
        return (
            tokenize(self.tokenizer, queries, recipe.maximum_query_tokens),
            tokenize(self.tokenizer, documents, recipe.maximum_document_tokens),
        )

    def _documents(self, batch: PairBatch) -> list[str]:
        negatives = (pair.negatives[: self.recipe.maximum_negatives] for pair in batch.pairs)
        return [*(pair.document for pair in batch.pairs), *chain.from_iterable(negatives)]

    def _target(self, batch: PairBatch, rows: list[list[int]]) -> Tensor:
        """The teacher's vectors ``(N, E)`` of the batch's texts."""
        if self.teacher is None:
            with self.model.raw_encoder() as raw:
                return self._embed(rows, raw)
        parts = []
        for texts, role in (
            ([pair.query for pair in batch.pairs], "query"),
            (self._documents(batch), "query" if batch.recipe.symmetric else "document"),
        ):
            parts.append(
                self.engine.gather(self.teacher(self.engine.share(texts), role), len(texts))
            )
        return torch.cat(parts)

    def _model_with_gradient_cache(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The model; with the gradient cache it keeps no graph and is run again in the backward pass.

        Running a group again when its vectors' gradients have come is what GradCache does. The
        random state of the first run is restored, so that dropout falls on the same places.
        """
        if not self.recipe.gradient_cache:
            return self.model(input_ids, attention_mask)
        return checkpoint(self.model, input_ids, attention_mask, use_reentrant=False)

    def _embed(
        self, rows: Sequence[list[int]], embed: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Vectors ``(N, D)`` of token rows, run in groups of like length: little padding is computed."""
        own = self.engine.share(rows)
        grouped = [
            token_budget_batches(
                list(map(len, self.engine.share(rows, rank=rank))), self.recipe.group_tokens
            )
            for rank in range(self.engine.world)
        ]
        # With FSDP, processes give each other the weights of each layer, as often as a group is
        # run.
        groups = of_number(grouped[self.engine.rank], max(map(len, grouped)))
        device, padding = self.model.device, self.model.pad_token_id
        with self.engine.autocast():
            parts = [
                embed(*pad([own[at] for at in group], padding, device=device)) for group in groups
            ]
        order = torch.tensor([index for group in groups for index in group])
        vectors = torch.cat(parts)[order.argsort().to(device)].float()
        return self.engine.gather(vectors, len(rows))


def or_else(prompt: str | None, otherwise: str) -> str:
    """A prompt that may be empty, or the other one where none was given."""
    return otherwise if prompt is None else prompt


def prefixes(vectors: Tensor, dimensions: Sequence[int]) -> list[Tensor]:
    """Vectors ``(N, D)`` and their first dimensions at unit length (Matryoshka, arXiv 2205.13147)."""
    return [vectors, *(normalize(vectors[:, :each], dim=-1) for each in dimensions)]


def false_negatives(queries: Tensor, documents: Tensor, margin: float) -> Tensor:
    """``(N, M)``: documents too near to a query to be called wrong, by the teacher.

    Args:
        queries: ``(N, D)`` unit vectors of the teacher.
        documents: ``(M, D)``, document i being query i's own.
        margin: A document is suspect from this much below the own document's cosine.
    """
    scores = queries @ documents.T
    suspect = scores > scores.diagonal()[:, None] - margin
    return suspect & ~torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)


def contrastive_loss(
    queries: Tensor, documents: Tensor, allowed: Tensor, *, temperature: float
) -> Tensor:
    """Cosine InfoNCE, query to document and back.

    Args:
        queries: ``(N, D)`` unit vectors; query i belongs to document i.
        documents: ``(M, D)`` unit vectors, M >= N; those from N on are hard negatives.
        allowed: ``(N, M)`` bool, the documents a query is contrasted with, its own included.
        temperature: Of the softmax.
    """
    scores = queries @ documents.T / temperature
    target = torch.arange(len(queries), device=queries.device)
    forward = cross_entropy(scores.masked_fill(~allowed, -torch.inf), target)
    square = allowed[:, : len(queries)]
    # A document that has no query but its own to be told from says nothing.
    if not (square.sum(dim=0) > 1).any():
        return forward
    backward = cross_entropy(scores[:, : len(queries)].masked_fill(~square, -torch.inf).T, target)
    return (forward + backward) / 2


def order_loss(queries: Tensor, documents: Tensor, scores: Tensor, *, temperature: float) -> Tensor:
    """Cosines in the order of the scores (CoSENT; the cosine objective of arXiv 2309.12871).

    Args:
        queries: ``(N, D)`` unit vectors.
        documents: ``(N, D)`` unit vectors, each of the pair of the same place.
        scores: ``(N,)``; only their order counts, and equal ones have none.
        temperature: Of the cosines.
    """
    cosines = (queries * documents).sum(dim=-1) / temperature
    higher, lower = (scores[:, None] > scores[None, :]).nonzero(as_tuple=True)
    # exp(0) is the 1 of log(1 + ...): a batch of equal scores costs nothing.
    return torch.logsumexp(
        torch.cat([cosines.new_zeros(1), cosines[lower] - cosines[higher]]), dim=0
    )


def similarity_distillation(vectors: Tensor, target: Tensor, *, temperature: float) -> Tensor:
    """KL divergence of a batch's similarity distributions from the teacher's.

    Args:
        vectors: ``(N, D)`` unit vectors.
        target: ``(N, E)`` unit vectors of the teacher.
        temperature: Of both softmaxes.
    """
    off_diagonal = ~torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    scores = (vectors @ vectors.T)[off_diagonal].view(len(vectors), -1) / temperature
    target_scores = (target @ target.T)[off_diagonal].view(len(vectors), -1) / temperature
    return kl_div(
        log_softmax(scores, dim=-1), softmax(target_scores, dim=-1), reduction="batchmean"
    )


def _allowed(batch: PairBatch, maximum_negatives: int | None = None) -> Tensor:
    """``(N, M)``: all in-batch documents, or the example's own only; never another document of equal text."""
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
