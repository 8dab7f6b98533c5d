"""The plan of a re-embedding: ``lusifer reindex plan`` writes it, later commands read it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from lusifer.errors import PlanError
from lusifer.stores.fields import FieldRules
from lusifer.types import LongTextPolicy  # noqa: TC001  (pydantic needs it at run time)

__all__ = ["Estimate", "GateLimits", "LanguageEstimate", "Location", "Model", "Plan", "RateLimits"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Location(_Frozen):
    """Location of documents. Keys of servers are never stored: they come from the environment."""

    kind: Literal["embedded", "qdrant", "weaviate", "file"]
    address: str
    """Folder, URL of a server, or file."""
    collection: str = ""
    """The collection's own name, not an alias; empty for a file."""
    vector_name: str = "lusifer"
    """Name of the vector; empty for an unnamed one."""
    grpc: bool = False
    """Whether to use Qdrant's gRPC API."""
    text_field: str = "text"
    """Field with the text, of a file or of a collection that LUSIFER did not create."""
    template: str = ""
    """Text made of several fields; see :class:`lusifer.stores.fields.FieldRules`."""
    drop: tuple[str, ...] = ()
    """Fields that the copies lack."""
    rename: dict[str, str] = {}
    """New names of fields in the copies."""
    id_field: str = "id"
    """Field of a file with the id."""

    @property
    def rules(self) -> FieldRules:
        """Rules for the fields of a document here."""
        return FieldRules(self.text_field, self.template, frozenset(self.drop), self.rename)

    @property
    def name(self) -> str:
        """Name for people."""
        if self.kind == "file":
            return self.address
        vector = f" ({self.vector_name})" if self.vector_name else ""
        return f"{self.collection}{vector} in {self.address}" if self.collection else self.address


class Model(_Frozen):
    """A model and where it runs; exactly one of ``bundle`` and ``service`` is set if it embeds."""

    name: str
    fingerprint: Annotated[str, Field(min_length=1)]
    dimension: Annotated[int, Field(gt=0, le=65_536)]
    role_prompts: dict[str, str] = {}
    bundle: str | None = None
    service: str | None = None
    long_text: LongTextPolicy = "truncate"


class RateLimits(_Frozen):
    """Limits for one second, over all workers; 0 is no limit."""

    source_per_s: Annotated[float, Field(ge=0)] = 0
    """Documents read from the source."""
    tokens_per_s: Annotated[float, Field(ge=0)] = 0
    """Tokens embedded."""
    target_per_s: Annotated[float, Field(ge=0)] = 0
    """Documents written to the target."""

    def share(self, workers: int) -> RateLimits:
        """Return the limits of each of ``workers``."""
        return RateLimits(**{name: value / workers for name, value in self})


class GateLimits(_Frozen):
    """Limits for the new vectors before the cutover, in every language with enough queries."""

    maximum_recall_loss: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Largest fall of known-item recall@10; measured only if the old model is available."""
    minimum_recall: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Smallest known-item recall@10 of the new vectors."""
    minimum_overlap: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Smallest mean share of a document's 10 nearest neighbours that old and new vectors have in
    common."""
    maximum_bias_gain: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Largest rise of the share of neighbours in the document's own language."""
    minimum_questions: Annotated[int, Field(ge=1)] = 10
    """Queries of a language below which it is reported and does not decide."""
    maximum_first_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Largest share of a language's queries that have the same wrong first hit. Few queries may
    have more by chance; see :func:`lusifer.common.hubness.allowed_queries`."""


class LanguageEstimate(_Frozen):
    """One language of the sample, scaled to the whole collection."""

    documents: int
    tokens: int
    seconds: float


class Estimate(_Frozen):
    """Expected cost of the re-embedding, from a sample that was embedded."""

    documents: int
    sampled: int
    languages: dict[str, LanguageEstimate]
    tokens: int
    tokens_per_s: float
    """Rate measured on the sample."""
    seconds: float
    cost: float | None = None
    """Cost in the currency of the price per hour; None without a price."""
    index_bytes: int
    """Vectors in float32 and the graph over them; less where the database quantizes."""


class Plan(_Frozen):
    """``plan.json``; nothing changes it."""

    schema_version: Literal[1] = 1
    id: str
    created: str
    """Time in UTC, ISO 8601."""
    lusifer: str
    """Version of LUSIFER that wrote it."""
    source: Location
    target: Location
    in_place: bool
    """One collection with a vector for each model, instead of two collections and an alias."""
    alias: str | None
    """Alias that applications ask; None in place."""
    shown_before: str | None = None
    """Collection that the alias meant before, for a rollback; None where it meant nothing."""
    language_field: str = "lang"
    service_address: str | None = None
    """Address at which Weaviate reaches the service of the new model; None keeps the source's."""
    service_dimension: int | None = None
    """Length of vectors that Weaviate requests from the service; None is the model's own."""
    skipped_tenants: tuple[str, ...] = ()
    """Inactive tenants of Weaviate that are left out."""
    model: Model
    old_model: Model | None
    window: Annotated[int, Field(ge=1, le=100_000)] = 256
    """Documents between two checkpoints."""
    limits: RateLimits = RateLimits()
    gate: GateLimits = GateLimits()
    estimate: Estimate
    findings: tuple[dict[str, str], ...] = ()
    """Results of the checks; see :class:`lusifer.stores.diagnostics.Diagnostic`."""

    def reversed(self) -> Plan:
        """Return the plan of the way back, from the target to the source.

        Raises:
            PlanError: Nothing records which model made the source's vectors.
        """
        if self.old_model is None:
            raise PlanError(
                "Nothing records which model made the old vectors.",
                next_step="Leave out --old-bundle and --old-service.",
            )
        return self.model_copy(
            update={
                "source": self.target,
                "target": self.source,
                "model": self.old_model,
                "old_model": self.model,
            }
        )
