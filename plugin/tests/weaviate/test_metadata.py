"""Metadata in a collection's description, and what its schema says, without a server."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugin.tests.weaviate.fakes import METADATA, make_config, make_property

from lusifer.errors import (
    CollectionMismatchError,
    FingerprintMismatchError,
    IndexNotFoundError,
    InvalidDimensionError,
)
from lusifer.weaviate.metadata import (
    CollectionMetadata,
    data_types,
    find_metadata,
    metadata_for,
    module_of,
    open_metadata,
    parse_metadata,
    rules_of,
    without_metadata,
)
from lusifer.weaviate.text_composition import TextRules

pytest.importorskip("weaviate")

LINE = (
    'lusifer: {"schema_version":1,"fingerprint":"sha256:'
    + "a" * 64
    + '","model":"m","dimension":16,'
    '"vector_name":"lusifer","text_property":"text","lower_case":false}'
)
"""The line of collections that exist; it must stay as it is, byte for byte."""


def test_the_line_in_the_description_stays_as_it_is() -> None:
    assert METADATA.in_description() == LINE
    assert METADATA.in_description("Mine.") == f"Mine.\n{LINE}"
    assert parse_metadata("Alias", make_config(f"Mine.\n{LINE}")) == METADATA
    assert without_metadata(f"Mine.\n{LINE}") == "Mine."
    assert without_metadata(None) == ""


@given(
    st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: "lusifer:" not in text)
)
def test_metadata_is_found_under_any_description(text: str) -> None:
    assert parse_metadata("A", make_config(METADATA.in_description(text))) == METADATA


def test_metadata_that_can_not_be_used_is_refused() -> None:
    for wrong, said in (
        (make_config("mine"), "has no LUSIFER metadata"),
        (make_config("lusifer: {}"), "can't be read"),
        (make_config(METADATA.in_description(), sources=None), "names no source properties"),
        (
            make_config(METADATA.model_copy(update={"vector_name": "x"}).in_description()),
            "no vector named 'x'",
        ),
    ):
        with pytest.raises(CollectionMismatchError, match=said):
            parse_metadata("A", wrong)
    parse_metadata("A", make_config(METADATA.in_description(), module="none", sources=None))
    with pytest.raises(FingerprintMismatchError, match="the model in use is other"):
        METADATA.check(fingerprint="sha256:b", model="other")


def test_metadata_that_is_no_object_is_refused() -> None:
    for line in ("lusifer: []", "lusifer: {", "lusifer: 1"):
        with pytest.raises(CollectionMismatchError, match="can't be read"):
            parse_metadata("A", make_config(line))
    with pytest.raises(CollectionMismatchError, match="compares by dot, not by cosine"):
        parse_metadata("A", make_config(LINE, distance="dot"))


def test_another_dimension_is_refused() -> None:
    METADATA.check(fingerprint=METADATA.fingerprint, model="m", dimension=16)
    with pytest.raises(InvalidDimensionError, match="of dimension 16, the model in use makes 8"):
        METADATA.check(fingerprint=METADATA.fingerprint, model="m", dimension=8)


def test_metadata_for_a_model() -> None:
    embedder = SimpleNamespace(fingerprint="sha256:b", model_name="small", dimension=8)
    made = metadata_for("B", embedder, text_property="Body", lower_case=True)  # type: ignore[arg-type]
    assert made == CollectionMetadata(
        collection="B",
        fingerprint="sha256:b",
        model="small",
        dimension=8,
        text_property="body",
        lower_case=True,
    )


def fake_client(config: object) -> object:
    """Return a client with one collection, ``A``, or none."""
    handle = SimpleNamespace(
        exists=lambda: config is not None, config=SimpleNamespace(get=lambda: config)
    )
    return SimpleNamespace(collections=SimpleNamespace(get=lambda name: handle))


def test_metadata_of_a_collection_on_a_server() -> None:
    config = make_config(LINE)
    client = fake_client(config)
    assert find_metadata(client, "Alias") == (METADATA, config)  # type: ignore[arg-type]
    model = {"fingerprint": METADATA.fingerprint, "model": "m"}
    assert open_metadata(client, "Alias", **model, dimension=16)[0] == METADATA  # type: ignore[arg-type]
    with pytest.raises(InvalidDimensionError, match="The collection A holds"):
        open_metadata(client, "Alias", **model, dimension=8)  # type: ignore[arg-type]
    with pytest.raises(IndexNotFoundError, match="no collection 'Absent'"):
        find_metadata(fake_client(None), "Absent")  # type: ignore[arg-type]


def test_rules_and_types_of_a_schema() -> None:
    def own(**settings: bool) -> dict[str, object]:
        defaults = {"skip": False, "vectorize_property_name": False}
        return {"text2vec-transformers": SimpleNamespace(**{**defaults, **settings})}

    born = make_property("born", "date")
    config = make_config(
        LINE,
        sources=["text", "title"],
        settings={"vectorizeClassName": True},
        properties=[
            make_property("text", vectorizer_configs=own()),
            make_property("title", vectorizer_configs=own(vectorize_property_name=True)),
            make_property("key", "uuid", vectorizer_configs=own(skip=True)),
            make_property("author", "object", nested_properties=[born], vectorizer_configs=None),
        ],
    )
    types = {
        "text": "text",
        "title": "text",
        "key": "uuid",
        "author": "object",
        "author.born": "date",
    }
    assert data_types(config) == types
    assert module_of(config, "lusifer") == "text2vec-transformers"
    assert rules_of(METADATA, config) == TextRules(
        collection="A",
        source_properties=("text", "title"),
        vectorize_collection_name=True,
        skipped=frozenset({"key"}),
        named=frozenset({"title"}),
        data_types=types,
        lower_case=False,
    )
