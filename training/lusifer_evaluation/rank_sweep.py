"""What a language projection of each rank wins and costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lusifer_evaluation import metrics
from lusifer_training.language_subspace import language_basis, project_out

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lusifer_evaluation.tasks import XquadSet
    from lusifer_training.embed_function import EmbedFunction
    from lusifer_training.language_subspace import LanguageMeans

__all__ = ["sweep"]


def sweep(
    embedder: EmbedFunction, sets: XquadSet, means: Sequence[LanguageMeans], ranks: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Scores by row: ``raw``, ``de-meaned`` and ``r = N``, the ranks that the means have.

    Args:
        embedder: Of the model without a projection.
        sets: XQuAD.
        means: Of monolingual text.
        ranks: Numbers of directions.

    Returns:
        In percent, ``mean_rank`` apart: R@1 of pairs of ``different`` languages, of equal ones, of
        English, and of the language that loses most (``worst_change``, against raw, over question
        languages); and the mixed pool.
    """
    questions = {name: embedder(each.texts, each.role) for name, each in sets.questions.items()}
    paragraphs = {name: embedder(each.texts, each.role) for name, each in sets.paragraphs.items()}
    rows: dict[str, dict[str, float]] = {}
    before: np.ndarray | None = None

    def add(name: str, change: Callable[[str, np.ndarray, str], np.ndarray]) -> None:
        nonlocal before
        q = {language: change(language, each, "query") for language, each in questions.items()}
        p = {language: change(language, each, "document") for language, each in paragraphs.items()}
        matrix = metrics.retrieval_matrix(q, p, sets.answers)
        pool, _ = metrics.mixed_pool(q, p, sets.answers)
        # Of each question language, over all paragraph languages.
        recall = 100 * matrix.by_question["r1"].mean(axis=(1, 2))
        before = recall if before is None else before
        row = {group: measure.value for group, measure in matrix.measures("r1").items()}
        row["worst_change"] = float((recall - before).min())
        rows[name] = row | {key: measure.value for key, measure in pool.items()}

    add("raw", lambda language, vectors, role: vectors)
    known = {
        (role, language): offset
        for role in ("query", "document")
        for language, offset in _offsets([each for each in means if each.role == role]).items()
    }
    if all(("query", language) in known for language in sets.languages):
        add("de-meaned", lambda language, vectors, role: _unit(vectors - known[role, language]))
    most = language_basis(means).shape[1]
    for rank in ranks:
        if rank <= most:
            basis = language_basis(means, rank)
            add(f"r = {rank}", lambda language, vectors, role, at=basis: project_out(vectors, at))
    return rows


def _offsets(means: Sequence[LanguageMeans]) -> dict[str, np.ndarray]:
    """Of each language from the mean of all, averaged over the sources that have it ``(D,)``."""
    found: dict[str, list[np.ndarray]] = {}
    for each in means:
        for language, offset in zip(
            each.languages, each.vectors - each.vectors.mean(axis=0), strict=True
        ):
            found.setdefault(language, []).append(offset)
    return {language: np.mean(offsets, axis=0) for language, offsets in found.items()}


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
