"""Collections with every data type, every setting and every kind of vector that Weaviate has.

All is sent and read as JSON, so that neither the client's types nor ours stand between a test and
the server. ``settings_left_out`` compares with the server's own OpenAPI document and with the
settings that it shows: one that a newer version has and no collection here sets is named.
"""

from __future__ import annotations

from typing import Any

import httpx

JSONObject = dict[str, Any]

REPLACED = "lusifer"
"""Vector that the re-embedding replaces."""

_PRIMITIVES = (
    "text", "int", "number", "boolean", "date", "geoCoordinates", "phoneNumber", "blob",
    "text[]", "int[]", "number[]", "boolean[]", "date[]", "uuid", "uuid[]", "string", "string[]",
)  # fmt: skip
_NESTED = tuple(
    each for each in _PRIMITIVES if each not in {"geoCoordinates", "phoneNumber", "string", "string[]"}
)  # fmt: skip

VALUES: JSONObject = {
    "text": 'Grüße "q" <b>&\u2028😀',
    "int": 2**53 - 1,
    "number": 1.1e-300,
    "boolean": False,
    "date": "0000-01-02T03:04:05.123456789+02:00",
    "geoCoordinates": {"latitude": 52.39327, "longitude": -4.837426},
    "phoneNumber": {"input": "020 1234567", "defaultCountry": "nl"},
    "blob": "aGVsbG8=",
    "text[]": ["a", "", "b"],
    "int[]": [1, -2, 2**53 - 1],
    "number[]": [0.1, 1e21, 3],
    "boolean[]": [True, False],
    "date[]": ["2020-01-01T00:00:00.000000001Z", "9999-12-31T23:59:59.999999999Z"],
    "uuid": "aaaaaaaa-0000-4000-8000-000000000009",
    "uuid[]": ["aaaaaaaa-0000-4000-8000-000000000008"],
    "string": "S",
    "string[]": ["x y"],
}
"""A value of each data type that one of the client's types would change."""


def _plain(kind: str) -> str:
    return kind.replace("[]", "s")


def _properties(own: str, other: str) -> list[JSONObject]:
    nested = [{"name": f"n_{_plain(each)}", "dataType": [each]} for each in _NESTED]
    deep = {
        "name": "deep", "dataType": ["text"], "tokenization": "field", "indexSearchable": False,
        "indexFilterable": False, "description": "Deep.",
    }  # fmt: skip
    analyzed = {
        "name": "analyzed", "dataType": ["text"], "tokenization": "word", "indexFilterable": False,
        "textAnalyzer": {"asciiFold": True, "asciiFoldIgnore": ["é"], "stopwordPreset": "mine"},
    }  # fmt: skip
    return [
        {"name": "body", "dataType": ["text"], "moduleConfig": {"text2vec-transformers": {"skip": False, "vectorizePropertyName": True}}},
        *({"name": f"p_{_plain(each)}", "dataType": [each], "description": f"A {each}."} for each in _PRIMITIVES),
        analyzed,
        {"name": "trigrams", "dataType": ["text"], "tokenization": "trigram", "indexSearchable": False},
        {"name": "ranged", "dataType": ["number"], "indexRangeFilters": True, "indexFilterable": False},
        {"name": "expires", "dataType": ["date"]},
        {"name": "thing", "dataType": ["object"], "nestedProperties": [
            *nested, {**analyzed, "name": "n_analyzed"},
            {"name": "n_ranged", "dataType": ["number"], "indexRangeFilters": True},
            {"name": "inner", "dataType": ["object[]"], "nestedProperties": [deep]},
        ]},
        {"name": "things", "dataType": ["object[]"], "nestedProperties": nested},
        {"name": "sees", "dataType": [other]},
        {"name": "self", "dataType": [own], "disableDuplicatedReferences": True},
    ]  # fmt: skip


def _vector(kind: str, **settings: Any) -> JSONObject:
    return {"vectorizer": {"none": {}}, "vectorIndexType": kind, "vectorIndexConfig": settings}


_HNSW = {
    "ef": 123, "efConstruction": 99, "maxConnections": 17, "dynamicEfMin": 50, "dynamicEfMax": 400,
    "dynamicEfFactor": 7, "vectorCacheMaxObjects": 12345, "flatSearchCutoff": 333,
    "cleanupIntervalSeconds": 222, "filterStrategy": "sweeping",
}  # fmt: skip
_PQ = {
    "enabled": True, "trainingLimit": 50000, "segments": 2, "centroids": 128,
    "encoder": {"type": "tile", "distribution": "normal"},
}  # fmt: skip


def _vectors() -> JSONObject:
    return {
        REPLACED: _vector("hnsw", distance="cosine", **_HNSW),
        "h_dot_pq": _vector("hnsw", distance="dot", pq=_PQ),
        "h_l2_sq": _vector("hnsw", distance="l2-squared", sq={"enabled": True, "trainingLimit": 7777, "rescoreLimit": 33}),
        "h_manhattan_bq": _vector("hnsw", distance="manhattan", bq={"enabled": True}),
        "h_hamming": _vector("hnsw", distance="hamming", skipDefaultQuantization=True),
        "h_rq": _vector("hnsw", distance="cosine", rq={"enabled": True, "bits": 1, "rescoreLimit": 44}),
        "h_skip": _vector("hnsw", skip=True),
        "f_dot_bq": _vector("flat", distance="dot", vectorCacheMaxObjects=77, bq={"enabled": True, "rescoreLimit": 55, "cache": True}),
        "f_rq": _vector("flat", distance="l2-squared", rq={"enabled": True, "rescoreLimit": 56, "cache": True, "bits": 1}),
        "f_plain": _vector("flat", distance="cosine", skipDefaultQuantization=True),
        "multi": _vector("hnsw", multivector={"enabled": True, "aggregation": "maxSim"}),
        "muvera": _vector("hnsw", distance="dot", multivector={"enabled": True, "muvera": {"enabled": True, "ksim": 3, "dprojections": 8, "repetitions": 5}}),
        "fresh": _vector("hfresh", distance="l2-squared", searchProbe=99, replicas=3, maxPostingSizeKB=64, rq={"enabled": True, "bits": 1, "rescoreLimit": 44}),
        "module": {
            "vectorizer": {"text2vec-transformers": {"inferenceUrl": "http://127.0.0.1:9", "properties": ["body"], "vectorizeClassName": False, "poolingStrategy": "cls"}},
            "vectorIndexType": "hnsw",
        },
    }  # fmt: skip


def schema(
    name: str,
    other: str,
    *,
    tenants: bool,
    description: str,
    dynamic: bool = True,
    changeable: bool = False,
) -> JSONObject:
    """Return the schema of a collection with every setting.

    Args:
        name: The collection.
        other: Collection that it refers to.
        tenants: Whether it has tenants.
        description: Its description.
        dynamic: Whether it has a dynamic index, which takes a server with ``ASYNC_INDEXING``.
        changeable: Whether it leaves out a setting with which Weaviate 1.39 refuses every change.
    """
    made: JSONObject = {
        "class": name,
        "description": description,
        "properties": _properties(name, other),
        "vectorConfig": _vectors(),
        "moduleConfig": {"generative-openai": {"model": "gpt-4o"}},
        "invertedIndexConfig": {
            "bm25": {"k1": 1.5, "b": 0.6}, "cleanupIntervalSeconds": 77, "indexNullState": True,
            "indexTimestamps": True, "indexPropertyLength": True,
            "stopwords": {"preset": "none", "additions": ["foo"], "removals": []},
            "stopwordPresets": {"mine": ["a", "b"]},
            "tokenizerUserDict": [{"tokenizer": "kagome_kr", "replacements": [{"source": "Weaviate", "target": "We Aviate"}]}],
        },
        "replicationConfig": {"factor": 1, "deletionStrategy": "DeleteOnConflict", "asyncConfig": {
            "hashtreeHeight": 10, "frequency": 1000, "frequencyWhilePropagating": 500,
            "loggingFrequency": 20, "diffBatchSize": 77, "diffPerNodeTimeout": 11,
            "prePropagationTimeout": 300, "propagationTimeout": 61, "propagationLimit": 7777,
            "propagationDelay": 3001, "propagationConcurrency": 2, "propagationBatchSize": 66,
        }},
        "objectTtlConfig": {"enabled": True, "defaultTtl": 99999999, "deleteOn": "expires", "filterExpiredObjects": True},
    }  # fmt: skip
    if changeable:
        for each in made["properties"]:
            for nested in each.get("nestedProperties", ()):
                nested.pop("indexRangeFilters", None)
    if tenants:
        made["multiTenancyConfig"] = {
            "enabled": True,
            "autoTenantCreation": True,
            "autoTenantActivation": False,
        }
    else:
        made["shardingConfig"] = {"desiredCount": 2, "virtualPerPhysical": 64}
        if dynamic:
            made["vectorConfig"]["dynamic"] = _vector(
                "dynamic",
                distance="dot",
                threshold=4321,
                hnsw={**_HNSW, "bq": {"enabled": True}},
                flat={
                    "vectorCacheMaxObjects": 76,
                    "bq": {"enabled": True, "rescoreLimit": 57, "cache": True},
                },
            )
    return made


def contents(number: int) -> tuple[JSONObject, JSONObject]:
    """Return properties and vectors of an object; those of an odd one are few."""
    vectors: JSONObject = {"module": [0.5, float(number), 1.0, 0.0]}
    if number % 2:
        return {}, vectors
    nested = {f"n_{_plain(each)}": VALUES[each] for each in _NESTED}
    properties = {f"p_{_plain(each)}": VALUES[each] for each in _PRIMITIVES} | {
        "analyzed": "Thé", "trigrams": "abc", "ranged": 2.5, "expires": "2999-01-01T00:00:00.5Z",
        "thing": {**nested, "n_analyzed": "é", "n_ranged": 1.5, "inner": [{"deep": "d"}, {"deep": "e"}]},
        "things": [nested, {}],
    }  # fmt: skip
    flat = [0.1, 0.2, float(number), 0.7]
    vectors |= {each: flat for each in _vectors() if each not in {REPLACED, "module"}}
    vectors |= {
        "multi": [[0.1, 0.2], [0.3, float(number)]],
        "muvera": [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]],
    }
    return properties, vectors


def objects(name: str, other: str, count: int, vector: Any) -> list[JSONObject]:
    """Return objects whose ids end in their number.

    Args:
        name: Collection.
        other: Collection that has objects of the same ids.
        count: How many.
        vector: Returns the vector of a text for the model that is replaced.
    """
    made = []
    for number in range(count):
        body = f"body {number}"
        properties, vectors = contents(number)
        links = {"sees": [beacon(other, number)], "self": [beacon(name, (number + 1) % count)]}
        made.append(
            {
                "class": name,
                "id": object_id(number),
                "properties": {"body": body, **properties, **links},
                "vectors": {REPLACED: vector(body), **vectors},
            }
        )
    return made


def object_id(number: int) -> str:
    return f"aaaaaaaa-0000-4000-8000-{number:012d}"


def beacon(collection: str, number: int) -> JSONObject:
    return {"beacon": f"weaviate://localhost/{collection}/{object_id(number)}"}


def stored_objects(http: httpx.Client, name: str, tenant: str = "") -> dict[str, JSONObject]:
    """Return all objects of a collection or tenant with their vectors, by id."""
    options = {"class": name, "limit": 1000, "include": "vector"}
    answer = http.get("/objects", params=options | ({"tenant": tenant} if tenant else {}))
    return {each["id"]: each for each in answer.raise_for_status().json()["objects"]}


def paths(value: object, prefix: str = "") -> dict[str, object]:
    """Return the leaves of JSON by their paths; items of a list share one."""
    if isinstance(value, dict) and value:
        found: dict[str, object] = {}
        for name, each in value.items():
            found |= paths(each, f"{prefix}.{name}".lstrip("."))
        return found
    return {prefix: value}


def differences(before: object, after: object, path: str = "") -> dict[str, tuple[object, object]]:
    """Return each leaf at which two JSON values differ, with both values."""
    if isinstance(before, dict) and isinstance(after, dict):
        found: dict[str, tuple[object, object]] = {}
        for name in before.keys() | after.keys():
            found |= differences(before.get(name), after.get(name), f"{path}.{name}".lstrip("."))
        return found
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        found = {}
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            found |= differences(one, other, f"{path}[{index}]")
        return found
    return {} if before == after else {path: (before, after)}
