"""``lusifer train mine``: hard negatives and clusters for a file of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["mine_negatives"]


def mine_negatives(
    source: Annotated[Path, typer.Argument(help="JSON lines with query and document.")],
    output: Annotated[
        Path, typer.Argument(help="JSON lines to write: the same records with negatives.")
    ],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Checkpoint that finds the negatives; else the default one.")
    ] = None,
    negatives: Annotated[int, typer.Option(min=1, help="Negatives of each query at most.")] = 7,
    first_rank: Annotated[
        int, typer.Option(min=0, help="First rank; nearer documents may answer the query too.")
    ] = 30,
    last_rank: Annotated[
        int, typer.Option(min=1, help="Last rank; farther documents are too easy.")
    ] = 128,
    margin: Annotated[
        float,
        typer.Option(min=0, help="Minimum difference of cosine from the query's own document."),
    ] = 0.05,
    clusters: Annotated[
        int | None,
        typer.Option(min=2, help="Number of clusters; a batch is then drawn from one cluster."),
    ] = None,
) -> None:
    """Find hard negatives, and clusters for batches, among the documents of a file of pairs.

    Example:
        lusifer train mine pairs.jsonl mined.jsonl --clusters 64
    """
    from lusifer_training.config import default_checkpoint
    from lusifer_training.data.mining import mine
    from lusifer_training.embedders import checkpoint_embedder

    report = mine(
        source,
        output,
        checkpoint_embedder(checkpoint or default_checkpoint()),
        negatives=negatives,
        ranks=(first_rank, last_rank),
        margin=margin,
        clusters=clusters,
    )
    typer.echo(f"{output}: " + ", ".join(f"{value:,} {name}" for name, value in report.items()))
