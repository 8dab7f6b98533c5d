from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("qdrant_client")

from plugin.tests.qdrant.test_connection import answered
from qdrant_client import models

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine, Faults
from lusifer.qdrant.doctor import examine
from lusifer.qdrant.keywords import KeywordOptions
from lusifer.qdrant.metadata import CollectionMetadata, metadata_for
from lusifer.qdrant.schema import collection_arguments

if TYPE_CHECKING:
    from lusifer.bundle.format import Bundle
    from lusifer.stores.diagnostics import Diagnostic


class Server:
    """A client whose server answers what a test sets."""

    def __init__(
        self, metadata: CollectionMetadata | None, version: str = "1.19.0", **strict: Any
    ) -> None:
        self.version: Any = version
        self.vectors: Any = {
            "lusifer": models.VectorParams(size=16, distance=models.Distance.COSINE)
        }
        self.metadata = collection_arguments(metadata)["metadata"] if metadata else None
        self.strict = models.StrictModeConfig(**strict) if strict else None
        self.status = "green"
        self.counts: list[Any] = [10, 0, 0, 0]
        self.inferred: Any = 0.9
        self.sent: Any = 0.9

    def info(self) -> Any:
        if isinstance(self.version, Exception):
            raise self.version
        return SimpleNamespace(version=self.version)

    def get_collection(self, name: str) -> Any:
        if name != "docs":
            raise answered(404, f"Not found: Collection `{name}` doesn't exist!")
        params = SimpleNamespace(vectors=self.vectors)
        config = SimpleNamespace(
            params=params, metadata=self.metadata, strict_mode_config=self.strict
        )
        return SimpleNamespace(
            config=config,
            status=self.status,
            optimizer_status="ok" if self.status == "green" else "no space",
            payload_schema={"metadata.lang": 1},
            points_count=10,
        )

    def count(self, name: str, **_: Any) -> Any:
        counted = self.counts.pop(0)
        if isinstance(counted, Exception):
            raise counted
        return SimpleNamespace(count=counted)

    def query_points(self, name: str, query: Any, **_: Any) -> Any:
        score = self.inferred if isinstance(query, models.Document) else self.sent
        if isinstance(score, Exception):
            raise score
        points = [] if score is None else [SimpleNamespace(id=1, score=score)]
        return SimpleNamespace(points=points)


@pytest.fixture
def vectorizer(bundle: Bundle) -> Vectorizer:
    return Vectorizer(bundle, FakeEngine(bundle.manifest.dimension))


@pytest.fixture
def metadata(vectorizer: Vectorizer) -> CollectionMetadata:
    return metadata_for("docs", vectorizer)


def look(server: Server, **options: Any) -> dict[str, list[Diagnostic]]:
    """Return diagnostics by subject; each that is not ok must have a fix."""
    found: dict[str, list[Diagnostic]] = {}
    for diagnostic in examine(server, **{"collection": "docs", **options}):
        assert diagnostic.severity == "ok" or diagnostic.fix, diagnostic
        found.setdefault(diagnostic.subject, []).append(diagnostic)
    return found


def severities(found: dict[str, list[Diagnostic]]) -> dict[str, list[str]]:
    return {
        subject: [each.severity for each in diagnostics] for subject, diagnostics in found.items()
    }


def test_a_healthy_collection(metadata: CollectionMetadata, vectorizer: Vectorizer) -> None:
    assert severities(look(Server(metadata), embedder=vectorizer)) == {
        "version": ["ok"],
        "schema": ["ok"],
        "fingerprint": ["ok"],
        "strict mode": ["ok"],
        "points": ["ok"],
        "inference": ["ok"],
    }


@pytest.mark.parametrize(
    ("version", "severity", "said"),
    [
        ("1.15.9", "error", "older than 1.16"),
        ("1.16.3", "warning", "1.17 forwards"),
        ("1.18.0", "warning", "1.19 evaluates"),
        ("1.19.1", "ok", "1.19.1"),
        ("2.0.0-rc1", "ok", "2.0.0"),
    ],
)
def test_versions(metadata: CollectionMetadata, version: str, severity: str, said: str) -> None:
    (diagnostic,) = look(Server(metadata, version))["version"]
    assert (diagnostic.severity, said in diagnostic.message) == (severity, True)


def test_no_server(metadata: CollectionMetadata) -> None:
    server = Server(metadata)
    server.version = answered(401, "Must provide an API key")
    found = look(server)
    assert severities(found) == {"server": ["error"]}
    assert "QDRANT_API_KEY" in found["server"][0].fix


def test_no_collection_or_none_named(metadata: CollectionMetadata) -> None:
    (diagnostic,) = look(Server(metadata), collection="other")["collection"]
    assert (diagnostic.severity, "lusifer qdrant setup" in diagnostic.fix) == ("error", True)
    (diagnostic,) = look(Server(metadata), collection=None)["collection"]
    assert diagnostic.severity == "note"


def test_a_collection_of_another_program(metadata: CollectionMetadata) -> None:
    server = Server(None)
    server.vectors = models.VectorParams(size=16, distance=models.Distance.COSINE)
    found = look(server)
    assert severities(found) == {"version": ["ok"], "schema": ["error"], "strict mode": ["ok"]}
    assert "one unnamed vector" in found["schema"][0].message


def test_another_model(metadata: CollectionMetadata, vectorizer: Vectorizer) -> None:
    other = metadata.model_copy(update={"fingerprint": "sha256:other"})
    found = look(Server(other), embedder=vectorizer)
    assert found["fingerprint"][0].severity == "error"
    assert "switch the alias" in found["fingerprint"][0].fix


def test_keywords_that_the_version_does_not_support(metadata: CollectionMetadata) -> None:
    neutral = metadata.model_copy(update={"keywords": KeywordOptions()})
    german = metadata.model_copy(update={"keywords": KeywordOptions(language="german")})
    assert severities(look(Server(neutral, "1.18.2")))["keywords"] == ["error"]
    assert "keywords" not in look(Server(neutral, "1.19.0"))
    old = metadata.model_copy(update={"keywords": KeywordOptions(words=1)})
    assert severities(look(Server(old, "1.19.0")))["keywords"] == ["note"]
    assert "keywords" not in look(Server(german, "1.18.2"))


def test_points_without_vector_or_payload(
    metadata: CollectionMetadata,
) -> None:
    server = Server(metadata)
    server.counts = [1000, 3, 2, 7]
    found = look(server)
    assert "3 of 1,000 points lack the vector 'lusifer'" in found["points"][0].message
    assert [each.message.split(" in their")[0] for each in found["payload"]] == [
        "2 of 1,000 points have no text",
        "7 of 1,000 points have no sha256",
    ]
    server.counts = [answered(500, "no")]
    assert severities(look(server))["points"] == ["error"]
    # Strict mode refuses filters on fields without an index, and has a diagnostic of its own.
    server.counts = [10, 0, answered(400, "Bad request: Index required but not found")]
    assert "payload" not in look(server)


def test_limits_of_strict_mode_are_among_the_diagnostics(metadata: CollectionMetadata) -> None:
    (found,) = look(Server(metadata, enabled=True, max_query_limit=10))["strict mode"]
    assert (found.severity, found.message) == (
        "warning",
        "max_query_limit is 10; LUSIFER needs up to 256 points in a query or scroll.",
    )


def test_a_red_collection(metadata: CollectionMetadata) -> None:
    server = Server(metadata)
    server.status = "red"
    assert "no space" in look(server)["status"][0].message


@pytest.mark.parametrize(
    ("inferred", "sent", "severity", "said"),
    [
        (0.9, 0.9, "ok", "is the one made here"),
        (0.7, 0.9, "error", "differs from the one made here"),
        (None, None, "ok", "had a query embedded"),
        (
            answered(
                500, "Service internal error: InferenceService URL not configured - please provide"
            ),
            0.9,
            "note",
            "no inference service",
        ),
        (answered(500, "Failed to send inference request"), 0.9, "error", "Failed to send"),
        (
            answered(400, "Inference request validation failed: x"),
            0.9,
            "error",
            "validation failed",
        ),
        (0.9, answered(500, "no"), "error", "500: no"),
    ],
)
def test_a_query_through_the_servers_inference(
    metadata: CollectionMetadata,
    vectorizer: Vectorizer,
    inferred: Any,
    sent: Any,
    severity: str,
    said: str,
) -> None:
    server = Server(metadata)
    server.inferred, server.sent = inferred, sent
    (diagnostic,) = look(server, embedder=vectorizer)["inference"]
    assert (diagnostic.severity, said in diagnostic.message) == (severity, True)


def test_a_service_embeds_the_query_too(
    metadata: CollectionMetadata,
    vectorizer: Vectorizer,
    start_service: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A busy machine is no fault of the service's.
    monkeypatch.setattr("lusifer.qdrant.doctor._CLIENT_TIMEOUT_S", 600)
    service = start_service(vectorizer).ready()
    found = look(Server(metadata), service_url=service.url)
    assert severities(found) == {
        "version": ["ok"],
        "service": ["ok"],
        "timeouts": ["ok"],
        "schema": ["ok"],
        "fingerprint": ["ok"],
        "strict mode": ["ok"],
        "points": ["ok"],
        "inference": ["ok"],
    }


def test_a_slow_service_is_compared_with_every_timeout_on_the_way(
    metadata: CollectionMetadata, bundle: Bundle, start_service: Any
) -> None:
    engine = FakeEngine(bundle.manifest.dimension, faults=Faults(slow_s=0.3))
    service = start_service(Vectorizer(bundle, engine)).ready()
    (diagnostic,) = look(Server(metadata, "1.16.0"), service_url=service.url)["timeouts"]
    assert diagnostic.severity == "warning"
    assert (
        "qdrant-client by default waits for 5 s and this Qdrant by default waits for 10 s"
        in diagnostic.message
    )
    assert "QdrantClient(timeout=" in diagnostic.fix
    assert "QDRANT__INFERENCE__TIMEOUT=" in diagnostic.fix


def test_an_absent_service_or_one_of_another_model(
    metadata: CollectionMetadata, vectorizer: Vectorizer, start_service: Any, tmp_path: Any
) -> None:
    from plugin.tests.conftest import make_bundle

    found = look(Server(metadata), service_url="http://127.0.0.1:9")
    assert severities(found)["service"] == ["error"]
    assert severities(found)["schema"] == ["ok"], "the collection is examined without it"
    other = make_bundle(tmp_path / "staging", tmp_path / "other", seed=1)
    service = start_service(Vectorizer(other, FakeEngine(16))).ready()
    (diagnostic,) = look(Server(metadata), embedder=vectorizer, service_url=service.url)["service"]
    assert "Serve the same bundle" in diagnostic.fix
