"""Choices that commands offer too, in a module that costs nothing to import."""

from __future__ import annotations

from typing import Literal

__all__ = [
    "LongTextPolicy",
    "Ordering",
    "Quantization",
    "Role",
    "Route",
    "WeaviateQuantizer",
    "WeaviateTokenization",
]

LongTextPolicy = Literal["truncate", "mean_of_windows", "error"]
"""What happens to a text over the token limit: cut it and say so, average its windows, or refuse it."""

Role = Literal["query", "document"]
"""A question, or a text that may answer one. The prompts differ, so the role must never be lost."""

Ordering = Literal["weak", "medium", "strong"]
"""Qdrant's write ordering, for replicated collections."""

Quantization = Literal["none", "turbo4", "turbo2", "scalar", "binary"]
"""How Qdrant keeps vectors in memory. ``turbo4`` is TurboQuant with 4 bits a number, an eighth of float32."""

Route = Literal["transformers", "cohere"]
"""The module through which Weaviate reaches our service: one text a request, or 96 and any key."""

WeaviateQuantizer = Literal["none", "rq", "sq", "bq", "pq"]
"""How Weaviate keeps vectors in memory: ``rq`` (rotational, 8 bits) is its own default advice."""

WeaviateTokenization = Literal[
    "word", "whitespace", "lowercase", "field", "trigram", "gse", "gse_ch", "kagome_ja", "kagome_kr"
]
"""How Weaviate cuts a text into words for keyword searches."""
