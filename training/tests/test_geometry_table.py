"""The table of shares and ranks: hubs and languages that were put into the vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from training.tests.oracle import LANGUAGES, MONOLINGUAL, Oracle, accent, write_data

from lusifer_training.errors import DataError
from lusifer_training.geometry import centre_of
from lusifer_training.geometry_table import SHARES, PlainVectors, embed_sets, trade_offs
from lusifer_training.language_subspace import LanguageMeans, language_means

if TYPE_CHECKING:
    from pathlib import Path


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_centring_removes_hubs() -> None:
    rng = np.random.default_rng(0)
    meanings = rng.normal(size=(60, 64)) / 8
    headlines, articles = (meanings + rng.normal(size=(60, 64)) / 6 for _ in range(2))
    # One article is hardly more than what all texts share.
    articles[0] /= 20
    common = 1.5 * np.eye(64)[0]
    sides = (unit(common + headlines), unit(common + articles))
    plain = PlainVectors({"de": sides}, {"de": sides})
    means = language_means(Oracle(1.0), MONOLINGUAL)
    rows = {(row.share, row.rank): row for row in trade_offs(plain, centre_of(sides), means)}
    # Three languages in two roles differ in four directions.
    assert list(rows) == [(share, 0) for share in SHARES]
    assert rows[0.0, 0].hub > 30
    assert rows[0.9, 0].hub < 10
    assert rows[0.9, 0].news > rows[0.0, 0].news + 10


def test_projecting_finds_translations_in_one_pool() -> None:
    rng = np.random.default_rng(0)
    meanings = rng.normal(size=(2, 40, 64))
    meanings[1] = meanings[0] + meanings[1] / 20
    names = [f"l{number}" for number in range(9)]
    accents = {name: 2 * accent(name) for name in names}
    sides = (unit(accents["l0"] + meanings[0]), unit(accents["l1"] + meanings[1]))
    means = [LanguageMeans("", "query", tuple(names), np.stack(list(accents.values())))]
    plain = PlainVectors({"l0": sides}, {"l0": sides})
    rows = {(row.share, row.rank): row for row in trade_offs(plain, np.zeros(64), means)}
    assert rows[0.0, 0].translations > 60
    assert rows[0.0, 0].one_pool < 5
    assert rows[0.0, 8].one_pool > 95


def test_the_sets_are_read(tmp_path: Path, write_lines: Any) -> None:
    data = write_data(tmp_path, write_lines)
    embedder = Oracle()
    plain = embed_sets(embedder, data)
    assert list(plain.translations) == ["de", "ja"]
    assert {each[0].shape for each in plain.translations.values()} == {(12, 64)}
    (language,) = set(plain.news) & set(LANGUAGES) or {next(iter(plain.news))}
    headlines, articles = plain.news[language]
    assert headlines.shape == articles.shape
    # An oracle finds everything.
    row = next(trade_offs(plain, np.zeros(64), language_means(embedder, MONOLINGUAL)))
    assert (row.translations, row.news) == (100, 100)
    with pytest.raises(DataError, match="no evaluation data"):
        embed_sets(embedder, tmp_path / "nowhere")
