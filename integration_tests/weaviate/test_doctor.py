"""The commands, and the doctor on servers that are each set up wrong in one thing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from integration_tests.qdrant_server import InferenceGate
from integration_tests.weaviate.conftest import RunCommand
from integration_tests.weaviate.support import make_metadata
from integration_tests.weaviate_server import RunningWeaviate
from plugin.tests.conftest import make_bundle
from plugin.tests.hub_documents import DIMENSION as HUB_DIMENSION
from plugin.tests.hub_documents import hub_documents
from plugin.tests.store_contract import LIBRARY, documents, unit

from lusifer.bundle.format import Bundle
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine
from lusifer.errors import (
    CollectionMismatchError,
    IndexNotFoundError,
    InvalidInputError,
    StoreUnavailableError,
)
from lusifer.ingest.indexer import index_documents
from lusifer.stores.diagnostics import Diagnostic
from lusifer.types import Document
from lusifer.weaviate.connection import connect
from lusifer.weaviate.doctor import examine
from lusifer.weaviate.metadata import metadata_for
from lusifer.weaviate.schema import create_collection
from lusifer.weaviate.search import ask_server
from lusifer.weaviate.store import WeaviateStore

weaviate = pytest.importorskip("weaviate")
from weaviate.classes.config import Configure, DataType, Property  # noqa: E402
from weaviate.classes.query import Filter  # noqa: E402


def test_a_server_that_is_away_or_no_server(client: Any, name: str, gate: InferenceGate) -> None:
    with pytest.raises(StoreUnavailableError, match=r"refused|connect"):
        connect("http://127.0.0.1:9")
    for url in ("localhost:8080", "ftp://x", "http://x:port"):
        with pytest.raises(InvalidInputError, match="can't be used"):
            connect(url)
    create_collection(client, make_metadata(name), service_url="http://127.0.0.1:9")
    with pytest.raises(StoreUnavailableError, match=r"service behind.*refused.*lusifer serve"):
        ask_server(client, name, "a question")


def test_the_commands_from_setup_to_doctor(
    weaviate_server: RunningWeaviate,
    client: Any,
    gate: InferenceGate,
    serve: Any,
    name: str,
    bundle: Bundle,
    tmp_path: Path,
    run_command: RunCommand,
) -> None:
    source = tmp_path / "library.jsonl"
    source.write_text(
        "".join(
            json.dumps({"id": each.id, "text": each.text, **each.metadata}) + "\n"
            for each in LIBRARY
        )
    )
    common = ("--collection", name, "--bundle", bundle.path, "--json")
    code, (error,) = run_command("index", source, "--weaviate", weaviate_server.url, *common)
    assert (code, error["error"]["type"]) == (1, "IndexNotFoundError")
    code, (made,) = run_command(
        "weaviate",
        "setup",
        weaviate_server.url,
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
        code, (report,) = run_command("index", source, "--weaviate", weaviate_server.url, *common)
        assert (code, report["added"], report["count"], report["without_vector"]) == (0, 5, 5, 0)
        code, hits = run_command(
            "search",
            "x",
            "--weaviate",
            weaviate_server.url,
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
        # The service uses the fake engine, the doctor the bundle's own: two models of one name.
        serve()
        arguments = (
            "--weaviate",
            weaviate_server.url,
            "--collection",
            f"{name}Live",
            "--json",
            "--limit",
            "2",
        )
        code, hits = run_command("search", "x", *arguments, "--by-server", "--language", "en")
        assert (code, {hit["metadata"]["lang"] for hit in hits}, len(hits)) == (0, {"en"}, 2)
        code, (error,) = run_command("search", "x", "--by-server", "--index", tmp_path, "--json")
        assert (code, error["error"]["type"]) == (1, "InvalidInputError")
        code, findings = run_command("doctor", "weaviate", weaviate_server.url, *common)
        subjects = {finding["subject"]: finding for finding in findings}
        for subject in ("version", "modules", "schema", "fingerprint", "vectors", "sample"):
            assert subjects[subject]["severity"] == "ok", subjects[subject]
        assert (code, subjects["inference"]["severity"]) == (1, "error")
    finally:
        client.alias.delete(alias_name=f"{name}Live")


def test_the_metadata_gives_the_dimension(
    weaviate_server: RunningWeaviate,
    client: Any,
    gate: InferenceGate,
    start_service: Any,
    name: str,
    bundle: Bundle,
    tmp_path: Path,
    run_command: RunCommand,
) -> None:
    """The dimension is given to setup only; index, search and doctor find it and refuse another."""

    def run(*arguments: object) -> tuple[int, list[dict[str, Any]]]:
        return run_command(*arguments, "--collection", name, "--bundle", bundle.path, "--json")

    gate.forward_to = start_service(Vectorizer.load(bundle.path)).ready().url
    source = tmp_path / "texts.jsonl"
    source.write_text(
        "".join(json.dumps({"id": each.id, "text": each.text}) + "\n" for each in LIBRARY[:3])
    )
    there = ("--weaviate", weaviate_server.url)
    code, _ = run(
        "weaviate", "setup", weaviate_server.url, "--service-address", gate.url, "--dimension", 8
    )
    assert code == 0
    code, (error,) = run("index", source, *there, "--dimension", 16)
    assert (code, error["error"]["type"]) == (1, "InvalidDimensionError")
    code, (report,) = run("index", source, *there)
    assert (code, report["added"], report["without_vector"]) == (0, 3, 0)
    (stored, *_) = client.collections.get(name).query.fetch_objects(include_vector=True).objects
    assert len(stored.vector["lusifer"]) == 8
    code, hits = run("search", LIBRARY[0].text, *there, "--limit", 1)
    assert (code, len(hits)) == (0, 1)
    code, found = run("doctor", "weaviate", weaviate_server.url)
    assert (code, {each["subject"] for each in found if each["severity"] != "ok"}) == (0, {"text"})
    assert {"sample", "inference"} <= {each["subject"] for each in found}


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow a service 30 s, so that a busy machine is not reported."""
    monkeypatch.setattr("lusifer.weaviate.doctor._QUICK_S", 30.0)


def findings(client: Any, **options: Any) -> dict[str, Diagnostic]:
    """Return the worst diagnostic of each subject."""
    worst = ["ok", "note", "warning", "error"]
    found: dict[str, Diagnostic] = {}
    for each in examine(client, **options):
        if each.subject not in found or worst.index(each.severity) > worst.index(
            found[each.subject].severity
        ):
            found[each.subject] = each
        assert each.fix or each.severity in {"ok", "note"}, each
    return found


def severities(found: dict[str, Diagnostic]) -> dict[str, str]:
    return {subject: each.severity for subject, each in found.items() if each.severity != "ok"}


UNUSABLE_SERVICE = {
    "reached": "warning",
    "service": "error",
    "text": "note",
    "inference": "error",
}
"""Severities where the service does not embed, or embeds with another model."""


@pytest.fixture
def filled(
    client: Any, gate: InferenceGate, serve: Any, name: str, tiny: Vectorizer
) -> WeaviateStore:
    """Provide a collection in which nothing is wrong, with a running service behind its module."""
    create_collection(client, metadata_for(name, tiny), service_url=gate.url)
    store = WeaviateStore.open(client, name, fingerprint=tiny.fingerprint, model=tiny.model_name)
    index_documents([each for each in LIBRARY if each.id != "ja-1"], tiny, store)
    serve()
    return store


def test_a_collection_in_which_nothing_is_wrong(
    client: Any, gate: InferenceGate, filled: WeaviateStore, name: str, tiny: Vectorizer
) -> None:
    found = findings(client, collection=name, embedder=tiny)
    assert severities(found) == {"text": "note"}
    assert set(found) == {
        *("version", "modules", "reached", "schema", "fingerprint", "ready", "service", "vectors"),
        *("keywords", "text", "sample", "inference"),
    }
    assert found["text"].message.endswith(tuple(f"embedded: {each.text!r}" for each in LIBRARY))
    assert "is the one made here" in found["inference"].message
    assert findings(client, embedder=tiny)["collection"].severity == "note"
    assert findings(client, collection=f"{name}Absent")["schema"].severity == "error"


def test_services_that_are_slow_starting_wrong_or_away(
    client: Any,
    gate: InferenceGate,
    filled: WeaviateStore,
    name: str,
    tiny: Vectorizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate.delay_s = 0.7
    with monkeypatch.context() as hurried:
        hurried.setattr("lusifer.weaviate.doctor._QUICK_S", 0.5)
        found = findings(client, collection=name, embedder=tiny, service_url=gate.url)
        # Only the server may be able to reach the address in the schema.
        assert findings(client, collection=name, embedder=tiny)["ready"].severity == "note"
    assert severities(found) == {"meta": "warning", "ready": "error", "text": "note"}
    assert "within 0.5 s" in found["ready"].message
    assert "every client" in found["meta"].message
    gate.delay_s = 0.0

    gate.answer(503, {"error": "The model is loading."})
    found = findings(client, collection=name, embedder=tiny)
    assert severities(found) == {"ready": "error", **UNUSABLE_SERVICE}
    assert "The model is loading" in found["ready"].message
    assert found["inference"].fix.startswith("Send less at once")

    gate.answer(200, {"name": "lusifer", "model": "other", "fingerprint": "sha256:" + "c" * 64})
    found = findings(client, collection=name, embedder=tiny)
    assert "serves other" in found["reached"].message
    assert found["inference"].severity == "error"

    gate.answer(401, {"error": "The API key is missing."})
    found = findings(client, collection=name, embedder=tiny)
    assert "COHERE_APIKEY" in found["inference"].fix

    found = findings(client, collection=name, embedder=tiny, service_url="http://127.0.0.1:9")
    assert found["ready"].severity == "error"
    assert "can't be reached" in found["ready"].message


def test_a_model_or_vectors_that_are_not_the_collections(
    client: Any,
    gate: InferenceGate,
    filled: WeaviateStore,
    name: str,
    tiny: Vectorizer,
    tmp_path: Path,
) -> None:
    other_bundle = make_bundle(tmp_path / "staging", tmp_path / "bundle", seed=5)
    other = Vectorizer(other_bundle, FakeEngine(other_bundle.manifest.dimension, seed=5))
    found = findings(client, collection=name, embedder=other)
    assert severities(found) == {"fingerprint": "error", **UNUSABLE_SERVICE}
    handle = client.collections.get(name)
    handle.data.delete_many(where=Filter.by_property("document_id").not_equal("none"))
    handle.data.insert({"text": "by hand"}, vector={"lusifer": unit(1)[0].tolist()})
    handle.data.insert({"lang": "en"})
    found = findings(client, collection=name, embedder=tiny)
    assert severities(found) == {"vectors": "error", "text": "note", "sample": "error"}
    assert found["vectors"].message.startswith("1 in 2 objects have no vector")


def test_a_schema_that_is_not_what_it_should_be(
    client: Any, gate: InferenceGate, serve: Any, name: str, tiny: Vectorizer
) -> None:
    made = metadata_for(name, tiny)
    client.collections.create(
        name,
        description=made.in_description(),
        properties=[Property(name="text", data_type=DataType.TEXT)],
        vector_config=[
            Configure.Vectors.text2vec_transformers(
                name="lusifer", inference_url=gate.url, source_properties=["text"]
            )
        ],
    )
    store = WeaviateStore.open(client, name, fingerprint=tiny.fingerprint, model=tiny.model_name)
    index_documents([Document(f"{n}", text) for n, text in enumerate(JAPANESE)], tiny, store)
    serve()
    found = findings(client, collection=name, embedder=tiny)
    assert severities(found) == {"class name": "warning", "keywords": "warning", "text": "note"}
    assert "--tokenization kagome_ja" in found["keywords"].fix
    client.collections.delete(name)

    create_collection(client, made, service_url=gate.url, tenants=True)
    assert findings(client, collection=name, embedder=tiny)["objects"].severity == "note"
    one = WeaviateStore.open(
        client, name, fingerprint=tiny.fingerprint, model=tiny.model_name, tenant="one"
    )
    one.upsert(documents(2), unit(2))
    assert findings(client, collection=name, tenant="one")["vectors"].severity == "ok"
    client.collections.delete(name)

    create_collection(
        client, make_metadata(name, fingerprint=tiny.fingerprint), service_url=gate.url
    )
    client.collections.get(name).data.insert({"text": "short"}, vector={"lusifer": [1.0] * 8})
    found = findings(client, collection=name, embedder=tiny)
    assert (found["dimension"].severity, found["inference"].severity) == ("error", "error")
    assert "dimension 8, the metadata says 16" in found["dimension"].message


JAPANESE = ["猫はマットの上に座っています。", "写真を編集するプログラム", "天気予報を表示します"]


def test_servers_that_are_set_up_wrong(
    own_weaviate: RunningWeaviate, gate: InferenceGate, serve: Any, name: str, tiny: Vectorizer
) -> None:
    """The server has no modules; or it may not call private addresses and has no key."""
    serve()
    made = metadata_for(name, tiny)
    own_weaviate.run_with()
    with own_weaviate.client() as client:
        create_collection(client, made, service_url=gate.url)
        create_collection(
            client, metadata_for(f"{name}Co", tiny), service_url=gate.url, route="cohere"
        )
        WeaviateStore.open(client, name, fingerprint=made.fingerprint, model=made.model).upsert(
            documents(3), unit(3)
        )

    own_weaviate.run_with(ENABLE_MODULES="", API_BASED_MODULES_DISABLED="true")
    with own_weaviate.client() as client:
        found = findings(client, collection=name, embedder=tiny)
        assert severities(found) == {"modules": "error", "schema": "error"}
        assert found["modules"].fix.startswith(
            "Start the server with ENABLE_MODULES=text2vec-transformers"
        )
        # Weaviate does not load a collection without its module.
        with pytest.raises(IndexNotFoundError, match="ENABLE_MODULES"):
            WeaviateStore.open(client, name, fingerprint=made.fingerprint, model=made.model)
        for route in ("transformers", "cohere"):
            with pytest.raises(CollectionMismatchError, match=f"ENABLE_MODULES=text2vec-{route}"):
                create_collection(
                    client, metadata_for(f"{name}No", tiny), service_url=gate.url, route=route
                )  # type: ignore[arg-type]

    own_weaviate.run_with(MODULES_VALIDATE_BASE_URL="true", COHERE_APIKEY="")
    with own_weaviate.client() as client:
        found = findings(client, collection=name, embedder=tiny)
        assert found["inference"].severity == "error"
        assert found["inference"].fix.startswith("Start Weaviate without MODULES_VALIDATE_BASE_URL")
        assert found["vectors"].message == "3 objects, all with a vector"
        with pytest.raises(
            CollectionMismatchError, match="Start Weaviate without MODULES_VALIDATE_BASE_URL"
        ):
            create_collection(
                client, metadata_for(f"{name}No", tiny), service_url=gate.url, route="cohere"
            )
        found = findings(client, collection=f"{name}Co", embedder=tiny)
        assert found["inference"].severity == "error"
        assert found["inference"].fix.startswith("Give the server a key in COHERE_APIKEY")
    with own_weaviate.client(headers={"X-Cohere-Api-Key": "any"}) as client:
        found = findings(client, collection=f"{name}Co", embedder=tiny)
        assert found["inference"].fix.startswith("Start Weaviate without MODULES_VALIDATE_BASE_URL")


@pytest.mark.parametrize(("hub", "severity"), [(False, "ok"), (True, "warning")])
def test_the_doctor_names_a_hub(client: Any, name: str, hub: bool, severity: str) -> None:
    documents, vectors = hub_documents(hub=hub)
    metadata = make_metadata(name).model_copy(update={"dimension": HUB_DIMENSION})
    create_collection(client, metadata, service_url="http://127.0.0.1:9")
    store = WeaviateStore.open(client, name, fingerprint=metadata.fingerprint, model="tiny")
    store.upsert(documents, vectors)
    found = findings(client, collection=name)["hubs"]
    assert found.severity == severity
    assert ("Document hub (" in found.message) == hub
