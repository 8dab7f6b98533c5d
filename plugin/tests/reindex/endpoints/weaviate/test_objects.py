from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugin.tests.weaviate.fakes import make_config, make_property

from lusifer.reindex.endpoints.base import Record
from lusifer.types import Document

pytest.importorskip("weaviate")
from lusifer.reindex.endpoints.weaviate.objects import (
    ObjectContent,
    copied_content,
    group_by_tenant,
    hash_of,
    join_key,
    mark_of,
    record_of,
    tenant_order,
    uuid_before,
    version_of,
    whole_object,
)
from lusifer.weaviate.text_composition import TextRules

FIRST = "00000000-0000-0000-0000-000000000000"
SECOND = "00000000-0000-0000-0000-000000000001"
RULES = TextRules(collection="A", source_properties=("text",))
SHA = hashlib.sha256(b'[{"n":3,"text":"ein Text"},{"sees":["%b","%b"]}]' % (FIRST.encode(), SECOND.encode())).hexdigest()  # fmt: skip


def stored(properties: dict[str, Any], **more: Any) -> Any:
    return SimpleNamespace(
        **{"properties": properties, "vector": {}, "references": None, "metadata": None, **more}
    )


def linked(*keys: str) -> Any:
    return SimpleNamespace(objects=[SimpleNamespace(uuid=key) for key in keys])


OBJECT = stored(
    {"text": "ein Text", "n": 3, "lang": None, "lusifer_mark": 12},
    vector={"lusifer": [1.0], "other": [0.5], "empty": []},
    references={"sees": linked(SECOND, FIRST), "none": linked()},
    metadata=SimpleNamespace(last_update_time=datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)),
)


def test_a_key_has_its_tenant_before_it() -> None:
    assert (join_key("", "u"), join_key("t", "u")) == ("u", "t/u")
    assert group_by_tenant(["t/1", "s/2", "t/3"]) == {"t": ["1", "3"], "s": ["2"]}
    assert group_by_tenant(["1", "2"]) == {"": ["1", "2"]}


@given(st.lists(st.text(st.characters(exclude_characters="/"), min_size=1), unique=True))
def test_tenants_sort_as_their_keys_do(names: list[str]) -> None:
    ordered = sorted(names, key=tenant_order)
    keys = [join_key(name, key) for name in ordered for key in (FIRST, SECOND)]
    assert keys == sorted(keys)


def test_the_uuid_before_another() -> None:
    assert uuid_before(SECOND) == FIRST
    assert uuid_before("00000000-0000-0001-0000-000000000000") == (
        "00000000-0000-0000-ffff-ffffffffffff"
    )
    assert uuid_before(FIRST) is None


def test_a_mark_is_52_bits_of_the_hash() -> None:
    assert mark_of("f" * 64) == 2**52 - 1
    assert mark_of("0000000000001" + "f" * 51) == 1


def test_the_hash_leaves_out_nulls_the_mark_and_the_order_of_references() -> None:
    assert hash_of(OBJECT) == SHA
    properties = {**OBJECT.properties, "lusifer_mark": 99}
    swapped = {"sees": linked(FIRST, SECOND)}
    assert hash_of(stored(properties, references=swapped)) == SHA
    assert hash_of(stored({**properties, "n": 4}, references=swapped)) != SHA
    assert hash_of(stored(properties)) != SHA


def test_the_version_has_the_time_of_the_last_write() -> None:
    assert version_of(OBJECT) == f"{SHA}@1767225600.5"


def test_an_object_as_a_record() -> None:
    record = record_of("t/u", OBJECT, rules=RULES, language_field="kind", vector_name="lusifer")
    assert (record.key, record.sha256, record.text) == ("t/u", SHA, "ein Text")
    assert record.title == ""
    assert record.content == ObjectContent(
        OBJECT.properties, {"other": [0.5]}, {"sees": [FIRST, SECOND]}
    )
    named = record_of(
        "u",
        stored({"text": "x", "kind": "fr", "title": "T"}),
        rules=RULES,
        language_field="kind",
        vector_name="lusifer",
    )
    assert (named.language, named.title) == ("fr", "T")


def test_a_copy_takes_everything_along_but_nulls() -> None:
    record = record_of("u", OBJECT, rules=RULES, language_field="lang", vector_name="lusifer")
    copied = copied_content(record, "text")
    assert copied.properties == {"text": "ein Text", "n": 3, "lusifer_mark": 12}
    assert (copied.vectors, copied.references) == ({"other": [0.5]}, {"sees": [FIRST, SECOND]})


def test_a_document_of_a_file_is_written_as_lusifer_index_does() -> None:
    document = Document("d1", "ein Text", {"lang": "de", "empty": None})
    sha256 = hashlib.sha256(b'["ein Text",{"empty":null,"lang":"de"}]').hexdigest()
    copied = copied_content(Record("u", sha256, "ein Text", "de", "", document), "body")
    assert copied == ObjectContent(
        {"lang": "de", "body": "ein Text", "document_id": "d1", "document_sha256": sha256}, {}, {}
    )


def test_objects_without_blobs_are_asked_for_as_they_are() -> None:
    asked = whole_object(make_config("", properties=[make_property("text")]))
    assert (asked["return_properties"], asked["return_references"]) == (None, None)
    assert asked["return_metadata"].last_update_time


def test_where_there_are_blobs_every_property_is_named() -> None:
    inner = make_property("name")
    properties = [
        make_property("text"),
        make_property("picture", "blob"),
        make_property("author", "object", nested_properties=[inner]),
    ]
    config = make_config("", properties=properties)
    config.references = [SimpleNamespace(name="sees")]
    asked = whole_object(config)
    assert asked["return_properties"] is not None
    text, picture, author = asked["return_properties"]
    assert (text, picture) == ("text", "picture")
    assert (author.name, author.properties) == ("author", ["name"])  # type: ignore[union-attr]
    assert [each.link_on for each in asked["return_references"] or ()] == ["sees"]
