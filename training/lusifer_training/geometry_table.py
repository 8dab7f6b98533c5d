"""The trade-off of a geometry over share and rank, on translations and news.

These are evaluation sets: a choice by this table is a choice by them, and says so in its report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lusifer.common.hubness import measure_hubness
from lusifer_training.data.readers import read_json_lines
from lusifer_training.data.translations import (
    bitext_hits,
    evaluation_files,
    language_of,
    load_translations,
    sample,
)
from lusifer_training.geometry import Geometry
from lusifer_training.language_subspace import language_basis

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lusifer_training.embed_function import EmbedFunction, Vectors
    from lusifer_training.language_subspace import LanguageMeans

__all__ = ["PlainVectors", "TradeOff", "embed_sets", "trade_offs"]

SHARES = (0.0, 0.5, 0.7, 0.9, 1.0)
RANKS = (0, 8, 16, 24)
PAIRS = 100
"""Translation pairs of each language."""
ARTICLES = 200
"""Headlines and articles of each language."""
ARTICLE_CHARACTERS = 600
CUT = 10
"""Hits of a query that count."""


@dataclass(frozen=True, slots=True)
class PlainVectors:
    """Plain unit vectors ``(N, D)`` of both sides, row by row, by language."""

    translations: dict[str, tuple[Vectors, Vectors]]
    news: dict[str, tuple[Vectors, Vectors]]


@dataclass(frozen=True, slots=True)
class TradeOff:
    """What a geometry wins and costs, in percent; means over the languages.

    Attributes:
        share: Share of the centre.
        rank: Number of language directions.
        translations: Accuracy of finding a translation among the sentences of the other language.
        one_pool: The same among English sentences and those of the own language together.
        news: MRR@10 of headlines among the articles of their language.
        hub: Share of a language's headlines whose first hit is the most frequent one, in the worst
            language.
    """

    share: float
    rank: int
    translations: float
    one_pool: float
    news: float
    hub: float


def embed_sets(embedder: EmbedFunction, data_folder: Path) -> PlainVectors:
    """Embed Tatoeba's sentences and MasakhaNEWS.

    Args:
        embedder: The model without a geometry.
        data_folder: Holds ``eval/tatoeba`` and ``eval/masakhanews``.

    Raises:
        DataError: A set is missing or a line is broken.
    """
    translations = {
        language: (embedder(each.texts, "query"), embedder(each.english, "query"))
        for language, each in load_translations(data_folder, PAIRS).items()
    }
    news = {}
    for path in evaluation_files(data_folder / "eval" / "masakhanews"):
        records = list(read_json_lines(path, ("headline", "text")))
        chosen = [records[index] for index in sample(len(records), ARTICLES)]
        news[language_of(path)] = (
            embedder([each["headline"] for each in chosen], "query"),
            embedder([each["text"][:ARTICLE_CHARACTERS] for each in chosen], "document"),
        )
    return PlainVectors(translations, news)


def trade_offs(
    plain: PlainVectors, centre: Vectors, means: Sequence[LanguageMeans]
) -> Iterator[TradeOff]:
    """Measure the geometries of a grid of shares and ranks.

    Args:
        plain: Vectors of the evaluation sets.
        centre: The centre ``(D,)``.
        means: Language means that the basis is found from; ranks above theirs are left out.
    """
    most = language_basis(means).shape[1]
    for rank in (each for each in RANKS if each <= most):
        basis = language_basis(means, rank) if rank else np.zeros((len(centre), 0), np.float32)
        for share in SHARES:
            yield _measure(plain, Geometry(centre, share, basis))


def _measure(plain: PlainVectors, geometry: Geometry) -> TradeOff:
    found, pooled, reached, hubs = [], [], [], []
    for ours, english in plain.translations.values():
        a, b = geometry.apply(ours), geometry.apply(english)
        found.append(bitext_hits(a, b).mean())
        own = a @ a.T
        np.fill_diagonal(own, -np.inf)
        first = np.concatenate([a @ b.T, own], axis=1).argmax(axis=1)
        pooled.append((first == np.arange(len(a))).mean())
    for headlines, articles in plain.news.values():
        scores = geometry.apply(headlines) @ geometry.apply(articles).T
        reached.append(_reciprocal_ranks(scores).mean())
        hits = scores.argmax(axis=1)[:, None]
        hubs.append(measure_hubness(hits, len(articles)).first_share)
    return TradeOff(
        geometry.share,
        geometry.basis.shape[1],
        translations=100 * float(np.mean(found)),
        one_pool=100 * float(np.mean(pooled)),
        news=100 * float(np.mean(reached)),
        hub=100 * max(hubs),
    )


def _reciprocal_ranks(scores: Vectors) -> NDArray[np.float64]:
    """Return 1 / rank of the diagonal of scores ``(N, N)``, 0 after the first ten."""
    better = (scores > np.diag(scores)[:, None]).sum(axis=1)
    return np.where(better < CUT, 1 / (better + 1), 0)
