"""``lusifer index``: documents into an index folder, or a collection of Qdrant or Weaviate."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from lusifer.cli.common import (
    DEFAULT_INDEX,
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    BundleOption,
    DimensionOption,
    IndexOption,
    JsonOption,
    LongTextOption,
    console,
    write_json,
)
from lusifer.cli.store_options import (
    CollectionOption,
    GrpcOption,
    QdrantOption,
    ServiceOption,
    StoreOptions,
    TenantOption,
    WeaviateOption,
    open_embedder,
)
from lusifer.errors import IndexNotFoundError
from lusifer.types import Ordering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lusifer.ingest.indexer import IndexReport
    from lusifer.ingest.sources.source import DocumentSource

__all__ = ["EXAMPLES", "index", "progress_bar"]

EXAMPLES = (
    "lusifer index articles.jsonl --text-field body --index ./articles",
    "lusifer index ./notes --keywords",
    "lusifer index articles.parquet --qdrant http://localhost:6333 --collection articles",
    "lusifer index articles.jsonl --weaviate http://localhost:8080 --collection Articles",
)

_REJECTED_SHOWN = 10


def index(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A .jsonl or .csv file (.gz too), a .parquet file, a folder of .txt or .md files, or - for "
            "JSON lines.",
        ),
    ],
    index_path: IndexOption = DEFAULT_INDEX,
    qdrant: QdrantOption = None,
    weaviate: WeaviateOption = None,
    collection: CollectionOption = None,
    tenant: TenantOption = None,
    text_field: Annotated[
        str, typer.Option("--text-field", help="Field or column with the text.")
    ] = "text",
    id_field: Annotated[
        str,
        typer.Option(
            "--id-field", help="Field or column with the id; without one, the text's sha256."
        ),
    ] = "id",
    window: Annotated[
        int,
        typer.Option("--window", min=1, help="Documents that are embedded and stored together."),
    ] = 256,
    keywords: Annotated[
        bool,
        typer.Option(
            "--keywords", help="Store keywords (BM25) too, for hybrid searches of --index."
        ),
    ] = False,
    keyword_language: Annotated[
        str | None,
        typer.Option(
            "--keyword-language",
            metavar="CODE",
            help="Stem keywords as in this one language (de, en, …); by default words are kept as they are.",
        ),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--no-wait",
            help="Let Qdrant apply each write before the next; otherwise only the last one of a window.",
        ),
    ] = True,
    ordering: Annotated[
        Ordering,
        typer.Option("--ordering", help="Write ordering of a replicated Qdrant collection."),
    ] = "weak",
    grpc: GrpcOption = False,
    dimension: DimensionOption = None,
    long_text: LongTextOption = "truncate",
    bundle: BundleOption = None,
    service: ServiceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Embed documents and store them; what is stored already is skipped.

    A record that can't be indexed is reported, the rest goes on, and the exit code is 1. After
    Ctrl-C, or a crash, the same command goes on where it stopped.
    """
    from lusifer.ingest.indexer import index_documents
    from lusifer.ingest.sources.source import DocumentSource
    from lusifer.qdrant.keywords import keyword_options

    target = StoreOptions(
        index_path,
        qdrant=qdrant,
        weaviate=weaviate,
        collection=collection,
        tenant=tenant,
        grpc=grpc,
        wait=wait,
        ordering=ordering,
    )
    chosen = keyword_options(keyword_language) if keywords or keyword_language else None
    documents = DocumentSource(source, text_field=text_field, id_field=id_field)
    stored: tuple[str, int] | None = None
    try:
        stored = target.stored()
    except IndexNotFoundError:
        if target.folder is None:
            raise
    with (
        open_embedder(
            bundle, service, dimension=dimension, stored=stored, long_text=long_text
        ) as embedder,
        target.open_or_create(embedder, chosen) as store,
    ):
        with progress_bar(documents) as on_progress:
            report = index_documents(
                documents, embedder, store, window=window, on_progress=on_progress
            )
        if report.added and not report.interrupted:
            store.optimize()
        count, lacking = store.count(), store.count_without_vector()
    if as_json:
        counts = {"count": count, "without_vector": lacking}
        write_json({**report.as_dict(), "index": target.name, **counts})
    else:
        _show(report, count, target.name)
    if lacking:
        sys.stderr.write(
            f"{lacking:,} of {count:,} documents lack a vector, so no search finds them: written by others?\n"
        )
    if report.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if report.rejected_count or lacking:
        raise typer.Exit(EXIT_ERROR)


@contextmanager
def progress_bar(
    documents: DocumentSource | None, total: int | None = None
) -> Iterator[Callable[[IndexReport], None]]:
    """A function to call after each window; it draws only on a terminal.

    Args:
        documents: Tells how much of the source was read.
        total: Number of documents, where it is known instead.
    """
    terminal = console(stderr=True)
    if not terminal.is_terminal:
        yield lambda report: None
        return
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("Indexing"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=terminal,
    ) as progress:
        task = progress.add_task("index", total=None, counts="")

        def on_progress(report: IndexReport) -> None:
            fraction = report.read / total if total else documents.fraction if documents else None
            rate = report.read / max(report.seconds, 1e-9)
            counts = f"{report.read:,} documents, {rate:.0f}/s"
            progress.update(
                task,
                total=None if fraction is None else 1.0,
                completed=fraction or 0.0,
                counts=counts,
            )

        yield on_progress


def _show(report: IndexReport, count: int, index_path: str) -> None:
    write = sys.stdout.write
    rate = report.added / max(report.seconds, 1e-9)
    write(
        f"{report.added:,} added, {report.unchanged:,} unchanged, {report.rejected_count:,} rejected "
        f"in {report.seconds:.1f} s ({rate:.0f} documents/s, {report.tokens:,} tokens)\n"
    )
    write(f"{count:,} documents in {index_path}\n")
    if report.truncated:
        write(f"{report.truncated:,} documents were cut at the model's token limit.\n")
    for record in report.rejected[:_REJECTED_SHOWN]:
        sys.stderr.write(f"Rejected {record.where}: {record.reason} {record.next_step}\n")
    hidden = report.rejected_count - _REJECTED_SHOWN
    if hidden > 0:
        sys.stderr.write(f"… and {hidden:,} more; --json lists up to 100.\n")
    if report.interrupted:
        sys.stderr.write(
            "Interrupted. What was counted is stored; the same command goes on from here.\n"
        )
