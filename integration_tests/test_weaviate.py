"""A real Weaviate: the common contract of stores, texts composed as its modules do, three routes to one
vector.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integration_tests.qdrant_server import InferenceGate
from integration_tests.weaviate_server import RunningWeaviate, running
from plugin.tests.conftest import make_bundle
from plugin.tests.store_contract import (
    COSINES,
    DIMENSION,
    FINGERPRINT,
    LIBRARY,
    QUESTION,
    SearchContract,
    StoreContract,
    documents,
    near,
    unit,
)

import lusifer
from lusifer.bundle import Bundle
from lusifer.engines.fake import FakeEngine
from lusifer.errors import (
    CollectionMismatchError,
    FingerprintMismatchError,
    IndexNotFoundError,
    InvalidInputError,
    StoreError,
    StoreUnavailableError,
)
from lusifer.indexing import index_documents
from lusifer.store import Document, SearchOptions, Store
from lusifer.vectorizer import Vectorizer
from lusifer.weaviate.compose import TextRules, compose_text
from lusifer.weaviate.connection import connect
from lusifer.weaviate.schema import CollectionCard, card_of, create_collection, rules_of, vectors
from lusifer.weaviate.search import ask_server, search
from lusifer.weaviate.store import WeaviateStore, object_id

ROOT = Path(lusifer.__file__).parents[2]


@pytest.fixture(scope="module")
def gate() -> Iterator[InferenceGate]:
    """Where the server's modules ask: recorded, and passed on to the service of the test."""
    made = InferenceGate(path="")
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gate: InferenceGate) -> Iterator[RunningWeaviate]:
    yield from running(tmp_path_factory.mktemp("weaviate"), gate.url)


@pytest.fixture
def name() -> str:
    return f"Test{uuid.uuid4().hex[:12]}"


@pytest.fixture
def client(server: RunningWeaviate, gate: InferenceGate, name: str) -> Iterator[Any]:
    made = server.client()
    yield made
    gate.reset()
    if made.is_connected():
        made.collections.delete(name)
        made.close()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    base = tmp_path_factory.mktemp("tiny")
    make_bundle(base / "staging", base / "bundle")
    return Bundle.open(base / "bundle")


@pytest.fixture
def tiny(bundle: Bundle) -> Vectorizer:
    return Vectorizer(bundle, FakeEngine(bundle.manifest.dimension))


@pytest.fixture
def serve(bundle: Bundle, gate: InferenceGate, start_service: Any) -> Callable[[], Any]:
    """Starts our service with the tiny model behind the gate."""

    def start() -> Any:
        service = start_service(Vectorizer(bundle, FakeEngine(bundle.manifest.dimension))).ready()
        gate.forward_to = service.url
        return service

    return start


def card(**changes: Any) -> CollectionCard:
    return CollectionCard(**{"fingerprint": FINGERPRINT, "model": "tiny", "dimension": DIMENSION, **changes})


def open_store(client: Any, name: str, **options: Any) -> WeaviateStore:
    return WeaviateStore.open(client, name, fingerprint=FINGERPRINT, model="tiny", **options)


class TestWeaviateStore(StoreContract, SearchContract):
    @pytest.fixture
    def store(self, client: Any, server: RunningWeaviate, gate: InferenceGate, name: str) -> Iterator[Store]:
        create_collection(client, name, card(), service_url=gate.url)
        # A client of its own: the contract closes the store.
        with open_store(server.client(), name) as store:
            yield store

    @pytest.fixture
    def library(self, client: Any, gate: InferenceGate, name: str) -> Store:
        create_collection(
            client, name, card(), service_url=gate.url, tokenization="trigram", filter_fields=("lang", "book")
        )
        store = open_store(client, name)
        store.upsert(LIBRARY, near(*COSINES))
        return store

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

    @pytest.mark.parametrize("field", ["", "a.b", "ключ", "1a", "id", "vector", "text", "document_sha256"])
    def test_fields_that_can_not_be_properties_are_named(self, store: Store, field: str) -> None:
        with pytest.raises(InvalidInputError, match="can't be a property"):
            store.upsert([Document("a", "b", {field: 1})], unit(1))
        assert store.count() == 0

    def test_filters_look_inside_objects(self, library: Store) -> None:
        with pytest.raises(InvalidInputError, match="looks inside an object"):
            self.ids(library, where={"author.name": "Ada"})

    def test_hybrid_without_keywords_is_refused(self, store: Store) -> None:
        """Weaviate keeps words of every text, so there is nothing to refuse."""
        store.upsert(LIBRARY[:1], near(0.9))
        assert self.ids(store, keywords="house") == ["en-1"]

    def test_a_uuid_stays_the_objects_id(self, store: Store) -> None:
        given = str(uuid.uuid4())
        store.upsert([Document(given, "text")], unit(1))
        assert (object_id(given), store.search(unit(1)[0], 1)[0].id) == (given, given)


def test_collections_that_do_not_fit_are_refused(client: Any, gate: InferenceGate, name: str) -> None:
    from weaviate.classes.config import Configure, VectorDistances

    with pytest.raises(IndexNotFoundError, match="lusifer weaviate setup"):
        open_store(client, name)
    ours = vectors(gate.url, source_properties=["text"])
    dot = Configure.Vectors.self_provided(
        name="lusifer", vector_index_config=Configure.VectorIndex.hnsw(distance_metric=VectorDistances.DOT)
    )
    everything = Configure.Vectors.text2vec_transformers(name="lusifer", inference_url=gate.url)
    other = Configure.Vectors.self_provided(name="other")
    for description, vector, said in (
        ("mine", ours, "says nothing of LUSIFER"),
        ('lusifer: {"schema_version": 9}', ours, "can't be read"),
        (card().in_description(), other, "no vector named 'lusifer'"),
        (card().in_description(), everything, "names no source properties"),
        (card().in_description(), dot, "not by cosine"),
    ):
        client.collections.create(name, description=description, vector_config=[vector])
        with pytest.raises(CollectionMismatchError, match=said):
            open_store(client, name)
        client.collections.delete(name)
    create_collection(client, name, card(), service_url=gate.url)
    with pytest.raises(StoreError, match="exists already"):
        create_collection(client, name, card(), service_url=gate.url)
    with pytest.raises(FingerprintMismatchError, match="the model in use is other"):
        WeaviateStore.open(client, name, fingerprint="sha256:" + "b" * 64, model="other")
    with pytest.raises(InvalidInputError, match="has no tenants"):
        open_store(client, name, tenant="t")


def test_vectors_of_another_length_than_the_index_has(client: Any, gate: InferenceGate, name: str) -> None:
    create_collection(client, name, card(), service_url=gate.url)
    handle = client.collections.get(name)
    handle.data.insert({"text": "by hand"}, vector={"lusifer": [1.0] * 8})
    store = open_store(client, name)
    started_s = time.monotonic()
    with pytest.raises(CollectionMismatchError, match="dimensions do not match"):
        store.upsert(documents(3), unit(3))
    assert time.monotonic() - started_s < 10, "what can't be mended is not tried again"


def test_references_and_other_vectors_are_carried_over(client: Any, gate: InferenceGate, name: str) -> None:
    from weaviate.classes.config import Configure, DataType, Property, ReferenceProperty
    from weaviate.classes.query import QueryReference

    client.collections.create(
        name,
        description=card().in_description("Kept by hand."),
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
        first, include_vector=True, return_references=QueryReference(link_on="next", return_properties=[])
    )
    assert found.properties["text"] == "new"
    assert np.abs(np.float32(found.vector["lusifer"]) - unit(2)[1]).max() < 1e-6
    assert found.vector["image"] == [1.0, 2.0]
    assert [str(each.uuid) for each in found.references["next"].objects] == [second]
    assert "Kept by hand." in handle.config.get().description


def test_tenants_are_kept_apart(client: Any, gate: InferenceGate, name: str) -> None:
    create_collection(client, name, card(), service_url=gate.url, tenants=True)
    with pytest.raises(InvalidInputError, match="has tenants"):
        open_store(client, name)
    one, two = (open_store(client, name, tenant=tenant) for tenant in ("one", "two"))
    one.upsert(documents(5), unit(5))
    two.upsert(documents(2), unit(2))
    assert (one.count(), two.count(), one.count_without_vector()) == (5, 2, 0)
    assert len(one.search(unit(1)[0], 10)) == 5


TEXTS = ["title", "body"]
ALL_TYPES = [*TEXTS, "count", "price", "flag", "tags", "counts", "prices", "flags", "day"]
PROPERTIES: list[dict[str, Any]] = [
    {"title": "Über Äpfel", "body": "Ein Text <b>&</b> mehr.\nZweite Zeile", "other": "never"},
    {"title": "only a title"},
    {"body": "猫はマットの上に", "title": "猫"},
    {"title": "numbers", "count": 12345678, "price": 2.5e-7, "flag": True},
    {"title": "round", "count": 2001, "price": 3.0, "flag": False},
    {
        "title": "lists",
        "tags": ["a", "b c"],
        "counts": [1, 20_000_000],
        "prices": [0.5, 1e6],
        "flags": [True, False],
    },
    {"title": "date", "day": datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)},
    {"title": "spaces ", "body": " around "},
    {"title": "", "body": "empty title"},
    {"title": "zero", "count": 0, "price": 0.0},
    {"title": "large", "price": 123456789.125, "count": -7},
]


@pytest.mark.parametrize("sources", [TEXTS, ALL_TYPES], ids=["texts", "all types"])
@pytest.mark.parametrize("class_name", [False, True], ids=["", "class name"])
def test_the_composed_text_is_what_the_server_sends(
    client: Any, gate: InferenceGate, serve: Any, name: str, sources: list[str], class_name: bool
) -> None:
    from weaviate.classes.config import Configure, DataType, Property

    kinds = {
        "title": "TEXT",
        "body": "TEXT",
        "other": "TEXT",
        "count": "INT",
        "price": "NUMBER",
        "flag": "BOOL",
        "tags": "TEXT_ARRAY",
        "counts": "INT_ARRAY",
        "prices": "NUMBER_ARRAY",
        "flags": "BOOL_ARRAY",
        "day": "DATE",
    }
    client.collections.create(
        name,
        description=card().in_description(),
        properties=[Property(name=key, data_type=DataType[kind]) for key, kind in kinds.items()],
        vector_config=[
            Configure.Vectors.text2vec_transformers(
                name="lusifer",
                inference_url=gate.url,
                source_properties=sources,
                vectorize_collection_name=class_name,
            )
        ],
    )
    serve()
    handle = client.collections.get(name)
    rules = rules_of(card(text_property="title"), handle.config.get())
    assert rules.vectorize_collection_name == class_name
    gate.requests.clear()
    for each in PROPERTIES:
        handle.data.insert_many([each])
        handle.data.insert(each)
    sent = [request.json()["text"] for request in gate.requests if request.path == "/vectors"]
    expected = [text for each in PROPERTIES for text in [compose_text(each, rules)] * 2]
    assert sent == expected
    assert all(
        request.json()["config"]["task_type"] == "passage"
        for request in gate.requests
        if request.path == "/vectors"
    )


def test_a_collection_without_source_properties_falls_back_to_its_name() -> None:
    assert compose_text({"n": 1}, TextRules("MyArticles")) == "My Articles"
    assert compose_text({"n": 1}, TextRules("MyArticles", source_properties=("text",))) == ""


def test_a_document_without_text_is_rejected_and_the_others_stored(
    client: Any, gate: InferenceGate, name: str, tiny: Vectorizer
) -> None:
    made = card(fingerprint=tiny.fingerprint, model=tiny.model_name)
    create_collection(client, name, made, service_url=gate.url, source_properties=["title"])
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
    made = card(fingerprint=tiny.fingerprint, model=tiny.model_name)
    create_collection(client, name, made, service_url=gate.url)
    store = WeaviateStore.open(client, name, fingerprint=tiny.fingerprint, model=tiny.model_name)
    given = [
        Document("a", "good", {"year": 1}),
        Document("b", "bad", {"a-b": 1}),
        Document("c", "bad", {"year": "x"}),
    ]
    report = index_documents(given, tiny, store)
    assert (report.added, report.rejected_count, store.count()) == (1, 2, 1)


ENGLISH = {
    "archive": "tar packs files into one archive and unpacks them again.",
    "photo": "GIMP edits and retouches photographs.",
    "music": "VLC plays films and music of almost any format.",
    "mail": "Thunderbird reads, writes and sorts electronic mail.",
    "chess": "This program plays chess against you and analyses your games.",
    "weather": "Shows the weather forecast for your town.",
}
QUESTIONS: dict[str, dict[str, str]] = {
    "de": {
        "archive": "Wie packe ich ein Archiv aus?",
        "photo": "Womit bearbeite ich Fotos?",
        "chess": "Ich möchte Schach spielen.",
    },
    "fr": {
        "music": "Comment écouter de la musique ?",
        "mail": "Lire mes courriels",
        "weather": "Quel temps fera-t-il demain ?",
    },
    "es": {
        "photo": "Quiero retocar mis fotos.",
        "chess": "jugar al ajedrez",
        "archive": "descomprimir un archivo",
    },
    "ru": {"music": "слушать музыку", "weather": "прогноз погоды", "mail": "читать электронную почту"},
    "ja": {"photo": "写真を編集する", "chess": "チェスをする", "weather": "天気予報"},
    "zh": {"music": "播放音乐", "mail": "收发电子邮件", "chess": "下国际象棋"},
    "ar": {"weather": "توقعات الطقس", "photo": "تعديل الصور", "mail": "قراءة البريد الإلكتروني"},
    "tr": {"archive": "arşiv dosyasını açmak", "music": "müzik dinlemek", "chess": "satranç oynamak"},
}
EIGHT_LANGUAGES = [
    "The cat sits on the mat.",
    "Die Katze sitzt auf der Matte.",
    "Le chat est assis sur le tapis.",
    "El gato está sentado en la alfombra.",
    "Кошка сидит на коврике.",
    "猫はマットの上に座っています。",
    "القطة تجلس على السجادة.",
    "Kedi paspasın üzerinde oturuyor.",
]


class Borrowed(Vectorizer):
    """The shared vectorizer, which a service must not close."""

    def __init__(self, lender: Vectorizer) -> None:
        super().__init__(lender.bundle, lender.engine)

    def close(self) -> None:
        pass


def test_three_routes_give_one_vector_and_questions_find_as_the_engine_does(
    client: Any, gate: InferenceGate, name: str, vectorizer: Vectorizer, start_service: Any
) -> None:
    """The real model behind a real server: both modules and precomputed vectors, eight languages."""
    service = start_service(Borrowed(vectorizer)).ready()
    gate.forward_to = service.url
    texts = [*EIGHT_LANGUAGES, *ENGLISH.values()]
    expected = vectorizer.embed_documents(texts).vectors
    found: dict[str, Any] = {}
    for route in ("transformers", "cohere", "precomputed"):
        collection = f"{name}{route.capitalize()}"
        made = card_of(vectorizer)
        create_collection(
            client,
            collection,
            made,
            service_url=gate.url,
            route="transformers" if route == "precomputed" else route,  # type: ignore[arg-type]
        )
        gate.requests.clear()
        handle = client.collections.get(collection)
        if route == "precomputed":
            store = WeaviateStore.open(client, collection, fingerprint=made.fingerprint, model=made.model)
            index_documents(
                [Document(f"d{n}", text) for n, text in enumerate(texts)], Borrowed(vectorizer), store
            )
            assert gate.requests == []
        else:
            with handle.batch.fixed_size(batch_size=96) as batch:
                for n, text in enumerate(texts):
                    batch.add_object({"text": text, "document_id": f"d{n}"}, uuid=object_id(f"d{n}"))
            assert handle.batch.failed_objects == []
            paths = [request.path for request in gate.requests]
            assert paths == (["/vectors"] * len(texts) if route == "transformers" else ["/cohere/v2/embed"])
        stored = handle.query.fetch_objects(limit=100, include_vector=True).objects
        by_id = {each.properties["document_id"]: np.float32(each.vector["lusifer"]) for each in stored}
        assert len(by_id) == len(texts)
        worst = max(float(np.abs(by_id[f"d{n}"] - expected[n]).max()) for n in range(len(texts)))
        # Weaviate keeps what it gets, which is of unit norm; the engine's own noise is 2e-6.
        assert worst < 4e-6, f"{route}: {worst:.1e}"
        found[route] = collection
    names = list(ENGLISH)
    right = {"engine": 0, "near_text": 0, "near_vector": 0}
    asked = 0
    for questions in QUESTIONS.values():
        for wanted, question in questions.items():
            asked += 1
            vector = vectorizer.embed_query(question).vector
            scores = expected[len(EIGHT_LANGUAGES) :] @ vector
            best = names[int(np.argmax(scores))]
            right["engine"] += best == wanted
            everything = np.argsort(-(expected @ vector))
            for way, hits in (
                ("near_text", ask_server(client, found["cohere"], question, limit=len(texts))),
                ("near_vector", search(client, found["precomputed"], question, vectorizer, limit=len(texts))),
            ):
                assert [hit.id for hit in hits] == [f"d{n}" for n in everything], question
                english = [hit.id for hit in hits if int(hit.id[1:]) >= len(EIGHT_LANGUAGES)]
                right[way] += names[int(english[0][1:]) - len(EIGHT_LANGUAGES)] == wanted
    assert right["near_text"] == right["near_vector"] == right["engine"]
    assert asked == 24
    assert right["engine"] >= 20, right
    hits = ask_server(client, found["transformers"], "Schach", limit=3, hybrid=True)
    assert len(hits) == 3
    for collection in found.values():
        client.collections.delete(collection)


def corpus(folder: Path, count: int) -> Path:
    path = folder / "documents.jsonl"
    with path.open("w") as lines:
        for n in range(count):
            text = f"document number {n} " + "word " * (n % 7)
            lines.write(json.dumps({"id": f"d{n}", "text": text, "n": n}) + "\n")
    return path


def check_all(client: Any, name: str, count: int, embedder: Vectorizer) -> None:
    """Every document once, with its text and the vector of it."""
    texts = {f"d{n}": f"document number {n} " + "word " * (n % 7) for n in range(count)}
    expected = dict(zip(texts, embedder.embed_documents(list(texts.values())).vectors, strict=True))
    seen = set()
    for each in client.collections.get(name).iterator(include_vector=True):
        document_id = each.properties["document_id"]
        assert document_id not in seen
        seen.add(document_id)
        assert str(each.uuid) == object_id(document_id)
        assert each.properties["text"] == texts[document_id]
        assert np.abs(np.float32(each.vector["lusifer"]) - expected[document_id]).max() < 1e-5
    assert seen == set(texts)


def command(server: RunningWeaviate, source: Path, name: str, bundle: Bundle, *more: str) -> list[str]:
    return [
        *(sys.executable, "-c", "from lusifer.cli.app import main; main()", "index", str(source)),
        *("--weaviate", server.url, "--collection", name, "--bundle", str(bundle.path)),
        *("--json", "--window", "16", *more),
    ]


def environment(server: RunningWeaviate) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT / "plugin"),
        "WEAVIATE_GRPC_PORT": str(server.grpc_port),
    }


def test_an_import_killed_at_any_point_resumes(
    server: RunningWeaviate, client: Any, gate: InferenceGate, name: str, bundle: Bundle, tmp_path: Path
) -> None:
    with Vectorizer.load(bundle.path) as onnx:
        create_collection(client, name, card_of(onnx), service_url=gate.url)
        count = 800
        run = command(server, corpus(tmp_path, count), name, bundle)
        handle = client.collections.get(name)
        rng = random.Random(3)
        killed = 0
        for target in sorted(rng.sample(range(20, count - 100), 4)):
            with subprocess.Popen(
                run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(server)
            ) as process:
                while handle.aggregate.over_all().total_count < target and process.poll() is None:
                    time.sleep(0.005)
                time.sleep(rng.uniform(0, 0.03))
                process.send_signal(signal.SIGKILL)
                killed += process.wait() == -signal.SIGKILL
        assert killed == 4
        done = subprocess.run(run, capture_output=True, text=True, env=environment(server), check=False)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert (report["count"], report["without_vector"], report["rejected_count"]) == (count, 0, 0)
        assert 0 < report["unchanged"] < count
        check_all(client, name, count, onnx)


def test_weaviate_restarted_in_the_middle_of_an_import(
    tmp_path: Path, gate: InferenceGate, name: str, bundle: Bundle
) -> None:
    """A server of its own, killed and started again under a running import, which waits for it."""
    for own in running(tmp_path, gate.url):
        with Vectorizer.load(bundle.path) as onnx, own.client() as client:
            create_collection(client, name, card_of(onnx), service_url=gate.url)
            count = 600
            source = corpus(tmp_path, count)
            with subprocess.Popen(
                command(own, source, name, bundle),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment(own),
            ) as process:
                while client.collections.get(name).aggregate.over_all().total_count < 100:
                    assert process.poll() is None
                    time.sleep(0.01)
                own.kill()
                time.sleep(1)
                own.start()
                out, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors
            assert json.loads(out)["count"] == count
        with own.client() as client, Vectorizer.load(bundle.path) as again:
            check_all(client, name, count, again)


def test_our_service_restarted_in_the_middle_of_an_import_through_the_module(
    client: Any, gate: InferenceGate, serve: Any, name: str, tiny: Vectorizer
) -> None:
    """Objects that the module could not embed are missing afterwards, and lusifer index completes them."""
    from weaviate.exceptions import WeaviateInsertManyAllFailedError

    create_collection(client, name, card_of(tiny), service_url=gate.url)
    handle = client.collections.get(name)
    serve()
    given = [Document(f"d{n}", f"document number {n} " + "word " * (n % 7), {"n": n}) for n in range(200)]
    for start in range(0, 200, 20):
        if start in {60, 100}:
            gate.answer(504, {"error": "upstream timed out"})
        if start in {80, 120}:
            gate.reset()
            serve()
        failing = start in {60, 100}
        with pytest.raises(WeaviateInsertManyAllFailedError, match="504") if failing else nullcontext():
            handle.data.insert_many(_objects(given[start : start + 20]))
    present = handle.aggregate.over_all().total_count
    assert present == 160
    store = WeaviateStore.open(client, name, fingerprint=tiny.fingerprint, model=tiny.model_name)
    report = index_documents(given, tiny, store)
    assert (store.count(), store.count_without_vector()) == (200, 0)
    # Objects written by others carry no hash of ours, so they are made anew once, and never again.
    assert report.added == 200
    assert index_documents(given, tiny, store).unchanged == 200
    check_all(client, name, 200, tiny)


def _objects(given: list[Document]) -> list[Any]:
    from weaviate.classes.data import DataObject

    return [
        DataObject(properties={"text": each.text, "document_id": each.id}, uuid=object_id(each.id))
        for each in given
    ]


def test_a_batch_that_fails_half_way_is_completed(
    client: Any, gate: InferenceGate, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_collection(client, name, card(), service_url=gate.url)
    store = open_store(client, name)
    real = type(store._handle.data).insert_many
    calls = 0

    def half(self: Any, objects: list[Any]) -> Any:
        nonlocal calls
        calls += 1
        return real(self, objects[: len(objects) // 2 + 1])

    monkeypatch.setattr(type(store._handle.data), "insert_many", half)
    store.upsert(documents(60), unit(60))
    assert calls > 3
    assert (store.count(), len(store.unchanged(documents(60)))) == (60, 60)


def test_a_server_that_is_away_or_no_server(client: Any, name: str, gate: InferenceGate) -> None:
    with pytest.raises(StoreUnavailableError, match=r"refused|connect"):
        connect("http://127.0.0.1:9")
    for url in ("localhost:8080", "ftp://x", "http://x:port"):
        with pytest.raises(InvalidInputError, match="can't be used"):
            connect(url)
    create_collection(client, name, card(), service_url="http://127.0.0.1:9")
    with pytest.raises((StoreUnavailableError, InvalidInputError), match="refused"):
        ask_server(client, name, "a question")


def test_the_commands_from_setup_to_doctor(
    server: RunningWeaviate,
    client: Any,
    gate: InferenceGate,
    serve: Any,
    name: str,
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from typer.testing import CliRunner

    from lusifer.cli.app import app

    monkeypatch.setenv("WEAVIATE_GRPC_PORT", str(server.grpc_port))

    def run(*arguments: object) -> tuple[int, list[dict[str, Any]]]:
        result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        return result.exit_code, [json.loads(line) for line in result.stdout.splitlines() if line]

    source = tmp_path / "library.jsonl"
    source.write_text(
        "".join(json.dumps({"id": each.id, "text": each.text, **each.metadata}) + "\n" for each in LIBRARY)
    )
    common = ("--collection", name, "--bundle", bundle.path, "--json")
    code, (error,) = run("index", source, "--weaviate", server.url, *common)
    assert (code, error["error"]["type"]) == (1, "IndexNotFoundError")
    code, (made,) = run(
        "weaviate",
        "setup",
        server.url,
        *common,
        "--service-address",
        gate.url,
        "--property",
        "year:int",
        "--filter-field",
        "lang",
        "--filter-field",
        "book",
        "--quantizer",
        "rq",
        "--alias",
        f"{name}Live",
    )
    assert (code, made["warnings"]) == (0, [])
    assert made["environment"]["TRANSFORMERS_INFERENCE_API"] == gate.url
    try:
        code, (report,) = run("index", source, "--weaviate", server.url, *common)
        assert (code, report["added"], report["count"], report["without_vector"]) == (0, 5, 5, 0)
        code, hits = run(
            "search",
            "x",
            "--weaviate",
            server.url,
            "--collection",
            f"{name}Live",
            "--bundle",
            bundle.path,
            "--json",
            "--where",
            "year:=2003",
            "--where",
            "lang=ja",
        )
        assert [hit["id"] for hit in hits] == ["ja-1"]
        # The service computes with the fake engine, the doctor with the bundle's own: two models of one name.
        serve()
        code, findings = run("doctor", "weaviate", server.url, *common)
        subjects = {finding["subject"]: finding for finding in findings}
        for subject in ("version", "modules", "schema", "fingerprint", "vectors", "sample"):
            assert subjects[subject]["severity"] == "ok", subjects[subject]
        assert (code, subjects["inference"]["severity"]) == (1, "error")
    finally:
        client.alias.delete(alias_name=f"{name}Live")


def test_the_doctor_sees_what_is_wrong(client: Any, gate: InferenceGate, name: str, tiny: Vectorizer) -> None:
    from lusifer.weaviate.doctor import examine

    def severities(**options: Any) -> dict[str, tuple[str, str]]:
        return {each.subject: (each.severity, each.message) for each in examine(client, **options)}

    assert severities(collection=name)["schema"][0] == "error"
    create_collection(client, name, card(), service_url="http://127.0.0.1:9")
    found = severities(collection=name, embedder=tiny, service_url="http://127.0.0.1:9")
    assert found["fingerprint"][0] == "error"
    assert found["service"][0] == "error"
    assert found["inference"][0] == "error"
    assert severities()["collection"][0] == "note"


def test_the_example_of_the_readme(
    server: RunningWeaviate,
    client: Any,
    gate: InferenceGate,
    vectorizer: Vectorizer,
    start_service: Any,
    tmp_path: Path,
) -> None:
    service = start_service(Borrowed(vectorizer)).ready()
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (code,) = (block for block in blocks if "import weaviate" in block)
    ports = f"port={server.port}, grpc_port={server.grpc_port}"
    code = code.replace("weaviate.connect_to_local()", f"weaviate.connect_to_local({ports})")
    code = code.replace("http://localhost:8000", service.url)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT / "plugin")},
        )
        assert done.returncode == 0, done.stderr
        assert "GIMP" in done.stdout
    finally:
        client.collections.delete("Programs")


def test_search_options_beside_a_client_of_the_teams_own(
    client: Any, gate: InferenceGate, name: str, tiny: Vectorizer
) -> None:
    create_collection(client, name, card_of(tiny), service_url=gate.url)
    store = WeaviateStore.open(client, name, fingerprint=tiny.fingerprint, model=tiny.model_name)
    index_documents(LIBRARY, tiny, store)
    hits = search(client, name, "a red house", tiny, limit=5, options=SearchOptions(languages=("en",)))
    assert sorted(hit.id for hit in hits) == ["en-1", "en-2"]
    assert len(QUESTION) == DIMENSION
