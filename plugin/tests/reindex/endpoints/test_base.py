from __future__ import annotations

import hashlib
import pickle

import pytest
from plugin.tests.reindex.memory import memory_migration

from lusifer.reindex.endpoints.base import (
    ALL_KEYS,
    KeyRange,
    Record,
    canonical_sha256,
    content_of,
    document_record,
    language_in,
    title_of,
)
from lusifer.types import Document


@pytest.mark.parametrize(
    ("key_range", "inside"),
    [
        (ALL_KEYS, ["", "a", "b", "c", "~"]),
        (KeyRange("b"), ["b", "c", "~"]),
        (KeyRange("", "b"), ["", "a"]),
        (KeyRange("b", "c"), ["b"]),
    ],
)
def test_a_key_range_is_half_open(key_range: KeyRange, inside: list[str]) -> None:
    assert [key for key in ("", "a", "b", "c", "~") if key in key_range] == inside


def test_a_record_is_compared_without_its_content_and_travels() -> None:
    record = Record("k", "s", "text", "de", "", {"a": 1})
    assert record == Record("k", "s", "text", "de", "", None)
    back = pickle.loads(pickle.dumps(record))  # noqa: S301  (our own)
    assert (back, back.content) == (record, {"a": 1})


@pytest.mark.parametrize(
    ("version", "content"), [("abc", "abc"), ("abc@copy", "abc"), ("abc@1.5", "abc"), ("", "")]
)
def test_a_version_begins_with_the_hash_of_its_content(version: str, content: str) -> None:
    assert content_of(version) == content


def test_the_order_of_keys_does_not_change_a_hash() -> None:
    expected = hashlib.sha256(b'{"a":[1,null],"b":"\\u00fc"}').hexdigest()
    assert canonical_sha256({"b": "ü", "a": [1, None]}) == expected
    assert canonical_sha256({"a": [None, 1], "b": "ü"}) != expected


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({"title": "T", "name": "N"}, "T"),
        ({"name": "N"}, "N"),
        ({"title": "", "name": "N"}, "N"),
        ({"title": 3}, ""),
        ({}, ""),
    ],
)
def test_a_title_is_a_field_of_text(fields: dict[str, object], title: str) -> None:
    assert title_of(fields) == title


def test_a_language_is_named_or_detected() -> None:
    german = "Das ist ein ganz gewöhnlicher deutscher Satz über das Wetter von gestern."
    assert language_in({"lang": "xx"}, "lang", german) == "xx"
    assert language_in({"lang": 7}, "lang", german) == "de"
    assert language_in({}, "language", german) == "de"


def test_the_record_of_a_document() -> None:
    document = Document("id", "text", {"lang": "de", "title": "T"})
    record = document_record("key", document, "lang")
    sha256 = hashlib.sha256(b'["text",{"lang":"de","title":"T"}]').hexdigest()
    assert record == Record("key", sha256, "text", "de", "T", None)
    assert record.content is document


def test_a_migration_closes_what_it_opened() -> None:
    source, target, migration = memory_migration()
    released: list[bool] = []
    object.__setattr__(migration, "release", lambda: released.append(True))
    migration.close_endpoints()
    assert (source.closed, target.closed, released) == (1, 1, [])
    migration.close()
    assert (source.closed, target.closed, released) == (2, 2, [True])


@pytest.mark.parametrize(
    ("in_place", "searchable", "has_orphans"),
    [(False, True, True), (True, True, False), (False, False, False)],
)
def test_only_a_copy_of_a_database_has_orphans(
    in_place: bool, searchable: bool, has_orphans: bool
) -> None:
    _, _, migration = memory_migration()
    object.__setattr__(migration, "in_place", in_place)
    object.__setattr__(migration, "searchable", searchable)
    assert migration.has_orphans == has_orphans
