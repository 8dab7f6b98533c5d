"""Stage 2, representation finetuning on English pairs: contrastive loss and distillation.

It is the second stage of the paper (arXiv 2501.00874, section 3).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lusifer_training.errors import TooLargeError
from lusifer_training.memory import is_out_of_memory
from lusifer_training.objectives.contrastive import (
    allowed_documents,
    contrastive_loss,
    order_loss,
    prefixes,
)
from lusifer_training.objectives.distillation import false_negatives, similarity_distillation
from lusifer_training.token_rows import (
    run_rows,
    split_groups,
    token_budget_groups,
    tokenize,
    within_budget,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tokenizers import Tokenizer

    from lusifer_training.data.batches import PairBatch
    from lusifer_training.embed_function import Role
    from lusifer_training.model.lusifer import Lusifer
    from lusifer_training.objectives.teacher import Teacher
    from lusifer_training.recipe import FinetuneRecipe
    from lusifer_training.trainer.distributed import Distributed

__all__ = ["FinetuneObjective", "or_else"]

TokenRows: TypeAlias = list[list[int]]


class FinetuneObjective:
    """Compute the loss of one batch of pairs.

    Args:
        model: The model in training.
        tokenizer: Tokenizer of the encoder.
        recipe: Temperatures, lengths and weights.
        distributed: Device and other processes.
        teacher: Model whose similarities are kept; None: the raw encoder.
    """

    def __init__(
        self,
        model: Lusifer,
        tokenizer: Tokenizer,
        recipe: FinetuneRecipe,
        distributed: Distributed,
        teacher: Teacher | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.recipe = recipe
        self.distributed = distributed
        self.teacher = teacher

    def __call__(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the losses of a batch and its number of tokens.

        Returns:
            ``loss``, its parts ``contrastive`` or ``order``, and ``distillation``; and ``tokens``.
        """
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
        """Let the head read standardised states within the block, and plain states afterwards.

        The head's output is the same in both forms. The pooled states of an LLM are nearly one
        vector for all texts. A head that reads them unchanged learns to add the image of that
        vector to every text. It spreads similarities out, and the part that depends on the text is
        a fiftieth. With the residual path, the mean of the head's output over these texts is
        subtracted.

        Args:
            batches: Their texts give mean and spread, before and after the block.

        Raises:
            TooLargeError: They don't fit into memory even without gradients.
        """
        model = self.model
        if model.llm is None:
            yield
            return
        head, rows = model.head, [row for batch in batches for row in chain(*self._rows(batch))]
        states = self._head_inputs(rows)
        mean, scale = states.mean(dim=0), states.std(dim=0).clamp(min=1e-6) * states.shape[1] ** 0.5
        hook = head.register_forward_pre_hook(lambda _, inputs: ((inputs[0] - mean) / scale,))
        try:
            yield
        finally:
            hook.remove()
        with torch.no_grad():
            head.weight.div_(scale)
            if model.config.residual:
                # Added to the encoder's vector, a constant carries no information about a text.
                head.bias.copy_(-head.weight @ self._head_inputs(rows).mean(dim=0))
            else:
                head.bias.sub_(head.weight @ mean)

    def _head_inputs(self, rows: TokenRows) -> Tensor:
        """Compute the head's inputs of these texts ``(N, L)``, without gradients and dropout."""
        model, training = self.model, self.model.training
        model.eval()
        try:
            with torch.no_grad():
                return self._embed(
                    rows, lambda ids, mask: model.read(model.encoder(ids, mask)[0], mask)
                )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise TooLargeError(
                f"{self.recipe.group_tokens} tokens at once don't fit into memory: {error}.",
                next_step="Change the recipe: try a lower finetune.group_tokens, "
                "which is 2048 by default.",
            ) from error
        finally:
            model.train(training)

    def _comparison(
        self, batch: PairBatch, target: Tensor | None
    ) -> tuple[str, Callable[[Tensor, Tensor], Tensor]]:
        """Return the name of a batch's loss and its function of queries and documents.

        Queries are ``(N, D)`` and documents ``(M, D)``.
        """
        recipe, n_pairs = self.recipe, len(batch.pairs)
        scores = [pair.score for pair in batch.pairs if pair.score is not None]
        if scores:
            order = torch.tensor(scores, device=self.model.device)
            return "order", partial(order_loss, scores=order, temperature=recipe.order_temperature)
        allowed = allowed_documents(batch, recipe.maximum_negatives).to(self.model.device)
        if target is not None and recipe.false_negative_margin:
            allowed &= ~false_negatives(
                target[:n_pairs], target[n_pairs:], recipe.false_negative_margin
            )
        return "contrastive", partial(
            contrastive_loss, allowed=allowed, temperature=recipe.temperature
        )

    def _rows(self, batch: PairBatch) -> tuple[TokenRows, TokenRows]:
        """Tokenize the queries, and the documents followed by all hard negatives."""
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

    def _target(self, batch: PairBatch, rows: TokenRows) -> Tensor:
        """Compute the teacher's vectors ``(N, E)`` of the batch's texts."""
        if self.teacher is None:
            with self.model.raw_encoder() as raw:
                return self._embed(rows, raw)
        document_role: Role = "query" if batch.recipe.symmetric else "document"
        parts = [
            self._teach([pair.query for pair in batch.pairs], "query", self.teacher),
            self._teach(self._documents(batch), document_role, self.teacher),
        ]
        return torch.cat(parts)

    def _teach(self, texts: list[str], role: Role, teacher: Teacher) -> Tensor:
        own = teacher(self.distributed.share(texts), role)
        return self.distributed.gather(own, len(texts))

    def _model_with_gradient_cache(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Run the model; the gradient cache keeps no graph.

        GradCache (arXiv 2101.06983, section 3) runs a group again when the gradients of its
        vectors are known. The random state of the first run is restored, so that dropout has the
        same mask.
        """
        if not self.recipe.gradient_cache:
            vectors: Tensor = self.model(input_ids, attention_mask)
        else:
            vectors = checkpoint(self.model, input_ids, attention_mask, use_reentrant=False)
        return vectors

    def _embed(
        self, rows: Sequence[list[int]], embed: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Return the vectors of all processes ``(N, D)``, run in groups of like length."""
        distributed = self.distributed
        grouped = [
            token_budget_groups(
                list(map(len, distributed.share(rows, rank=rank))), self.recipe.group_tokens
            )
            for rank in range(distributed.world)
        ]
        # With FSDP the processes exchange the weights of each layer once for each group, so that
        # all need the same number of groups.
        groups = split_groups(grouped[distributed.rank], max(map(len, grouped)))
        with distributed.autocast():
            vectors = run_rows(
                embed,
                distributed.share(rows),
                self.model.pad_token_id,
                groups=groups,
                device=self.model.device,
            )
        return distributed.gather(vectors.float(), len(rows))


def or_else(prompt: str | None, otherwise: str) -> str:
    """Return a prompt that was given, even an empty one, or else the other prompt."""
    return otherwise if prompt is None else prompt
