"""Objects, and the text that Weaviate 1.39.0 sent to its module for each: recorded from the real server.

The unit tests hold ``compose_text`` to these; the integration tests hold the server to them.
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
"""Of ``author`` and ``authors``."""

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

OBJECTS: list[dict[str, Any]] = [
    {"title": "Über Äpfel", "body": "Ein Text <b>&</b> mehr.\nZweite Zeile", "other": "never"},
    {"title": "only a title"},
    {"body": "猫はマットの上に", "title": "猫"},
    {"title": "", "body": "empty title"},
    {"title": "spaces ", "body": " around "},
    {"Title": "capital", "SubTitle": "sub"},
    {"subTitle": "Untertitel", "other": "skipped"},
    {"count": 3},
    {"title": "numbers", "count": 12345678, "price": 2.5e-07, "flag": True},
    {"title": "round", "count": 2001, "price": 3.0, "flag": False},
    {"title": "million", "count": 1000000, "price": 999999.0},
    {"title": "large", "price": 123456789.125, "count": -7},
    {"title": "zero", "count": 0, "price": 0.0},
    {
        "title": "lists",
        "tags": ["a", "b c", ""],
        "counts": [1, 20000000],
        "prices": [0.5, 1000000.0],
        "flags": [True, False],
    },
    {"title": "empty lists", "tags": [], "counts": []},
    {"title": "date", "day": "2024-05-06T07:08:09Z"},
    {"title": "date", "day": "2024-05-06T07:08:09.987654Z"},
    {"title": "date", "day": "2024-05-06T07:08:09.5+02:00"},
    {"title": "date", "day": "2024-05-06T07:08:09+00:00"},
    {"title": "dates", "days": ["2024-05-06T07:08:09Z"]},
    {
        "title": "keys",
        "key": "5b0b5a0e-6d0c-5d4e-9f1c-6c7573696665",
        "keys": ["5b0b5a0e-6d0c-5d4e-9f1c-6c7573696665"],
    },
    {"title": "place", "place": {"latitude": 52.5, "longitude": 13.25}},
    {
        "title": "object",
        "author": {
            "name": "Ada & <b>",
            "born": 1815,
            "score": 1e-07,
            "since": "1842-05-06T07:08:09.5+00:00",
        },
    },
    {"title": "İSTANBUL ΣΊΣΥΦΟΣ Straẞe Ǆ", "subTitle": "ABC"},
    {"title": "objects", "authors": [{"name": "Ada", "score": 0.5}, {"born": 20000000}]},
]

SENT: dict[str, list[str]] = {
    "texts": [
        "Ein Text <b>&</b> mehr.\nZweite Zeile Über Äpfel",
        "only a title",
        "猫はマットの上に 猫",
        "empty title ",
        " around  spaces ",
        "capital",
        "",
        "",
        "numbers",
        "round",
        "million",
        "large",
        "zero",
        "lists",
        "empty lists",
        "date",
        "date",
        "date",
        "date",
        "dates",
        "keys",
        "place",
        "object",
        "İSTANBUL ΣΊΣΥΦΟΣ Straẞe Ǆ",
        "objects",
    ],
    "class name": [
        "Module Texts V 2 Ein Text <b>&</b> mehr.\nZweite Zeile Über Äpfel",
        "Module Texts V 2 only a title",
        "Module Texts V 2 猫はマットの上に 猫",
        "Module Texts V 2 empty title ",
        "Module Texts V 2  around  spaces ",
        "Module Texts V 2 capital",
        "Module Texts V 2",
        "Module Texts V 2",
        "Module Texts V 2 numbers",
        "Module Texts V 2 round",
        "Module Texts V 2 million",
        "Module Texts V 2 large",
        "Module Texts V 2 zero",
        "Module Texts V 2 lists",
        "Module Texts V 2 empty lists",
        "Module Texts V 2 date",
        "Module Texts V 2 date",
        "Module Texts V 2 date",
        "Module Texts V 2 date",
        "Module Texts V 2 dates",
        "Module Texts V 2 keys",
        "Module Texts V 2 place",
        "Module Texts V 2 object",
        "Module Texts V 2 İSTANBUL ΣΊΣΥΦΟΣ Straẞe Ǆ",
        "Module Texts V 2 objects",
    ],
    "all types": [
        "Ein Text <b>&</b> mehr.\nZweite Zeile Über Äpfel",
        "only a title",
        "猫はマットの上に 猫",
        "empty title ",
        " around  spaces ",
        "sub capital",
        "Untertitel",
        "3",
        "1.2345678e+07 true 2.5e-07 numbers",
        "2001 false 3 round",
        "1e+06 999999 million",
        "-7 1.23456789125e+08 large",
        "0 0 zero",
        "1 2e+07 true false 0.5 1e+06 a b c  lists",
        "empty lists",
        "2024-05-06T07:08:09Z date",
        "2024-05-06T07:08:09Z date",
        "2024-05-06T07:08:09+02:00 date",
        "2024-05-06T07:08:09Z date",
        "dates",
        "keys",
        "place",
        '{"born":1815,"name":"Ada \\u0026 \\u003cb\\u003e","score":1e-7,"since":"1842-05-06T07:08:09.5Z"} object',
        "ABC İSTANBUL ΣΊΣΥΦΟΣ Straẞe Ǆ",
        '[{"name":"Ada","score":0.5},{"born":20000000}] objects',
    ],
    "no sources": [
        "Ein Text <b>&</b> mehr.\nZweite Zeile never Über Äpfel",
        "only a title",
        "猫はマットの上に 猫",
        "empty title ",
        " around  spaces ",
        "sub capital",
        "skipped Untertitel",
        "Module Texts V 2",
        "numbers",
        "round",
        "million",
        "large",
        "zero",
        "a b c  lists",
        "empty lists",
        "date",
        "date",
        "date",
        "date",
        "dates",
        "keys",
        "place",
        "object",
        "ABC İSTANBUL ΣΊΣΥΦΟΣ Straẞe Ǆ",
        "objects",
    ],
    "names": [
        "Ein Text <b>&</b> mehr.\nZweite Zeile Über Äpfel",
        "only a title",
        "猫はマットの上に 猫",
        "empty title ",
        " around  spaces ",
        "sub Title sub capital",
        "sub Title Untertitel",
        "Module Texts V 2",
        "numbers",
        "round",
        "million",
        "large",
        "zero",
        "tags a tags b c tags  lists",
        "empty lists",
        "date",
        "date",
        "date",
        "date",
        "dates",
        "keys",
        "place",
        "object",
        "sub Title ABC İSTANBUL ΣΊΣΥΦΟΣ Straẞe Ǆ",
        "objects",
    ],
    "named sources": [
        "Über Äpfel",
        "only a title",
        "猫",
        "",
        "spaces ",
        "sub Title sub capital",
        "sub Title Untertitel",
        "count 3",
        "count 1.2345678e+07 numbers",
        "count 2001 round",
        "count 1e+06 million",
        "count -7 large",
        "count 0 zero",
        "lists",
        "empty lists",
        "date",
        "date",
        "date",
        "date",
        "dates",
        "keys",
        "place",
        "object",
        "sub Title ABC İSTANBUL ΣΊΣΥΦΟΣ Straẞe Ǆ",
        "objects",
    ],
    "lower case": [
        "module texts v 2 über äpfel",
        "module texts v 2 only a title",
        "module texts v 2 猫",
        "module texts v 2 ",
        "module texts v 2 spaces ",
        "module texts v 2 sub title sub capital",
        "module texts v 2 sub title untertitel",
        "module texts v 2",
        "module texts v 2 numbers",
        "module texts v 2 round",
        "module texts v 2 million",
        "module texts v 2 large",
        "module texts v 2 zero",
        "module texts v 2 lists",
        "module texts v 2 empty lists",
        "module texts v 2 date",
        "module texts v 2 date",
        "module texts v 2 date",
        "module texts v 2 date",
        "module texts v 2 dates",
        "module texts v 2 keys",
        "module texts v 2 place",
        'module texts v 2 {"born":1815,"name":"ada \\u0026 \\u003cb\\u003e","score":1e-7,"since":"1842-05-06t07:08:09.5z"} object',
        "module texts v 2 sub title abc istanbul σίσυφοσ straße ǆ",
        "module texts v 2 objects",
    ],
}
"""By setting, one for each object; empty: nothing was sent, and the object got no vector."""


def schema(setting: dict[str, Any], inference_url: str) -> dict[str, Any]:
    """What the collection was made from."""
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
    """As ``lusifer.weaviate.schema.data_types`` finds them."""
    inner = {f"{of}.{name}": kind for of in ("author", "authors") for name, kind in NESTED.items()}
    return {**DATA_TYPES, **inner}
