"""Makes a plan: inspects source and target, embeds a sample, changes nothing."""

from __future__ import annotations

import shutil
import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lusifer._version import __version__
from lusifer.common.urls import has_key, without_key
from lusifer.errors import PlanError
from lusifer.reindex.batch import embed
from lusifer.reindex.endpoints.factory import inspect_collection, open_migration
from lusifer.reindex.endpoints.file import FileSource
from lusifer.reindex.plan import Estimate, LanguageEstimate, Location, Model, Plan
from lusifer.stores import diagnostics
from lusifer.stores.fields import FieldRules, parse_rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lusifer.embedding.base import Embedder
    from lusifer.reindex.batch import EmbeddedBatch
    from lusifer.reindex.endpoints.base import AnyMigration
    from lusifer.reindex.inspection import Inspection, PlanRequest
    from lusifer.stores.diagnostics import Diagnostic

__all__ = ["Route", "choose_route", "estimate", "make_plan"]

_FIELDS_SHOWN = 20
_GRAPH_BYTES = 160
"""A document in an HNSW graph of 16 links: twice as many on the lowest level, 4 bytes each, and
some."""
_COPY_FACTOR = 4
"""The embedded store copies documents too, and its log takes 13 bytes for each number."""
_NO_ESTIMATE = Estimate(
    documents=0, sampled=0, languages={}, tokens=0, tokens_per_s=0, seconds=0, index_bytes=0
)


@dataclass(frozen=True)
class Route:
    """Source, target and alias of a re-embedding."""

    source: Location
    target: Location
    in_place: bool
    alias: str | None
    shown_before: str | None
    """Collection that the alias points to now."""


def make_plan(request: PlanRequest, embedder: Embedder) -> Plan:
    """Inspect, count, embed a sample, and describe what is to be done.

    Args:
        request: What was asked for.
        embedder: The new model.

    Raises:
        PlanError: The request contradicts itself or what is there.
        CollectionMismatchError: The collection's metadata or schema does not fit.
        StoreError: Source or target can't be read.
        EngineError: The model can't run.
    """
    _refuse_keys(request)
    found = inspect_collection(request, embedder.dimension)
    model = Model(
        name=embedder.model_name,
        fingerprint=embedder.fingerprint,
        dimension=embedder.dimension,
        role_prompts=dict(embedder.role_prompts),
        bundle=request.bundle,
        service=request.service,
        long_text=request.long_text,
    )
    old_model = None if found is None or request.file else found.old_model
    if old_model is not None and (old_model.fingerprint, old_model.dimension) == (
        model.fingerprint,
        model.dimension,
    ):
        raise PlanError(
            f"{request.name or request.address} holds vectors of {model.name} already.",
            next_step="Name another model with --bundle or --service.",
        )
    route = choose_route(request, found, model)
    plan = Plan(
        id=uuid.uuid4().hex,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        lusifer=__version__,
        source=route.source,
        target=route.target,
        in_place=route.in_place,
        alias=route.alias,
        shown_before=route.shown_before,
        model=model,
        old_model=old_model,
        language_field=request.language_field,
        service_address=request.service_address,
        service_dimension=request.dimension,
        skipped_tenants=() if found is None else found.skipped_tenants,
        estimate=_NO_ESTIMATE,
        window=request.window,
        limits=request.limits,
        gate=request.gate,
    )
    migration = open_migration(plan)
    try:
        estimated = estimate(migration, embedder, request)
        notes = [
            *(found.diagnostics if found else ()),
            *_file_notes(migration),
            _space_note(plan, estimated),
        ]
    finally:
        migration.close()
    return plan.model_copy(
        update={"estimate": estimated, "findings": tuple(each.as_dict() for each in notes)}
    )


def _refuse_keys(request: PlanRequest) -> None:
    """Refuse addresses with a key in them: the plan keeps addresses."""
    addresses = {"service": request.service, "service address": request.service_address}
    for name, url in addresses.items():
        if url is not None and has_key(url):
            raise PlanError(
                f"The {name} {without_key(url)} has a key in it, and a plan keeps none.",
                next_step="Leave it out of the address, and set LUSIFER_API_KEY to it.",
            )


def choose_route(request: PlanRequest, found: Inspection | None, model: Model) -> Route:
    """Choose source, target and alias.

    Args:
        request: What was asked for.
        found: What is there now.
        model: The new model.

    Raises:
        PlanError: The request contradicts itself or what is there.
    """
    rules = _rules_of(request, found)
    if request.in_place:
        return _route_in_place(request, found, model, rules)
    has_alias = request.file or (found is not None and found.is_alias)
    if has_alias and request.alias not in {None, request.name}:
        raise PlanError(
            f"Applications ask for {request.name or request.address}, which is going to have the "
            f"new vectors; --alias names {request.alias}.",
            next_step="Leave out --alias.",
        )
    alias = request.name if has_alias else request.alias
    if alias is None:
        in_place = "."
        if request.kind != "embedded":
            in_place = ", or fill a second vector of the same documents: --in-place."
        raise PlanError(
            f"{request.name} is a collection, and applications ask for it by this name: nothing "
            "could be switched under them.",
            next_step=f"Name the alias that they are going to ask with --alias NAME{in_place}",
        )
    if request.file and found is not None and not found.is_alias:
        raise PlanError(
            f"{request.name} is a collection already.",
            next_step="Choose another name for the alias.",
        )
    joint = "_" if request.kind == "weaviate" else "-"
    new = request.new_collection or f"{alias or 'default'}{joint}{_short(model)}"
    shown_before = found.collection if found else None
    if new in {alias, shown_before}:
        raise PlanError(f"{new!r} is in use.", next_step="Name another with --new-collection.")
    return Route(
        source=_file(request, request.file, rules)
        if request.file
        else _existing(request, found, rules),
        # A document of a file is written as lusifer index does.
        target=_location(
            request,
            new,
            request.vector_name or "lusifer",
            FieldRules() if request.file else rules.after(),
        ),
        in_place=False,
        alias=alias,
        shown_before=shown_before,
    )


def _route_in_place(
    request: PlanRequest, found: Inspection | None, model: Model, rules: FieldRules
) -> Route:
    if request.file or request.kind == "embedded":
        raise PlanError(
            "In place needs a collection of Qdrant or Weaviate.",
            next_step="Leave out --in-place, and name an alias.",
        )
    if rules.drop or rules.rename:
        raise PlanError(
            "In place the documents stay as they are: no field can be dropped or renamed.",
            next_step="Leave out --drop and --rename, or --in-place.",
        )
    source = _existing(request, found, rules)
    name = request.vector_name or f"lusifer_{_short(model)}"
    if name == source.vector_name:
        raise PlanError(
            f"{source.collection} uses the vector {name!r} now.",
            next_step="Name another with --vector-name.",
        )
    target = source.model_copy(update={"vector_name": name})
    return Route(source, target, in_place=True, alias=None, shown_before=None)


def _rules_of(request: PlanRequest, found: Inspection | None) -> FieldRules:
    """Return the rules for the fields of a document.

    Raises:
        PlanError: They can't be applied to what is there.
        InvalidInputError: They can't be understood.
    """
    known = None if request.file else found
    text_field = request.text_field or (known.text_field if known else "text")
    template = request.template
    if not request.text_field and not template and known:
        template = known.template
    rules = parse_rules(text_field, template, request.drop, request.rename)
    if request.file:
        return rules
    if request.kind == "qdrant":
        if used := sorted(rules.drop & set(rules.text_fields)):
            raise PlanError(
                f"The text is made of the field {used[0]!r}, so it can't be dropped.",
                next_step="Leave it, or make the text of other fields.",
            )
        return rules
    named = request.text_field not in {None, "text"} if request.kind == "embedded" else False
    if named or request.template or request.drop or request.rename or "." in text_field:
        raise PlanError(
            f"{request.name or request.address} keeps the text of a document where LUSIFER or the "
            "schema has it, and copies get all fields as they are.",
            next_step="Leave out --template, --drop, --rename, and --text-field of nested fields "
            "or of the embedded store.",
        )
    return rules


def _existing(request: PlanRequest, found: Inspection | None, rules: FieldRules) -> Location:
    if found is None:
        raise PlanError(f"There is no collection {request.name!r}.", next_step="Check the name.")
    return _location(request, found.collection, found.vector_name, rules)


def _location(
    request: PlanRequest, collection: str, vector_name: str, rules: FieldRules
) -> Location:
    return Location(
        kind=request.kind,
        address=request.address,
        collection=collection,
        vector_name=vector_name,
        grpc=request.grpc,
        text_field=rules.text_field,
        template=rules.template,
        drop=tuple(sorted(rules.drop)),
        rename=dict(rules.rename),
    )


def _file(request: PlanRequest, path: str, rules: FieldRules) -> Location:
    return Location(
        kind="file",
        address=str(Path(path).resolve()),
        text_field=rules.text_field,
        template=rules.template,
        drop=tuple(sorted(rules.drop)),
        rename=dict(rules.rename),
        id_field=request.id_field,
    )


def estimate(migration: AnyMigration, embedder: Embedder, request: PlanRequest) -> Estimate:
    """Embed a sample and scale its tokens and seconds to the whole source."""
    documents = migration.source.count()
    # In place and not begun yet, every document lacks the new vector, so the source is complete.
    records = migration.source.sample(request.samples, 0)
    embedded = embed(embedder, records)
    _check_texts(migration, embedded)
    tokens: dict[str, list[int]] = defaultdict(list)
    for record, count in zip(embedded.records, embedded.tokens, strict=True):
        tokens[record.language].append(count)
    total = sum(embedded.tokens)
    rate = total / max(embedded.engine_seconds, 1e-9) if total else 0.0
    limit = request.limits.tokens_per_s
    expected_rate = min(rate, limit) if limit and rate else rate
    scale = documents / max(1, len(records))
    languages = {
        language: LanguageEstimate(
            documents=round(len(counts) * scale),
            tokens=round(sum(counts) * scale),
            seconds=round(sum(counts) * scale / expected_rate, 3) if expected_rate else 0.0,
        )
        for language, counts in sorted(tokens.items())
    }
    seconds = total * scale / expected_rate if expected_rate else 0.0
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


def _check_texts(migration: AnyMigration, embedded: EmbeddedBatch[Any]) -> None:
    """Refuse a source without one usable text.

    Raises:
        PlanError: No document of the sample, or no record of a file, has one.
    """
    source = migration.source
    if isinstance(source, FileSource) and not embedded.records:
        first = f" The first: {source.rejected[0].reason}" if source.rejected else ""
        raise PlanError(
            f"{source.source.source} has no document that can be embedded; "
            f"{source.rejected_count:,} records are none.{first}",
            next_step=source.rejected[0].next_step if source.rejected else "Name another file.",
        )
    if not embedded.records or any(vector is not None for vector in embedded.vectors):
        return
    names = sorted({name for record in embedded.records for name in _field_names(record.content)})
    raise PlanError(
        f"None of {len(embedded.records):,} sampled documents has a text that can be embedded "
        f"({embedded.refused[0]['reason']}). Their fields are {', '.join(names[:_FIELDS_SHOWN])}"
        f"{', …' if len(names) > _FIELDS_SHOWN else ''}.",
        next_step="Name the field with the text: --text-field NAME; or make it of several: "
        "--template.",
    )


def _field_names(content: object) -> Iterator[str]:
    """Yield the names of a document's fields, nested ones too."""
    fields: Mapping[str, object] = next(
        (
            found
            for name in ("payload", "properties", "metadata")
            if (found := getattr(content, name, None)) is not None
        ),
        {},
    )
    for name, value in fields.items():
        yield name
        if isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in value)


def _file_notes(migration: AnyMigration) -> list[Diagnostic]:
    source = migration.source
    if not isinstance(source, FileSource) or not source.rejected_count:
        return []
    first = source.rejected[0]
    return [
        diagnostics.warning(
            "file",
            f"{source.rejected_count:,} records are no documents; the first is {first.where}: "
            f"{first.reason}",
            first.next_step,
        )
    ]


def _space_note(plan: Plan, estimated: Estimate) -> Diagnostic:
    if plan.target.kind != "embedded":
        copies = "." if plan.in_place else ", and the documents are stored twice until clean."
        size = f"about {estimated.index_bytes / 1e9:.2f} GB on the server"
        return diagnostics.note("room", f"The new vectors take {size}{copies}")
    path = Path(plan.target.address)
    folder = next(each for each in (path, *path.parents) if each.exists())
    free_bytes = shutil.disk_usage(folder).free
    needed_bytes = _COPY_FACTOR * estimated.index_bytes
    message = f"{free_bytes / 1e9:.2f} GB are free, {needed_bytes / 1e9:.2f} GB may be needed."
    if free_bytes < needed_bytes:
        return diagnostics.error(
            "room",
            message,
            "Free space first: a run stops before the disk is full, and continues there.",
        )
    return diagnostics.ok("room", message)


def _short(model: Model) -> str:
    return model.fingerprint.removeprefix("sha256:")[:8]
