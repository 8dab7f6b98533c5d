"""Objects and the text that Weaviate 1.39.0 sent to its module for each, recorded from a real server.

The unit tests compare ``compose_text`` with these; the integration tests compare the server.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

COLLECTION = "ModuleTextsV2"

DATA_TYPES = {
    "title": "text",
    "body": "text",
    "subTitle": "text",
    "other": "text",
    "count": "int",
    "price": "number",
    "flag": "boolean",
    "tags": "text[]",
    "counts": "int[]",
    "prices": "number[]",
    "flags": "boolean[]",
    "day": "date",
    "days": "date[]",
    "key": "uuid",
    "keys": "uuid[]",
    "place": "geoCoordinates",
    "author": "object",
    "authors": "object[]",
}
NESTED = {"name": "text", "born": "int", "score": "number", "since": "date"}
"""Data types within ``author`` and ``authors``."""

SETTINGS: dict[str, dict[str, Any]] = {
    "texts": {"source_properties": ["title", "body"]},
    "class name": {"source_properties": ["title", "body"], "vectorize_collection_name": True},
    "all types": {"source_properties": [name for name in DATA_TYPES if name != "other"]},
    "no sources": {"source_properties": None},
    "names": {"source_properties": None, "named": ["subTitle", "tags"], "skipped": ["other"]},
    "named sources": {
        "source_properties": ["title", "subTitle", "count"],
        "named": ["subTitle", "count"],
    },
    # The server runs with LOWERCASE_VECTORIZATION_INPUT.
    "lower case": {
        "source_properties": ["title", "subTitle", "author"],
        "named": ["subTitle"],
        "vectorize_collection_name": True,
        "lower_case": True,
    },
}

_RECORDED = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))

OBJECTS: list[dict[str, Any]] = [each["object"] for each in _RECORDED]

SENT: dict[str, list[str]] = {
    setting: [each["sent"][setting] for each in _RECORDED] for setting in SETTINGS
}
"""For each setting the text of every object. Empty: nothing was sent, and the object got no vector."""


def schema(setting: dict[str, Any], inference_url: str) -> dict[str, Any]:
    """Return the schema that the collection was made from."""
    properties = []
    for name, kind in DATA_TYPES.items():
        own = {
            "skip": name in setting.get("skipped", ()),
            "vectorizePropertyName": name in setting.get("named", ()),
        }
        made = {"name": name, "dataType": [kind], "moduleConfig": {"text2vec-transformers": own}}
        if kind.startswith("object"):
            made["nestedProperties"] = [
                {"name": one, "dataType": [of]} for one, of in NESTED.items()
            ]
        properties.append(made)
    module = {
        "inferenceUrl": inference_url,
        "vectorizeClassName": setting.get("vectorize_collection_name", False),
    }
    if setting["source_properties"]:
        module["properties"] = setting["source_properties"]
    vector = {"vectorizer": {"text2vec-transformers": module}, "vectorIndexType": "hnsw"}
    return {"class": COLLECTION, "properties": properties, "vectorConfig": {"lusifer": vector}}


def data_types() -> dict[str, str]:
    """Return the data types as ``lusifer.weaviate.metadata.data_types`` does."""
    inner = {f"{of}.{name}": kind for of in ("author", "authors") for name, kind in NESTED.items()}
    return {**DATA_TYPES, **inner}
