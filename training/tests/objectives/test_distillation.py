"""The teacher's similarities."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from lusifer_training.objectives.distillation import false_negatives, similarity_distillation


class TestDistillation:
    def test_zero_for_equal_geometry(self) -> None:
        vectors = normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
        turned = vectors @ torch.linalg.qr(torch.randn(8, 8)).Q
        wider = torch.cat([turned, torch.zeros(6, 3)], dim=1)
        for target in (vectors, turned, wider):
            assert similarity_distillation(vectors, target, temperature=0.1).abs() < 1e-5

    def test_positive_for_another_geometry(self) -> None:
        generator = torch.Generator().manual_seed(0)
        ours, theirs = (normalize(torch.randn(6, 8, generator=generator), dim=-1) for _ in range(2))
        assert similarity_distillation(ours, theirs, temperature=0.1) > 0.1

    def test_two_texts_have_one_similarity(self) -> None:
        ours, theirs = torch.eye(2), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
        assert similarity_distillation(ours, theirs, temperature=0.1) == 0


def test_false_negatives_by_hand() -> None:
    queries = normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), dim=-1)
    # Cosines of the first query: .8 of its own, .78, 1, .6.
    documents = torch.tensor([[0.8, 0.6], [0.78, 0.6257795], [1.0, 0.0], [0.6, 0.8]])
    assert false_negatives(queries, documents, 0.05)[0].tolist() == [False, True, True, False]
    # The own document of the second one is the second, however near others are.
    assert not false_negatives(queries, documents, 2.0)[1, 1]
