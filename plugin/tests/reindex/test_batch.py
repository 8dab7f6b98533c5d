from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from plugin.tests.reindex.memory import memory_migration
from plugin.tests.reindex.support import NEW, TextEmbedder

from lusifer.common.rate_limit import RateLimit
from lusifer.errors import EngineUnavailableError
from lusifer.reindex.batch import Outcome, delete_orphans, embed, read_stale, write
from lusifer.reindex.endpoints.base import ALL_KEYS, KeyRange, content_of, document_record
from lusifer.reindex.job import LanguageTally, PassTally, State
from lusifer.reindex.snapshot import DELETION, Base, Snapshot
from lusifer.types import Document

A, B, C = (Document(each, f"text of {each}", {"lang": "de"}) for each in "abc")
SHA_OF_A = hashlib.sha256(b'["text of a",{"lang":"de"}]').hexdigest()


def test_a_batch_has_the_records_without_a_current_vector() -> None:
    source, target, migration = memory_migration()
    for document in (A, B, C):
        source.put(document)
    older = document_record("b", Document("b", "older text", {"lang": "de"}), "lang")
    rows = [(each, NEW.vector(each.text)) for each in (source.record("a"), older)]
    written = target.write(rows, {})
    snapshot = Snapshot()
    snapshot.put({key: Base(content_of(each), each) for key, each in written.items()})
    batch = read_stale(migration, snapshot, ALL_KEYS, None, 2)
    assert (batch.read, batch.cursor) == (2, "c")
    assert [record.key for record in batch.records] == ["b"]
    assert batch.versions == {"b": target.noted["b"]}
    assert batch.bases == {"b": Base(older.sha256, target.noted["b"])}
    rest = read_stale(migration, snapshot, ALL_KEYS, "c", 2)
    assert (rest.read, rest.cursor, rest.versions) == (1, None, {})
    assert [record.key for record in rest.records] == ["c"]


def test_an_empty_range_has_an_empty_batch() -> None:
    _, _, migration = memory_migration()
    batch = read_stale(migration, Snapshot(), KeyRange("x", "y"), None, 10)
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
    snapshot = Snapshot()
    batch = read_stale(migration, snapshot, ALL_KEYS, None, 10)
    embedded = embed(NEW, batch.records)
    target.put(Document("b", "an application was faster", {"lang": "en"}))
    outcome = write(migration, snapshot, embedded, batch)
    assert (outcome.tally.read, outcome.tally.stale, outcome.tally.written) == (2, 2, 1)
    assert outcome.tally.tokens == 4
    assert outcome.languages == {
        "de": LanguageTally(documents=1, tokens=3),
        "en": LanguageTally(documents=1, tokens=1),
    }
    assert target.noted["a"] == f"{SHA_OF_A}@copy"
    assert target.documents["b"].text == "an application was faster"
    sha256_of_b = source.record("b").sha256
    assert snapshot.get("ab") == {
        "a": Base(SHA_OF_A, f"{SHA_OF_A}@copy"),
        "b": Base(pending=sha256_of_b),
    }
    again = read_stale(migration, snapshot, ALL_KEYS, None, 10)
    assert (again.records, again.conflicts) == ([], 1)
    forced = read_stale(migration, snapshot, ALL_KEYS, None, 10, overwrite=True)
    assert [record.key for record in forced.records] == ["b"]


@pytest.mark.parametrize(("in_place", "stale"), [(False, 1), (True, 0)])
def test_in_place_a_text_without_vector_does_not_keep_passes_from_ending(
    in_place: bool, stale: int
) -> None:
    source, _, migration = memory_migration()
    source.put(Document("a", "", {"lang": "de"}))
    object.__setattr__(migration, "in_place", in_place)
    snapshot = Snapshot()
    batch = read_stale(migration, snapshot, ALL_KEYS, None, 10)
    outcome = write(migration, snapshot, embed(NEW, batch.records), batch)
    assert (outcome.tally.stale, outcome.tally.refused) == (stale, 1)


def test_copies_without_their_document_are_deleted_page_by_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lusifer.reindex.batch.ORPHAN_KEYS", 2)
    source, target, migration = memory_migration()
    rows = [(document_record(each.id, each, "lang"), NEW.vector(each.text)) for each in (A, B, C)]
    snapshot = Snapshot()
    bases = {key: Base(content_of(each), each) for key, each in target.write(rows, {}).items()}
    snapshot.put(bases)
    target.put(Document("d", "an application's own", {}))
    target.put(C)
    source.put(B)
    outcome, cursor = delete_orphans(migration, snapshot, "")
    assert (outcome.tally, cursor) == (PassTally(gone=1), "b")
    assert set(target.documents) == {"b", "c", "d"}
    # An application wrote the same once more.
    outcome, cursor = delete_orphans(migration, snapshot, "b")
    assert (outcome.tally, cursor) == (PassTally(conflicts=1), None)
    assert snapshot.get("abcd") == {"b": bases["b"], "c": bases["c"]}
    outcome, _ = delete_orphans(migration, snapshot, "b", overwrite=True)
    assert (outcome.tally, set(target.documents)) == (PassTally(gone=1), {"b", "d"})


def test_a_copy_that_was_killed_before_it_was_noted_is_not_taken_for_an_application_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without marks, the hash that was noted before the write tells that the copy is ours."""
    source, target, migration = memory_migration(clock=True)
    source.put(A)
    snapshot = Snapshot()
    batch = read_stale(migration, snapshot, ALL_KEYS, None, 10)
    rows = target.write

    def killed(*arguments: Any) -> None:
        rows(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(target, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        write(migration, snapshot, embed(NEW, batch.records), batch)
    assert set(target.documents) == {"a"}
    source.put(Document("a", "edited meanwhile", {"lang": "de"}))
    batch = read_stale(migration, snapshot, ALL_KEYS, None, 10)
    assert ([record.key for record in batch.records], batch.conflicts) == (["a"], 0)


def test_a_deletion_that_was_killed_is_not_taken_for_an_application_s() -> None:
    source, _, migration = memory_migration()
    snapshot = Snapshot()
    snapshot.put({"a": Base(SHA_OF_A, f"{SHA_OF_A}@copy", pending=DELETION)})
    source.put(A)
    batch = read_stale(migration, snapshot, ALL_KEYS, None, 10)
    assert [record.key for record in batch.records] == ["a"]
    source.remove("a")
    assert delete_orphans(migration, snapshot, "")[0].tally == PassTally()
    assert len(snapshot) == 0


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
