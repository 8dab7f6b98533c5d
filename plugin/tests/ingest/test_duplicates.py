from __future__ import annotations

from lusifer.ingest.duplicates import DuplicateIds


def test_an_id_is_the_same_only_with_the_same_content() -> None:
    ids = DuplicateIds()
    assert ids.is_same("a", "one")
    assert ids.is_same("b", "one")
    assert ids.is_same("a", "one")
    assert not ids.is_same("a", "two")
    assert ids.is_same("a", "one")


def test_cleared_ids_can_get_other_content() -> None:
    ids = DuplicateIds()
    assert ids.is_same("a", "one")
    ids.clear()
    assert ids.is_same("a", "two")
    assert not ids.is_same("a", "one")
