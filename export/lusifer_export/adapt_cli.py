"""The command ``lusifer adapt``."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lusifer_export.adapt import Adaptation

adapt_app = typer.Typer(add_completion=False)

_TITLES = {
    "most_frequent_first_hit": "most frequent first hit, % of queries",
    "k_occurrence_skew": "skew of 10-occurrences",
    "mean_cosine": "mean cosine, %",
}


@adapt_app.command()
def adapt(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Your documents: .jsonl, .csv, .parquet or a folder, as for lusifer index.",
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="BUNDLE_OR_CHECKPOINT", help="Folder to write.")],
    centre_only: Annotated[
        bool,
        typer.Option(
            "--centre-only",
            help="Replace the centre by the mean of your texts; nothing is trained.",
        ),
    ] = False,
    queries: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="Your users' queries, repeatable; they count as much as the documents.",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Bundle or checkpoint to adapt; the default bundle if not given."),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of the centre to subtract; that of the model if not given."
        ),
    ] = None,
    text_field: Annotated[
        str, typer.Option(metavar="FIELD", help="Field or column with the text.")
    ] = "text",
    sample: Annotated[
        int, typer.Option(min=20, help="Documents and queries to read at most, drawn at random.")
    ] = 500,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Fit a model to your own texts: a new bundle or checkpoint, and how it spreads its hits.

    The result has a fingerprint of its own, so that no index mixes its vectors with others. What is
    written is of the kind of --model: a bundle or a checkpoint.

    Examples:
        lusifer adapt --centre-only articles.jsonl --output bundles/ours

        lusifer adapt --centre-only ./notes --queries queries.csv --output bundles/ours
    """
    if not centre_only:
        raise typer.BadParameter("nothing else can be adapted yet", param_hint="--centre-only")
    from lusifer.bundle.default import default_bundle
    from lusifer.bundle.format import Bundle
    from lusifer_export.adapt import TextSample, adapt_bundle, adapt_checkpoint, read_texts

    texts = TextSample(
        read_texts(sources, text_field=text_field, limit=sample),
        read_texts(queries, text_field=text_field, limit=sample) if queries else (),
    )
    source = model or default_bundle()
    if (source / "adapter.safetensors").is_file():
        found = adapt_checkpoint(source, output, texts, share=share)
    else:
        found = adapt_bundle(Bundle.open(source), output, texts, share=share)
    if as_json:
        typer.echo(
            json.dumps({"path": str(found.path), "fingerprint": found.fingerprint, **found.table})
        )
    else:
        _show(found)


def _show(found: Adaptation) -> None:
    typer.echo(f"{found.path}  {found.fingerprint or ''}".rstrip())
    typer.echo(f"{'':40}{'before':>8}{'after':>8}")
    for name, title in _TITLES.items():
        before, after = (found.table[row][name] for row in ("before", "after"))
        typer.echo(f"{title:40}{before:8.1f}{after:8.1f}")
