"""Request for a plan, and the inspected collection: its model and the server's limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from lusifer.reindex.plan import GateLimits, Model, RateLimits
from lusifer.stores import diagnostics

if TYPE_CHECKING:
    from lusifer.errors import LusiferError
    from lusifer.stores.diagnostics import Diagnostic
    from lusifer.types import LongTextPolicy

__all__ = ["Inspection", "PlanRequest", "unknown_model"]


@dataclass(frozen=True)
class PlanRequest:
    """Options of the plan; see ``lusifer reindex plan --help``."""

    kind: Literal["embedded", "qdrant", "weaviate"]
    address: str
    """Folder, or URL of a server."""
    name: str
    """Alias or collection that applications ask; empty for the index that a folder is itself."""
    bundle: str | None = None
    """Folder of the new model's bundle."""
    service: str | None = None
    """URL of a service of the new model."""
    long_text: LongTextPolicy = "truncate"
    file: str | None = None
    """File that the documents come from, if not from the collection."""
    alias: str | None = None
    """Alias that applications are going to ask, where ``name`` is a collection."""
    new_collection: str | None = None
    in_place: bool = False
    vector_name: str | None = None
    """Name of the new named vector."""
    service_address: str | None = None
    """Address at which Weaviate reaches the service of the new model."""
    dimension: int | None = None
    """Length of the new vectors, if it is not the model's own."""
    skip_inactive_tenants: bool = False
    """Whether to leave out tenants of Weaviate that are not active."""
    grpc: bool = False
    text_field: str | None = None
    """Field with the text; None is what the collection's metadata says, or ``text``."""
    template: str = ""
    drop: tuple[str, ...] = ()
    rename: tuple[str, ...] = ()
    """``OLD=NEW`` for each field."""
    id_field: str = "id"
    language_field: str = "lang"
    window: int = 256
    """Documents between two checkpoints."""
    samples: int = 128
    """Documents to embed for the estimate."""
    limits: RateLimits = field(default_factory=RateLimits)
    gate: GateLimits = field(default_factory=GateLimits)
    price_per_hour: float | None = None


@dataclass(frozen=True)
class Inspection:
    """Result of the inspection."""

    collection: str
    """Collection behind the requested name."""
    is_alias: bool
    """Whether the requested name is an alias."""
    vector_name: str
    """Name of the vector in use; empty for an unnamed one."""
    old_model: Model | None
    """Model of that vector; None where nothing records it."""
    vectors: tuple[str, ...]
    """Names of all dense vectors."""
    diagnostics: tuple[Diagnostic, ...]
    text_field: str = "text"
    """Field with the text, if the request names none."""
    template: str = ""
    """Template of the text, if the request names none."""
    skipped_tenants: tuple[str, ...] = ()
    """Inactive tenants of Weaviate that are left out."""


def unknown_model(error: LusiferError) -> Diagnostic:
    """Report that nothing records which model made the old vectors."""
    return diagnostics.note(
        "old model", f"{error.message} Its old vectors can be compared, but not searched by text."
    )
