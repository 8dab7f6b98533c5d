"""Known options of other servers that speak the same protocols, by dialect.

A field that nobody knows is ignored, as those servers do it. An option that is known, and would
change the vectors, must not be: it is either honoured, by a field of the protocol's own body, or
it stands here with the values that ask for what this service does anyway. Any other value of it is
400, and so is any value of one whose type is ``None``.
"""

from __future__ import annotations

from typing import Literal

from lusifer.service.protocols.common import Body

__all__ = ["CohereForeign", "OllamaForeign", "OpenAIForeign", "TeiForeign"]


class OpenAIForeign(Body):
    """Options of servers with OpenAI's API."""

    # vLLM
    add_special_tokens: Literal[True] | None = None
    truncate_prompt_tokens: None = None
    normalize: bool | None = None
    """Makes no difference: the model's vectors are of unit norm."""
    messages: None = None
    # NVIDIA NIM and Infinity
    modality: Literal["text"] | None = None
    # Jina AI
    late_chunking: Literal[False] | None = None
    normalized: bool | None = None
    """Makes no difference either."""
    embedding_type: Literal["float"] | None = None
    # Voyage AI
    output_dtype: Literal["float"] | None = None
    # Sentence Transformers, Mixedbread AI and Nomic
    prompt: None = None
    prompt_name: None = None
    instruction: None = None


class CohereForeign(Body):
    """Options of Cohere's API for what this service does not embed."""

    images: None = None
    inputs: None = None
    priority: int | None = None
    """Makes no difference: queries come first."""


class TeiForeign(Body):
    """Options of Hugging Face's servers before and beside Text Embeddings Inference."""

    parameters: None = None
    prompt: None = None


class OllamaForeign(Body):
    """Options of Ollama; ``options`` are those of a language model, without effect on vectors."""

    images: None = None
    template: None = None
    system: None = None
