"""Tokens, groups of like length, and padding."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lusifer_training.token_rows import (
    pad,
    run_rows,
    split_groups,
    token_budget_groups,
    tokenize,
    within_budget,
)


class TestBatches:
    @settings(deadline=None)
    @given(lengths=st.lists(st.integers(1, 600), max_size=60), budget=st.integers(1, 1500))
    def test_a_budget_holds_and_every_index_comes_once(
        self, lengths: list[int], budget: int
    ) -> None:
        groups = token_budget_groups(lengths, budget)
        assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
        for group in groups:
            assert len(group) == 1 or len(group) * max(lengths[index] for index in group) <= budget

    @settings(deadline=None)
    @given(lengths=st.lists(st.integers(1, 600), min_size=1, max_size=60), data=st.data())
    def test_groups_are_halved_to_a_number_and_keep_every_index(
        self, lengths: list[int], data: Any
    ) -> None:
        groups = token_budget_groups(lengths, 1500)
        number = data.draw(st.integers(len(groups), len(lengths)))
        halved = split_groups(groups, number)
        assert len(halved) == number
        assert all(halved)
        assert [at for group in halved for at in group] == [at for group in groups for at in group]

    @settings(deadline=None)
    @given(lengths=st.lists(st.integers(1, 600), max_size=60), budget=st.integers(1, 3000))
    def test_the_first_examples_fill_a_budget(self, lengths: list[int], budget: int) -> None:
        count = within_budget(lengths, budget)
        assert count >= min(2, len(lengths))
        assert count <= 2 or sum(lengths[:count]) <= budget
        assert count == len(lengths) or sum(lengths[: count + 1]) > budget
        assert within_budget(lengths, None) == len(lengths)

    @settings(deadline=None)
    @given(
        rows=st.lists(st.lists(st.integers(2, 99), min_size=1, max_size=12), min_size=1, max_size=8)
    )
    def test_padding_adds_pads_on_the_right_and_a_mask(self, rows: list[list[int]]) -> None:
        ids, mask = pad(rows, 1)
        assert ids.shape == mask.shape == (len(rows), max(map(len, rows)))
        assert (ids.dtype, mask.dtype) == (torch.int64, torch.int64)
        for row, numbers, bits in zip(rows, ids.tolist(), mask.tolist(), strict=True):
            assert numbers == row + [1] * (len(numbers) - len(row))
            assert bits == [1] * len(row) + [0] * (len(numbers) - len(row))

    def test_a_cut_text_keeps_its_closing_token(self, tiny: Any) -> None:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(tiny.tokenizer_file()))
        text = "the cat sits on the mat and the dog runs"
        whole = tokenizer.encode(text).ids
        short, cut = tokenize(tokenizer, ["the", text], 6)
        assert short == tokenizer.encode("the").ids
        assert cut == [*whole[:5], whole[-1]]
        assert (cut[0], cut[-1]) == (0, 2)


def test_rows_run_in_groups_come_back_in_their_order() -> None:
    sizes: list[tuple[int, ...]] = []

    def forward(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(ids.shape))
        return (ids * mask).sum(dim=1, keepdim=True)

    rows = [[1, 2, 3], [4], [5, 6], [7]]
    assert run_rows(forward, rows, 0, budget_tokens=2).tolist() == [[6], [4], [11], [7]]
    assert sizes == [(2, 1), (1, 2), (1, 3)]
