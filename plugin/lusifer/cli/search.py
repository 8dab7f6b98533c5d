"""``lusifer search``: searches an index with a query in any language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lusifer.cli import options
from lusifer.cli.common import Command, show, write_json
from lusifer.cli.embedders import open_embedder
from lusifer.cli.store_options import StoreOptions
from lusifer.common.terminal import printable
from lusifer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lusifer.types import Hit, SearchOptions

__all__ = ["COMMAND", "search"]

_CHARACTERS_SHOWN = 160


def search(
    question: Annotated[str, typer.Argument(metavar="QUESTION")],
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=10_000)] = 10,
    index_path: options.Index = options.DEFAULT_INDEX,
    qdrant: options.Qdrant = None,
    weaviate: options.Weaviate = None,
    collection: options.Collection = None,
    tenant: options.Tenant = None,
    where: Annotated[list[str] | None, typer.Option(metavar="CONDITION")] = None,
    hybrid: Annotated[bool, typer.Option("--hybrid")] = False,
    language: Annotated[list[str] | None, typer.Option(metavar="CODE")] = None,
    boost: Annotated[float, typer.Option(metavar="X", min=0, max=1)] = 0.0,
    language_field: Annotated[str, typer.Option(metavar="FIELD")] = "lang",
    group_by: Annotated[str | None, typer.Option(metavar="FIELD")] = None,
    group_size: Annotated[int, typer.Option(metavar="N", min=1)] = 1,
    by_server: Annotated[bool, typer.Option("--by-server")] = False,
    grpc: options.Grpc = False,
    bundle: options.Bundle = None,
    service: options.Service = None,
    as_json: options.Json = False,
) -> None:
    """Find the documents that answer a question, best first.

    With --json every hit is one line: rank, id, score (cosine similarity), text, metadata.

    Options:
        question: Text to search for, in any language.
        limit: Number of hits.
        where: Only documents that meet this condition on a metadata field: FIELD=TEXT, FIELD!=TEXT,
            FIELD:=JSON (a number, true or a list), FIELD>=2020, FIELD>2024-03-01. May be given
            several times.
        hybrid: Search for the question's words too, and fuse both rankings.
        language: Only documents in this language; with --boost, prefer them. May be given several
            times.
        boost: Number added to the scores of documents in --language, instead of leaving out all
            others.
        language_field: Metadata field with the document's language.
        group_by: Metadata field; at most --group-size hits share a value of it.
        group_size: Hits for each value of --group-by.
        by_server: Let Weaviate's module embed the question; no model is loaded here.
    """
    from lusifer.stores.conditions import parse_condition
    from lusifer.types import SearchOptions

    target = StoreOptions(index_path, qdrant, weaviate, collection, tenant, grpc=grpc)
    search_options = SearchOptions(
        where=tuple(map(parse_condition, where or [])),
        keywords=question if hybrid else None,
        languages=tuple(language or ()),
        language_field=language_field,
        language_boost=boost,
        group_by=group_by,
        group_size=group_size,
    )
    if by_server:
        hits = _best(
            lambda depth: _ask_server(target, question, depth, search_options), limit, group_by
        )
    else:
        with (
            open_embedder(bundle, service, stored=target.stored()) as embedder,
            target.open(embedder) as store,
        ):
            vector = embedder.embed_query(question).vector
            hits = _best(lambda depth: store.search(vector, depth, search_options), limit, group_by)
    for rank, hit in enumerate(hits, start=1):
        _show(rank, hit, as_json=as_json)
    if not hits and not as_json:
        show(f"Nothing found in {target.name}.\n", err=True)


COMMAND = Command(
    search,
    (
        'lusifer search "Wo kann ich Fotos bearbeiten?" --index ./articles',
        'lusifer search --json --limit 3 "写真を編集する"',
        "lusifer search Bildbearbeitung --index ./articles --where lang=en --hybrid",
        "lusifer search Bildbearbeitung --where 'year>=2020' --where 'lang!=de'",
        'lusifer search "Fotos" --qdrant http://localhost:6333 --collection articles',
        'lusifer search "Fotos" --weaviate http://localhost:8080 --collection News',
    ),
)


def _best(search: Callable[[int], list[Hit]], limit: int, group_by: str | None) -> list[Hit]:
    """Return the best documents, or the best parts where hits are grouped by a field."""
    from lusifer.stores.parts import search_documents

    return search_documents(search, limit) if group_by is None else search(limit)


def _ask_server(
    target: StoreOptions, question: str, limit: int, search_options: SearchOptions
) -> list[Hit]:
    if target.weaviate is None:
        raise InvalidInputError(
            "--by-server is given without --weaviate.",
            next_step="Add --weaviate URL, or leave out --by-server.",
        )
    from lusifer.weaviate.connection import connect_by_environment
    from lusifer.weaviate.search import ask_server

    with connect_by_environment(target.weaviate) as client:
        return ask_server(
            client,
            target.collection or "",
            question,
            limit=limit,
            options=search_options,
            tenant=target.tenant,
        )


def _show(rank: int, hit: Hit, *, as_json: bool) -> None:
    if as_json:
        write_json(
            {
                "rank": rank,
                "id": hit.id,
                "score": round(hit.score, 6),
                "text": hit.text,
                "metadata": dict(hit.metadata),
            }
        )
        return
    text = " ".join(hit.text.split())
    shown = text if len(text) <= _CHARACTERS_SHOWN else text[: _CHARACTERS_SHOWN - 1] + "…"
    show(f"{rank:>3}  {hit.score:.3f}  {printable(hit.id)}\n            {shown}\n")
