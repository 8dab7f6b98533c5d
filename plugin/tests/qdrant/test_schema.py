"""Cards, payloads, filters and keywords: what a collection is made of, without a server."""

from __future__ import annotations

import hashlib
import json
import uuid
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lusifer.errors import (
    CollectionMismatchError,
    FingerprintMismatchError,
    IndexCorruptError,
    InvalidDimensionError,
    InvalidInputError,
    StoreError,
)
from lusifer.qdrant.keywords import LANGUAGES, keyword_options
from lusifer.qdrant.metadata import METADATA_KEY, CollectionMetadata, parse_metadata
from lusifer.qdrant.points import hit_of, payload_of
from lusifer.qdrant.schema import collection_arguments, refuse_used_alias
from lusifer.stores.payloads import document_uuid, split_requests
from lusifer.types import Document, Quantization, SearchOptions

pytest.importorskip("qdrant_client")
pytest.importorskip("qdrant_edge")

import qdrant_edge as edge
from qdrant_client import models

from lusifer.embedded.store import EmbeddedStore
from lusifer.qdrant.filters import build_filter

CARD = CollectionMetadata(
    collection="docs",
    fingerprint="sha256:a",
    model="tiny",
    dimension=16,
    role_prompts={"query": "q: "},
)
COSINE = models.VectorParams(size=16, distance=models.Distance.COSINE)


def info(vectors: Any, metadata: Any) -> Any:
    config = SimpleNamespace(params=SimpleNamespace(vectors=vectors), metadata=metadata)
    return SimpleNamespace(config=config)


def test_the_card_comes_back_from_the_metadata_it_is_written_to() -> None:
    for card in (CARD, CARD.model_copy(update={"keywords": keyword_options("de")})):
        arguments = collection_arguments(card)
        metadata = json.loads(json.dumps(arguments["metadata"]))
        assert parse_metadata("docs", info(arguments["vectors_config"], metadata)) == card
    assert arguments["sparse_vectors_config"]["bm25"].modifier == models.Modifier.IDF


def test_a_newer_lusifer_may_add_to_the_card() -> None:
    metadata = {METADATA_KEY: {**CARD.model_dump(mode="json"), "news": 1}}
    assert parse_metadata("docs", info({"lusifer": COSINE}, metadata)) == CARD


@pytest.mark.parametrize(
    ("vectors", "metadata", "said"),
    [
        (COSINE, None, "one unnamed vector"),
        ({"b": COSINE, "a": COSINE}, {}, "vectors named a, b"),
        ({}, {"other": 1}, r"vectors named \(none\)"),
        ({"lusifer": COSINE}, {METADATA_KEY: {"schema_version": 2}}, "can't be read"),
        ({"lusifer": COSINE}, {METADATA_KEY: "text"}, "can't be read"),
        ({"other": COSINE}, {METADATA_KEY: CARD.model_dump()}, "no vector named 'lusifer'"),
        (COSINE, {METADATA_KEY: CARD.model_dump()}, "no vector named 'lusifer'"),
        (
            {"lusifer": models.VectorParams(size=8, distance=models.Distance.COSINE)},
            {METADATA_KEY: CARD.model_dump()},
            "dimension 8 and distance Cosine; its metadata says 16",
        ),
        (
            {"lusifer": models.VectorParams(size=16, distance=models.Distance.EUCLID)},
            {METADATA_KEY: CARD.model_dump()},
            "distance Euclid",
        ),
    ],
)
def test_a_collection_that_does_not_fit_is_refused(vectors: Any, metadata: Any, said: str) -> None:
    with pytest.raises(CollectionMismatchError, match=said) as caught:
        parse_metadata("docs", info(vectors, metadata))
    assert "lusifer qdrant setup" in caught.value.next_step


def test_another_model_or_dimension_is_refused_with_both_sides() -> None:
    CARD.check(fingerprint="sha256:a", model="tiny", dimension=16)
    with pytest.raises(FingerprintMismatchError, match=r"tiny \(sha256:a\).*other \(sha256:b\)"):
        CARD.check(fingerprint="sha256:b", model="other", dimension=16)
    with pytest.raises(InvalidDimensionError, match=r"dimension 16.*makes 8"):
        CARD.check(fingerprint="sha256:a", model="tiny", dimension=8)


def test_an_alias_in_use_is_never_taken_from_its_collection() -> None:
    refuse_used_alias("live", {"other": "docs"})
    with pytest.raises(StoreError, match="live means the collection docs"):
        refuse_used_alias("live", {"live": "docs"})


@pytest.mark.parametrize("quantization", get_args(Quantization))
def test_server_and_engine_know_each_quantization(
    quantization: Quantization, tmp_path: Any
) -> None:
    asked = collection_arguments(CARD, quantization=quantization).get("quantization_config")
    assert (asked is None) == (quantization == "none")
    with EmbeddedStore.create(
        tmp_path / "index", fingerprint="f", dimension=16, model="tiny", quantization=quantization
    ):
        kept = json.loads((tmp_path / "index" / "shard" / "edge_config.json").read_text())
    kept = kept["vectors"]["lusifer"].get("quantization_config")
    if asked is None:
        assert kept is None
    else:
        # The same kind with the same settings, as the two write them.
        assert json.loads(asked.model_dump_json(exclude_none=True)).keys() == kept.keys()


def test_an_unknown_quantization_is_refused_by_both(tmp_path: Any) -> None:
    with pytest.raises(InvalidInputError, match="'x'"):
        collection_arguments(CARD, quantization="x")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="'x'"):
        EmbeddedStore.create(
            tmp_path / "index",
            fingerprint="f",
            dimension=16,
            model="tiny",
            quantization="x",  # type: ignore[arg-type]
        )
    assert not (tmp_path / "index" / "index.json").exists()


def test_the_id_of_a_point_never_changes() -> None:
    """Every collection out there is named so."""
    assert document_uuid("doc/1") == "0303d72c-b2f5-591d-8939-1af6715cab8b"


@given(st.text(min_size=1), st.text(min_size=1))
def test_ids_of_points_are_uuids_and_differ_as_the_documents_do(first: str, second: str) -> None:
    assert uuid.UUID(document_uuid(first)).version == 5
    assert (document_uuid(first) == document_uuid(second)) == (first == second)


@given(st.lists(st.integers(0, 40)), st.integers(1, 5), st.integers(1, 60))
def test_operations_hold_every_document_once_in_order_and_within_both_limits(
    sizes: list[int], points: int, size_bytes: int
) -> None:
    parts = list(split_requests(sizes, points=points, size_bytes=size_bytes))
    assert [index for part in parts for index in part] == list(range(len(sizes)))
    for part in parts:
        assert 1 <= len(part) <= points
        assert len(part) == 1 or sum(sizes[index] for index in part) <= size_bytes


def test_the_payload_is_what_the_page_says() -> None:
    payload = payload_of(Document("doc/1", "Über", {"b": 1, "a": [True, None]}))
    assert payload == {
        "id": "doc/1",
        "text": "Über",
        "metadata": {"b": 1, "a": [True, None]},
        "sha256": hashlib.sha256(rb'["\u00dcber",{"a":[true,null],"b":1}]').hexdigest(),
    }


@pytest.mark.parametrize(
    "payload", [None, {}, {"text": None}, {"text": 7}, {"text": "a", "metadata": [1]}]
)
def test_a_point_without_a_text_is_named(payload: Any) -> None:
    point = SimpleNamespace(id=42, score=0.5, payload=payload)
    with pytest.raises(IndexCorruptError, match="point 42 of the collection docs"):
        hit_of(point, "the collection docs")


def test_a_point_of_another_program_is_a_hit_with_the_points_own_id() -> None:
    hit = hit_of(SimpleNamespace(id=42, score=0.5, payload={"text": "a", "url": "x"}), "docs")
    assert (hit.id, hit.text, hit.metadata, hit.score) == ("42", "a", {}, 0.5)


@pytest.mark.parametrize("kit", [models, edge], ids=["client", "engine"])
class TestFilters:
    """One builder for the client's models and the engine's; what they find is in the store's contract."""

    def test_nothing_asked_for_is_no_filter(self, kit: Any) -> None:
        assert build_filter(kit, SearchOptions()) is None
        assert build_filter(kit, SearchOptions(languages=("de",), language_boost=0.1)) is None

    def test_every_kind_of_value(self, kit: Any) -> None:
        where = {"a": "x", "b": 1, "c": True, "d": 1.5, "e": ["x", "y"], "f": [1, 2]}
        built = build_filter(kit, SearchOptions(where=where, languages=("de",)))
        assert len(built.must) == 7

    @pytest.mark.parametrize("value", [None, [], [True], ["a", 1], [1.5], {"a": 1}, [["a"]]])
    def test_what_can_not_be_compared_is_refused(self, kit: Any, value: Any) -> None:
        with pytest.raises(InvalidInputError, match="filter on 'a'"):
            build_filter(kit, SearchOptions(where={"a": value}))


def test_every_language_offered_is_one_that_the_engine_stems() -> None:
    for language in LANGUAGES.values():
        edge.Bm25(edge.Bm25Config(language=language)).embed_document("text")
    with pytest.raises(InvalidInputError, match="'ja'") as caught:
        keyword_options("ja")
    assert "compared as they stand" in caught.value.next_step


def test_numbers_that_stand_alone_are_words_only_where_a_language_is_named() -> None:
    """As the page says; should a later engine keep them, the page has to change."""
    neutral = edge.Bm25(
        edge.Bm25Config(
            tokenizer=edge.TokenizerType.Multilingual,
            stemmer=edge.DisabledStemmer(),
            stopwords=edge.StopwordsSet(),
        )
    )
    german = edge.Bm25(edge.Bm25Config(language="german"))
    assert [len(neutral.embed_query(word).indices) for word in ("2024", "IPv6")] == [0, 1]
    assert [len(german.embed_query(word).indices) for word in ("2024", "IPv6")] == [1, 1]


def test_keywords_are_neutral_unless_a_language_is_named() -> None:
    assert keyword_options(None).bm25() == {
        "tokenizer": "multilingual",
        "stemmer": {"type": "none"},
        "stopwords": {},
    }
    assert keyword_options("de").bm25() == {"language": "german"}
    models.Bm25Config(**keyword_options(None).bm25())
