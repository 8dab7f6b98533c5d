"""Makes a plan: looks at both sides, embeds a sample, changes nothing."""

from __future__ import annotations

import shutil
import uuid
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lusifer.errors import CollectionMismatchError, InvalidInputError, StoreError
from lusifer.reindex.batch import embed
from lusifer.reindex.endpoints.factory import open_migration
from lusifer.reindex.endpoints.file import FileSide
from lusifer.reindex.inspection import Found, PlanRequest, look
from lusifer.reindex.plan import Estimate, LanguageEstimate, Model, Place, Plan
from lusifer.stores import diagnostics

if TYPE_CHECKING:
    from lusifer.embedding.base import Embedder
    from lusifer.reindex.endpoints.base import Migration
    from lusifer.stores.diagnostics import Diagnostic

__all__ = ["make_plan"]

_GRAPH_BYTES = 160
"""Of a document in an HNSW graph of 16 links: twice as many on the lowest level, 4 bytes each, and
some."""


def make_plan(request: PlanRequest, embedder: Embedder) -> Plan:
    """Look, count, embed a sample, and write down what is to be done.

    Args:
        request: What was asked for.
        embedder: Of the new model.

    Raises:
        InvalidInputError: The request contradicts itself or what is there.
        CollectionMismatchError: The collection can't be re-embedded this way.
        StoreError: A side can't be read.
        EngineError: The model can't run.
    """
    found = look(request)
    model = Model(
        name=embedder.model_name,
        fingerprint=embedder.fingerprint,
        dimension=embedder.dimension,
        role_prompts=dict(embedder.role_prompts),
        bundle=request.bundle,
        service=request.service,
        long_text=request.long_text,
    )
    if found is not None and found.old_model is not None and not request.file:
        old = found.old_model
        if (old.fingerprint, old.dimension) == (model.fingerprint, model.dimension):
            raise CollectionMismatchError(
                f"{request.name} holds vectors of {model.name} already.",
                next_step="Name another model with --bundle or --service.",
            )
    plan = Plan(
        id=uuid.uuid4().hex,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        lusifer=_version(),
        model=model,
        old_model=None if found is None or request.file else found.old_model,
        language_field=request.language_field,
        service_address=request.service_address,
        service_dimension=request.dimension,
        window=request.window,
        limits=request.limits,
        gate=request.gate,
        estimate=_nothing(),
        **_places(request, found, model),
    )
    migration = open_migration(plan)
    try:
        estimate = _estimate(migration, embedder, request)
        notes = [*(found.notes if found else ()), *_file_notes(migration), *_room(plan, estimate)]
    finally:
        migration.close()
    return plan.model_copy(
        update={"estimate": estimate, "findings": tuple(each.as_dict() for each in notes)}
    )


def _places(request: PlanRequest, found: Found | None, model: Model) -> dict[str, Any]:
    here: dict[str, Any] = {"kind": request.kind, "address": request.address}
    here |= {"grpc": request.grpc, "text_field": request.text_field}
    vector_name = request.vector_name or "lusifer"
    if request.in_place:
        if request.file or request.kind == "embedded":
            raise InvalidInputError(
                "In place needs a collection of Qdrant or Weaviate.",
                next_step="Leave out --in-place, and name an alias.",
            )
        if found is None:
            raise _absent(request)
        name = request.vector_name or f"lusifer_{_short(model)}"
        if name in found.vectors and name == found.vector_name:
            raise InvalidInputError(
                f"{found.collection} uses the vector {name!r} now.",
                next_step="Name another with --vector-name.",
            )
        source = Place(**here, collection=found.collection, vector_name=found.vector_name)
        target = source.model_copy(update={"vector_name": name})
        return {
            "source": source,
            "target": target,
            "in_place": True,
            "alias": None,
            "shown_before": None,
        }
    alias = (
        request.name if request.file or (found is not None and found.is_alias) else request.alias
    )
    if alias is None:
        raise InvalidInputError(
            f"{request.name} is a collection, and applications ask for it by this name: nothing could be "
            "switched under them.",
            next_step="Name the alias that they are going to ask with --alias NAME"
            + (
                "."
                if request.kind == "embedded"
                else ", or fill a second vector of the same documents: --in-place."
            ),
        )
    if request.file and found is not None and not found.is_alias:
        raise StoreError(
            f"{request.name} is a collection already.",
            next_step="Choose another name for the alias.",
        )
    joint = "_" if request.kind == "weaviate" else "-"
    new = request.new_collection or f"{alias}{joint}{_short(model)}"
    if new in {alias, found.collection if found else None}:
        raise InvalidInputError(
            f"{new!r} is in use.", next_step="Name another with --new-collection."
        )
    if request.file:
        source = Place(
            kind="file",
            address=str(Path(request.file).resolve()),
            text_field=request.text_field,
            id_field=request.id_field,
        )
    else:
        if found is None:
            raise _absent(request)
        source = Place(**here, collection=found.collection, vector_name=found.vector_name)
    target = Place(**here, collection=new, vector_name=vector_name)
    before = found.collection if found else None
    return {
        "source": source,
        "target": target,
        "in_place": False,
        "alias": alias,
        "shown_before": before,
    }


def _estimate(migration: Migration, embedder: Embedder, request: PlanRequest) -> Estimate:
    documents = migration.old.count()
    # In place and not begun yet, the old side lacks every new vector, so it can be read as it is.
    records = migration.old.sample(request.samples, 0)
    prepared = embed(embedder, records)
    tokens: dict[str, list[int]] = defaultdict(list)
    for record, count in zip(prepared.records, prepared.tokens, strict=True):
        tokens[record.language].append(count)
    total = sum(prepared.tokens)
    rate = total / max(prepared.engine_seconds, 1e-9) if total else 0.0
    limit = request.limits.tokens_per_s
    used = min(rate, limit) if limit and rate else rate
    scale = documents / max(1, len(records))
    languages = {
        language: LanguageEstimate(
            documents=round(len(counts) * scale),
            tokens=round(sum(counts) * scale),
            seconds=round(sum(counts) * scale / used, 3) if used else 0.0,
        )
        for language, counts in sorted(tokens.items())
    }
    seconds = total * scale / used if used else 0.0
    price = request.price_per_hour
    return Estimate(
        documents=documents,
        sampled=len(records),
        languages=languages,
        tokens=round(total * scale),
        tokens_per_s=round(rate, 1),
        seconds=round(seconds, 3),
        cost=None if price is None else round(price * seconds / 3600, 2),
        index_bytes=documents * (4 * embedder.dimension + _GRAPH_BYTES),
    )


def _file_notes(migration: Migration) -> list[Diagnostic]:
    if not isinstance(migration.old, FileSide) or not migration.old.rejected_count:
        return []
    first = migration.old.rejected[0]
    return [
        diagnostics.warning(
            "file",
            f"{migration.old.rejected_count:,} records are no documents; the first is {first.where}: "
            f"{first.reason}",
            first.next_step,
        )
    ]


def _room(plan: Plan, estimate: Estimate) -> list[Diagnostic]:
    if plan.target.kind != "embedded":
        return [
            diagnostics.note(
                "room",
                f"The new vectors take about {estimate.index_bytes / 1e9:.2f} GB on the server"
                + (
                    "."
                    if plan.in_place
                    else ", and the documents are there twice until the cleaning."
                ),
            )
        ]
    folder = next(
        each
        for each in (Path(plan.target.address), *Path(plan.target.address).parents)
        if each.exists()
    )
    free_bytes = shutil.disk_usage(folder).free
    # Documents are copied too; 13 bytes a number in the engine's log.
    needed_bytes = 4 * estimate.index_bytes
    if free_bytes < needed_bytes:
        return [
            diagnostics.error(
                "room",
                f"{free_bytes / 1e9:.2f} GB are free, {needed_bytes / 1e9:.2f} GB may be needed.",
                "Free space first: a run stops before it is full, and goes on where it stopped.",
            )
        ]
    return [
        diagnostics.ok(
            "room",
            f"{free_bytes / 1e9:.2f} GB are free, {needed_bytes / 1e9:.2f} GB may be needed.",
        )
    ]


def _short(model: Model) -> str:
    return model.fingerprint.removeprefix("sha256:")[:8]


def _absent(request: PlanRequest) -> StoreError:
    return StoreError(f"There is no collection {request.name!r}.", next_step="Check the name.")


def _version() -> str:
    from lusifer._version import __version__

    return __version__


def _nothing() -> Estimate:
    return Estimate(
        documents=0, sampled=0, languages={}, tokens=0, tokens_per_s=0, seconds=0, index_bytes=0
    )
