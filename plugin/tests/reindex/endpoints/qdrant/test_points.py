from __future__ import annotations

import hashlib
from typing import Any

import pytest

from lusifer.reindex.endpoints.base import Record
from lusifer.stores.fields import FieldRules
from lusifer.types import Document

pytest.importorskip("qdrant_client")
from qdrant_client import models

from lusifer.reindex.endpoints.qdrant import points

UUID = "0b5a5b0b-0c6d-5d4e-9f1c-6c7573696665"
INDEXED = {"id": "d1", "text": "Ein Text", "metadata": {"lang": "de", "title": "T"}}
INDEXED_SHA = hashlib.sha256(b'["Ein Text",{"lang":"de","title":"T"}]').hexdigest()
FOREIGN = {"body": "their text", "name": "N", "n": 3}
FOREIGN_SHA = hashlib.sha256(b'{"body":"their text","n":3,"name":"N"}').hexdigest()


def record(payload: dict[str, Any], **options: str) -> Record[Any]:
    point = models.Record(
        id=options.pop("id", UUID), payload=payload, vector={"old": [1.0, 0.0], "other": [0.5]}
    )
    names = {"rules": FieldRules(), "language_field": "lang", "vector_name": "old", **options}
    return points.record_of(point, **names)


@pytest.mark.parametrize(
    ("point_id", "key"), [(0, "#00000000000000000000"), (17, "#00000000000000000017"), (UUID, UUID)]
)
def test_an_id_is_a_key_and_back(point_id: int | str, key: str) -> None:
    assert points.key_of(point_id) == key
    assert points.id_of(key) == point_id


def test_a_point_that_lusifer_indexed() -> None:
    found = record({**INDEXED, "sha256": INDEXED_SHA})
    assert found == Record(UUID, INDEXED_SHA, "Ein Text", "de", "T", None)
    assert found.content == points.PointContent(
        {**INDEXED, "sha256": INDEXED_SHA}, {"other": [0.5]}
    )


def test_the_hash_is_of_the_content_not_the_one_that_is_stored() -> None:
    edited = {**INDEXED, "text": "edited", "sha256": INDEXED_SHA}
    expected = hashlib.sha256(b'["edited",{"lang":"de","title":"T"}]').hexdigest()
    assert record(edited).sha256 == expected


def test_a_point_of_somebody_else() -> None:
    found = record(FOREIGN, rules=FieldRules("body"), language_field="n")
    assert (found.sha256, found.text, found.title) == (FOREIGN_SHA, "their text", "N")
    # Our own mark is not part of the content; a field that our hash does not cover is.
    assert record({**FOREIGN, "lusifer_sha256": "x"}).sha256 == FOREIGN_SHA
    extended = {**INDEXED, "sha256": INDEXED_SHA, "added": 1}
    assert record(extended).sha256 not in {INDEXED_SHA, record(INDEXED).sha256}


@pytest.mark.parametrize("payload", [{}, {"text": None}, {"text": 5}])
def test_a_point_without_text_has_nothing_to_embed(payload: dict[str, Any]) -> None:
    assert record(payload).text == ""


@pytest.mark.parametrize(
    ("payload", "version"),
    [
        (None, ""),
        ({}, ""),
        ({"sha256": "s"}, "s"),
        ({"sha256": "s", "lusifer_sha256": "c"}, "c@copy"),
        ({"lusifer_sha256": "c"}, "c@copy"),
    ],
)
def test_a_version_distinguishes_copies(payload: dict[str, str] | None, version: str) -> None:
    assert points.version_of(payload) == version


def test_a_copy_is_marked_with_the_hash_of_its_content() -> None:
    assert points.copied_payload(record(FOREIGN, rules=FieldRules("body"))) == {
        **FOREIGN,
        "lusifer_sha256": FOREIGN_SHA,
    }
    stale_hash = {**INDEXED, "sha256": "of an older text", "lusifer_sha256": "older"}
    assert points.copied_payload(record(stale_hash)) == {
        **INDEXED,
        "sha256": INDEXED_SHA,
        "lusifer_sha256": INDEXED_SHA,
    }


def test_a_document_of_a_file_is_written_as_lusifer_index_does_and_marked() -> None:
    document = Document("d1", "Ein Text", {"lang": "de", "title": "T"})
    made: Record[Any] = Record(UUID, INDEXED_SHA, "Ein Text", "de", "T", document)
    assert points.copied_payload(made) == {
        **INDEXED,
        "sha256": INDEXED_SHA,
        "lusifer_sha256": INDEXED_SHA,
    }


def fields(filter_: models.Filter) -> list[tuple[str, str | None]]:
    """Return field and value of each condition after the id; None stands for an absent field."""
    assert isinstance(filter_.must, list)
    first, *rest = filter_.must
    assert isinstance(first, models.HasIdCondition)
    assert first.has_id == [UUID]
    return [
        (each.is_empty.key, None)
        if isinstance(each, models.IsEmptyCondition)
        else (each.key, each.match.value)  # type: ignore[union-attr]
        for each in rest
    ]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("c@copy", [("lusifer_sha256", "c")]),
        ("s", [("lusifer_sha256", None), ("sha256", "s")]),
        ("", [("lusifer_sha256", None), ("sha256", None)]),
    ],
)
def test_a_guard_holds_for_one_version(
    version: str, expected: list[tuple[str, str | None]]
) -> None:
    assert fields(points.has_version(UUID, version)) == expected


def test_a_vector_is_written_where_hash_or_text_are_still_the_same() -> None:
    indexed = record({**INDEXED, "sha256": INDEXED_SHA})
    assert fields(points.content_unchanged(indexed, FieldRules())) == [("sha256", INDEXED_SHA)]
    wrong_hash = record({**INDEXED, "sha256": "of an older text"})
    assert fields(points.content_unchanged(wrong_hash, FieldRules())) == [("text", "Ein Text")]
    foreign = record(FOREIGN, rules=FieldRules("body"))
    assert fields(points.content_unchanged(foreign, FieldRules("body"))) == [("body", "their text")]
    empty = record({"body": ""}, rules=FieldRules("body"))
    assert fields(points.content_unchanged(empty, FieldRules("body"))) == [("body", "")]


def test_points_without_a_vector_are_asked_for() -> None:
    (condition,) = points.lacks_vector("second").must_not  # type: ignore[misc]
    assert condition.has_vector == "second"
