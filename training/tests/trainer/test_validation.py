"""Validation: the accuracy of retrieving translations, while a model trains."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from lusifer_training.backbones.load import load_tokenizer
from lusifer_training.errors import DataError
from lusifer_training.trainer.validation import Validation

if TYPE_CHECKING:
    from pathlib import Path


class ByFirstToken:
    """A model whose vector names the first token of a text, and so its first letter."""

    training = True
    device = torch.device("cpu")
    pad_token_id = 1

    def __init__(self, config: Any) -> None:
        self.config = config
        self.modes: list[bool] = []

    def eval(self) -> None:
        self.training = False

    def train(self, mode: bool) -> None:
        self.training = mode

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        self.modes.append(self.training)
        return torch.nn.functional.one_hot(ids[:, 1], 400).float()


def test_accuracy_by_hand(tiny: Any, tmp_path: Path, write_lines: Any) -> None:
    tokenizer = load_tokenizer(tiny.config().tokenizer)
    folder = tmp_path / "eval" / "tatoeba"
    # Translations that start with the same letter are found; in Finnish, two of them are swapped.
    write_lines(
        folder / "deu.jsonl.gz", [{"text": f"{x}1", "english": f"{x}2"} for x in ("1", "2", "3")]
    )
    swapped = {"1": "1", "2": "3", "3": "2", "4": "4"}
    write_lines(
        folder / "fin.jsonl.gz",
        [{"text": f"{a}1", "english": f"{b}2"} for a, b in swapped.items()],
    )
    config = SimpleNamespace(query_prompt="", maximum_tokens=8)
    model: Any = ByFirstToken(config)
    scores = Validation(model, tokenizer, tmp_path, pairs=10)()
    assert scores == {"probe_deu": 100.0, "probe_fin": 50.0, "probe_mean": 75.0}
    # In eval mode while it is measured, and in training mode again.
    assert set(model.modes) == {False}
    assert model.training


def test_no_data_is_an_error_before_training(tiny: Any, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny.config().tokenizer)
    model: Any = ByFirstToken(SimpleNamespace(query_prompt="", maximum_tokens=8))
    with pytest.raises(DataError, match="no evaluation data"):
        Validation(model, tokenizer, tmp_path, pairs=10)
