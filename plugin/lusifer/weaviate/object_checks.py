"""Faults of the objects of a collection: no vector, another vector, words not found."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lusifer.errors import LusiferError
from lusifer.stores.diagnostics import Diagnostic, error, failure, note, ok, warning
from lusifer.weaviate.connection import client_errors
from lusifer.weaviate.metadata import rules_of
from lusifer.weaviate.objects import iterate_objects
from lusifer.weaviate.text_composition import compose_text
from lusifer.weaviate.tokenization import advise_tokenization, fits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from weaviate.collections import Collection
    from weaviate.collections.classes.types import WeaviateProperties
    from weaviate.outputs.config import CollectionConfig
    from weaviate.outputs.query import Object

    from lusifer.embedding.base import Embedder
    from lusifer.weaviate.metadata import CollectionMetadata

    _Object = Object[WeaviateProperties, None]

__all__ = ["examine_objects"]

_SCANNED = 10_000
"""Objects that are read to find missing vectors."""

_READ = 500
"""Objects of these whose scripts are examined."""

_SAME = 0.999
"""Cosine above which two vectors are of one text: the same model on another processor gives 0.9999.
"""


def examine_objects(
    handle: Collection,
    metadata: CollectionMetadata,
    config: CollectionConfig,
    embedder: Embedder | None,
) -> Iterator[Diagnostic]:
    """Examine the objects of a collection or tenant, one diagnostic after the other.

    Args:
        handle: The collection or one of its tenants.
        metadata: The collection's metadata.
        config: The collection's configuration.
        embedder: The model in use here; None skips the comparison of a vector.
    """
    name = metadata.vector_name
    scanned = without = 0
    texts: list[str] = []
    sample: _Object | None = None
    try:
        with client_errors(config.name):
            total = handle.aggregate.over_all(total_count=True).total_count or 0
            for each in iterate_objects(handle, name):
                scanned += 1
                without += not each.vector.get(name)
                sample = sample or (each if each.vector.get(name) else None)
                if len(texts) < _READ:
                    texts.append(str(each.properties.get(metadata.text_property) or ""))
                if scanned == _SCANNED:
                    break
    except LusiferError as failed:
        yield failure("objects", failed)
        return
    examined = f"{scanned:,} of {total:,} objects" if scanned < total else f"{total:,} objects"
    if without:
        yield error(
            "vectors",
            f"{without:,} in {examined} have no vector: no search finds them.",
            "Run lusifer index again. Adding a named vector, or importing the same text again, "
            "fills nothing.",
        )
    else:
        yield ok("vectors", f"{examined}, all with a vector")
    yield _words(metadata, config, texts)
    if sample is not None:
        yield from _sample(sample, metadata, config, embedder)


def _words(
    metadata: CollectionMetadata, config: CollectionConfig, texts: Sequence[str]
) -> Diagnostic:
    """Report whether keyword searches find words in the scripts of the texts."""
    name = metadata.text_property
    found = next((each for each in config.properties if each.name == name), None)
    cut = str(getattr(found.tokenization, "value", found.tokenization)) if found else "word"
    if fits(cut, texts):
        return ok("keywords", f"{name} is cut by {cut}")
    return warning(
        "keywords",
        f"{name} is cut by {cut}, which finds no words in these languages: the keyword half of a "
        "hybrid search finds nothing.",
        f"Make a new collection with --tokenization {advise_tokenization(texts)} (it can't be "
        "changed later), or search without keywords.",
    )


def _sample(
    sample: _Object,
    metadata: CollectionMetadata,
    config: CollectionConfig,
    embedder: Embedder | None,
) -> Iterator[Diagnostic]:
    """Report the text of one object, and whether its vector is the one made here from it."""
    properties = {key: value for key, value in sample.properties.items() if value is not None}
    rules = rules_of(metadata, config)
    text = compose_text(properties, rules)
    yield note("text", f"For object {sample.uuid} this is embedded: {text[:200]!r}")
    stored: NDArray[np.float64] = np.asarray(sample.vector[metadata.vector_name])
    if len(stored) != metadata.dimension:
        yield error(
            "dimension",
            f"Vectors have dimension {len(stored)}, the metadata says {metadata.dimension}.",
            "Serve the model with the dimension it was set up with, and make the collection again.",
        )
        return
    if embedder is None or not text or embedder.fingerprint != metadata.fingerprint:
        return
    if embedder.dimension != metadata.dimension:
        yield note(
            "sample", f"Not compared: vectors made here have dimension {embedder.dimension}."
        )
        return
    cosine = _cosine(embedder, text, stored)
    if cosine > _SAME:
        yield ok("sample", f"its vector is the one made here from that text (cosine {cosine:.5f})")
        return
    advice = "Run lusifer index again: the vector was made from another text or by another model."
    lowered = compose_text(properties, replace(rules, lower_case=True))
    if lowered != text and _cosine(embedder, lowered, stored) > _SAME:
        advice = (
            "Make the collection with --lower-case, or run the server without "
            "LOWERCASE_VECTORIZATION_INPUT."
        )
    yield error(
        "sample",
        f"its vector is not the one made here from that text (cosine {cosine:.5f}).",
        advice,
    )


def _cosine(embedder: Embedder, text: str, stored: NDArray[np.float64]) -> float:
    return float(embedder.embed_documents([text]).vectors[0] @ stored)
