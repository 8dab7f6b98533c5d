from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("fastembed")
pytest.importorskip("qdrant_client")

from fastembed import TextEmbedding
from qdrant_client import QdrantClient, models

from lusifer.bundle.names import exact_name
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine
from lusifer.errors import InvalidTextError, MissingExtraError, UnknownModelError
from lusifer.qdrant import registry
from lusifer.qdrant.registry import MODEL, LusiferEmbedding

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer.bundle.format import Bundle

OWN = "lusifer/lusifer-tiny-test"
TEXTS = ["the cat sits on the mat", "Die Katze sitzt auf der Matte.", "猫はマットの上に"]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUSIFER_CACHE", str(tmp_path / "cache"))
    for name in ("LUSIFER_BUNDLE", "LUSIFER_URL", "LUSIFER_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    registry._served.cache_clear()


def listed() -> dict[str, int]:
    return {each.model: each.dim for each in LusiferEmbedding._list_supported_models()}


def test_it_is_registered_once_and_listed_by_fastembed() -> None:
    assert TextEmbedding.EMBEDDINGS_REGISTRY.count(LusiferEmbedding) == 1
    (entry,) = (each for each in TextEmbedding.list_supported_models() if each["model"] == MODEL)
    assert entry["dim"] == 384
    assert TextEmbedding.get_embedding_size(MODEL) == 384
    assert listed() == {MODEL: 384}


def test_roles_order_and_count(tiny_bundle: Path) -> None:
    model = LusiferEmbedding(MODEL, bundle=str(tiny_bundle))
    with Vectorizer.load(tiny_bundle) as vectorizer:
        documents, questions = vectorizer.embed_documents(TEXTS), vectorizer.embed_queries(TEXTS)
    assert np.abs(np.stack(list(model.embed(TEXTS))) - documents.vectors).max() < 1e-6
    assert np.abs(np.stack(list(model.query_embed(TEXTS))) - questions.vectors).max() < 1e-6
    assert np.abs(documents.vectors - questions.vectors).max() > 0.01
    (alone,) = model.query_embed(TEXTS[0])
    assert np.abs(alone - questions.vectors[0]).max() < 1e-6
    assert model.token_count(TEXTS) == sum(documents.tokens)
    assert model.token_count(TEXTS[0]) == documents.tokens[0]
    assert model.embedding_size == 16
    assert list(model.embed([])) == []


def test_texts_are_read_as_they_are_needed(tiny_bundle: Path) -> None:
    read = 0

    def endless() -> Any:
        nonlocal read
        while True:
            read += 1
            yield f"text {read}"

    model = LusiferEmbedding(MODEL, bundle=str(tiny_bundle))
    stream = model.embed(endless())
    for _ in range(300):
        next(stream)
    assert read == 512


def test_a_text_that_can_not_be_embedded_is_an_error_and_no_vector(tiny_bundle: Path) -> None:
    model = LusiferEmbedding(MODEL, bundle=str(tiny_bundle))
    with pytest.raises(InvalidTextError):
        list(model.embed(["good", " "]))


def test_a_smaller_dimension(tiny_bundle: Path) -> None:
    (vector,) = LusiferEmbedding(MODEL, bundle=str(tiny_bundle), dimension=8).embed("a")
    assert vector.shape == (8,)


@pytest.fixture
def exact(bundle: Bundle) -> str:
    """Return the name of the tiny model with its fingerprint."""
    return exact_name(bundle.manifest.name, bundle.manifest.fingerprint)


def ask(client: QdrantClient, model: str) -> str:
    """Store the three texts and ask for the first with documents of this model."""
    client.create_collection(
        "docs", {"lusifer": models.VectorParams(size=16, distance=models.Distance.COSINE)}
    )
    points = [
        models.PointStruct(
            id=n, vector={"lusifer": models.Document(text=text, model=model)}, payload={"t": text}
        )
        for n, text in enumerate(TEXTS)
    ]
    client.upsert("docs", points)
    question = models.Document(text=TEXTS[0], model=model)
    return str(
        client.query_points("docs", query=question, using="lusifer", limit=1).points[0].payload["t"]
    )


def test_a_bundle_of_ones_own_is_known_by_its_name(
    tiny_bundle: Path, exact: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUSIFER_BUNDLE", str(tiny_bundle))
    assert listed() == {MODEL: 384, OWN: 16, exact: 16}
    assert LusiferEmbedding.get_embedding_size(OWN) == 16
    for name in (OWN, exact):
        assert ask(QdrantClient(":memory:"), name) == TEXTS[0]
    with pytest.raises(
        UnknownModelError, match=f"'{MODEL}' was asked for, and the model found is '{OWN}'"
    ) as caught:
        LusiferEmbedding(MODEL)
    assert f"model='{OWN}'" in caught.value.next_step, "the advice works: it is listed"


def test_a_service_computes_and_its_model_is_known_by_its_name(
    bundle: Bundle, exact: str, monkeypatch: pytest.MonkeyPatch, start_service: Any
) -> None:
    service = start_service(Vectorizer(bundle, FakeEngine(16))).ready()
    monkeypatch.setenv("LUSIFER_URL", service.url)
    assert listed() == {MODEL: 384, OWN: 16, exact: 16}
    for name in (OWN, exact):
        assert ask(QdrantClient(":memory:"), name) == TEXTS[0]
    with pytest.raises(UnknownModelError):
        LusiferEmbedding(MODEL)
    # Named expressly, in a document's options, any name will do.
    monkeypatch.delenv("LUSIFER_URL")
    (vector,) = LusiferEmbedding(MODEL, url=service.url).embed("a")
    assert vector.shape == (16,)


def test_another_models_fingerprint_is_refused(tiny_bundle: Path, exact: str) -> None:
    for name in (f"{OWN}@00000000", f"{MODEL}@00000000"):
        with pytest.raises(UnknownModelError, match=f"'{name}' was asked for.*'{exact}'"):
            LusiferEmbedding(name, bundle=str(tiny_bundle))


def test_a_default_bundle_that_was_built_is_known(
    tiny_bundle: Path, exact: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LUSIFER_CACHE", str(tmp_path))
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / "built").symlink_to(tiny_bundle)
    assert listed() == {MODEL: 384, OWN: 16, exact: 16}


def test_an_environment_that_leads_nowhere_hides_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LUSIFER_BUNDLE", str(tmp_path))
    monkeypatch.setenv("LUSIFER_URL", "http://127.0.0.1:9")
    assert listed() == {MODEL: 384}


def test_without_fastembed_the_command_to_install_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "fastembed", None)
    monkeypatch.delitem(sys.modules, "lusifer.qdrant.registry")
    with pytest.raises(MissingExtraError, match="fastembed") as caught:
        import lusifer.qdrant.registry  # noqa: F401
    assert "pip install 'lusifer[qdrant]'" in caught.value.next_step
