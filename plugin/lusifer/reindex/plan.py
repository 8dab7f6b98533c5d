"""The plan of a re-embedding: what ``lusifer reindex plan`` writes and every later command reads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from lusifer.types import LongTextPolicy  # noqa: TC001  (pydantic needs it at run time)

__all__ = ["Estimate", "GateLimits", "LanguageEstimate", "Model", "Place", "Plan", "RateLimits"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Place(_Frozen):
    """Where documents lie. Keys of servers are never written down: they come from the environment."""

    kind: Literal["embedded", "qdrant", "weaviate", "file"]
    address: str
    """A folder, a server's URL, or a file."""
    collection: str = ""
    """The collection's own name, not an alias; empty for a file."""
    vector_name: str = "lusifer"
    grpc: bool = False
    """Talk gRPC to Qdrant."""
    text_field: str = "text"
    """Of a file."""
    id_field: str = "id"
    """Of a file."""

    @property
    def name(self) -> str:
        """For people."""
        if self.kind == "file":
            return self.address
        return f"{self.collection} ({self.vector_name}) in {self.address}"


class Model(_Frozen):
    """A model and where it runs; exactly one of ``bundle`` and ``service`` is set for one that embeds."""

    name: str
    fingerprint: Annotated[str, Field(min_length=1)]
    dimension: Annotated[int, Field(gt=0)]
    role_prompts: dict[str, str] = {}
    bundle: str | None = None
    service: str | None = None
    long_text: LongTextPolicy = "truncate"


class RateLimits(_Frozen):
    """At most so much in a second, over all workers; 0 is no limit."""

    source_per_s: Annotated[float, Field(ge=0)] = 0
    """Documents read from the old side."""
    tokens_per_s: Annotated[float, Field(ge=0)] = 0
    """Tokens embedded."""
    target_per_s: Annotated[float, Field(ge=0)] = 0
    """Documents written to the new side."""

    def share(self, workers: int) -> RateLimits:
        """What each of ``workers`` may do."""
        return RateLimits(**{name: value / workers for name, value in self})


class GateLimits(_Frozen):
    """What the new index must keep, in every language with enough questions, before applications see it."""

    maximum_recall_loss: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Known-item recall@10 may fall by this much; measured only where the old model is at hand."""
    minimum_recall: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Known-item recall@10 in the new index."""
    minimum_overlap: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Mean share of the 10 nearest neighbours of a document that both indexes name."""
    maximum_bias_gain: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The share of neighbours in the document's own language may rise by this much."""
    minimum_questions: Annotated[int, Field(ge=1)] = 10
    """A language with fewer is shown and does not decide."""


class LanguageEstimate(_Frozen):
    """One language of the sample, brought up to the whole collection."""

    documents: int
    tokens: int
    seconds: float


class Estimate(_Frozen):
    """What the re-embedding is going to take, from a sample that was embedded."""

    documents: int
    sampled: int
    languages: dict[str, LanguageEstimate]
    tokens: int
    tokens_per_s: float
    """Measured on the sample."""
    seconds: float
    cost: float | None = None
    """Where a price per hour was given, in its currency."""
    index_bytes: int
    """Vectors in float32 and the graph over them; less where the database quantizes."""


class Plan(_Frozen):
    """``plan.json``; nothing changes it."""

    schema_version: Literal[1] = 1
    id: str
    created: str
    """ISO 8601, UTC."""
    lusifer: str
    """Version that wrote it."""
    source: Place
    target: Place
    in_place: bool
    """One collection with a vector for each model, instead of two collections and an alias."""
    alias: str | None
    """What applications name; None in place."""
    shown_before: str | None = None
    """Collection that the alias meant before, for the way back; None where there was none."""
    language_field: str = "lang"
    service_address: str | None = None
    """Where Weaviate reaches the service of the new model; None keeps what the old collection says.
    """
    service_dimension: int | None = None
    """Length of vectors that Weaviate asks the service for; None is the model's own."""
    model: Model
    old_model: Model | None
    window: Annotated[int, Field(ge=1)] = 256
    """Documents between two checkpoints."""
    limits: RateLimits = RateLimits()
    gate: GateLimits = GateLimits()
    estimate: Estimate
    findings: tuple[dict[str, str], ...] = ()
    """What was checked; see :class:`lusifer.stores.diagnostics.Diagnostic`."""
