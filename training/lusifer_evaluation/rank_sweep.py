"""Measure the language projection of each rank on XQuAD."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from lusifer_evaluation import metrics, retrieval
from lusifer_training.language_subspace import language_basis, project_out

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lusifer_evaluation.tasks import XquadSet
    from lusifer_training.embed_function import EmbedFunction, Role, Vectors
    from lusifer_training.language_subspace import LanguageMeans

__all__ = ["sweep_ranks"]

Change: TypeAlias = "Callable[[str, Vectors, Role], Vectors]"
"""Maps the vectors of a language and role to changed vectors."""


def sweep_ranks(
    embedder: EmbedFunction, sets: XquadSet, means: Sequence[LanguageMeans], ranks: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Score the vectors without a projection, de-meaned, and projected with each rank.

    Args:
        embedder: The model without a projection.
        sets: XQuAD.
        means: Language means of monolingual text.
        ranks: Numbers of directions; ranks above that of the means are left out.

    Returns:
        Scores by row: ``raw``, ``de-meaned`` and ``r = N``. All are percent but ``mean_rank``. They
        are R@1 of pairs of ``different`` languages, of the ``same`` language and of English;
        ``worst_change``, the R@1 change against raw of the question language that loses most; and
        the measures of the mixed pool.
    """
    questions = {name: embedder(each.texts, each.role) for name, each in sets.questions.items()}
    paragraphs = {name: embedder(each.texts, each.role) for name, each in sets.paragraphs.items()}
    rows: dict[str, dict[str, float]] = {}
    before: Vectors | None = None

    def add(name: str, change: Change) -> None:
        nonlocal before
        q = {language: change(language, each, "query") for language, each in questions.items()}
        p = {language: change(language, each, "document") for language, each in paragraphs.items()}
        matrix = retrieval.retrieval_matrix(q, p, sets.answers)
        pool, _ = retrieval.mixed_pool(q, p, sets.answers)
        # R@1 of each question language, over all paragraph languages.
        recall = 100 * matrix.by_question["r1"].mean(axis=(1, 2))
        before = recall if before is None else before
        row = {group: measure.value for group, measure in matrix.measures("r1").items()}
        row["worst_change"] = float((recall - before).min())
        rows[name] = row | {key: measure.value for key, measure in pool.items()}

    add("raw", lambda language, vectors, role: vectors)
    roles: tuple[Role, ...] = ("query", "document")
    known = {
        (role, language): offset
        for role in roles
        for language, offset in _offsets([each for each in means if each.role == role]).items()
    }
    if all(("query", language) in known for language in sets.languages):
        add(
            "de-meaned",
            lambda language, vectors, role: metrics.unit_rows(vectors - known[role, language]),
        )
    most = language_basis(means).shape[1]
    for rank in ranks:
        if rank <= most:
            add(f"r = {rank}", partial(_projected, language_basis(means, rank)))
    return rows


def _projected(basis: Vectors, language: str, vectors: Vectors, role: Role) -> Vectors:
    return project_out(vectors, basis)


def _offsets(means: Sequence[LanguageMeans]) -> dict[str, Vectors]:
    """Return the offset of each language from the mean of all ``(D,)``, averaged over sources."""
    found: dict[str, list[Vectors]] = {}
    for each in means:
        for language, offset in zip(
            each.languages, each.vectors - each.vectors.mean(axis=0), strict=True
        ):
            found.setdefault(language, []).append(offset)
    return {language: np.mean(offsets, axis=0) for language, offsets in found.items()}
