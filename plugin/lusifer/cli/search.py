"""``lusifer search``: ask an index a question in any language."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lusifer.cli.common import (
    DEFAULT_INDEX,
    BundleOption,
    IndexOption,
    JsonOption,
    load_vectorizer,
    write_json,
)

if TYPE_CHECKING:
    from lusifer.store import Hit

__all__ = ["EXAMPLES", "search"]

EXAMPLES = (
    'lusifer search "Wo kann ich Fotos bearbeiten?" --index ./articles',
    'lusifer search --json --limit 3 "写真を編集する"',
)

_CHARACTERS_SHOWN = 160


def search(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to look for, in any language.")],
    index_path: IndexOption = DEFAULT_INDEX,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Number of hits.")] = 10,
    bundle: BundleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the documents that answer a question, best first.

    With --json every hit is one line: rank, id, score (cosine similarity), text, metadata.
    """
    from lusifer.bundle import Bundle
    from lusifer.defaults import default_bundle
    from lusifer.qdrant.embedded import EmbeddedStore
    from lusifer.qdrant.layout import read_index

    # Both are looked at before the model is loaded: a wrong path should not take seconds to be told.
    read_index(index_path)
    path = default_bundle() if bundle is None else bundle
    fingerprint = Bundle.open(path, verify=False).manifest.fingerprint
    with (
        EmbeddedStore.open(index_path, fingerprint) as store,
        load_vectorizer(path, dimension=store.dimension) as vectorizer,
    ):
        hits = store.search(vectorizer.embed_query(question).vector, limit)
    for rank, hit in enumerate(hits, start=1):
        _show(rank, hit, as_json=as_json)
    if not hits and not as_json:
        sys.stderr.write(f"The index {index_path} is empty.\n")


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
