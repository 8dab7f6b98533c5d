from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from plugin.tests.reindex.memory import memory_migration
from plugin.tests.reindex.support import NEW, OLD

from lusifer.reindex.verification import Verification, verify
from lusifer.types import Document

RIGHT: dict[str, Any] = {
    "old": 1000, "new": 1000, "drift": 0, "old_without_vector": 0, "new_without_vector": 0,
    "sampled": 200, "stale": (), "wrong": (), "worst_cosine": 1.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({}, []),
        ({"new": 998}, ["The source has 1,000 documents, the target 998."]),
        ({"new": 998, "drift": 2}, []),
        (
            {"old_without_vector": 1, "new_without_vector": 3},
            ["3 documents have no new vector, so no search will find them; 1 have no old one."],
        ),
        ({"old_without_vector": 1, "new_without_vector": 3, "drift": 2}, []),
        ({"stale": ("a", "b")}, ["2 of 200 sampled documents are stale: a, b."]),
        ({"stale": ("a", "b"), "drift": 2}, []),
        (
            {"wrong": ("a", "b", "c", "d"), "worst_cosine": 0.25, "drift": 9},
            [
                "4 of 200 sampled vectors are not those of their texts (worst cosine 0.2500): "
                "a, b, c, …."
            ],
        ),
    ],
)
def test_problems_beyond_the_drift_are_reported(
    changes: dict[str, Any], problems: list[str]
) -> None:
    found = Verification(**{**RIGHT, **changes})
    assert found.problems == problems
    assert found.as_dict()["problems"] == problems


def test_a_copy_with_the_vectors_of_its_texts_is_right() -> None:
    source, target, migration = memory_migration()
    for number in range(4):
        document = Document(f"d{number}", f"text {number}", {"lang": "en"})
        source.put(document, OLD.vector(document.text))
        # Databases keep float32 of any norm.
        target.put(document, 3 * NEW.vector(document.text))
    found = verify(migration, NEW, samples=3)
    assert (found.old, found.new, found.sampled, found.stale, found.wrong) == (4, 4, 3, (), ())
    assert found.worst_cosine == pytest.approx(1.0, abs=1e-6)
    assert found.problems == []


def test_stale_wrong_and_missing_vectors_are_found() -> None:
    source, target, migration = memory_migration()
    texts = {"a": "one", "b": "two", "c": "three", "d": "four"}
    for key, text in texts.items():
        source.put(Document(key, text, {"lang": "en"}))
    target.put(Document("a", "an older text", {"lang": "en"}), NEW.vector("an older text"))
    target.put(Document("b", "two", {"lang": "en"}), NEW.vector("another text"))
    target.put(Document("c", "three", {"lang": "en"}), None)
    target.put(Document("d", "four", {"lang": "en"}), NEW.vector("four"))
    found = verify(migration, NEW)
    assert (found.stale, found.wrong) == (("a",), ("b",))
    expected = float(NEW.vector("two") @ NEW.vector("another text"))
    assert found.worst_cosine == pytest.approx(expected, abs=1e-6)
    assert (found.old_without_vector, found.new_without_vector) == (4, 1)


def test_a_vector_that_is_not_finite_is_wrong() -> None:
    source, target, migration = memory_migration()
    document = Document("a", "one", {"lang": "en"})
    source.put(document)
    target.put(document, np.full(8, np.nan))
    assert verify(migration, NEW).wrong == ("a",)


def test_in_place_the_sample_is_taken_from_the_target() -> None:
    source, target, migration = memory_migration()
    object.__setattr__(migration, "in_place", True)
    target.put(Document("a", "one", {"lang": "en"}), NEW.vector("two"))
    found = verify(migration, NEW)
    assert (found.sampled, found.wrong) == (1, ("a",))
    assert source.count() == found.old == 0
