from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("weaviate")

from plugin.tests.cli.commands import run, run_json
from weaviate.classes.config import DataType

from lusifer.cli.weaviate.setup import _property
from lusifer.errors import InvalidInputError
from lusifer.weaviate import connection, schema

if TYPE_CHECKING:
    from pathlib import Path

URL = "http://127.0.0.1:9"


class Client:
    """A Weaviate server that only knows its version."""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def get_meta(self) -> dict[str, str]:
        return {"version": "1.34.0"}


@pytest.fixture
def created(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace the server; return the collections that are created on it."""
    created: list[dict[str, Any]] = []

    def create(client: Client, metadata: Any, **options: Any) -> None:
        created.append({"collection": metadata.collection, **options})

    monkeypatch.setattr(connection, "connect_by_environment", lambda url: Client())
    monkeypatch.setattr(schema, "create_collection", create)
    monkeypatch.setattr(schema, "version_warnings", lambda version: [f"{version} is old."])
    return created


def test_the_environment_of_the_server(created: list[dict[str, Any]], tiny_bundle: Path) -> None:
    setup = ("weaviate", "setup", URL, "--collection", "Articles", "--bundle", tiny_bundle)
    code, (answer,) = run_json(*setup, "--service-address", "http://gpu:8000/")
    assert code == 0
    assert answer["card"]["model"] == "lusifer-tiny-test"
    del answer["card"]
    assert answer == {
        "collection": "Articles",
        "alias": None,
        "environment": {
            "ENABLE_MODULES": "text2vec-transformers",
            "TRANSFORMERS_INFERENCE_API": "http://gpu:8000",
        },
        "warnings": ["1.34.0 is old."],
    }
    code, (answer,) = run_json(*setup, "--route", "cohere")
    assert answer["environment"] == {
        "ENABLE_MODULES": "text2vec-cohere",
        "COHERE_APIKEY": "any, or a key of lusifer keys add",
    }
    first, second = created
    assert (first["collection"], first["service_url"]) == ("Articles", "http://gpu:8000/")
    assert (first["filter_fields"], first["source_properties"]) == (("lang",), None)
    assert (second["route"], second["service_url"]) == ("cohere", "http://localhost:8000")


def test_the_next_step_for_people(created: list[dict[str, Any]], tiny_bundle: Path) -> None:
    setup = ("weaviate", "setup", URL, "--collection", "Articles", "--bundle", tiny_bundle)
    assert run(*setup, "--source", "title", "--source", "body") == (
        0,
        "Created the collection Articles for lusifer-tiny-test. It embeds title, body.\n"
        "WARNING  1.34.0 is old.\n"
        "\nThe server needs these lines in its environment:\n\n"
        "  ENABLE_MODULES=text2vec-transformers\n"
        "  TRANSFORMERS_INFERENCE_API=http://localhost:8000\n"
        "\nFor the fastest ingest, with vectors made by this machine:\n\n"
        f"  lusifer index FILE --weaviate {URL} --collection Articles\n",
        "",
    )
    assert created[0]["source_properties"] == ["title", "body"]


@pytest.mark.parametrize(
    ("given", "name", "kind"),
    [
        ("title", "title", DataType.TEXT),
        ("year:int", "year", DataType.INT),
        ("open:bool", "open", DataType.BOOL),
        ("tags:text[]", "tags", DataType.TEXT_ARRAY),
    ],
)
def test_a_property(given: str, name: str, kind: DataType) -> None:
    made = _property(given)
    assert (made.name, made.dataType) == (name, kind)


@pytest.mark.parametrize("given", ["year:integer", ":int"])
def test_what_is_no_property(given: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        _property(given)
    assert caught.value.message == f"--property {given!r} is no property."
