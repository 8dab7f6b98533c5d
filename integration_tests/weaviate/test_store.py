"""A collection as a store: the contract of all stores, and what is particular to Weaviate."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from integration_tests.qdrant_server import InferenceGate
from integration_tests.weaviate.support import make_metadata, open_store
from integration_tests.weaviate_server import RunningWeaviate
from plugin.tests import store_contract
from plugin.tests.store_contract import DIMENSION, LIBRARY, documents, near, unit

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.errors import (
    CollectionMismatchError,
    FingerprintMismatchError,
    IndexNotFoundError,
    InvalidInputError,
    StoreError,
)
from lusifer.ingest.indexer import index_documents
from lusifer.ingest.splitting import DocumentSplitter
from lusifer.ingest.sync import SourceSync
from lusifer.stores.base import Store
from lusifer.stores.parts import search_documents
from lusifer.types import Document, SearchOptions
from lusifer.weaviate.metadata import data_types
from lusifer.weaviate.objects import object_id
from lusifer.weaviate.schema import create_collection, vectors
from lusifer.weaviate.store import WeaviateStore


class TestWeaviateStore(store_contract.StoreContract, store_contract.SearchContract):
    @pytest.fixture
    def store(
        self, client: Any, weaviate_server: RunningWeaviate, gate: InferenceGate, name: str
    ) -> Iterator[Store]:
        create_collection(client, make_metadata(name), service_url=gate.url)
        # Its own client, because the contract closes the store.
        with open_store(weaviate_server.client(), name) as store:
            yield store

    @pytest.fixture(scope="class")
    @classmethod
    def library(
        cls, weaviate_server: RunningWeaviate, weaviate_gate: InferenceGate
    ) -> Iterator[Store]:
        """Provide one library for all tests of the class, which only read it."""
        client, name = weaviate_server.client(), f"Library{uuid.uuid4().hex[:12]}"
        create_collection(
            client,
            make_metadata(name),
            service_url=weaviate_gate.url,
            tokenization="trigram",
            filter_fields=("lang", "book"),
        )
        with open_store(client, name) as store:
            store.upsert(LIBRARY, near(*store_contract.COSINES))
            yield store
            client.collections.delete(name)

    def test_a_document_comes_back_as_it_went_in(self, store: Store) -> None:
        metadata = {
            "flag": True,
            "big": 2**40,
            "real": 0.1,
            "list": ["a", "猫"],
            "word": "ключ",
            "deep": {"a": "b"},
        }
        document = Document("ид/🙂 1", "текст\n猫\t🙂", {**metadata, "none": None})
        store.upsert([document], unit(1))
        (hit,) = store.search(unit(1)[0], 1)
        assert (hit.id, hit.text, hit.metadata) == (document.id, document.text, metadata)
        assert store.unchanged([document]) == {document.id}

    def test_what_weaviate_has_types_of_its_own_for_comes_back_as_json(self, store: Store) -> None:
        metadata = {
            "Title": "a capital",
            "day": "2024-05-06T07:08:09.5+02:00",
            "days": ["2024-05-06T07:08:09Z"],
            "key": str(uuid.uuid4()),
            "place": {"latitude": 52.5, "longitude": 13.25},
            "authors": [{"name": "Ada", "since": "1842-05-06T07:08:09Z"}],
        }
        store.upsert([Document("a", "b", metadata)], unit(1))
        (hit,) = store.search(unit(1)[0], 1, SearchOptions(where={"Title": "a capital"}))
        expected = {**metadata, "title": "a capital", "day": "2024-05-06T07:08:09.500000+02:00"}
        del expected["Title"]
        assert json.loads(json.dumps(hit.metadata)) == expected
        assert store.unchanged([Document("a", "b", metadata)]) == {"a"}

    def test_fields_that_can_not_be_properties_are_named(self, store: Store) -> None:
        for field in ("", "a.b", "ключ", "1a", "id", "vector", "text", "Text", "document_sha256"):
            with pytest.raises(InvalidInputError, match="can't be a property"):
                store.upsert([Document("a", "b", {field: 1})], unit(1))
        assert store.count() == 0

    def test_values_that_would_not_come_back_are_refused(self, store: Store) -> None:
        for metadata, said in (
            ({"title": "x", "Title": "y"}, "'Title' can't be a property.*there already"),
            ({"n": 2**53 + 1}, "'n' is 9007199254740993"),
            ({"o": {"n": [-(2**60)]}}, r"'o.n' is -1152921504606846976"),
            ({"mixed": [1, "a"]}, "'mixed' is a list of number and str"),
            ({"mixed": [True, 1]}, "list of bool and number"),
            ({"none": [None]}, "list of NoneType"),
            ({"deep": [[1]]}, "list of list"),
            ({"empty": {}}, "'empty' is an empty object"),
        ):
            with pytest.raises(InvalidInputError, match=said):
                store.upsert([Document("a", "b", metadata)], unit(1))
        assert store.count() == 0

    def test_whole_numbers_and_fractions_in_one_list(self, store: Store) -> None:
        store.upsert([Document("a", "b", {"list": [1, 2.5]})], unit(1))
        assert store.search(unit(1)[0], 1)[0].metadata == {"list": [1.0, 2.5]}

    def test_filters_look_inside_objects(self, library: Store) -> None:
        with pytest.raises(InvalidInputError, match="looks inside an object"):
            self.ids(library, where={"author.name": "Ada"})

    def test_hybrid_without_keywords_is_refused(self, store: Store) -> None:
        """Weaviate indexes the words of every text, so there is nothing to refuse."""
        store.upsert(LIBRARY[:1], near(0.9))
        assert self.ids(store, keywords="house") == ["en-1"]

    def test_a_uuid_stays_the_objects_id(self, store: Store) -> None:
        given = str(uuid.uuid4())
        store.upsert([Document(given, "text")], unit(1))
        assert (object_id(given), store.search(unit(1)[0], 1)[0].id) == (given, given)


def test_collections_that_do_not_fit_are_refused(
    client: Any, gate: InferenceGate, name: str
) -> None:
    from weaviate.classes.config import Configure, VectorDistances

    with pytest.raises(IndexNotFoundError, match="lusifer weaviate setup"):
        open_store(client, name)
    ours = vectors(gate.url, source_properties=["text"])
    dot = Configure.Vectors.self_provided(
        name="lusifer",
        vector_index_config=Configure.VectorIndex.hnsw(distance_metric=VectorDistances.DOT),
    )
    everything = Configure.Vectors.text2vec_transformers(name="lusifer", inference_url=gate.url)
    other = Configure.Vectors.self_provided(name="other")
    for description, vector, said in (
        ("mine", ours, "has no LUSIFER metadata"),
        ('lusifer: {"schema_version": 9}', ours, "can't be read"),
        (make_metadata(name).in_description(), other, "no vector named 'lusifer'"),
        (make_metadata(name).in_description(), everything, "names no source properties"),
        (make_metadata(name).in_description(), dot, "not by cosine"),
    ):
        client.collections.create(name, description=description, vector_config=[vector])
        with pytest.raises(CollectionMismatchError, match=said):
            open_store(client, name)
        client.collections.delete(name)
    create_collection(client, make_metadata(name), service_url=gate.url)
    with pytest.raises(StoreError, match="exists already"):
        create_collection(client, make_metadata(name), service_url=gate.url)
    with pytest.raises(FingerprintMismatchError, match="the model in use is other"):
        WeaviateStore.open(client, name, fingerprint="sha256:" + "b" * 64, model="other")
    with pytest.raises(InvalidInputError, match="has no tenants"):
        open_store(client, name, tenant="t")


def test_a_collection_is_made_whole_or_not_at_all(
    client: Any, gate: InferenceGate, name: str
) -> None:
    create_collection(client, make_metadata(name), service_url=gate.url, alias=f"{name}Live")
    try:
        assert open_store(client, f"{name}Live").collection == name
        for alias in (f"{name}Live", name):
            with pytest.raises(StoreError, match=f"{alias} exists already"):
                create_collection(
                    client, make_metadata(f"{name}Next"), service_url=gate.url, alias=alias
                )
        for tokenizer in ("GSE", "GSE_CH", "KAGOME_JA", "KAGOME_KR"):
            with pytest.raises(CollectionMismatchError, match=f"ENABLE_TOKENIZER_{tokenizer}=true"):
                create_collection(
                    client,
                    make_metadata(f"{name}Next"),
                    service_url=gate.url,
                    tokenization=tokenizer.lower(),  # type: ignore[arg-type]
                )
        with pytest.raises(InvalidInputError, match="is not a valid"):
            create_collection(
                client, make_metadata(f"{name}Next"), service_url=gate.url, alias="no name"
            )
        assert not client.collections.exists(f"{name}Next")
    finally:
        client.alias.delete(alias_name=f"{name}Live")


def test_sources_become_properties_with_their_small_names(
    client: Any, gate: InferenceGate, name: str
) -> None:
    create_collection(
        client, make_metadata(name), service_url=gate.url, source_properties=["Title", "text"]
    )
    config = client.collections.get(name).config.get()
    assert {"title", "text", "lang", "document_id"} <= {each.name for each in config.properties}
    store = open_store(client, name)
    assert store.text_of(Document("a", "body", {"Title": "Ein Titel"})) == "body Ein Titel"


def test_vectors_of_another_length_than_the_index_has(
    client: Any, gate: InferenceGate, name: str
) -> None:
    create_collection(client, make_metadata(name), service_url=gate.url)
    handle = client.collections.get(name)
    handle.data.insert({"text": "by hand"}, vector={"lusifer": [1.0] * 8})
    store = open_store(client, name)
    started_s = time.monotonic()
    with pytest.raises(CollectionMismatchError, match="dimensions do not match"):
        store.upsert(documents(3), unit(3))
    assert time.monotonic() - started_s < 10, "a refusal for good is not retried"


def test_references_and_other_vectors_are_carried_over(
    client: Any, gate: InferenceGate, name: str
) -> None:
    from weaviate.classes.config import Configure, DataType, Property, ReferenceProperty
    from weaviate.classes.query import QueryReference

    client.collections.create(
        name,
        description=make_metadata(name).in_description("Kept by hand."),
        properties=[Property(name="text", data_type=DataType.TEXT)],
        references=[ReferenceProperty(name="next", target_collection=name)],
        vector_config=[
            vectors(gate.url, source_properties=["text"]),
            Configure.Vectors.self_provided(name="image"),
        ],
    )
    handle = client.collections.get(name)
    first, second = object_id("a"), object_id("b")
    handle.data.insert({"text": "old"}, uuid=second, vector={"lusifer": unit(1)[0].tolist()})
    handle.data.insert(
        {"text": "old"},
        uuid=first,
        references={"next": second},
        vector={"lusifer": unit(1)[0].tolist(), "image": [1.0, 2.0]},
    )
    store = open_store(client, name)
    store.upsert([Document("a", "new")], unit(2)[1:])
    found = handle.query.fetch_object_by_id(
        first,
        include_vector=True,
        return_references=QueryReference(link_on="next", return_properties=[]),
    )
    assert found.properties["text"] == "new"
    assert np.abs(np.float32(found.vector["lusifer"]) - unit(2)[1]).max() < 1e-6
    assert found.vector["image"] == [1.0, 2.0]
    assert [str(each.uuid) for each in found.references["next"].objects] == [second]
    assert "Kept by hand." in handle.config.get().description


def test_tenants_are_kept_apart(client: Any, gate: InferenceGate, name: str) -> None:
    create_collection(client, make_metadata(name), service_url=gate.url, tenants=True)
    with pytest.raises(InvalidInputError, match="has tenants"):
        open_store(client, name)
    one, two = (open_store(client, name, tenant=tenant) for tenant in ("one", "two"))
    one.upsert(documents(5), unit(5))
    two.upsert(documents(2), unit(2))
    assert (one.count(), two.count(), one.count_without_vector()) == (5, 2, 0)
    assert len(one.search(unit(1)[0], 10)) == 5
    handle = client.collections.get(name)
    handle.tenants.deactivate("two")
    with pytest.raises(
        StoreError, match=r"tenant two .* is not active.* collection.tenants.activate\('two'\)"
    ):
        open_store(client, name, tenant="two")
    handle.tenants.activate("two")
    assert open_store(client, name, tenant="two").count() == 2


def test_a_document_without_text_is_rejected_and_the_others_stored(
    client: Any, gate: InferenceGate, name: str, tiny: Vectorizer
) -> None:
    made = make_metadata(name, fingerprint=tiny.fingerprint, model=tiny.model_name)
    create_collection(client, made, service_url=gate.url, source_properties=["title"])
    store = WeaviateStore.open(client, name, fingerprint=tiny.fingerprint, model=tiny.model_name)
    given = [
        Document("a", "body", {"title": "one"}),
        Document("b", "no title"),
        Document("c", "body", {"title": "two"}),
    ]
    report = index_documents(given, tiny, store)
    assert (report.added, report.rejected_count, store.count()) == (2, 1, 2)
    assert report.rejected[0].where == "document 'b'"


def test_a_field_that_can_not_be_stored_rejects_one_document_only(
    client: Any, gate: InferenceGate, name: str, tiny: Vectorizer
) -> None:
    made = make_metadata(name, fingerprint=tiny.fingerprint, model=tiny.model_name)
    create_collection(client, made, service_url=gate.url)
    store = WeaviateStore.open(client, name, fingerprint=tiny.fingerprint, model=tiny.model_name)
    given = [
        Document("a", "good", {"year": 1}),
        Document("b", "bad", {"a-b": 1}),
        Document("c", "bad", {"year": "x"}),
    ]
    report = index_documents(given, tiny, store)
    assert (report.added, report.rejected_count, store.count()) == (1, 2, 1)


def test_types_come_from_all_documents_and_not_from_the_first(client: Any, name: str) -> None:
    """Weaviate alone makes a date of the first text, and refuses the second."""
    create_collection(client, make_metadata(name), service_url="http://127.0.0.1:9")
    first: dict[str, Any] = {
        "when": "2020-01-01T00:00:00Z", "ref": str(uuid.uuid4()).upper(), "scores": [1, 2],
        "by": {"name": "Ada", "born": "2020-01-01T00:00:00Z"}, "n": 1, "day": "2020-01-01T00:00:00Z",
    }  # fmt: skip
    second: dict[str, Any] = {
        "when": "long ago", "ref": "none", "scores": [0.5], "n": 1.5, "day": "2020-01-02T00:00:00Z",
        "by": {"name": "Bo", "born": "never", "tags": ["x"], "home": {"n": 1}},
    }  # fmt: skip
    documents = [Document("a", "one", first), Document("b", "two", second)]
    with open_store(client, name) as store:
        store.upsert(documents, np.eye(2, DIMENSION, dtype=np.float32))
        assert store.unchanged(documents) == {"a", "b"}
        hits = {each.id: each.metadata for each in store.search(np.eye(1, DIMENSION)[0], 2)}
        assert hits == {"a": first, "b": second}
        kinds = data_types(client.collections.get(name).config.get())
        assert {kinds[each] for each in ("when", "ref", "by.born")} == {"text"}
        assert (kinds["scores"], kinds["n"], kinds["day"]) == ("number[]", "number", "date")
        # A property of a later window, which somebody else has added meanwhile.
        from weaviate.classes.config import DataType, Property

        late = Property(name="late", data_type=DataType.TEXT)
        client.collections.get(name).config.add_property(late)
        more = Document("c", "three", {"late": "2020-01-01T00:00:00Z", "own": True})
        store.upsert([more], np.eye(1, DIMENSION, dtype=np.float32))
        assert store.unchanged([more]) == {"c"}


def test_split_documents_leave_no_parts_behind(
    client: Any, gate: InferenceGate, name: str, tiny: Vectorizer
) -> None:
    pytest.importorskip("semantic_text_splitter")
    made = make_metadata(name, fingerprint=tiny.fingerprint, model=tiny.model_name)
    create_collection(client, made, service_url=gate.url)
    store = WeaviateStore.open(client, name, fingerprint=tiny.fingerprint, model=tiny.model_name)
    sentences = "The cat sits on the mat. The dog runs in the park. "

    def index(*documents: Document) -> None:
        splitter = DocumentSplitter(tiny, 20)
        parts = splitter.split(documents)
        index_documents(parts, tiny, store, part_counts=splitter.take_counts)

    index(Document("a", sentences * 20, {"lang": "en"}), Document("b", "The dog"))
    assert store.count() > 10
    vector = tiny.embed_query("cat").vector
    hits = search_documents(lambda depth: store.search(vector, depth), 2)
    assert sorted(hit.id for hit in hits) == ["a", "b"]
    index(Document("a", "The cat", {"lang": "en"}), Document("b", "The dog"))
    assert sorted(store.document_ids()) == ["a", "b"]
    # An object of another program is no document of the source.
    client.collections.get(name).data.insert(
        {"text": "theirs"}, vector={"lusifer": unit(1)[0].tolist()}
    )
    sync = SourceSync()
    assert list(sync.watch([Document("b", "The dog")]))
    assert sync.find_orphans(store) == 1
    assert sync.delete_orphans(store) == 1
    assert (list(store.document_ids()), store.count()) == (["b"], 2)
