"""Drop training pairs that are empty, duplicate or in an evaluation set, and count them.

A text is contaminated if it equals an evaluation text, or shares a run of thirteen words with one.
This is GPT-3's rule (arXiv 2005.14165, appendix C). Case, punctuation and spacing are ignored.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from typing import TYPE_CHECKING

from lusifer_training.data.pairs import Pair, load_pairs
from lusifer_training.data.readers import read_json_lines
from lusifer_training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from lusifer_training.recipe import DatasetRecipe

__all__ = ["EvaluationTexts", "load_clean_pairs", "normal_form"]

_log = logging.getLogger(__name__)

RUN_WORDS = 13
SHORTEST_WORDS = 4
"""An evaluation text with fewer words, such as "Thank you.", is common language."""


def normal_form(text: str) -> str:
    """Return a text without case, punctuation and spacing."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


class EvaluationTexts:
    """Hold every text of the evaluation sets below a folder.

    Args:
        folder: Searched for ``.jsonl`` and ``.jsonl.gz``. It may be missing: then no text is
            contaminated.
    """

    def __init__(self, folder: Path) -> None:
        self.texts: set[str] = set()
        self._runs: set[int] = set()
        for path in sorted(folder.glob("**/*.jsonl*")):
            for record in read_json_lines(path, ()):
                for text in map(normal_form, _strings(record)):
                    if text.count(" ") + 1 >= SHORTEST_WORDS:
                        self.texts.add(text)
                        self._runs.update(_runs(text))

    def __contains__(self, text: str) -> bool:
        text = normal_form(text)
        return text in self.texts or not self._runs.isdisjoint(_runs(text))


def load_clean_pairs(
    datasets: Mapping[str, DatasetRecipe], data_folder: Path, *, seed: int
) -> tuple[dict[str, list[Pair]], dict[str, dict[str, int]]]:
    """Load the pairs of all datasets, and count what was dropped.

    Returns:
        Shuffled pairs by dataset; and by dataset the numbers ``read``, ``empty``, ``duplicate``,
        ``contaminated``, ``over_maximum`` and ``kept``. The held-out tenth is not counted.

    Raises:
        DataError: A line is broken, or a dataset has no pair left.
    """
    evaluation = EvaluationTexts(data_folder / "eval")
    if not evaluation.texts:
        _log.warning(
            "no evaluation data in %s: pairs are not checked for contamination",
            data_folder / "eval",
        )
    pairs, report = {}, {}
    seen: set[tuple[str, str, str]] = set()
    for name, dataset in datasets.items():
        path = data_folder / dataset.file if dataset.file else None
        kept: list[Pair] = []
        counts = dict.fromkeys(("read", "empty", "duplicate", "contaminated", "over_maximum"), 0)
        for pair in load_pairs(dataset, path, seed=seed):
            counts["read"] += 1
            # Another schema may make another pair of the same text; that pair is kept.
            key = (dataset.schema_, normal_form(pair.query), normal_form(pair.document))
            if not key[2] or not (key[1] or dataset.schema_ == "text"):
                counts["empty"] += 1
            elif key in seen:
                counts["duplicate"] += 1
            elif len(kept) >= dataset.maximum_examples:
                counts["over_maximum"] += 1
            elif pair.query in evaluation or pair.document in evaluation:
                counts["contaminated"] += 1
            else:
                kept.append(pair)
            seen.add(key)
        if not kept:
            raise DataError(
                f"{dataset.location} has no pairs left: of {counts['read']}, {counts['empty']} "
                f"were empty, {counts['duplicate']} duplicate and {counts['contaminated']} in an "
                "evaluation set.",
                next_step="Check the file and its schema in the recipe, or leave the dataset out.",
            )
        pairs[name], report[name] = kept, {**counts, "kept": len(kept)}
        _log.info(
            "%s: %s", name, ", ".join(f"{count} {what}" for what, count in report[name].items())
        )
    return pairs, report


def _runs(text: str) -> Iterator[int]:
    words = text.split()
    for start in range(len(words) - RUN_WORDS + 1):
        yield hash(" ".join(words[start : start + RUN_WORDS]))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)
