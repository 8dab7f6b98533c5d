"""A collection as a store: the common contract, wrong schemas, and faults of the connection."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from integration_tests.qdrant_server import QdrantUnderTest, inference_gate, qdrant_under_test  # noqa: F401
from plugin.tests.cli.commands import run
from plugin.tests.conftest import make_bundle
from plugin.tests.hub_documents import DIMENSION as HUB_DIMENSION
from plugin.tests.hub_documents import hub_documents
from plugin.tests.keyword_languages import missing_words
from plugin.tests.store_contract import (
    COSINES,
    DIMENSION,
    FINGERPRINT,
    LIBRARY,
    SearchContract,
    StoreContract,
    documents,
    near,
    unit,
)
from qdrant_client import AsyncQdrantClient, QdrantClient, models

import lusifer
from lusifer.bundle.format import Bundle
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine
from lusifer.errors import (
    CollectionMismatchError,
    FingerprintMismatchError,
    IndexCorruptError,
    IndexNotFoundError,
    InvalidInputError,
    StoreBusyError,
    StoreError,
    StoreUnavailableError,
)
from lusifer.ingest.sync import SourceSync
from lusifer.qdrant.connection import connect
from lusifer.qdrant.doctor import examine
from lusifer.qdrant.keywords import KeywordOptions
from lusifer.qdrant.metadata import CollectionMetadata
from lusifer.qdrant.schema import create_collection
from lusifer.qdrant.search import points, points_async, search, search_async
from lusifer.qdrant.store import QdrantStore
from lusifer.stores.conditions import parse_condition
from lusifer.stores.payloads import document_uuid
from lusifer.types import Document, SearchOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from integration_tests.qdrant_server import LoopbackQdrant


def collection_metadata(name: str, **changes: Any) -> CollectionMetadata:
    return CollectionMetadata(
        **{
            "collection": name,
            "fingerprint": FINGERPRINT,
            "model": "tiny",
            "dimension": DIMENSION,
            **changes,
        }
    )


@pytest.fixture
def name() -> str:
    return f"lusifer-test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def client(qdrant: QdrantUnderTest, name: str) -> Iterator[QdrantClient]:
    made = connect(qdrant.url)
    yield made
    if qdrant.server is not None:
        qdrant.server.clear_faults()
    made.delete_collection(name)
    made.close()


@pytest.fixture
def fake(qdrant: QdrantUnderTest) -> LoopbackQdrant:
    if qdrant.server is None:
        pytest.skip("faults can't be injected into a real server")
    return qdrant.server


def open_store(client: QdrantClient, name: str, **options: Any) -> QdrantStore:
    return QdrantStore.open(client, name, fingerprint=FINGERPRINT, model="tiny", **options)


class TestQdrantStore(StoreContract, SearchContract):
    @pytest.fixture
    def store(
        self, client: QdrantClient, qdrant: QdrantUnderTest, name: str
    ) -> Iterator[QdrantStore]:
        create_collection(client, collection_metadata(name))
        # A client of its own: the contract closes the store.
        with open_store(connect(qdrant.url), name) as store:
            yield store

    @pytest.fixture
    def library(self, client: QdrantClient, name: str) -> QdrantStore:
        create_collection(
            client,
            collection_metadata(name, keywords=KeywordOptions()),
            index_fields=("lang", "book"),
        )
        store = open_store(client, name)
        store.upsert(LIBRARY, near(*COSINES))
        return store

    def test_a_large_upsert_goes_in_requests_below_the_servers_limit(
        self, store: QdrantStore
    ) -> None:
        large = [Document(str(i), f"{i} " + "x" * 5_000_000) for i in range(8)]
        store.upsert(large, unit(8))
        assert store.unchanged(large) == set("01234567")

    def test_a_document_over_the_limit_is_named(self, store: QdrantStore) -> None:
        with pytest.raises(InvalidInputError, match="Document 'large' takes"):
            store.upsert([Document("large", "x" * 33_600_000)], unit(1))
        assert store.count() == 0

    @pytest.mark.parametrize("language", ["ja", "th", "ko", "ar", "fa"])
    def test_known_words_are_found(self, client: QdrantClient, name: str, language: str) -> None:
        create_collection(client, collection_metadata(name, keywords=KeywordOptions()))
        missing = missing_words(open_store(client, name), language)
        assert len(missing) <= 1, missing

    def test_without_waiting_the_last_write_still_waits(self, store: QdrantStore) -> None:
        store.wait, store.ordering = False, "strong"
        store.upsert(documents(600), unit(600))
        assert store.count() == 600


@pytest.mark.parametrize("quantization", ["none", "turbo4", "turbo2", "scalar", "binary"])
def test_a_collection_has_the_right_schema(
    client: QdrantClient, name: str, quantization: Any
) -> None:
    made = collection_metadata(
        name, role_prompts={"query": "q: ", "document": "d: "}, keywords=KeywordOptions()
    )
    create_collection(client, made, quantization=quantization, index_fields=("lang", "book.title"))
    info = client.get_collection(name)
    vectors = info.config.params.vectors
    assert isinstance(vectors, dict)
    assert (vectors["lusifer"].size, vectors["lusifer"].distance) == (
        DIMENSION,
        models.Distance.COSINE,
    )
    assert info.config.params.sparse_vectors["bm25"].modifier == models.Modifier.IDF
    assert CollectionMetadata.model_validate(info.config.metadata["lusifer"]) == made
    assert (info.config.quantization_config is None) == (quantization == "none")
    assert set(info.payload_schema) >= {"metadata.lang", "metadata.book.title"}
    with pytest.raises(StoreError, match="exists already"):
        create_collection(client, made)


def test_collections_that_do_not_fit_are_refused(client: QdrantClient, name: str) -> None:
    with pytest.raises(IndexNotFoundError, match="lusifer qdrant setup"):
        open_store(client, name)
    params = models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)
    client.create_collection(name, params)
    with pytest.raises(CollectionMismatchError, match="one unnamed vector"):
        open_store(client, name)
    for vectors, said in (
        ({"other": params}, "no vector named 'lusifer'"),
        (
            {"lusifer": models.VectorParams(size=8, distance=models.Distance.COSINE)},
            "dimension 8 and distance",
        ),
        ({"lusifer": models.VectorParams(size=16, distance=models.Distance.DOT)}, "distance Dot"),
    ):
        client.delete_collection(name)
        client.create_collection(
            name, vectors, metadata={"lusifer": collection_metadata(name).model_dump(mode="json")}
        )
        with pytest.raises(CollectionMismatchError, match=said):
            open_store(client, name)
    client.delete_collection(name)
    client.create_collection(name, {"lusifer": params}, metadata={"lusifer": {"schema_version": 7}})
    with pytest.raises(CollectionMismatchError, match="can't be read"):
        open_store(client, name)


def test_another_model_is_refused_before_a_search(client: QdrantClient, name: str) -> None:
    create_collection(client, collection_metadata(name))
    with pytest.raises(FingerprintMismatchError, match="the model in use is other") as caught:
        QdrantStore.open(client, name, fingerprint="sha256:" + "b" * 64, model="other")
    assert caught.value.status == 409


def test_points_that_other_programs_wrote(client: QdrantClient, name: str) -> None:
    create_collection(client, collection_metadata(name))
    store = open_store(client, name)
    store.upsert(documents(1), unit(1))
    far = (-unit(1)[0]).tolist()

    def found(payload: dict[str, Any]) -> Any:
        client.upsert(name, [models.PointStruct(id=7, vector={"lusifer": far}, payload=payload)])
        (hit,) = store.search(-unit(1)[0], 1)
        return hit

    assert (found({"text": "no id"}).id, found({"text": "no id"}).metadata) == ("7", {})
    for payload, said in (
        ({}, "point 7 .* lacks text; its fields are none"),
        ({"id": "x", "text": 7}, "has a int as text"),
        ({"text": "x", "metadata": "y"}, "has a str as metadata"),
    ):
        with pytest.raises(IndexCorruptError, match=said):
            found(payload)


def test_points_without_the_vector_are_counted_and_not_unchanged(
    client: QdrantClient, name: str
) -> None:
    create_collection(client, collection_metadata(name))
    store = open_store(client, name)
    store.upsert(documents(3), unit(3))
    client.delete_vectors(name, ["lusifer"], [document_uuid("doc/1")])
    assert (store.count(), store.count_without_vector()) == (3, 1)
    assert store.unchanged(documents(3)) == {"doc/0", "doc/2"}
    store.upsert(documents(3), unit(3))
    assert store.count_without_vector() == 0


def test_a_busy_server_is_retried_when_it_asks(
    client: QdrantClient, fake: LoopbackQdrant, name: str
) -> None:
    create_collection(client, collection_metadata(name))
    store = open_store(client, name)
    fake.fail_next(
        3, status=429, headers={"retry-after": "0"}, method="PUT", error="Too many requests"
    )
    fake.fail_next(2, status=503, method="PUT")
    store.upsert(documents(5), unit(5))
    assert store.count() == 5
    fake.fail_next(100, status=429, headers={"retry-after": "3600"}, error="Too many requests")
    with pytest.raises(StoreBusyError, match=r"slow down: .*Too many requests") as caught:
        store.upsert(documents(5), unit(5))
    assert (caught.value.retry_after_s, caught.value.status, caught.value.retryable) == (
        3600,
        429,
        True,
    )


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after the write"])
def test_a_broken_connection_loses_and_duplicates_nothing(
    client: QdrantClient, fake: LoopbackQdrant, name: str, after: bool
) -> None:
    create_collection(client, collection_metadata(name))
    store = open_store(client, name)
    fake.fail_next(2, drop=True, after=after, method="PUT")
    store.upsert(documents(600), unit(600))
    assert (store.count(), len(store.unchanged(documents(600)))) == (600, 600)


def test_a_server_that_never_answers(
    qdrant: QdrantUnderTest, client: QdrantClient, name: str
) -> None:
    create_collection(client, collection_metadata(name))
    store = open_store(client, name, retry_for_s=0.5)
    store.client = connect("http://127.0.0.1:9")
    with store, pytest.raises(StoreUnavailableError, match="refused") as caught:
        store.upsert(documents(1), unit(1))
    assert caught.value.retryable


def test_a_wrong_address_or_key_is_reported(
    fake: LoopbackQdrant, client: QdrantClient, name: str
) -> None:
    with pytest.raises(InvalidInputError, match="can't be used"):
        connect("localhost")
    fake.fail_next(1, status=401, error="Must provide an API key")
    with pytest.raises(lusifer.UnauthorizedError, match="API key"):
        open_store(client, name)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vectorizer]:
    base = tmp_path_factory.mktemp("tiny")
    make_bundle(base / "staging", base / "bundle")
    bundle = Bundle.open(base / "bundle")
    with Vectorizer(bundle, FakeEngine(bundle.manifest.dimension)) as vectorizer:
        yield vectorizer


def fill(client: QdrantClient, name: str, embedder: Vectorizer) -> None:
    made = collection_metadata(name, fingerprint=embedder.fingerprint, model=embedder.model_name)
    create_collection(client, made.model_copy(update={"keywords": KeywordOptions()}))
    client.upsert(name, points(LIBRARY, embedder, keywords=KeywordOptions()))


def test_helpers_beside_a_client_of_your_own(
    client: QdrantClient, name: str, tiny: Vectorizer
) -> None:
    fill(client, name, tiny)
    vector = tiny.embed_query("a red house").vector
    scores = tiny.embed_documents([each.text for each in LIBRARY]).vectors @ vector
    hits = search(client, name, "a red house", tiny, limit=3)
    assert [hit.id for hit in hits] == [LIBRARY[i].id for i in np.argsort(-scores)[:3]]
    hybrid = search(client, name, "a", tiny, limit=1, options=SearchOptions(keywords="voiture"))
    assert len(hybrid) == 1
    assert [
        hit.metadata["lang"]
        for hit in search(client, name, "a", tiny, options=SearchOptions(languages=("en",)))
    ]
    grouped = search(client, name, "a", tiny, options=SearchOptions(group_by="book"))
    assert len(grouped) == 3


def test_an_alias_switched_to_another_model_is_noticed(
    client: QdrantClient, name: str, tiny: Vectorizer
) -> None:
    fill(client, name, tiny)
    other = f"{name}-2"
    create_collection(client, collection_metadata(other))

    def mean(collection: str) -> None:
        made = models.CreateAlias(collection_name=collection, alias_name=f"{name}-alias")
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=made)])

    try:
        mean(name)
        assert search(client, f"{name}-alias", "house", tiny)
        store = QdrantStore.open(
            client, f"{name}-alias", fingerprint=tiny.fingerprint, model=tiny.model_name
        )
        assert store.collection == name
        mean(other)
        with pytest.raises(FingerprintMismatchError):
            search(client, f"{name}-alias", "house", tiny)
        assert store.search(unit(1)[0], 1), "an open store stays with the collection it has checked"
    finally:
        client.delete_collection(other)


def test_the_helpers_for_an_async_client(
    qdrant: QdrantUnderTest, client: QdrantClient, name: str, tiny: Vectorizer
) -> None:
    fill(client, name, tiny)

    async def main() -> tuple[list[Any], list[Any]]:
        async_client = AsyncQdrantClient(url=qdrant.url, check_compatibility=False, timeout=30)
        hits = await search_async(async_client, name, "a red house", tiny, limit=3)
        made = await points_async(LIBRARY[:1], tiny)
        await async_client.close()
        return hits, made

    hits, made = asyncio.run(main())
    assert [hit.id for hit in hits] == [
        hit.id for hit in search(client, name, "a red house", tiny, limit=3)
    ]
    assert made[0].id == document_uuid("en-1")


def test_the_commands_from_setup_to_search(
    qdrant: QdrantUnderTest, client: QdrantClient, name: str, tiny: Vectorizer, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from lusifer.cli.app import app

    def run(*arguments: object) -> tuple[int, list[dict[str, Any]]]:
        result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        return result.exit_code, [json.loads(line) for line in result.stdout.splitlines() if line]

    server = ("--collection", name, "--bundle", tiny.bundle.path, "--json")
    live = ("--collection", f"{name}-live", "--bundle", tiny.bundle.path, "--json")
    source = tmp_path / "library.jsonl"
    source.write_text(
        "".join(
            json.dumps({"id": each.id, "text": each.text, **each.metadata}) + "\n"
            for each in LIBRARY
        )
    )
    code, (error,) = run("index", source, "--qdrant", qdrant.url, *server)
    assert (code, error["error"]["type"]) == (1, "IndexNotFoundError")
    code, (made,) = run(
        "qdrant", "setup", qdrant.url, *server, "--keywords", "--alias", f"{name}-live"
    )
    assert code == 0
    assert made["environment"]["QDRANT__INFERENCE__ADDRESS"] == "http://localhost:8000/qdrant"
    assert made["collection"]["fingerprint"] == tiny.fingerprint
    code, (report,) = run("index", source, "--qdrant", qdrant.url, *server)
    assert (code, report["added"], report["count"], report["without_vector"]) == (0, 5, 5, 0)
    code, (report,) = run("index", source, "--qdrant", qdrant.url, *server)
    assert (code, report["added"], report["unchanged"]) == (0, 0, 5)
    code, hits = run("search", "voiture", "--qdrant", qdrant.url, *server, "--hybrid", "--limit", 1)
    assert (code, len(hits)) == (0, 1)
    code, hits = run(
        "search",
        "x",
        "--qdrant",
        qdrant.url,
        *server,
        "--where",
        "year:=2003",
        "--where",
        "lang=ja",
    )
    assert [hit["id"] for hit in hits] == ["ja-1"]
    code, findings = run("doctor", "qdrant", qdrant.url, *server)
    subjects = {finding["subject"]: finding["severity"] for finding in findings}
    assert subjects["fingerprint"] == "ok"
    assert subjects["points"] == "ok"
    away = ("--service", "http://127.0.0.1:9", "--json")
    code, findings = run("doctor", "qdrant", qdrant.url, "--collection", name, *away)
    subjects = {finding["subject"]: finding["severity"] for finding in findings}
    assert (code, subjects["service"], subjects["schema"]) == (1, "error", "ok")
    code, (error,) = run("qdrant", "setup", qdrant.url, *server, "--alias", f"{name}-live")
    assert (code, f"{name}-live already points to" in error["error"]["message"]) == (1, True)
    code, hits = run("search", "x", "--qdrant", qdrant.url, *live, "--limit", 2)
    assert (code, len(hits)) == (0, 2)
    # A later collection, of shorter vectors, takes the alias when it is full.
    later = f"{name}-2"
    second = ("--collection", later, "--bundle", tiny.bundle.path, "--json")
    try:
        code, (made,) = run("qdrant", "setup", qdrant.url, *second, "--dimension", 8)
        assert (code, made["collection"]["dimension"]) == (0, 8)
        switch = (
            "qdrant",
            "alias",
            qdrant.url,
            "--alias",
            f"{name}-live",
            "--collection",
            later,
            "--json",
        )
        code, (error,) = run(*switch)
        assert (code, error["error"]["type"]) == (1, "CollectionMismatchError")
        code, (report,) = run("index", source, "--qdrant", qdrant.url, *second)
        assert (code, report["added"]) == (0, 5)
        assert run(*switch)[0] == 0
        code, hits = run("search", "x", "--qdrant", qdrant.url, *live, "--limit", 2)
        assert (code, len(hits)) == (0, 2)
        code, (error,) = run("index", source, "--qdrant", qdrant.url, *second, "--dimension", 16)
        assert (code, error["error"]["type"]) == (1, "InvalidDimensionError")
    finally:
        client.delete_collection(later)


def test_sync_leaves_points_of_other_programs(client: QdrantClient, name: str) -> None:
    create_collection(client, collection_metadata(name))
    store = open_store(client, name)
    store.upsert(documents(20), unit(20))
    client.upsert(
        name,
        [models.PointStruct(id=7, vector={"lusifer": unit(1)[0].tolist()}, payload={"id": "x"})],
    )
    sync = SourceSync()
    assert list(sync.watch(documents(19)))
    assert sync.find_orphans(store) == 1
    assert sync.delete_orphans(store) == 1
    assert (store.count(), len(list(store.document_ids()))) == (20, 19)


def test_documents_are_deleted_by_the_command(
    qdrant: QdrantUnderTest, client: QdrantClient, name: str
) -> None:
    create_collection(client, collection_metadata(name))
    open_store(client, name).upsert(documents(5), unit(5))
    server = ("--qdrant", qdrant.url, "--collection", name)
    code, stdout, _ = run("delete", "doc/0", "doc/1", "absent", *server)
    assert (code, stdout) == (
        1,
        f"2 of 3 documents deleted\n3 documents in {name} on {qdrant.url}\n",
    )


def test_names_of_any_kind_are_filtered(client: QdrantClient, name: str) -> None:
    create_collection(client, collection_metadata(name))
    store = open_store(client, name)
    rows = [
        {"publication date": 2020, "dc:title": "x/y", "a.b": 1, "a": [{"b": 2}], "": "e"},
        {"publication date": 2021, "a": {"b": 3}},
    ]
    given = [Document(str(i), "text", row) for i, row in enumerate(rows)]
    store.upsert(given, unit(2))
    for condition, expected in (
        ("publication date:=2020", ["0"]),
        ("publication date>2020", ["1"]),
        ("dc:title=x/y", ["0"]),
        ('"a.b":=1', ["0"]),
        ("a.b>=2", ["0", "1"]),
        ("a.b:!=3", ["0"]),
        ('""=e', ["0"]),
    ):
        where = (parse_condition(condition),)
        hits = store.search(unit(1)[0], 10, SearchOptions(where=where))
        assert sorted(hit.id for hit in hits) == expected, condition


def test_an_async_client_is_told_of_a_field_that_no_document_has(
    qdrant: QdrantUnderTest, client: QdrantClient, name: str, tiny: Vectorizer
) -> None:
    fill(client, name, tiny)

    async def ask(**where: Any) -> list[str]:
        options = SearchOptions(where=where)
        own = AsyncQdrantClient(qdrant.url, check_compatibility=False)
        return [hit.id for hit in await search_async(own, name, "a", tiny, options=options)]

    assert asyncio.run(ask(lang="xx")) == []
    with pytest.raises(InvalidInputError, match="No document has the field 'langg'"):
        asyncio.run(ask(langg="en"))
    with pytest.raises(InvalidInputError, match="'year' holds number"):
        asyncio.run(ask(year="2001"))


@pytest.mark.parametrize(("hub", "severity"), [(False, "ok"), (True, "warning")])
def test_the_doctor_names_a_hub(client: QdrantClient, name: str, hub: bool, severity: str) -> None:
    documents, vectors = hub_documents(hub=hub)
    create_collection(client, collection_metadata(name, dimension=HUB_DIMENSION))
    open_store(client, name).upsert(documents, vectors)
    (found,) = (each for each in examine(client, collection=name) if each.subject == "hubs")
    assert found.severity == severity
    assert ("Document hub (" in found.message) == hub
