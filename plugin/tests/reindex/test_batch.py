from __future__ import annotations

import hashlib

import numpy as np
import pytest
from plugin.tests.reindex.memory import memory_migration
from plugin.tests.reindex.support import NEW, TextEmbedder

from lusifer.common.rate_limit import RateLimit
from lusifer.errors import EngineUnavailableError
from lusifer.reindex.batch import Outcome, delete_orphans, embed, read_stale, write
from lusifer.reindex.endpoints.base import ALL_KEYS, KeyRange
from lusifer.reindex.job import LanguageTally, PassTally, State
from lusifer.types import Document

A, B, C = (Document(each, f"text of {each}", {"lang": "de"}) for each in "abc")
SHA_OF_A = hashlib.sha256(b'["text of a",{"lang":"de"}]').hexdigest()


def test_a_batch_has_the_records_without_a_current_vector() -> None:
    source, target, migration = memory_migration()
    for document in (A, B, C):
        source.put(document)
    target.write([(source.record("a"), NEW.vector(A.text))], {})
    target.put(Document("b", "older text", {"lang": "de"}))
    batch = read_stale(migration, ALL_KEYS, None, 2)
    assert (batch.read, batch.cursor) == (2, "c")
    assert [record.key for record in batch.records] == ["b"]
    assert batch.versions == {"b": target.noted["b"]}
    rest = read_stale(migration, ALL_KEYS, "c", 2)
    assert (rest.read, rest.cursor, rest.versions) == (1, None, {})
    assert [record.key for record in rest.records] == ["c"]


def test_an_empty_range_has_an_empty_batch() -> None:
    _, _, migration = memory_migration()
    batch = read_stale(migration, KeyRange("x", "y"), None, 10)
    assert (batch.read, batch.records, batch.versions, batch.cursor) == (0, [], {}, None)


def test_a_text_that_can_not_be_embedded_is_listed() -> None:
    source, _, _ = memory_migration()
    source.put(A)
    source.put(Document("b", " ", {"lang": "de"}))
    embedded = embed(NEW, source.sample(2, 0))
    assert [record.key for record in embedded.records] == ["a", "b"]
    assert embedded.vectors[1] is None
    np.testing.assert_array_equal(embedded.vectors[0], NEW.vector("text of a"))
    assert (embedded.tokens, embedded.truncated) == ([3, 0], 0)
    assert [each["key"] for each in embedded.refused] == ["b"]
    assert "no visible character" in embedded.refused[0]["reason"]


def test_embedding_spends_tokens_and_raises_what_is_no_fault_of_the_text() -> None:
    source, _, _ = memory_migration()
    source.put(A)
    slept: list[float] = []
    limit = RateLimit(1.5, clock=lambda: 0.0, sleep=slept.append)
    embed(NEW, source.sample(1, 0), limit)
    limit.spend(0)
    assert slept == [2.0]

    class Broken(TextEmbedder):
        def stream(self, texts, role, *, window=512):  # type: ignore[no-untyped-def]
            yield EngineUnavailableError("away", next_step="")

    with pytest.raises(EngineUnavailableError):
        embed(Broken(3), source.sample(1, 0))


def test_writing_counts_by_language_and_skips_what_changed() -> None:
    source, target, migration = memory_migration()
    source.put(A)
    source.put(Document("b", "b", {"lang": "en"}))
    batch = read_stale(migration, ALL_KEYS, None, 10)
    embedded = embed(NEW, batch.records)
    target.put(Document("b", "an application was faster", {"lang": "en"}))
    outcome = write(migration, embedded, batch.versions, read=7)
    assert (outcome.tally.read, outcome.tally.stale, outcome.tally.written) == (7, 2, 1)
    assert outcome.tally.tokens == 4
    assert outcome.languages == {
        "de": LanguageTally(documents=1, tokens=3),
        "en": LanguageTally(documents=1, tokens=1),
    }
    assert target.noted["a"] == f"{SHA_OF_A}@copy"
    assert target.documents["b"].text == "an application was faster"


@pytest.mark.parametrize(("in_place", "stale"), [(False, 1), (True, 0)])
def test_in_place_a_text_without_vector_does_not_keep_passes_from_ending(
    in_place: bool, stale: int
) -> None:
    source, _, migration = memory_migration()
    source.put(Document("a", "", {"lang": "de"}))
    object.__setattr__(migration, "in_place", in_place)
    batch = read_stale(migration, ALL_KEYS, None, 10)
    outcome = write(migration, embed(NEW, batch.records), batch.versions, read=1)
    assert (outcome.tally.stale, outcome.tally.refused) == (stale, 1)


def test_orphans_are_deleted() -> None:
    source, target, migration = memory_migration()
    for document in (A, B, C):
        target.put(document)
    source.put(B)
    outcome, cursor = delete_orphans(migration, ALL_KEYS, None)
    assert (outcome.tally, cursor) == (PassTally(gone=2), None)
    assert set(target.documents) == {"b"}


def test_outcomes_add_up_and_at_most_100_refusals_are_listed() -> None:
    state = State(plan_id="p", refused=[{"key": "0", "reason": "r"}])
    outcome = Outcome(
        PassTally(read=2, tokens=5),
        {"de": LanguageTally(documents=1, tokens=5)},
        [{"key": str(number), "reason": "r"} for number in range(150)],
    )
    outcome.add_to(state)
    outcome.add_to(state)
    assert (state.current.read, state.current.tokens) == (4, 10)
    assert state.languages == {"de": LanguageTally(documents=2, tokens=10)}
    assert [each["key"] for each in state.refused] == [str(number) for number in range(100)]
