"""``lusifer eval subspace``: the ranks of a language projection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lusifer_evaluation.cli.options import (
    DEFAULT_DATA,
    CacheOption,
    CheckpointArgument,
    DataOption,
    JsonOption,
    SizeOption,
    cache_folder,
)
from lusifer_evaluation.cli.output import echo, echo_json, format_table

__all__ = ["subspace"]


def subspace(
    checkpoint: CheckpointArgument = None,
    texts: Annotated[
        Path | None,
        typer.Option(help="JSON lines of language and text, as for lusifer train subspace."),
    ] = None,
    ranks: Annotated[
        str, typer.Option(help="Numbers of directions to try.")
    ] = "1,2,4,8,16,28,40,56",
    size: SizeOption = "quick",
    data: DataOption = DEFAULT_DATA,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a language projection at several ranks: XQuAD in pairs of languages and in one pool.

    Two other rows are for comparison: the vectors without a projection, and de-meaned vectors. From
    those the mean of their own language is subtracted, which needs the language of every text.

    Examples:
        lusifer eval subspace runs/small/checkpoint --ranks 5,10,20,40
    """
    from lusifer_evaluation.rank_sweep import sweep_ranks
    from lusifer_evaluation.table import named
    from lusifer_evaluation.tasks import SIZES, load_xquad
    from lusifer_training.config import default_checkpoint
    from lusifer_training.data.monolingual import monolingual_file
    from lusifer_training.embedders import checkpoint_embedder
    from lusifer_training.language_subspace import language_means, load_monolingual
    from lusifer_training.vector_cache import CachedEmbedder

    folder = cache_folder(cache)
    vectors = CachedEmbedder(
        folder, checkpoint_embedder(checkpoint or default_checkpoint(), projected=False)
    )
    monolingual = load_monolingual(texts or monolingual_file(folder.parent))
    means = language_means(vectors, monolingual)
    sets = load_xquad(data, named("size", size, SIZES).xquad)
    found = sweep_ranks(vectors, sets, means, [int(rank) for rank in ranks.split(",")])
    if as_json:
        echo_json(found)
    else:
        echo(format_table("XQuAD", found))
