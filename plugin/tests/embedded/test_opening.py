from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import qdrant_edge as edge
from plugin.tests.embedded_index import create, documents
from plugin.tests.store_contract import FINGERPRINT, unit

import lusifer
from lusifer.embedded.layout import read_index
from lusifer.embedded.optimize import optimize_elsewhere
from lusifer.embedded.store import EmbeddedStore
from lusifer.errors import (
    FingerprintMismatchError,
    IndexCorruptError,
    IndexLockedError,
    IndexNotFoundError,
    InvalidDimensionError,
    StoreError,
)
from lusifer.qdrant.keywords import KeywordOptions
from lusifer.stores.payloads import document_uuid
from lusifer.types import Document, SearchOptions

OTHER = "sha256:" + "b" * 64
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(lusifer.__file__).parents[1])}


def test_open_or_create(tmp_path: Path) -> None:
    options = {"fingerprint": FINGERPRINT, "dimension": 16, "model": "tiny"}
    path = tmp_path / "deep" / "index"
    with EmbeddedStore.open_or_create(path, **options) as store:  # type: ignore[arg-type]
        store.upsert(documents(1), unit(1))
    with EmbeddedStore.open_or_create(path, **options) as store:  # type: ignore[arg-type]
        assert store.count() == 1
    with pytest.raises(InvalidDimensionError, match="has dimension 16, 8 was asked for"):
        EmbeddedStore.open_or_create(path, fingerprint=FINGERPRINT, dimension=8, model="tiny")
    with pytest.raises(StoreError, match="already holds an index"):
        create(path)


def test_a_new_index_is_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "index"
    with EmbeddedStore.open_or_create(
        path, fingerprint=FINGERPRINT, dimension=16, model="tiny"
    ) as store:
        store.upsert(documents(1), unit(1))
    for folder in (path, path.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((path / "index.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("how", ["open", "open_or_create"])
def test_another_model_is_refused(filled: Path, how: str) -> None:
    with pytest.raises(FingerprintMismatchError) as caught:
        if how == "open":
            EmbeddedStore.open(filled, OTHER)
        else:
            EmbeddedStore.open_or_create(filled, fingerprint=OTHER, dimension=16, model="other")
    assert FINGERPRINT in caught.value.message
    assert OTHER in caught.value.message
    assert "lusifer index" in caught.value.next_step
    EmbeddedStore.open(filled, FINGERPRINT).close()


def test_no_index(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(IndexNotFoundError, match="No index at"):
            EmbeddedStore.open(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("pattern", "size_bytes"),
    [
        ("shard", None),
        ("shard/segments/*", None),
        ("shard/edge_config.json", 3),
        ("shard/segments/*/segment.json", 5),
        (
            "shard/segments/*/mutable_id_tracker.mappings",
            None,
        ),  # the engine opens it, documents missing
        ("shard/segments/*/mutable_id_tracker.mappings", 100),
        (
            "shard/segments/*/vector_storage-lusifer/vectors/status.dat",
            0,
        ),  # panics inside the engine
        (
            "shard/segments/*/vector_storage-lusifer/vectors/status.dat",
            None,
        ),  # searches find nothing
        ("shard/segments/*/payload_storage/page_0.dat", None),
        ("flushed.json", 4),
    ],
)
def test_damaged_data_is_never_a_smaller_index(
    filled: Path, pattern: str, size_bytes: int | None
) -> None:
    for path in filled.glob(pattern):
        if size_bytes is not None:
            os.truncate(path, size_bytes)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    with pytest.raises(IndexCorruptError) as caught, EmbeddedStore.open(filled) as store:
        store.search(unit(1)[0], 5)
    assert "index again into a new folder" in caught.value.next_step


def test_creation_that_was_killed_is_started_again(tmp_path: Path) -> None:
    path = tmp_path / "index"
    (path / "shard.partial" / "segments").mkdir(parents=True)
    (path / "index.json.partial").write_text("{")
    with pytest.raises(IndexNotFoundError):
        EmbeddedStore.open(path)
    with create(path) as store:
        assert store.count() == 0
    # Killed between the rename of the shard and index.json: the shard is empty, nothing is lost.
    (path / "index.json").unlink()
    with create(path) as store:
        store.upsert(documents(2), unit(2))
    (path / "index.json").unlink()
    with pytest.raises(
        IndexCorruptError, match=r"lacks index\.json, but its shard holds 2 documents"
    ):
        create(path)


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"other files \(thesis\.txt\)"):
        create(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    with pytest.raises(StoreError):
        create(tmp_path / "thesis.txt")


def test_one_owner(filled: Path) -> None:
    code = (
        "import sys, lusifer\n"
        "try: lusifer.EmbeddedStore.open(sys.argv[1]).close()\n"
        "except lusifer.LusiferError as error: print(type(error).__name__, error.retryable)\n"
        "else: print('opened')"
    )

    def second_process() -> str:
        command = [sys.executable, "-c", code, str(filled)]
        return subprocess.run(
            command, env=ENVIRONMENT, check=True, capture_output=True, text=True
        ).stdout.strip()

    with EmbeddedStore.open(filled):
        assert second_process() == "IndexLockedError True"
        with pytest.raises(IndexLockedError):
            EmbeddedStore.open(filled)
        with pytest.raises(IndexLockedError):
            optimize_elsewhere(filled / "shard")
    assert second_process() == "opened"


def test_an_index_with_words_of_the_engines_own_gets_ours(tmp_path: Path) -> None:
    path = tmp_path / "index"
    texts = ["東京へ行きたい", "価格を比較する", "version 2024"]
    with create(path, keywords=KeywordOptions()) as store:
        store.upsert([Document(str(i), text) for i, text in enumerate(texts)], unit(3))
        # As the first version wrote it.
        model = edge.Bm25(edge.Bm25Config(tokenizer=edge.TokenizerType.Multilingual))
        store._shard.update_sparse(
            {document_uuid(str(i)): model.embed_document(text) for i, text in enumerate(texts)}
        )
        first = store.index.model_copy(
            update={"schema_version": 1, "keywords": KeywordOptions(words=1)}
        )
    fields = json.loads(first.model_dump_json())
    del fields["keywords"]["words"]
    (path / "index.json").write_text(json.dumps(fields))
    with EmbeddedStore.open(path, FINGERPRINT) as store:
        assert store.index.keywords == KeywordOptions()
        assert store.count_without_vector() == 0
        for i, word in enumerate(("東京", "価格", "2024")):
            hits = store.search(-unit(3)[i], 2, SearchOptions(keywords=word))
            assert str(i) in [hit.id for hit in hits]
    assert read_index(path).schema_version == 2
