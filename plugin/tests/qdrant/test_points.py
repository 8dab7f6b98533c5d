from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("qdrant_client")

from qdrant_client import models

from lusifer.errors import IndexCorruptError
from lusifer.qdrant.keywords import KeywordOptions
from lusifer.qdrant.points import hit_of, ids_with_hash, keyword_vector, payload_of
from lusifer.types import Document


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


def test_the_fault_of_a_point_is_named() -> None:
    point = SimpleNamespace(id=1, score=0.5, payload={"url": "x", "text": 7})
    with pytest.raises(IndexCorruptError) as caught:
        hit_of(point, "the collection docs")
    assert caught.value.message == (
        "The payload of the point 1 of the collection docs has a int as text; its fields are text, url."
    )


def test_a_point_of_another_program_is_a_hit_with_the_points_own_id() -> None:
    hit = hit_of(SimpleNamespace(id=42, score=0.5, payload={"text": "a", "url": "x"}), "docs")
    assert (hit.id, hit.text, hit.metadata, hit.score) == ("42", "a", {}, 0.5)


def test_documents_whose_hash_is_the_stored_one() -> None:
    one, two, three = (Document(name, "text") for name in "abc")
    points = [
        SimpleNamespace(id="p1", payload=payload_of(one)),
        SimpleNamespace(id="p2", payload={"sha256": "other"}),
        SimpleNamespace(id="p3", payload=None),
    ]
    assert list(ids_with_hash(points, {"p1": one, "p2": two, "p3": three})) == ["a"]


def test_the_keyword_vector_is_made_by_qdrant() -> None:
    document = Document("a", "tar packs files")
    assert keyword_vector(document, None) == {}
    assert keyword_vector(document, KeywordOptions(language="german")) == {
        "bm25": models.Document(
            text="tar packs files", model="qdrant/bm25", options={"language": "german"}
        )
    }
