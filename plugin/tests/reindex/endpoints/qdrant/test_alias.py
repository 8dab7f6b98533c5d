from __future__ import annotations

from typing import Any

import pytest
from plugin.tests.reindex.support import NEW

from lusifer.errors import FingerprintMismatchError, PlanError

pytest.importorskip("qdrant_client")
from qdrant_client import QdrantClient, models

from lusifer.qdrant.metadata import metadata_for
from lusifer.reindex.endpoints.qdrant.alias import QdrantAliasCutover


@pytest.fixture
def client() -> QdrantClient:
    """Create a collection ``v1`` of two vectors in local mode; the alias ``live`` points to it."""
    made = QdrantClient(":memory:")
    vectors = {
        "dense": models.VectorParams(size=4, distance=models.Distance.DOT, on_disk=True),
        "other": models.VectorParams(size=2, distance=models.Distance.EUCLID),
    }
    sparse = {"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)}
    made.create_collection("v1", vectors_config=vectors, sparse_vectors_config=sparse)
    alias = models.CreateAlias(collection_name="v1", alias_name="live")
    made.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    return made


def cutover(client: QdrantClient, **changes: Any) -> QdrantAliasCutover:
    options = {
        "alias": "live", "source": "v1", "target": "v2", "metadata": metadata_for("v2", NEW),
        "template": "v1", "replaced_vector": "dense", **changes,
    }  # fmt: skip
    return QdrantAliasCutover(client, **options)


def aliases(client: QdrantClient) -> dict[str, str]:
    return {each.alias_name: each.collection_name for each in client.get_aliases().aliases}


def test_the_target_is_made_like_the_template(client: QdrantClient) -> None:
    made = cutover(client)
    made.prepare()
    made.prepare()
    params = client.get_collection("v2").config.params
    assert isinstance(params.vectors, dict)
    dense, other = params.vectors["lusifer"], params.vectors["other"]
    assert set(params.vectors) == {"lusifer", "other"}
    assert (dense.size, dense.distance, dense.on_disk) == (8, models.Distance.COSINE, True)
    assert (other.size, other.distance) == (2, models.Distance.EUCLID)
    assert set(params.sparse_vectors or {}) == {"bm25"}


def test_the_alias_goes_and_comes_back(client: QdrantClient) -> None:
    made = cutover(client)
    made.prepare()
    assert not made.is_live()
    made.activate()
    assert (made.is_live(), aliases(client)) == (True, {"live": "v2"})
    made.deactivate()
    assert aliases(client) == {"live": "v1"}
    assert made.remove_target() == "the collection v2"
    assert not client.collection_exists("v2")


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")
def test_an_alias_of_new_documents_goes_again(client: QdrantClient) -> None:
    made = cutover(client, alias="fresh", source=None, template=None)
    made.prepare()
    made.activate()
    assert aliases(client) == {"live": "v1", "fresh": "v2"}
    made.deactivate()
    assert aliases(client) == {"live": "v1"}


def test_a_plan_without_alias_can_not_switch(client: QdrantClient) -> None:
    made = cutover(client, alias=None)
    assert not made.is_live()
    with pytest.raises(PlanError, match="names no alias"):
        made.activate()


def test_a_target_of_another_model_is_refused(client: QdrantClient) -> None:
    cutover(client).prepare()
    other = metadata_for("v2", NEW).model_copy(update={"fingerprint": "sha256:other"})
    with pytest.raises(FingerprintMismatchError):
        cutover(client, metadata=other).prepare()
