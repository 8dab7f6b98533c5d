"""The schema of a copy: every setting of the source but those of the vector that is replaced.

Schemas are JSON as the server gives them, so that a setting of a newer version is copied too. What
a copy can't have is refused in the plan, by name. After the copy is created, its schema is compared
with what was asked for.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from lusifer.errors import PlanError
from lusifer.stores import diagnostics

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lusifer.reindex.endpoints.weaviate.objects import Service
    from lusifer.stores.diagnostics import Diagnostic
    from lusifer.weaviate.rest import RestApi

__all__ = [
    "Replacement",
    "Schema",
    "add_missing_properties",
    "check_copyable",
    "copied_schema",
    "has_other_vectors",
    "module_name",
    "replaced_vector",
    "schema_differences",
    "source_uses",
]

Schema: TypeAlias = dict[str, Any]
"""A collection's schema as the server gives it."""

_EMBEDDERS = ("text2vec-transformers", "text2vec-cohere")
"""Modules that can ask a service of ours."""
_TIMES = {"_creationTimeUnix": "creation", "_lastUpdateTimeUnix": "last update"}
_CLASS_LEVEL = ("vectorizer", "vectorIndexType", "vectorIndexConfig")
"""Settings of the unnamed vector, which stand beside those of the collection."""


@dataclass(frozen=True)
class Replacement:
    """The vector of a copy that takes the place of one of the source's."""

    old: str
    """Name of the vector that is replaced; empty for the unnamed one."""
    new: str
    service: Service
    """Service that Weaviate requests the new vectors from."""
    model: str
    """Name of the new model."""
    source_properties: tuple[str, ...] = ()
    """Properties to embed where the source's vector names none, or another text is embedded."""


def copied_schema(
    source: Schema, target: str, description: str, replacement: Replacement
) -> Schema:
    """Return the schema of a copy.

    Args:
        source: Schema of the source.
        target: Name of the copy.
        description: Description of the copy.
        replacement: The vector that is replaced.
    """
    made = copy.deepcopy(source)
    made["class"], made["description"] = target, description
    if (made.get("multiTenancyConfig") or {}).get("enabled"):
        # The server shows numbers of shards that it does not take back: each tenant is one shard.
        made.pop("shardingConfig", None)
    vectors = dict(made.get("vectorConfig") or {})
    vectors.pop(replacement.old, None)
    vectors[replacement.new] = replaced_vector(source, replacement)
    if not replacement.old:
        # The settings of its module are those of the named vector now.
        (made.get("moduleConfig") or {}).pop(source.get("vectorizer"), None)
    for name in _CLASS_LEVEL:
        made.pop(name, None)
    made["vectorConfig"] = vectors
    for each in made.get("properties") or ():
        # A reference from the collection to itself points into the copy.
        each["dataType"] = [
            target if kind == source["class"] else kind for kind in each["dataType"]
        ]
    return made


def schema_differences(wanted: object, got: object, path: str = "") -> Iterator[str]:
    """Yield the paths at which a created schema is not what was asked for.

    What the server adds by itself is no difference.
    """
    if isinstance(wanted, Mapping) and isinstance(got, Mapping):
        for name, value in wanted.items():
            yield from schema_differences(value, got.get(name), f"{path}.{name}".lstrip("."))
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for index, (one, other) in enumerate(zip(wanted, got, strict=True)):
            yield from schema_differences(one, other, f"{path}[{index}]")
    elif wanted != got and (wanted or got):
        yield path


def add_missing_properties(rest: RestApi, source: str, target: str) -> set[str]:
    """Add to a copy the properties that its source has and it has not; return all their names."""
    wanted = rest.get(f"/schema/{source}", source).get("properties") or []
    got = rest.get(f"/schema/{target}", target).get("properties") or []
    known = {each["name"] for each in got}
    for each in wanted:
        if each["name"] not in known:
            kinds = [target if kind == source else kind for kind in each["dataType"]]
            added = {**each, "dataType": kinds}
            rest.send("POST", f"/schema/{target}/properties", added, target)
    return known | {each["name"] for each in wanted}


def has_other_vectors(schema: Schema, vector_name: str) -> bool:
    """Return whether a collection has named vectors beside this one."""
    return bool(set(schema.get("vectorConfig") or {}) - {vector_name})


def module_name(schema: Schema, vector_name: str) -> str:
    """Return the module that embeds for a vector; ``none`` where clients send the vectors.

    Args:
        schema: The collection's schema.
        vector_name: Name of the vector; empty for the unnamed one.
    """
    if not vector_name:
        return str(schema.get("vectorizer") or "none")
    return str(next(iter(schema["vectorConfig"][vector_name]["vectorizer"]), "none"))


def replaced_vector(schema: Schema, replacement: Replacement) -> Schema:
    """Return the new vector: the index of the old one, with the new model."""
    old = _old_vector(schema, replacement.old)
    made = copy.deepcopy({**old, "vectorizer": _vectorizer(old, replacement)})
    for settings in (made["vectorIndexConfig"], *_inner(made["vectorIndexConfig"])):
        if "distance" in settings:
            settings["distance"] = "cosine"
    return made


def check_copyable(
    schema: Schema, replacement: Replacement, dimension: int, *, in_place: bool
) -> list[Diagnostic]:
    """Report what a copy will have otherwise.

    Args:
        schema: Schema of the source.
        replacement: The vector that is replaced.
        dimension: Length of the new vectors.
        in_place: Whether only the vector is made again, in the same collection.

    Raises:
        PlanError: It has something that can't be copied; the message names all of it.
    """
    faults = list(_vector_faults(schema, replacement, dimension))
    if in_place:
        if faults := [*_update_faults(schema), *faults]:
            raise PlanError(
                " ".join(faults),
                next_step="Leave out --in-place, or change that in the collection first.",
            )
        return []
    if faults := [*_faults(schema), *faults]:
        raise PlanError(
            f"{schema['class']} can't be copied as it is. {' '.join(faults)}",
            next_step="Change that in the collection first; where LUSIFER made it, --in-place "
            "copies nothing.",
        )
    module = next(iter(_old_vector(schema, replacement.old)["vectorizer"]), "none")
    if module not in {"none", *_EMBEDDERS} and replacement.service.address is None:
        raise PlanError(
            f"Weaviate embeds what is written to {schema['class']} by {module}.",
            next_step="Serve the new model and name it with --service-address.",
        )
    return list(_changes(schema, replacement))


def source_uses(rest: RestApi, collection: str, alias: str | None) -> list[str]:
    """Return which other collections and aliases name a collection, one sentence each.

    Args:
        rest: The server.
        collection: Name of the collection.
        alias: Alias that does not count.
    """
    found = []
    for each in rest.get("/schema").get("classes") or ():
        if each["class"] == collection:
            continue
        names = [p["name"] for p in each.get("properties") or () if collection in p["dataType"]]
        if names:
            found.append(
                f"The collection {each['class']} refers to it ({', '.join(sorted(names))})."
            )
    others = [
        each["alias"]
        for each in (rest.get("/aliases").get("aliases") or ())
        if each["class"] == collection and each["alias"] != alias
    ]
    return found + [f"The alias {each} points to it." for each in sorted(others)]


def _unnamed(schema: Schema) -> Schema:
    """Return the unnamed vector of a collection as a named one."""
    module = schema.get("vectorizer") or "none"
    settings = (schema.get("moduleConfig") or {}).get(module, {})
    return {
        "vectorizer": {module: settings},
        "vectorIndexType": schema["vectorIndexType"],
        "vectorIndexConfig": schema["vectorIndexConfig"],
    }


def _vectorizer(old: Schema, replacement: Replacement) -> Schema:
    module, settings = next(iter(old["vectorizer"].items()), ("none", {}))
    if module == "none":
        return {"none": settings}
    service, address = replacement.service, (replacement.service.address or "").rstrip("/")
    if module not in _EMBEDDERS:
        module, settings = "text2vec-transformers", {"inferenceUrl": address}
    made = dict(settings or {})
    made.pop("dimensions", None)
    if service.dimension is not None:
        made["dimensions"] = service.dimension
    if replacement.source_properties:
        made |= {"properties": list(replacement.source_properties), "vectorizeClassName": False}
    if address and module == "text2vec-transformers":
        for name in ("passageInferenceUrl", "queryInferenceUrl"):
            made.pop(name, None)
        made["inferenceUrl"] = address
    if address and module == "text2vec-cohere":
        made |= {"baseURL": f"{address}/cohere", "model": replacement.model}
    return {module: made}


def _inner(settings: Schema) -> list[Schema]:
    """Return the settings of the two indexes within a dynamic one."""
    return [settings[name] for name in ("hnsw", "flat") if isinstance(settings.get(name), dict)]


def _old_vector(schema: Schema, name: str) -> Schema:
    return schema["vectorConfig"][name] if name else _unnamed(schema)


def _faults(schema: Schema) -> Iterator[str]:
    """Yield what keeps a collection from being copied, one sentence each."""
    named = schema.get("vectorConfig") or {}
    if named and schema.get("vectorIndexType"):
        yield (
            f"It has an unnamed vector beside {', '.join(sorted(named))}, and Weaviate creates no "
            "collection with both."
        )
    for name in _hashed(schema.get("properties") or ()):
        yield f"The property {name} is a blobHash, and Weaviate hashes again what is written to it."
    lifetime = schema.get("objectTtlConfig") or {}
    if lifetime.get("enabled") and (time := _TIMES.get(str(lifetime.get("deleteOn")))):
        yield f"Objects expire by the time of their {time} (objectTtlConfig), and copies are new."


def _update_faults(schema: Schema) -> Iterator[str]:
    """Yield what keeps a collection from getting another vector, one sentence each."""
    for each in schema.get("properties") or ():
        for name, nested in _nested_properties(f"{each['name']}.", each):
            if nested.get("indexRangeFilters"):
                # Observed on 1.39: it finds a difference between the property and itself.
                yield (
                    f"Weaviate refuses every change of {schema['class']}, because {name} has "
                    "indexRangeFilters within an object."
                )


def _vector_faults(schema: Schema, replacement: Replacement, dimension: int) -> Iterator[str]:
    """Yield what keeps a vector from being replaced, one sentence each."""
    old = _old_vector(schema, replacement.old)
    label = f"The vector {replacement.old}" if replacement.old else "The unnamed vector"
    indexes = (old["vectorIndexConfig"], *_inner(old["vectorIndexConfig"]))
    if any((each.get("multivector") or {}).get("enabled") for each in indexes):
        yield f"{label} is a multivector, and the new model makes one vector a text."
    for each in indexes:
        product = each.get("pq") or {}
        segments = product.get("segments") or 0
        if product.get("enabled") and segments and dimension % segments:
            yield (
                f"{label} is quantized in {segments} segments (pq), which don't divide {dimension}."
            )


def _changes(schema: Schema, replacement: Replacement) -> Iterator[Diagnostic]:
    old = _old_vector(schema, replacement.old)
    distances = {
        each["distance"]
        for each in (old["vectorIndexConfig"], *_inner(old["vectorIndexConfig"]))
        if each.get("distance", "cosine") != "cosine"
    }
    for distance in sorted(distances):
        yield diagnostics.warning(
            "distance",
            f"The old vectors are compared by {distance}, the new ones by cosine.",
            "Change applications that read distances or set limits to them.",
        )
    for name in sorted(set(schema.get("vectorConfig") or {}) - {replacement.old}):
        if (module := module_name(schema, name)) != "none":
            yield diagnostics.note(
                "vectors",
                f"The vector {name} goes along. Objects without it get one from {module} as they "
                "are copied.",
            )
    if (schema.get("invertedIndexConfig") or {}).get("indexTimestamps"):
        yield diagnostics.note(
            "times",
            "Copies have new times of creation and last update; filters by these times see them.",
        )


def _hashed(properties: Sequence[Schema]) -> Iterator[str]:
    """Yield the paths of properties whose values the server hashes."""
    for each in properties:
        for name, found in ((each["name"], each), *_nested_properties(f"{each['name']}.", each)):
            if "blobHash" in found["dataType"]:
                yield name


def _nested_properties(prefix: str, owner: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield the path of each property within another, and the property."""
    for each in owner.get("nestedProperties") or ():
        yield prefix + each["name"], each
        yield from _nested_properties(f"{prefix}{each['name']}.", each)
