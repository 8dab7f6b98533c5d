"""``lusifer search``: ask an index a question in any language."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lusifer.cli.common import (
    DEFAULT_INDEX,
    BundleOption,
    IndexOption,
    JsonOption,
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
from lusifer.errors import InvalidInputError

if TYPE_CHECKING:
    from lusifer.types import JSON, Hit, SearchOptions

__all__ = ["EXAMPLES", "search"]

EXAMPLES = (
    'lusifer search "Wo kann ich Fotos bearbeiten?" --index ./articles',
    'lusifer search --json --limit 3 "写真を編集する"',
    'lusifer search "Bildbearbeitung" --qdrant http://localhost:6333 --collection articles --where lang=en',
    'lusifer search "Bildbearbeitung" --weaviate http://localhost:8080 --collection Articles --by-server',
)

_CHARACTERS_SHOWN = 160


def search(
    question: Annotated[
        str, typer.Argument(metavar="QUESTION", help="What to look for, in any language.")
    ],
    index_path: IndexOption = DEFAULT_INDEX,
    qdrant: QdrantOption = None,
    weaviate: WeaviateOption = None,
    collection: CollectionOption = None,
    tenant: TenantOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Number of hits.")] = 10,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="FIELD=VALUE",
            help="Only documents whose metadata field has this value; FIELD:=JSON compares with a number, "
            "true or a list. May be given several times.",
        ),
    ] = None,
    hybrid: Annotated[
        bool,
        typer.Option("--hybrid", help="Search the question's words too, and fuse both rankings."),
    ] = False,
    language: Annotated[
        list[str] | None,
        typer.Option(
            "--language", metavar="CODE", help="Only documents in this language, or see --boost."
        ),
    ] = None,
    boost: Annotated[
        float,
        typer.Option(
            "--boost", min=0, max=1, help="Prefer the languages by this much, don't demand them."
        ),
    ] = 0.0,
    language_field: Annotated[
        str, typer.Option("--language-field", help="Metadata field with the document's language.")
    ] = "lang",
    group_by: Annotated[
        str | None,
        typer.Option(
            "--group-by", metavar="FIELD", help="At most --group-size hits for each value."
        ),
    ] = None,
    group_size: Annotated[int, typer.Option("--group-size", min=1, help="Hits of a group.")] = 1,
    by_server: Annotated[
        bool,
        typer.Option(
            "--by-server",
            help="Have Weaviate embed the question by its module; no model is loaded here.",
        ),
    ] = False,
    grpc: GrpcOption = False,
    bundle: BundleOption = None,
    service: ServiceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the documents that answer a question, best first.

    With --json every hit is one line: rank, id, score (cosine similarity), text, metadata.
    """
    from lusifer.types import SearchOptions

    target = StoreOptions(
        index_path,
        qdrant=qdrant,
        weaviate=weaviate,
        collection=collection,
        tenant=tenant,
        grpc=grpc,
    )
    options = SearchOptions(
        where=dict(map(_parse_where, where or [])),
        keywords=question if hybrid else None,
        languages=tuple(language or ()),
        language_field=language_field,
        language_boost=boost,
        group_by=group_by,
        group_size=group_size,
    )
    if by_server:
        hits = _ask_server(target, question, limit, options)
    else:
        with (
            open_embedder(bundle, service, stored=target.stored()) as embedder,
            target.open(embedder) as store,
        ):
            hits = store.search(embedder.embed_query(question).vector, limit, options)
    for rank, hit in enumerate(hits, start=1):
        _show(rank, hit, as_json=as_json)
    if not hits and not as_json:
        sys.stderr.write(f"Nothing found in {target.name}.\n")


def _ask_server(
    target: StoreOptions, question: str, limit: int, options: SearchOptions
) -> list[Hit]:
    if target.weaviate is None:
        raise InvalidInputError(
            "--by-server is for Weaviate.",
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
            options=options,
            tenant=target.tenant,
        )


def _parse_where(condition: str) -> tuple[str, JSON]:
    field, separator, value = condition.partition("=")
    if not separator or not field.rstrip(":"):
        raise InvalidInputError(
            f"--where {condition!r} is no condition.", next_step="Write FIELD=VALUE or FIELD:=JSON."
        )
    if not field.endswith(":"):
        return field, value
    try:
        parsed: JSON = json.loads(value)
    except ValueError as error:
        raise InvalidInputError(
            f"--where {condition!r}: {value!r} is not JSON: {error}.",
            next_step='Write a number, true, or a list such as ["de","fr"].',
        ) from error
    return field[:-1], parsed


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
    sys.stdout.write(f"{rank:>3}  {hit.score:.3f}  {hit.id}\n            {shown}\n")
