"""Imports that are killed, cut off or refused, and what they leave behind."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import threading
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integration_tests.qdrant_server import InferenceGate
from integration_tests.weaviate.support import (
    check_all,
    command,
    corpus,
    environment,
    make_metadata,
    open_store,
)
from integration_tests.weaviate_server import RunningWeaviate
from plugin.tests.conftest import make_bundle
from plugin.tests.store_contract import DIMENSION, documents, unit
from weaviate.exceptions import WeaviateBaseError

from lusifer.bundle.format import Bundle
from lusifer.embedding.remote import RemoteVectorizer
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine
from lusifer.errors import EngineUnavailableError, FingerprintMismatchError, StoreUnavailableError
from lusifer.ingest.indexer import index_documents
from lusifer.stores.payloads import VECTOR_NAME, content_sha256
from lusifer.types import Document
from lusifer.weaviate.metadata import metadata_for
from lusifer.weaviate.objects import object_id
from lusifer.weaviate.schema import HASH_PROPERTY, ID_PROPERTY, create_collection
from lusifer.weaviate.store import WeaviateStore


def test_an_import_killed_at_any_point_resumes(
    weaviate_server: RunningWeaviate,
    client: Any,
    gate: InferenceGate,
    name: str,
    bundle: Bundle,
    tmp_path: Path,
) -> None:
    with Vectorizer.load(bundle.path) as onnx:
        create_collection(client, metadata_for(name, onnx), service_url=gate.url)
        count = 600
        run = command(weaviate_server, corpus(tmp_path, count), name, bundle)
        handle = client.collections.get(name)
        rng = random.Random(3)
        killed = 0
        for target in sorted(rng.sample(range(20, count - 100), 3)):
            with subprocess.Popen(
                run,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment(weaviate_server),
            ) as process:
                while handle.aggregate.over_all().total_count < target and process.poll() is None:
                    time.sleep(0.005)
                time.sleep(rng.uniform(0, 0.03))
                process.send_signal(signal.SIGKILL)
                killed += process.wait() == -signal.SIGKILL
        assert killed == 3
        done = subprocess.run(
            run, capture_output=True, text=True, env=environment(weaviate_server), check=False
        )
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert (report["count"], report["without_vector"], report["rejected_count"]) == (
            count,
            0,
            0,
        )
        assert 0 < report["unchanged"] < count
        check_all(client, name, count, onnx)


def test_weaviate_restarted_in_the_middle_of_an_import(
    own_weaviate: RunningWeaviate, gate: InferenceGate, name: str, bundle: Bundle, tmp_path: Path
) -> None:
    """The server is killed and started again under a running import, which waits for it."""
    own_weaviate.run_with()
    with Vectorizer.load(bundle.path) as onnx:
        count = 600
        source = corpus(tmp_path, count)
        with own_weaviate.client() as client:
            create_collection(client, metadata_for(name, onnx), service_url=gate.url)
            with subprocess.Popen(
                command(own_weaviate, source, name, bundle),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment(own_weaviate),
            ) as process:
                try:
                    while client.collections.get(name).aggregate.over_all().total_count < 100:
                        assert process.poll() is None
                        time.sleep(0.01)
                    own_weaviate.kill()
                    with pytest.raises(StoreUnavailableError, match="then run again"):
                        open_store(client, name)
                    own_weaviate.start()
                    out, errors = process.communicate(timeout=240)
                finally:
                    process.kill()
            assert process.returncode == 0, errors
            assert json.loads(out)["count"] == count
        with own_weaviate.client() as client:
            check_all(client, name, count, onnx)


def test_what_a_server_killed_in_a_batch_left_without_index_is_found_again(
    own_weaviate: RunningWeaviate, gate: InferenceGate, name: str
) -> None:
    """A real server that was killed in a batch often has objects of it that no filter finds."""
    from weaviate.classes.data import DataObject

    own_weaviate.run_with()
    given = [Document(f"d{n}", f"document number {n}") for n in range(800)]
    rows = np.random.default_rng(0).normal(size=(len(given), DIMENSION)).astype(np.float32)
    rng = random.Random(5)
    for _ in range(3):
        with own_weaviate.client() as client:
            create_collection(client, make_metadata(name), service_url=gate.url)
            open_store(client, name).unchanged(given[:1])  # adds our own properties
            handle = client.collections.get(name)

            begun = threading.Event()

            def write(first: int, handle: Any = handle, begun: threading.Event = begun) -> None:
                with suppress(WeaviateBaseError):
                    for start in range(first, len(given), 64):
                        handle.data.insert_many(
                            DataObject(
                                properties={
                                    "text": each.text,
                                    ID_PROPERTY: each.id,
                                    HASH_PROPERTY: content_sha256(each),
                                },
                                uuid=object_id(each.id),
                                vector={VECTOR_NAME: row.tolist()},
                            )
                            for each, row in zip(
                                given[start : start + 16], rows[start : start + 16], strict=True
                            )
                        )
                        begun.set()

            writers = [threading.Thread(target=write, args=(16 * n,)) for n in range(4)]
            for writer in writers:
                writer.start()
            assert begun.wait(60)
            time.sleep(rng.uniform(0, 0.2))
            own_weaviate.kill()
            own_weaviate.start()
            for writer in writers:
                writer.join()
        with own_weaviate.client() as client:
            store = open_store(client, name, retry_for_s=60)
            there = store.unchanged(given)
            missing = [n for n, each in enumerate(given) if each.id not in there]
            store.upsert([given[n] for n in missing], rows[missing])
            assert store.unchanged(given) == {each.id for each in given}
            assert store.count() == len(given)
            client.collections.delete(name)


def test_our_service_restarted_in_the_middle_of_an_import_through_the_module(
    client: Any, gate: InferenceGate, serve: Any, name: str, tiny: Vectorizer
) -> None:
    """Objects that the module could not embed are missing, and ``lusifer index`` adds them."""
    from weaviate.exceptions import WeaviateInsertManyAllFailedError

    create_collection(client, metadata_for(name, tiny), service_url=gate.url)
    handle = client.collections.get(name)
    serve()
    given = [
        Document(f"d{n}", f"document number {n} " + "word " * (n % 7), {"n": n}) for n in range(200)
    ]
    for start in range(0, 200, 20):
        if start in {60, 100}:
            gate.answer(504, {"error": "upstream timed out"})
        if start in {80, 120}:
            gate.reset()
            serve()
        failing = start in {60, 100}
        with (
            pytest.raises(WeaviateInsertManyAllFailedError, match="504")
            if failing
            else nullcontext()
        ):
            handle.data.insert_many(_objects(given[start : start + 20]))
    present = handle.aggregate.over_all().total_count
    assert present == 160
    store = WeaviateStore.open(client, name, fingerprint=tiny.fingerprint, model=tiny.model_name)
    report = index_documents(given, tiny, store)
    assert (store.count(), store.count_without_vector()) == (200, 0)
    # Objects written by others have no hash of ours, so they are embedded once more, and only once.
    assert report.added == 200
    assert index_documents(given, tiny, store).unchanged == 200
    check_all(client, name, 200, tiny)


def test_our_service_restarted_in_the_middle_of_lusifer_index(
    client: Any, gate: InferenceGate, serve: Any, name: str, tiny: Vectorizer
) -> None:
    """The import waits for a service that answers 504, goes away and comes back."""
    create_collection(client, metadata_for(name, tiny), service_url=gate.url)
    store = WeaviateStore.open(client, name, fingerprint=tiny.fingerprint, model=tiny.model_name)
    service = serve()
    count = 300
    given = [
        Document(f"d{n}", f"document number {n} " + "word " * (n % 7), {"n": n})
        for n in range(count)
    ]
    asked = 0

    def answer(request: Any) -> Any:
        nonlocal asked
        asked += request.path == "/v1/embeddings"
        if request.path == "/v1/embeddings" and asked == 3:
            return 504, {}, b'{"error":{"message":"too late"}}'
        if request.path == "/v1/embeddings" and asked == 5:
            service.stop()
            serve()
            return 502, {}, b"<html>the proxy found nobody</html>"
        return None

    gate.answer_with(answer)
    with RemoteVectorizer(gate.url) as remote:
        report = index_documents(given, remote, store, window=32)
    assert (report.added, report.rejected_count) == (count, 0)
    assert asked > 5
    check_all(client, name, count, tiny)


def test_a_service_that_stays_away_ends_the_import_and_the_next_run_completes_it(
    client: Any, gate: InferenceGate, serve: Any, name: str, tiny: Vectorizer
) -> None:
    create_collection(client, metadata_for(name, tiny), service_url=gate.url)
    store = WeaviateStore.open(client, name, fingerprint=tiny.fingerprint, model=tiny.model_name)
    serve()
    given = [
        Document(f"d{n}", f"document number {n} " + "word " * (n % 7), {"n": n}) for n in range(200)
    ]
    asked = 0

    def answer(request: Any) -> Any:
        nonlocal asked
        asked += request.path == "/v1/embeddings"
        return (504, {}, b"{}") if asked > 3 else None

    gate.answer_with(answer)
    with (
        RemoteVectorizer(gate.url, attempts=2) as remote,
        pytest.raises(EngineUnavailableError, match=r"504.*run again") as caught,
    ):
        index_documents(given, remote, store, window=32)
    assert (caught.value.status, caught.value.retryable) == (503, True)
    kept = store.count()
    assert kept == 96
    gate.answer_with(lambda request: None)
    with RemoteVectorizer(gate.url) as remote:
        report = index_documents(given, remote, store, window=32)
    assert (report.added, report.unchanged) == (200 - kept, kept)
    check_all(client, name, 200, tiny)


def test_a_service_that_comes_back_with_another_model_is_not_mixed_in(
    client: Any,
    gate: InferenceGate,
    start_service: Any,
    name: str,
    tiny: Vectorizer,
    tmp_path: Path,
) -> None:
    create_collection(client, metadata_for(name, tiny), service_url=gate.url)
    store = WeaviateStore.open(client, name, fingerprint=tiny.fingerprint, model=tiny.model_name)
    first = start_service(tiny).ready()
    gate.forward_to = first.url
    with RemoteVectorizer(gate.url) as remote:
        index_documents(documents(20), remote, store)
        other = make_bundle(tmp_path / "staging", tmp_path / "bundle", seed=5)
        gate.forward_to = start_service(Vectorizer(other, FakeEngine(DIMENSION))).ready().url
        with pytest.raises(FingerprintMismatchError, match="another model meanwhile"):
            index_documents(documents(40), remote, store)
    assert (store.count(), len(store.unchanged(documents(20)))) == (20, 20)


def _objects(given: list[Document]) -> list[Any]:
    from weaviate.classes.data import DataObject

    return [
        DataObject(properties={"text": each.text, "document_id": each.id}, uuid=object_id(each.id))
        for each in given
    ]


def test_a_batch_that_fails_half_way_is_completed(
    client: Any, gate: InferenceGate, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_collection(client, make_metadata(name), service_url=gate.url)
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
