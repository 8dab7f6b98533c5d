"""Objects and the text that Weaviate 1.39.0 sent to its module for each, recorded from a real server.

The unit tests compare ``compose_text`` with these; the integration tests compare the server.
"""

from __future__ import annotations

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

RECORDED: list[tuple[dict[str, Any], str, dict[str, str]]] = [
    (
        {"title": "Über Äpfel", "body": "Ein Text <b>&</b> mehr.\nZweite Zeile", "other": "never"},
        "Ein Text <b>&</b> mehr.\nZweite Zeile Über Äpfel",
        {
            "class name": "Module Texts V 2 Ein Text <b>&</b> mehr.\nZweite Zeile Über Äpfel",
            "no sources": "Ein Text <b>&</b> mehr.\nZweite Zeile never Über Äpfel",
            "named sources": "Über Äpfel",
            "lower case": "module texts v 2 über äpfel",
        },
    ),
    (
        {"title": "only a title"},
        "only a title",
        {
            "class name": "Module Texts V 2 only a title",
            "lower case": "module texts v 2 only a title",
        },
    ),
    (
        {"body": "猫はマットの上に", "title": "猫"},
        "猫はマットの上に 猫",
        {
            "class name": "Module Texts V 2 猫はマットの上に 猫",
            "named sources": "猫",
            "lower case": "module texts v 2 猫",
        },
    ),
    (
        {"title": "", "body": "empty title"},
        "empty title ",
        {
            "class name": "Module Texts V 2 empty title ",
            "named sources": "",
            "lower case": "module texts v 2 ",
        },
    ),
    (
        {"title": "spaces ", "body": " around "},
        " around  spaces ",
        {
            "class name": "Module Texts V 2  around  spaces ",
            "named sources": "spaces ",
            "lower case": "module texts v 2 spaces ",
        },
    ),
    (
        {"Title": "capital", "SubTitle": "sub"},
        "sub capital",
        {
            "texts": "capital",
            "class name": "Module Texts V 2 capital",
            "names": "sub Title sub capital",
            "named sources": "sub Title sub capital",
            "lower case": "module texts v 2 sub title sub capital",
        },
    ),
    (
        {"subTitle": "Untertitel", "other": "skipped"},
        "sub Title Untertitel",
        {
            "texts": "",
            "class name": "Module Texts V 2",
            "all types": "Untertitel",
            "no sources": "skipped Untertitel",
            "lower case": "module texts v 2 sub title untertitel",
        },
    ),
    (
        {"count": 3},
        "Module Texts V 2",
        {
            "texts": "",
            "all types": "3",
            "named sources": "count 3",
            "lower case": "module texts v 2",
        },
    ),
    (
        {"title": "numbers", "count": 12345678, "price": 2.5e-07, "flag": True},
        "numbers",
        {
            "class name": "Module Texts V 2 numbers",
            "all types": "1.2345678e+07 true 2.5e-07 numbers",
            "named sources": "count 1.2345678e+07 numbers",
            "lower case": "module texts v 2 numbers",
        },
    ),
    (
        {"title": "round", "count": 2001, "price": 3.0, "flag": False},
        "round",
        {
            "class name": "Module Texts V 2 round",
            "all types": "2001 false 3 round",
            "named sources": "count 2001 round",
            "lower case": "module texts v 2 round",
        },
    ),
    (
        {"title": "million", "count": 1000000, "price": 999999.0},
        "million",
        {
            "class name": "Module Texts V 2 million",
            "all types": "1e+06 999999 million",
            "named sources": "count 1e+06 million",
            "lower case": "module texts v 2 million",
        },
    ),
    (
        {"title": "large", "price": 123456789.125, "count": -7},
        "large",
        {
            "class name": "Module Texts V 2 large",
            "all types": "-7 1.23456789125e+08 large",
            "named sources": "count -7 large",
            "lower case": "module texts v 2 large",
        },
    ),
    (
        {"title": "zero", "count": 0, "price": 0.0},
        "zero",
        {
            "class name": "Module Texts V 2 zero",
            "all types": "0 0 zero",
            "named sources": "count 0 zero",
            "lower case": "module texts v 2 zero",
        },
    ),
    (
        {
            "title": "lists",
            "tags": ["a", "b c", ""],
            "counts": [1, 20000000],
            "prices": [0.5, 1000000.0],
            "flags": [True, False],
        },
        "lists",
        {
            "class name": "Module Texts V 2 lists",
            "all types": "1 2e+07 true false 0.5 1e+06 a b c  lists",
            "no sources": "a b c  lists",
            "names": "tags a tags b c tags  lists",
            "lower case": "module texts v 2 lists",
        },
    ),
    (
        {"title": "empty lists", "tags": [], "counts": []},
        "empty lists",
        {
            "class name": "Module Texts V 2 empty lists",
            "lower case": "module texts v 2 empty lists",
        },
    ),
    (
        {"title": "date", "day": "2024-05-06T07:08:09Z"},
        "date",
        {
            "class name": "Module Texts V 2 date",
            "all types": "2024-05-06T07:08:09Z date",
            "lower case": "module texts v 2 date",
        },
    ),
    (
        {"title": "date", "day": "2024-05-06T07:08:09.987654Z"},
        "date",
        {
            "class name": "Module Texts V 2 date",
            "all types": "2024-05-06T07:08:09Z date",
            "lower case": "module texts v 2 date",
        },
    ),
    (
        {"title": "date", "day": "2024-05-06T07:08:09.5+02:00"},
        "date",
        {
            "class name": "Module Texts V 2 date",
            "all types": "2024-05-06T07:08:09+02:00 date",
            "lower case": "module texts v 2 date",
        },
    ),
    (
        {"title": "date", "day": "2024-05-06T07:08:09+00:00"},
        "date",
        {
            "class name": "Module Texts V 2 date",
            "all types": "2024-05-06T07:08:09Z date",
            "lower case": "module texts v 2 date",
        },
    ),
    (
        {"title": "dates", "days": ["2024-05-06T07:08:09Z"]},
        "dates",
        {"class name": "Module Texts V 2 dates", "lower case": "module texts v 2 dates"},
    ),
    (
        {
            "title": "keys",
            "key": "5b0b5a0e-6d0c-5d4e-9f1c-6c7573696665",
            "keys": ["5b0b5a0e-6d0c-5d4e-9f1c-6c7573696665"],
        },
        "keys",
        {"class name": "Module Texts V 2 keys", "lower case": "module texts v 2 keys"},
    ),
    (
        {"title": "place", "place": {"latitude": 52.5, "longitude": 13.25}},
        "place",
        {"class name": "Module Texts V 2 place", "lower case": "module texts v 2 place"},
    ),
    (
        {
            "title": "object",
            "author": {
                "name": "Ada & <b>",
                "born": 1815,
                "score": 1e-07,
                "since": "1842-05-06T07:08:09.5+00:00",
            },
        },
        "object",
        {
            "class name": "Module Texts V 2 object",
            "all types": '{"born":1815,"name":"Ada \\u0026 \\u003cb\\u003e","score":1e-7,"since":"1842-05-06T07:08:09.5Z"} object',
            "lower case": 'module texts v 2 {"born":1815,"name":"ada \\u0026 \\u003cb\\u003e","score":1e-7,"since":"1842-05-06t07:08:09.5z"} object',
        },
    ),
    (
        {"title": "İSTANBUL ΣΊΣΥΦΟΣ Straẞe Ǆ", "subTitle": "ABC"},
        "ABC İSTANBUL ΣΊΣΥΦΟΣ Straẞe Ǆ",
        {
            "texts": "İSTANBUL ΣΊΣΥΦΟΣ Straẞe Ǆ",
            "class name": "Module Texts V 2 İSTANBUL ΣΊΣΥΦΟΣ Straẞe Ǆ",
            "names": "sub Title ABC İSTANBUL ΣΊΣΥΦΟΣ Straẞe Ǆ",
            "named sources": "sub Title ABC İSTANBUL ΣΊΣΥΦΟΣ Straẞe Ǆ",
            "lower case": "module texts v 2 sub title abc istanbul σίσυφοσ straße ǆ",
        },
    ),
    (
        {"title": "objects", "authors": [{"name": "Ada", "score": 0.5}, {"born": 20000000}]},
        "objects",
        {
            "class name": "Module Texts V 2 objects",
            "all types": '[{"name":"Ada","score":0.5},{"born":20000000}] objects',
            "lower case": "module texts v 2 objects",
        },
    ),
]
"""An object, the text that most settings send for it, and the texts of the other settings."""

OBJECTS = [each for each, _, _ in RECORDED]

SENT = {
    setting: [others.get(setting, text) for _, text, others in RECORDED] for setting in SETTINGS
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
