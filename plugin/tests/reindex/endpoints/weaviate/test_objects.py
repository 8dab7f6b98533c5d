from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lusifer.reindex.endpoints.base import Record
from lusifer.types import Document

pytest.importorskip("weaviate")
from lusifer.reindex.endpoints.weaviate.objects import (
    ObjectContent,
    copied_content,
    group_by_tenant,
    hash_of,
    is_reference,
    join_key,
    mark_of,
    new_object,
    record_of,
    tenant_order,
    uuid_before,
    vector_of,
    version_of,
)
from lusifer.weaviate.text_composition import TextRules

FIRST = "00000000-0000-0000-0000-000000000000"
SECOND = "00000000-0000-0000-0000-000000000001"
RULES = TextRules(collection="A", source_properties=("text",))
SHA = hashlib.sha256(b'[{"n":3,"text":"ein Text"},{"sees":["./%b","B/%b"]}]' % (SECOND.encode(), FIRST.encode())).hexdigest()  # fmt: skip


def linked(*targets: str) -> list[dict[str, str]]:
    return [{"beacon": f"weaviate://localhost/{each}", "href": "/v1"} for each in targets]


OBJECT: dict[str, Any] = {
    "class": "A",
    "id": "u",
    "properties": {
        "text": "ein Text", "n": 3, "lang": None, "lusifer_mark": 12,
        "sees": linked(f"A/{SECOND}", f"B/{FIRST}"),
    },
    "vectors": {"lusifer": [1.0], "other": [0.5], "empty": []},
    "lastUpdateTimeUnix": 1767225600500,
}  # fmt: skip


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
    swapped = {"lusifer_mark": 99, "sees": linked(f"B/{FIRST}", f"A/{SECOND}")}
    assert hash_of({**OBJECT, "properties": {**OBJECT["properties"], **swapped}}) == SHA
    for changed in ({"n": 4}, {"sees": linked(f"B/{FIRST}")}, {"sees": None}):
        other = {**OBJECT, "properties": {**OBJECT["properties"], **changed}}
        assert hash_of(other) != SHA


def test_a_copy_has_the_hash_of_its_source() -> None:
    """References into the own collection follow."""
    record = record_of("u", OBJECT, rules=RULES, language_field="lang", vector_name="lusifer")
    copied = new_object("B", "u", copied_content(record, "text"), {})
    assert copied["properties"]["sees"] == [
        {"beacon": f"weaviate://localhost/B/{SECOND}"},
        {"beacon": f"weaviate://localhost/B/{FIRST}"},
    ]
    other = new_object("C", "t/u", copied_content(record, "text"), {"v": [1.0]})
    assert (other["id"], other["tenant"], other["vectors"]) == ("u", "t", {"v": [1.0]})
    assert hash_of(other) == hash_of(OBJECT)


def test_a_list_of_objects_is_no_reference() -> None:
    value = [{"beacon": "weaviate://localhost/A/1", "note": "mine"}]
    assert not is_reference(value)
    assert not is_reference([{"beacon": "of light"}])
    assert not is_reference([])
    assert hash_of({**OBJECT, "properties": {"x": value}}) != hash_of({**OBJECT, "properties": {}})


def test_the_version_has_the_time_of_the_last_write() -> None:
    assert version_of(OBJECT) == f"{SHA}@1767225600500"


def test_zeros_stand_for_no_vector() -> None:
    unnamed = {"vector": [0.0, 0.5], "vectors": {"a": [0.0, 0.0], "b": [[0.5]], "c": []}}
    assert [vector_of(unnamed, name) for name in ("", "a", "b", "c", "d")] == [
        [0.0, 0.5], None, [[0.5]], None, None,
    ]  # fmt: skip


def test_an_object_as_a_record() -> None:
    record = record_of("t/u", OBJECT, rules=RULES, language_field="kind", vector_name="lusifer")
    assert (record.key, record.sha256, record.text) == ("t/u", SHA, "ein Text")
    assert record.title == ""
    assert record.content == ObjectContent(
        {"text": "ein Text", "n": 3, "lusifer_mark": 12},
        {"other": [0.5]},
        {"sees": [f"./{SECOND}", f"B/{FIRST}"]},
    )
    named = record_of(
        "u",
        {**OBJECT, "properties": {"text": "x", "kind": "fr", "title": "T"}},
        rules=RULES,
        language_field="kind",
        vector_name="lusifer",
    )
    assert (named.language, named.title) == ("fr", "T")


def test_a_document_of_a_file_is_written_as_lusifer_index_does() -> None:
    document = Document("d1", "ein Text", {"lang": "de", "empty": None})
    sha256 = hashlib.sha256(b'["ein Text",{"empty":null,"lang":"de"}]').hexdigest()
    copied = copied_content(Record("u", sha256, "ein Text", "de", "", document), "body")
    assert copied == ObjectContent(
        {"lang": "de", "body": "ein Text", "document_id": "d1", "document_sha256": sha256}, {}, {}
    )
