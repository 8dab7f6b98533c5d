"""The exported repository on NVIDIA's own server, and the engine triton against it."""

from __future__ import annotations

import json
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from integration_tests.noise import assert_same_vectors
from integration_tests.ports import free_port
from integration_tests.triton_server import CannotRunError, TritonServer
from plugin.tests.conftest import make_bundle
from plugin.tests.engine_contract import IDS, MASK, EngineContract

from lusifer.bundle.format import ManifestFields, finish_bundle
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.onnx import OnnxEngine
from lusifer.engines.triton import TritonEngine
from lusifer.errors import EngineError, EngineUnavailableError
from lusifer.service.canary import canary_texts
from lusifer_export.cases import MIXED_SCRIPTS
from lusifer_export.triton.repository import LOAD_ORDER, activate, write_repository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lusifer.bundle.format import Bundle


@pytest.fixture(scope="module")
def server(
    vectorizer: Vectorizer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    """Run a server with the default model; its vectors are those of this process's engine."""
    root = tmp_path_factory.mktemp("triton")
    try:
        running = TritonServer(root / "repository", root)
        write_repository(vectorizer.bundle, root / "repository")
        running.start()
    except CannotRunError as error:
        pytest.skip(str(error))
    yield running
    running.stop()


def infer(server: TritonServer, texts: list[str], role: str = "document") -> httpx.Response:
    """Ask the ensemble as a client of Triton would, over HTTP."""
    inputs = [
        {"name": name, "shape": [len(texts), 1], "datatype": "BYTES", "data": data}
        for name, data in (("text", texts), ("role", [role] * len(texts)))
    ]
    return httpx.post(
        f"http://{server.http}/v2/models/lusifer/infer", json={"inputs": inputs}, timeout=120
    )


def outputs(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return {
        each["name"]: np.array(each["data"]).reshape(each["shape"])
        for each in answer.json()["outputs"]
    }


class TestContract(EngineContract):
    dimension = 384

    @pytest.fixture
    def engine(self, server: TritonServer, vectorizer: Vectorizer) -> Iterator[TritonEngine]:
        engine = TritonEngine(server.grpc, fingerprint=vectorizer.fingerprint)
        yield engine
        engine.close()


def test_vectors_are_those_of_the_engine_in_this_process(
    server: TritonServer, vectorizer: Vectorizer
) -> None:
    texts = canary_texts() * 2
    # More rows than the model takes at once: the engine splits them.
    assert len(texts) > 64
    with Vectorizer(vectorizer.bundle, TritonEngine(server.grpc)) as remote:
        found = remote.embed_documents(texts)
    assert_same_vectors(found.vectors, vectorizer.embed_documents(texts).vectors)


def test_a_service_runs_on_it(
    server: TritonServer, vectorizer: Vectorizer, start_service: Any
) -> None:
    service = start_service(Vectorizer(vectorizer.bundle, TritonEngine(server.grpc)), canary=True)
    service.ready()
    answer = httpx.post(
        f"{service.url}/vectors", json={"text": "Guten Tag", "config": {"task_type": "query"}}
    )
    expected = vectorizer.embed_query("Guten Tag").vector
    assert_same_vectors(answer.json()["vector"], expected)
    assert httpx.get(f"{service.url}/meta").json()["engine"] == "triton"


class TestEnsemble:
    @pytest.mark.parametrize("role", ["query", "document"])
    def test_text_and_role_in_vector_out(
        self, server: TritonServer, vectorizer: Vectorizer, role: str
    ) -> None:
        # The long one by itself: within a request all are as long as the longest.
        for texts in (["Guten Tag", MIXED_SCRIPTS, "<s>old price</s>"], ["word " * 700]):
            found = outputs(infer(server, texts, role))
            expected = vectorizer.embed(texts, role)  # type: ignore[arg-type]
            assert_same_vectors(found["embedding"], expected.vectors)
            assert found["tokens"][:, 0].tolist() == list(expected.tokens)
            assert found["truncated"][:, 0].tolist() == list(expected.truncated)
        assert expected.truncated == (True,)

    def test_many_clients_each_get_their_own_vector(
        self, server: TritonServer, vectorizer: Vectorizer
    ) -> None:
        texts = canary_texts()[:24]
        expected = vectorizer.embed_documents(texts).vectors
        found: dict[int, Any] = {}

        def ask(index: int) -> None:
            found[index] = outputs(infer(server, [texts[index]]))["embedding"][0]

        threads = [threading.Thread(target=ask, args=[index]) for index in range(len(texts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == list(range(len(texts)))
        assert_same_vectors([found[index] for index in sorted(found)], expected)

    @pytest.mark.parametrize(
        ("text", "role", "message"),
        [
            (" ", "query", "no visible character"),
            ("a", "title", "The role is"),
            ("a\0b", "query", "NUL"),
        ],
    )
    def test_what_can_not_be_embedded(
        self, server: TritonServer, text: str, role: str, message: str
    ) -> None:
        answer = infer(server, [text], role)
        assert answer.status_code >= 400
        assert message in answer.json()["error"]


def test_the_real_server_reads_every_field(server: TritonServer, vectorizer: Vectorizer) -> None:
    config = httpx.get(f"http://{server.http}/v2/models/lusifer_core/config").json()
    assert config["parameters"]["fingerprint"]["string_value"] == vectorizer.fingerprint
    assert config["dynamic_batching"]["preferred_batch_size"] == [8, 16, 32, 64]
    policy = config["dynamic_batching"]["default_queue_policy"]
    assert policy["timeout_action"] == "REJECT"
    assert len(config["model_warmup"]) == 6
    log = server.log.read_text(errors="replace")
    assert "failed to load" not in log
    assert "64 tokens" in json.dumps(config["model_warmup"])


def test_models_and_fingerprints_that_are_not_there(server: TritonServer) -> None:
    with pytest.raises(EngineError, match="no model 'nothing'; it has"):
        TritonEngine(server.grpc, "nothing")
    # The ensemble takes texts.
    with pytest.raises(EngineError, match="text"):
        TritonEngine(server.grpc, "lusifer")
    with pytest.raises(EngineError, match="must not be mixed"):
        TritonEngine(server.grpc, fingerprint="sha256:" + "0" * 64)


def test_a_server_that_is_gone_is_a_reason_to_come_back() -> None:
    with pytest.raises(EngineUnavailableError, match="can't compute now"):
        TritonEngine(f"127.0.0.1:{free_port()}", timeout_s=2)


@pytest.fixture
def own(tmp_path: Path, server: TritonServer) -> Iterator[tuple[TritonServer, Bundle]]:
    """Run a server of its own with a bundle of kilobytes; the shared one shows that servers run here."""
    bundle = make_bundle(tmp_path / "making", tmp_path / "tiny")
    running = TritonServer(tmp_path / "repository", tmp_path)
    write_repository(bundle, tmp_path / "repository")
    running.start()
    yield running, bundle
    running.stop()


def test_a_new_version_goes_live_by_load_and_back(
    own: tuple[TritonServer, Bundle], tmp_path: Path
) -> None:
    server, bundle = own
    # The same files under another fingerprint.
    shutil.copytree(bundle.path, tmp_path / "staging")
    changed = bundle.manifest.model_dump(exclude={"files"}) | {"fingerprint": "sha256:" + "2" * 64}
    other = finish_bundle(tmp_path / "staging", tmp_path / "other", ManifestFields(**changed))
    engine = TritonEngine(server.grpc, fingerprint=bundle.manifest.fingerprint)
    expected = engine.run(IDS, MASK)
    write_repository(other, server.repository)
    # Written, but not live.
    assert np.array_equal(engine.run(IDS, MASK), expected)
    _load(server)
    with pytest.raises(EngineError, match="must not be mixed"):
        engine.run(IDS, MASK)
    TritonEngine(server.grpc, fingerprint=other.manifest.fingerprint).close()
    activate(server.repository, 1)
    _load(server)
    assert np.array_equal(engine.run(IDS, MASK), expected)
    engine.close()


def _load(server: TritonServer) -> None:
    for name in LOAD_ORDER:
        answer = httpx.post(f"http://{server.http}/v2/repository/models/{name}/load", timeout=120)
        assert answer.status_code == 200, answer.text


def test_killed_in_the_middle_of_a_thousand_requests(own: tuple[TritonServer, Bundle]) -> None:
    server, bundle = own
    engine = TritonEngine(server.grpc, fingerprint=bundle.manifest.fingerprint, timeout_s=10)
    rng = np.random.default_rng(0)
    batches = [rng.integers(4, 200, (1, 12)) for _ in range(1000)]
    mask = np.ones((1, 12), dtype=np.int64)
    right = OnnxEngine(bundle.model_path, threads=1)
    restarted: list[threading.Thread] = []
    answered = refused = 0
    for index, ids in enumerate(batches):
        if index == 300:
            server.kill()
            restarted.append(threading.Thread(target=server.start))
            restarted[0].start()
        try:
            vectors = engine.run(ids, mask)
        except EngineUnavailableError as error:
            assert error.retryable
            refused += 1
            # As a service would, which asks the client to come back.
            time.sleep(0.1)
            continue
        answered += 1
        assert_same_vectors(vectors, right.run(ids, mask))
    restarted[0].join()
    assert answered + refused == 1000
    assert answered >= 300
    # And it answers again.
    assert_same_vectors(engine.run(batches[0], mask), right.run(batches[0], mask))
    engine.close()
