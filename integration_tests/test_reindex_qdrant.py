"""Re-embedding on Qdrant while applications write: another collection behind an alias, and in
place."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis.stateful import run_state_machine_as_test
from integration_tests.qdrant_server import (  # noqa: F401
    InferenceGate,
    QdrantUnderTest,
    inference_gate,
    qdrant_under_test,
)
from numpy.typing import NDArray
from plugin.tests.conftest import make_bundle
from plugin.tests.reindex.support import NEW, OLD, make_plan
from plugin.tests.reindex_machine import AliasMachine, InPlaceMachine, machine_settings, torture
from plugin.tests.reindex_world import Side, cut_over_while, written_again
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse
from typer.testing import CliRunner

from lusifer.bundle.format import Bundle
from lusifer.bundle.names import exact_name
from lusifer.cli.app import app
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine
from lusifer.errors import FingerprintMismatchError, InvalidInputError, ReindexError
from lusifer.qdrant.connection import connect
from lusifer.qdrant.metadata import metadata_for, parse_metadata
from lusifer.qdrant.points import payload_of
from lusifer.qdrant.schema import create_collection, set_alias
from lusifer.qdrant.search import points, search
from lusifer.qdrant.store import QdrantStore
from lusifer.reindex.cleaning import clean
from lusifer.reindex.endpoints.base import Migration
from lusifer.reindex.endpoints.qdrant.alias import QdrantAliasCutover
from lusifer.reindex.endpoints.qdrant.collection import QdrantEndpoint
from lusifer.reindex.endpoints.qdrant.named_vector import (
    QdrantNamedVectorCutover,
    QdrantNamedVectorTarget,
)
from lusifer.reindex.job import Job
from lusifer.reindex.runner import run
from lusifer.stores.payloads import document_uuid
from lusifer.types import Document


class AliasWorld:
    """Two collections and an alias."""

    in_place = False
    holds = ()

    def __init__(self, client: QdrantClient) -> None:
        self.client = client
        self.base = f"test-{uuid.uuid4().hex[:12]}"
        self.alias = self.base
        self.old = metadata_for(f"{self.base}-v1", OLD)
        self.new = metadata_for(f"{self.base}-v2", NEW)
        create_collection(client, self.old)
        action = models.CreateAlias(collection_name=self.old.collection, alias_name=self.alias)
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=action)])

    def migration(self) -> Migration:
        old, new = (
            QdrantEndpoint(self.client, each.collection, each.vector_name)
            for each in (self.old, self.new)
        )
        switch = QdrantAliasCutover(
            self.client, alias=self.alias, source=self.old.collection, target=self.new.collection,
            metadata=self.new, template=self.old.collection, replaced_vector="lusifer",
        )  # fmt: skip
        return Migration(old, new, switch)

    def write(self, document: Document, vector: NDArray[np.float32], side: Side = "live") -> None:
        point = models.PointStruct(
            id=document_uuid(document.id),
            vector={"lusifer": vector.tolist()},
            payload=payload_of(document),
        )
        self.client.upsert(self._name(side), [point], wait=True)

    def delete(self, document_id: str, side: Side = "live") -> None:
        self.client.delete(self._name(side), [document_uuid(document_id)], wait=True)

    def everything(self, side: Side) -> dict[str, tuple[Document, NDArray[np.float32] | None]]:
        if not self.client.collection_exists(self._name(side)):
            return {}
        return _documents(self.client, self._name(side), "lusifer")

    def _name(self, side: Side) -> str:
        return {"live": self.alias, "old": self.old.collection, "new": self.new.collection}[side]

    def close(self) -> None:
        for each in (self.old, self.new):
            self.client.delete_collection(each.collection)


class VectorWorld:
    """One collection, two vectors."""

    in_place = True
    holds = ()

    def __init__(self, client: QdrantClient) -> None:
        self.client = client
        self.old = metadata_for(f"test-{uuid.uuid4().hex[:12]}", OLD)
        self.new = metadata_for(self.old.collection, NEW).model_copy(
            update={"vector_name": "lusifer2"}
        )
        create_collection(client, self.old)

    def migration(self, *, backwards: bool = False) -> Migration:
        name = self.old.collection
        old, new = (self.new, self.old) if backwards else (self.old, self.new)
        return Migration(
            QdrantEndpoint(self.client, name, old.vector_name, only_lacking=new.vector_name),
            QdrantNamedVectorTarget(self.client, name, new.vector_name),
            QdrantNamedVectorCutover(self.client, source=old, target=new),
            in_place=True,
        )

    def write(self, document: Document, vector: NDArray[np.float32], side: Side = "live") -> None:
        if side == "live":
            side = "new" if self.migration().cutover.is_live() else "old"
        point = models.PointStruct(
            id=document_uuid(document.id),
            vector={"lusifer2" if side == "new" else "lusifer": vector.tolist()},
            payload=payload_of(document),
        )
        self.client.upsert(self.old.collection, [point], wait=True)

    def delete(self, document_id: str, side: Side = "live") -> None:
        self.client.delete(self.old.collection, [document_uuid(document_id)], wait=True)

    def everything(self, side: Side) -> dict[str, tuple[Document, NDArray[np.float32] | None]]:
        return _documents(
            self.client, self.old.collection, "lusifer2" if side == "new" else "lusifer"
        )

    def close(self) -> None:
        self.client.delete_collection(self.old.collection)


def _documents(
    client: QdrantClient, collection: str, vector_name: str
) -> dict[str, tuple[Document, NDArray[np.float32] | None]]:
    scrolled, _ = client.scroll(collection, limit=1000, with_payload=True, with_vectors=True)
    found = {}
    for point in scrolled:
        payload, vector = point.payload or {}, (point.vector or {}).get(vector_name)
        document = Document(payload["id"], payload["text"], payload["metadata"])
        found[document.id] = (
            document,
            None if vector is None else np.asarray(vector, dtype=np.float32),
        )
    return found


@pytest.fixture
def client(qdrant: QdrantUnderTest) -> Iterator[QdrantClient]:
    made = connect(qdrant.url)
    yield made
    made.close()


@pytest.fixture(params=[(AliasWorld, AliasMachine), (VectorWorld, InPlaceMachine)])
def machine(client: QdrantClient, request: pytest.FixtureRequest) -> Any:
    world, kind = request.param

    class QdrantMachine(kind):  # type: ignore[misc]
        @staticmethod
        def make_world(folder: Path) -> Any:
            return world(client)

    return QdrantMachine


def test_applications_write_all_the_while(machine: Any) -> None:
    run_state_machine_as_test(machine, settings=machine_settings(8, 12))


@pytest.mark.torture
def test_torture(machine: Any) -> None:
    torture(machine)


@pytest.mark.parametrize("world", [AliasWorld, VectorWorld])
def test_what_an_application_takes_away_and_brings_back_at_the_switch(
    client: QdrantClient, world: Any, tmp_path: Path
) -> None:
    made = world(client)
    try:
        written_again(made, tmp_path)
    finally:
        made.close()


def test_an_edit_of_a_part_after_the_switch_stays(client: QdrantClient, tmp_path: Path) -> None:
    """It leaves the mark of a copy in the payload; and the cleaning takes the marks away."""
    world = AliasWorld(client)
    try:
        documents = [Document(f"doc/{n}", f"text {n}", {"edit": 0}) for n in range(3)]
        for document in documents:
            world.write(document, OLD.vector(document.text))
        migration, job = world.migration(), Job.create(tmp_path / "job", make_plan())
        with job.locked():
            run(job, migration, NEW)

        def before() -> None:
            for document in documents[:2]:
                world.write(
                    Document(document.id, "edited before", {"edit": 1}), OLD.vector("edited before")
                )

        def after() -> None:
            client.set_payload(
                world.alias, {"metadata": {"edit": 2}}, [document_uuid("doc/0")], wait=True
            )

        cut_over_while(job, migration, before=before, at_the_switch=lambda: None, after=after)
        # The first document has another text in the old collection.
        with pytest.raises(ReindexError, match="1 documents were changed both"):
            clean(job, migration)
        clean(job, migration, force=True)
        found = world.everything("new")
        assert found["doc/0"][0] == Document("doc/0", "text 0", {"edit": 2})
        assert found["doc/1"][0] == Document("doc/1", "edited before", {"edit": 1})
        scrolled, _ = client.scroll(world.new.collection)
        assert [set(point.payload or {}) for point in scrolled] == [
            {"id", "text", "metadata", "sha256"}
        ] * 3
        assert not client.collection_exists(world.old.collection)
    finally:
        world.close()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    base = tmp_path_factory.mktemp("bundles")
    return [
        make_bundle(base / f"staging{seed}", base / f"bundle{seed}", seed=seed) for seed in (0, 1)
    ]


def command(*arguments: object) -> Any:
    given = [str(each) for each in ("reindex", *arguments, "--json")]
    result = CliRunner().invoke(app, given, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def planning(qdrant: QdrantUnderTest, collection: str, bundle: Bundle, job: Path) -> list[object]:
    where = ["--qdrant", qdrant.url, "--collection", collection, "--bundle", bundle.path]
    return ["plan", *where, "--job", job, "--window", 16, "--minimum-recall", 0]


@pytest.mark.parametrize("in_place", [False, True])
def test_a_switch_looks_at_the_servers_inference(
    client: QdrantClient,
    qdrant: QdrantUnderTest,
    gate: InferenceGate,
    bundles: list[Bundle],
    start_service: Any,
    tmp_path: Path,
    in_place: bool,
) -> None:
    """A server has one inference service: after a switch it may still be the old model's."""
    old, new = (Vectorizer(bundle, FakeEngine(16)) for bundle in bundles)
    services = [start_service(each).ready() for each in (old, new)]
    names = [exact_name(each.model_name, each.fingerprint) for each in (old, new)]
    name = f"test-{uuid.uuid4().hex[:12]}"
    create_collection(client, metadata_for(f"{name}-v1", old))
    set_alias(client, name, f"{name}-v1")
    documents = [Document(f"d{n}", f"cat dog {n}") for n in range(20)]
    client.upsert(name, points(documents, old))
    job = tmp_path / "job"
    plan = planning(qdrant, name, bundles[1], job)
    live = f"{name}-v1" if in_place else name
    created = [
        f"{name}-v1",
        command(*plan, *["--in-place"][: int(in_place)])["target"]["collection"],
    ]
    vector = "lusifer"

    def query(model: str) -> Any:
        document = models.Document(text="cat dog 3", model=model)
        return client.query_points(live, query=document, using=vector, limit=1).points

    try:
        command("run", job)
        gate.forward_to = services[0].url
        first, fix = command("switch", job, "--force")["advice"]
        assert f"does not make vectors of {names[1]}" in first
        assert f"'{names[0]}' is" in first
        assert "QDRANT__INFERENCE__ADDRESS" in fix
        assert f"model='{names[1]}'" in fix
        if in_place:
            vector = parse_metadata(live, client.get_collection(live)).vector_name
        # The old service still answers, but not for who names the new model with its fingerprint.
        point = models.PointStruct(
            id=1, vector={vector: models.Document(text="late", model=names[1])}, payload={}
        )
        for call in (lambda: query(names[1]), lambda: client.upsert(live, [point])):
            with pytest.raises(UnexpectedResponse, match=names[0]):
                call()
        assert client.count(live).count == 20
        gate.forward_to = services[1].url
        (said,) = command("switch", job)["advice"]
        assert f"inference makes vectors of {names[1]}" in said
        assert query(names[1])
        first, _ = command("rollback", job)["advice"]
        assert f"does not make vectors of {names[0]}" in first
        gate.answer(500, {"error": "no"})
        assert len(command("switch", job, "--force")["advice"]) == 2
        if qdrant.server is not None:
            qdrant.server.inference_address = None
            assert command("rollback", job)["advice"] == []
    finally:
        gate.reset()
        if qdrant.server is not None:
            qdrant.server.inference_address = gate.address
        for each in set(created):
            client.delete_collection(each)


def test_a_foreign_collection_with_numbers_as_ids(
    client: QdrantClient, qdrant: QdrantUnderTest, bundles: list[Bundle], tmp_path: Path
) -> None:
    """Unnamed vectors of an unknown model, payloads of their own: all of it goes along."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    client.create_collection(
        name, vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE)
    )
    payloads = {n: {"body": f"text {n}", "sha256": "their own", "tags": [n]} for n in range(60)}
    payloads[60] = {"tags": ["no text"]}
    foreign = [
        models.PointStruct(id=n, vector=[1.0, n, 0, 0], payload=payload)
        for n, payload in payloads.items()
    ]
    client.upsert(name, foreign, wait=True)
    new = f"{name}-new"
    try:
        job = tmp_path / "job"
        more = ["--alias", f"{name}-live", "--new-collection", new, "--text-field", "body"]
        plan = command(*planning(qdrant, name, bundles[1], job), *more)
        assert plan["estimate"]["documents"] == 61
        report = command("run", job)
        assert (report["phase"], report["totals"]["written"]) == ("settled", 61)
        assert [each["key"] for each in report["refused"]] == ["#00000000000000000060"]
        result = CliRunner().invoke(app, ["reindex", "switch", str(job), "--json"])
        assert "have no new vector" in json.loads(result.stdout)["error"]["message"]
        command("switch", job, "--force")
        found, _ = client.scroll(f"{name}-live", limit=100, with_vectors=True)
        assert {point.id for point in found} == set(payloads)
        for point in found:
            assert isinstance(point.vector, dict)
            copied = dict(point.payload or {})
            assert len(copied.pop("lusifer_sha256")) == 64
            assert copied == payloads[int(point.id)]
            assert ("lusifer" in point.vector) == (point.id != 60)
        assert client.count(name).count == 61
        command("rollback", job)
        assert len(client.scroll(f"{name}-live", limit=100)[0]) == 61
    finally:
        for each in (name, new):
            client.delete_collection(each)


@pytest.mark.parametrize(
    ("payload", "options", "text", "metadata"),
    [
        # As LangChain and mem0 write them, a nested one, and one made of two fields.
        (
            {"page_content": "cat dog {n}", "metadata": {"lang": "en"}},
            ["--text-field", "page_content"],
            "cat dog 3",
            {"lang": "en"},
        ),
        (
            {"data": "cat dog {n}", "user_id": "u", "hash": "h"},
            ["--text-field", "data", "--drop", "hash", "--rename", "user_id=user"],
            "cat dog 3",
            {"user": "u"},
        ),
        (
            {"body": {"text": "cat dog {n}", "html": "h"}},
            ["--text-field", "body.text"],
            "cat dog 3",
            {"body": {"html": "h"}},
        ),
        (
            {"title": "cat", "rest": "dog {n}"},
            ["--template", r"{title}\n{rest}"],
            "cat\ndog 3",
            {"title": "cat", "rest": "dog 3"},
        ),
    ],
)
def test_the_texts_of_other_tools_are_found_by_searches_afterwards(
    client: QdrantClient,
    qdrant: QdrantUnderTest,
    bundles: list[Bundle],
    tmp_path: Path,
    payload: dict[str, Any],
    options: list[str],
    text: str,
    metadata: dict[str, Any],
) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    client.create_collection(
        name, vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE)
    )
    points_ = [
        models.PointStruct(
            id=n,
            vector=[1.0, n, 0, 0],
            payload=json.loads(json.dumps(payload).replace("{n}", str(n))),
        )
        for n in range(20)
    ]
    client.upsert(name, points_, wait=True)
    new = f"{name}-new"
    try:
        job = tmp_path / "job"
        more = ["--alias", f"{name}-live", "--new-collection", new]
        wrong = planning(qdrant, name, bundles[1], job)
        result = CliRunner().invoke(app, [*map(str, ["reindex", *wrong, *more]), "--json"])
        refused = json.loads(result.stdout)["error"]["message"]
        assert refused.startswith("None of 20 sampled documents has a text that can be embedded")
        assert all(field in refused for field in payload)
        assert not job.exists()
        command(*planning(qdrant, name, bundles[1], job), *more, *options)
        command("run", job)
        command("switch", job, "--force")
        where = ["--qdrant", qdrant.url, "--collection", f"{name}-live"]
        arguments = ["search", text, *where, "--bundle", str(bundles[1].path), "--json"]
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        hit = json.loads(result.stdout.splitlines()[0])
        assert (hit["id"], hit["text"], hit["metadata"]) == ("3", text, metadata)
        fingerprint = bundles[1].manifest.fingerprint
        opened = QdrantStore.open(connect(qdrant.url), new, fingerprint=fingerprint, model="new")
        with opened as store:
            document = Document("d", "a new text", {"lang": "de"})
            vector = Vectorizer(bundles[1], FakeEngine(16, seed=1)).embed_documents(["a new text"])
            if "." in options[1] or options[0] == "--template":
                with pytest.raises(InvalidInputError, match="which no document here has"):
                    store.upsert([document], vector.vectors)
            else:
                store.upsert([document], vector.vectors)
                assert store.search(vector.vectors[0], 1)[0].text == "a new text"
    finally:
        for each in (name, new):
            client.delete_collection(each)


def test_in_place_and_exactly_back(
    client: QdrantClient, qdrant: QdrantUnderTest, bundles: list[Bundle], tmp_path: Path
) -> None:
    old, new = (Vectorizer(each, FakeEngine(16, seed=seed)) for seed, each in enumerate(bundles))
    name = f"test-{uuid.uuid4().hex[:12]}"
    create_collection(client, metadata_for(name, old))
    written = [Document(f"d{n}", f"word{n} cat dog {n % 7}", {"lang": "en"}) for n in range(80)]
    client.upsert(name, points(written, old), wait=True)
    questions = ["cat word7", "dog 3"]
    try:
        before = [search(client, name, question, old) for question in questions]

        def as_before() -> None:
            for hits, expected in zip(
                [search(client, name, question, old) for question in questions], before, strict=True
            ):
                assert [hit.id for hit in hits] == [hit.id for hit in expected]
                # Local mode's own sums differ in the last digit from one call to the next.
                scores = [hit.score for hit in expected]
                assert [hit.score for hit in hits] == pytest.approx(scores, abs=1e-6)

        job = tmp_path / "job"
        plan = command(
            *planning(qdrant, name, bundles[1], job), "--in-place", "--vector-name", "second"
        )
        assert (plan["in_place"], plan["target"]["vector_name"]) == (True, "second")
        assert "second" not in client.get_collection(name).config.params.vectors
        assert command("run", job)["totals"]["written"] == 80
        as_before()
        command("switch", job, "--force")
        with pytest.raises(FingerprintMismatchError):
            search(client, name, questions[0], old)
        assert search(client, name, questions[0], new, limit=3)
        command("rollback", job)
        as_before()
        command("clean", job, "--yes")
        assert set(client.get_collection(name).config.params.vectors) == {"lusifer"}
    finally:
        client.delete_collection(name)
