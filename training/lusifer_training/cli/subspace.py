"""``lusifer train subspace``: project the language subspace out of a checkpoint's vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import platformdirs
import typer

__all__ = ["subspace"]

DEFAULT_RANK = 16
"""Measured on the default model. More directions gain nothing in mixed pools, and they start to
lower the scores of language pairs."""


def subspace(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint to project.")],
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
    rank: Annotated[
        int | None,
        typer.Option(
            help="Directions to project out; by default 16, or all if there are fewer.", min=1
        ),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of downloads and of computed vectors.")
    ] = None,
) -> None:
    """Find the language subspace of a checkpoint and project it out of its vectors.

    Nothing is trained: the texts only give means. Their side vectors, which name the language, are
    written into the checkpoint.

    Examples:
        lusifer train subspace runs/small/checkpoint runs/small/projected

        lusifer train subspace runs/small/checkpoint runs/small/projected --texts news.jsonl --rank
        5
    """
    from lusifer_training.checkpoint import with_language_basis
    from lusifer_training.data.monolingual import monolingual_file
    from lusifer_training.embedders import checkpoint_embedder
    from lusifer_training.language_subspace import (
        LanguageIdentifier,
        language_basis,
        language_means,
        load_monolingual,
    )
    from lusifer_training.vector_cache import CachedEmbedder

    folder = cache or platformdirs.user_cache_path("lusifer")
    monolingual = load_monolingual(texts or monolingual_file(folder))
    embedder = CachedEmbedder(folder / "eval", checkpoint_embedder(checkpoint, projected=False))
    means = language_means(embedder, monolingual)
    rank = rank or min(DEFAULT_RANK, language_basis(means).shape[1])
    identifier = LanguageIdentifier.fit(means, language_basis(means, rank))
    counts = {
        source: {language: len(each) for language, each in languages.items()}
        for source, languages in monolingual.items()
    }
    typer.echo(with_language_basis(checkpoint, output, identifier, {"texts": counts}))
