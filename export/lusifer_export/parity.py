"""The gate: an exported graph must answer what the PyTorch fp32 model answers, in every language."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lusifer_export.errors import ParityError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer

    from lusifer.engines.base import Engine
    from lusifer_training.model.lusifer import Lusifer

__all__ = ["MINIMUM_COSINE", "check_parity", "measure_parity", "parity_texts"]

MINIMUM_COSINE = {"fp32": 0.9999, "int8": 0.98}
"""Mean cosine to PyTorch fp32 below which export fails, by precision."""


def parity_texts() -> dict[str, list[str]]:
    """At least 200 texts by language, from one word to beyond the token limit."""
    path = resources.files("lusifer_export") / "parity_texts.json"
    texts: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    return texts


def measure_parity(model: Lusifer, tokenizer: Tokenizer, engine: Engine) -> dict[str, Any]:
    """Compare an engine with the model it was exported from.

    Args:
        model: In fp32, LoRA merged.
        tokenizer: The encoder's.
        engine: Runs the exported graph.

    Returns:
        The report: mean, 1st percentile and worst cosine over all texts and by language, and how far a vector
        moves between alone and in a batch.
    """
    by_language = parity_texts()
    languages = [language for language, texts in by_language.items() for _ in texts]
    prompts = list(model.config.role_prompts.values())
    # Roles alternate, so that both prompts are seen in every language and length.
    texts = [text for each in by_language.values() for text in each]
    rows = [
        _tokens(tokenizer, prompts[index % len(prompts)] + text, model.config.maximum_tokens)
        for index, text in enumerate(texts)
    ]
    ours, theirs = [], []
    for row in rows:
        ids = np.array([row], dtype=np.int64)
        with torch.inference_mode():
            ours.append(model(torch.from_numpy(ids), torch.ones(ids.shape, dtype=torch.long)).numpy()[0])
        theirs.append(engine.run(ids, np.ones_like(ids))[0])
    cosines = (np.stack(ours) * np.stack(theirs)).sum(axis=1)
    return {
        "texts": len(texts),
        "tokens": {"shortest": min(map(len, rows)), "longest": max(map(len, rows))},
        **_summary(cosines),
        "alone_against_batch": _batch_difference(rows, np.stack(theirs), engine, model.pad_token_id),
        "languages": {
            language: _summary(cosines[[each == language for each in languages]]) for language in by_language
        },
    }


def check_parity(report: dict[str, Any], precision: str) -> None:
    """Fail on a report below the precision's bar.

    Raises:
        ParityError: Naming the mean, the bar and the worst language. NaN fails too.
    """
    bar = MINIMUM_COSINE[precision]
    if report["mean"] >= bar:
        return
    worst = min(report["languages"], key=lambda language: report["languages"][language]["mean"])
    raise ParityError(
        f"Mean cosine to PyTorch is {report['mean']:.6f}, below {bar} for {precision}; the worst language is "
        f"{worst} with {report['languages'][worst]['mean']:.6f}.",
        next_step="Export with --precision fp32, or report this with the parity report.",
    )


def _tokens(tokenizer: Tokenizer, text: str, maximum: int) -> list[int]:
    ids = tokenizer.encode(text).ids
    return ids if len(ids) <= maximum else [*ids[: maximum - 1], ids[-1]]


def _summary(cosines: np.ndarray) -> dict[str, float]:
    return {
        "mean": round(float(cosines.mean()), 7),
        "percentile_1": round(float(np.percentile(cosines, 1)), 7),
        "worst": round(float(cosines.min()), 7),
    }


def _batch_difference(
    rows: Sequence[Sequence[int]], alone: np.ndarray, engine: Engine, pad_token_id: int
) -> float:
    """Largest difference of any number of a vector when its text is embedded among 15 neighbours."""
    largest = 0.0
    for start in range(0, len(rows) - 15, 64):
        batch = rows[start : start + 16]
        width = max(map(len, batch))
        ids = np.full((len(batch), width), pad_token_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        for index, row in enumerate(batch):
            ids[index, : len(row)], mask[index, : len(row)] = row, 1
        difference = np.abs(engine.run(ids, mask) - alone[start : start + 16]).max()
        largest = max(largest, float(difference))
    return largest
