"""``lusifer index``: fills an index folder, or a collection of Qdrant or Weaviate."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from lusifer.cli import options
from lusifer.cli.common import EXIT_ERROR, EXIT_INTERRUPTED, Command, show, write_json
from lusifer.cli.embedders import open_embedder
from lusifer.cli.index_progress import index_progress
from lusifer.cli.store_options import StoreOptions
from lusifer.common.terminal import printable
from lusifer.errors import IndexNotFoundError, InvalidInputError
from lusifer.types import Ordering

if TYPE_CHECKING:
    from lusifer.ingest.indexer import IndexReport
    from lusifer.ingest.sync import SourceSync
    from lusifer.stores.base import Store

__all__ = ["COMMAND", "index"]

_REJECTED_SHOWN = 10


def index(
    source: Annotated[list[str], typer.Argument(metavar="SOURCE...")],
    index_path: options.Index = options.DEFAULT_INDEX,
    qdrant: options.Qdrant = None,
    weaviate: options.Weaviate = None,
    collection: options.Collection = None,
    tenant: options.Tenant = None,
    text_field: Annotated[str, typer.Option(metavar="FIELD")] = "text",
    id_field: Annotated[str, typer.Option(metavar="FIELD")] = "id",
    split: Annotated[int | None, typer.Option("--split", metavar="TOKENS", min=1)] = None,
    template: options.Template = "",
    drop: options.Drop = None,
    rename: options.Rename = None,
    sync: Annotated[bool, typer.Option("--sync")] = False,
    force: Annotated[bool, typer.Option("--force")] = False,
    window: Annotated[int, typer.Option(metavar="N", min=1)] = 256,
    keywords: Annotated[bool, typer.Option("--keywords")] = False,
    keyword_language: options.KeywordLanguage = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait")] = True,
    ordering: Annotated[Ordering, typer.Option(metavar="LEVEL")] = "weak",
    grpc: options.Grpc = False,
    long_text: options.LongText = "truncate",
    bundle: options.Bundle = None,
    service: options.Service = None,
    dimension: options.Dimension = None,
    as_json: options.Json = False,
) -> None:
    """Embed documents and store them; documents that are already stored are skipped.

    A record that can't be indexed is reported and skipped, and the exit code is 1. After Ctrl-C or
    a crash, the same command continues where it stopped.

    Options:
        source: Files .jsonl, .csv (.gz, .bz2, .zst too) or .parquet; folders or .zip of them, or of
            .txt or .md files; or - for JSON lines or CSV on standard input.
        text_field: Field or column with the text; body.text is the field text inside of body.
        id_field: Field or column with the id. A record without one gets a hash of its fields.
        split: Split longer documents into parts of so many tokens, at ends of sentences; an eighth
            of them overlaps. A search returns each document once, by its best part.
        sync: Delete the documents that the source no longer has, once it was read whole. Above a
            tenth of all, or where records were rejected, nothing is deleted without --force.
        force: Delete with --sync however many documents it are.
        window: Documents that are embedded and stored together.
        keywords: Store keywords (BM25) too, for hybrid searches of --index.
        wait: Let Qdrant apply each write before the next; with --no-wait, only the last write of a
            window.
        ordering: Write ordering of a replicated Qdrant collection: weak, medium or strong.
    """
    from lusifer.ingest.indexer import index_documents
    from lusifer.ingest.sources.source import DocumentSource
    from lusifer.ingest.splitting import DocumentSplitter
    from lusifer.ingest.sync import SourceSync
    from lusifer.qdrant.keywords import keyword_options
    from lusifer.stores.fields import parse_rules

    if force and not sync:
        raise InvalidInputError(
            "--force is given without --sync.", next_step="Leave out --force, or add --sync."
        )
    target = StoreOptions(
        index_path, qdrant, weaviate, collection, tenant, grpc=grpc, wait=wait, ordering=ordering
    )
    chosen = keyword_options(keyword_language) if keywords or keyword_language else None
    rules = parse_rules(text_field, template, drop or (), rename or ())
    documents = DocumentSource(source, id_field=id_field, rules=rules)
    source_sync = SourceSync() if sync else None
    deleted = 0
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
        splitter = None if split is None else DocumentSplitter(embedder, split)
        items = iter(documents) if splitter is None else splitter.split(documents)
        with index_progress(lambda _: documents.fraction) as on_progress:
            report = index_documents(
                items if source_sync is None else source_sync.watch(items),
                embedder,
                store,
                window=window,
                on_progress=on_progress,
                part_counts=None if splitter is None else splitter.take_counts,
            )
        notes = [*documents.notes, *(splitter.notes if splitter else ())]
        if source_sync is not None and not report.interrupted:
            deleted = _delete_orphans(source_sync, store, force=force)
        if report.added and not report.interrupted:
            store.optimize()
        count, lacking = store.count(), store.count_without_vector()
    if as_json:
        counts = {"count": count, "without_vector": lacking}
        more = {"deleted": deleted, "notes": notes, "index": target.name}
        write_json({**report.as_dict(), **more, **counts})
    else:
        _show(report, count, target.name)
        for note in notes:
            show(f"{printable(note)}\n", err=True)
    if lacking:
        show(
            f"{lacking:,} of {count:,} documents have no vector, so no search finds them. "
            "Find out whether another program wrote them.\n",
            err=True,
        )
    if report.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if report.rejected_count or lacking:
        raise typer.Exit(EXIT_ERROR)


COMMAND = Command(
    index,
    (
        "lusifer index articles.jsonl --text-field body --index ./articles",
        r'lusifer index articles.jsonl --template "{title}\n{body}" --drop body',
        "lusifer index ./notes --keywords",
        "lusifer index articles.jsonl --sync --index ./articles",
        "lusifer index ./handbook --split 256",
        "lusifer index news.parquet --qdrant http://localhost:6333 --collection news",
        "lusifer index news.jsonl --weaviate http://localhost:8080 --collection News",
    ),
)


def _delete_orphans(source_sync: SourceSync, store: Store, *, force: bool) -> int:
    """Delete what the source no longer has; return how many documents that were.

    Raises:
        InvalidInputError: They are too many, or records were rejected.
    """
    with closing(source_sync):
        if orphans := source_sync.find_orphans(store):
            source_sync.check(force=force)
            show(f"{orphans:,} documents are no longer in the source: deleting them\n", err=True)
        deleted = source_sync.delete_orphans(store)
    store.flush()
    return deleted


def _show(report: IndexReport, count: int, name: str) -> None:
    write = show
    rate = report.added / max(report.seconds, 1e-9)
    write(
        f"{report.added:,} added, {report.unchanged:,} unchanged, {report.rejected_count:,} "
        f"rejected in {report.seconds:.1f} s ({rate:.0f} documents/s, {report.tokens:,} tokens)\n"
    )
    write(f"{count:,} documents in {name}\n")
    if report.truncated:
        write(f"{report.truncated:,} documents were cut at the model's token limit.\n")
    for record in report.rejected[:_REJECTED_SHOWN]:
        show(
            f"{printable(f'Rejected {record.where}: {record.reason} {record.next_step}')}\n",
            err=True,
        )
    hidden = report.rejected_count - _REJECTED_SHOWN
    if hidden > 0:
        show(f"… and {hidden:,} more; --json lists up to 100.\n", err=True)
    if report.interrupted:
        show(
            "Interrupted. All counted documents are stored; the same command continues from "
            "here.\n",
            err=True,
        )
