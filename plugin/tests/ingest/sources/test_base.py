from __future__ import annotations

import pytest

from lusifer.ingest.sources.base import Accepted, DocumentBuilder, Rejected, unreadable
from lusifer.types import JSON, Document


def test_all_fields_but_text_and_id_become_metadata() -> None:
    builder = DocumentBuilder("body", "key")
    assert builder.from_fields({"body": "one", "key": 7, "id": "x"}, "f line 1") == Accepted(
        "f line 1", Document("7", "one", {"id": "x"})
    )


def test_a_text_without_an_id_gets_its_sha256() -> None:
    # printf zwei | sha256sum
    digest = "9dbe3cfc5af797f3516eb7c92f37fe507b83c13017aa9ddb57b9afe25a75a3a6"
    record = DocumentBuilder().from_text("", "zwei", {}, "f")
    assert isinstance(record, Accepted)
    assert record.document.id == digest


@pytest.mark.parametrize(
    ("fields", "rejected"),
    [
        (
            {"a": 1, "b": 2},
            Rejected(
                "f line 1",
                "The field 'text' is missing; the fields are 'a', 'b'.",
                "Name the field with the text: --text-field NAME.",
            ),
        ),
        (
            {},
            Rejected(
                "f line 1",
                "The field 'text' is missing; the fields are none.",
                "Name the field with the text: --text-field NAME.",
            ),
        ),
        (
            {"text": 5},
            Rejected(
                "f line 1",
                "The field 'text' holds a int, not a text.",
                "Write the text as a JSON string.",
            ),
        ),
        (
            {"text": "x", "id": True},
            Rejected(
                "f line 1",
                "The field 'id' holds a bool.",
                "Write the id as a text or a whole number.",
            ),
        ),
        (
            {"text": "caf\udce9"},
            Rejected(
                "f line 1",
                "The text is not UTF-8: it holds the byte 0xE9.",
                "Save the source as UTF-8.",
            ),
        ),
    ],
)
def test_a_record_that_is_no_document(fields: dict[str, JSON], rejected: Rejected) -> None:
    assert DocumentBuilder().from_fields(fields, "f line 1") == rejected


def test_the_rest_of_a_damaged_file() -> None:
    assert unreadable("f after line 3", EOFError("it ends early")) == Rejected(
        "f after line 3",
        "The rest of the file can't be read: it ends early.",
        "The file is damaged. Download or compress it again.",
    )
