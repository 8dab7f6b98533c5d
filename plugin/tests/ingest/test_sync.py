from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from plugin.tests.embedded_index import create, documents
from plugin.tests.store_contract import unit

from lusifer.errors import InvalidInputError
from lusifer.ingest.sources.base import Rejected
from lusifer.ingest.sync import SourceSync

pytest.importorskip("qdrant_edge")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lusifer.embedded.store import EmbeddedStore
    from lusifer.types import Document


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    with create(tmp_path / "index") as opened:
        opened.upsert(documents(100), unit(100))
        yield opened


def watched(*source: Document | Rejected) -> SourceSync:
    sync = SourceSync()
    assert list(sync.watch(source)) == list(source)
    return sync


def test_what_the_source_no_longer_has_is_deleted(store: EmbeddedStore) -> None:
    sync = watched(*documents(95))
    assert sync.find_orphans(store) == sync.find_orphans(store) == 5
    sync.check(force=False)
    assert sync.delete_orphans(store) == 5
    assert sorted(store.document_ids()) == sorted(each.id for each in documents(95))
    assert sync.find_orphans(store) == 0
    sync.check(force=False)
    assert sync.delete_orphans(store) == 0


def test_many_documents_need_force(store: EmbeddedStore) -> None:
    sync = watched(*documents(89))
    assert sync.find_orphans(store) == 11
    with pytest.raises(InvalidInputError) as caught:
        sync.check(force=False)
    assert caught.value.message == (
        "11 of 100 documents are not in the source, which is more than 10%. Nothing was deleted."
    )
    sync.check(force=True)
    empty = watched()
    assert empty.find_orphans(store) == 100
    with pytest.raises(InvalidInputError, match="100 of 100"):
        empty.check(force=False)


def test_rejected_records_may_be_among_the_missing(store: EmbeddedStore) -> None:
    sync = watched(*documents(99), Rejected("line 100", "broken", "Fix it."))
    assert sync.find_orphans(store) == 1
    with pytest.raises(InvalidInputError, match="1 records could not be read"):
        sync.check(force=False)
    complete = watched(*documents(100), Rejected("line 101", "broken", "Fix it."))
    assert complete.find_orphans(store) == 0
    complete.check(force=False)
