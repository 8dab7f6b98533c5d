"""Contrastive losses by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from lusifer_training.data.batches import PairBatch
from lusifer_training.data.pairs import Pair
from lusifer_training.objectives.contrastive import (
    allowed_documents,
    contrastive_loss,
    order_loss,
)
from lusifer_training.recipe import DatasetRecipe


def batch_of(pairs: list[Pair], **fields: Any) -> PairBatch:
    return PairBatch("set", DatasetRecipe(file="f", schema="query_document", **fields), pairs)


class TestContrastiveLoss:
    QUERIES = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    DOCUMENTS = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])

    def test_by_hand(self) -> None:
        allowed = torch.tensor([[True, True, False], [True, True, True]])
        loss = contrastive_loss(self.QUERIES, self.DOCUMENTS, allowed, temperature=0.5)
        # Scores over temperature: query 0: 2, 1.2; query 1: 0, 1.6, 2; back: document 0: 2, 0; 1:
        # 1.2, 1.6.
        forward = -(
            math.log(math.exp(2) / (math.exp(2) + math.exp(1.2)))
            + math.log(math.exp(1.6) / (1 + math.exp(1.6) + math.exp(2)))
        )
        backward = -(
            math.log(math.exp(2) / (math.exp(2) + 1))
            + math.log(math.exp(1.6) / (math.exp(1.2) + math.exp(1.6)))
        )
        assert loss.item() == pytest.approx((forward + backward) / 4, abs=1e-6)

    def test_a_masked_document_has_no_say(self) -> None:
        allowed = torch.tensor([[True, True, False], [True, True, False]])
        moved = self.DOCUMENTS.clone()
        moved[2] = torch.tensor([-1.0, 0.0])
        losses = [
            contrastive_loss(self.QUERIES, documents, allowed, temperature=0.1)
            for documents in (self.DOCUMENTS, moved)
        ]
        assert torch.equal(*losses)

    def test_without_other_queries_only_the_forward_half_counts(self) -> None:
        allowed = torch.tensor([[True, False, True], [False, True, False]])
        loss = contrastive_loss(self.QUERIES, self.DOCUMENTS, allowed, temperature=1.0)
        forward = -math.log(math.e / (math.e + 1)) / 2
        assert loss.item() == pytest.approx(forward, abs=1e-6)

    def test_a_perfect_batch_costs_nothing(self) -> None:
        eye = torch.eye(4)
        loss = contrastive_loss(eye, eye, torch.ones(4, 4, dtype=torch.bool), temperature=0.02)
        assert loss.item() == pytest.approx(0.0, abs=1e-6)


class TestOrderLoss:
    VECTORS = normalize(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), dim=-1)
    """Against the first one: cosines 1, 0.7071 and 0."""

    def loss(self, scores: list[float], temperature: float = 0.5) -> float:
        queries = self.VECTORS[:1].expand(3, 2)
        return order_loss(
            queries, self.VECTORS, torch.tensor(scores), temperature=temperature
        ).item()

    def test_of_the_formula(self) -> None:
        wrong = (math.sqrt(0.5) - 1) / 0.5, -1 / 0.5, -math.sqrt(0.5) / 0.5
        assert self.loss([5.0, 3.0, 0.0]) == pytest.approx(
            math.log(1 + sum(map(math.exp, wrong))), abs=1e-6
        )

    def test_only_the_order_of_scores_counts(self) -> None:
        assert self.loss([5.0, 3.0, 0.0]) == self.loss([0.9, 0.2, 0.1]) < self.loss([3.0, 5.0, 0.0])
        assert self.loss([0.0, 3.0, 5.0]) > self.loss([3.0, 5.0, 0.0])

    def test_equal_scores_have_no_order(self) -> None:
        assert self.loss([2.0, 2.0, 2.0]) == 0.0
        pair = math.log(1 + math.exp(-1 / 0.5) + math.exp(-math.sqrt(0.5) / 0.5))
        assert self.loss([2.0, 2.0, 1.0]) == pytest.approx(pair, abs=1e-6)


class TestAllowed:
    def test_all_but_documents_of_equal_text(self) -> None:
        pairs = [Pair("a", "same", ("n",)), Pair("b", "same"), Pair("c", "other", ("same", "n"))]
        # Columns: same, same, other, n, same, n.
        assert allowed_documents(batch_of(pairs)).tolist() == [
            [True, False, True, True, False, True],
            [False, True, True, True, False, True],
            [True, True, True, True, True, True],
        ]

    def test_own_negatives_only(self) -> None:
        pairs = [Pair("a", "x", ("n", "m")), Pair("b", "y", ("o",))]
        # Columns: x, y, n, m, o.
        assert allowed_documents(batch_of(pairs, own_negatives_only=True)).tolist() == [
            [True, False, True, True, False],
            [False, True, False, False, True],
        ]

    def test_a_negative_equal_to_the_positive_is_no_negative(self) -> None:
        pairs = [Pair("a", "x", ("x", "n")), Pair("b", "y")]
        for own_only, expected in (
            (True, [True, False, False, True]),
            (False, [True, True, False, True]),
        ):
            assert (
                allowed_documents(batch_of(pairs, own_negatives_only=own_only))[0].tolist()
                == expected
            )
