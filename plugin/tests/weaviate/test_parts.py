"""Errors, cards, versions, scripts and findings, without a server; messages are recorded from
1.39.0."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lusifer.errors import (
    CollectionMismatchError,
    FingerprintMismatchError,
    IndexNotFoundError,
    InvalidInputError,
    LusiferError,
    StorageFullError,
    StoreBusyError,
    StoreError,
    StoreUnavailableError,
    UnauthorizedError,
)
from lusifer.types import Document
from lusifer.weaviate.metadata import CollectionMetadata, parse_metadata
from lusifer.weaviate.schema import version_warnings
from lusifer.weaviate.tokenization import advise_tokenization, fits

weaviate = pytest.importorskip("weaviate")
from lusifer.weaviate.connection import connect, refused, weaviate_errors  # noqa: E402
from lusifer.weaviate.doctor import examine  # noqa: E402
from lusifer.weaviate.schema import vectors  # noqa: E402
from lusifer.weaviate.search import _plain  # noqa: E402
from lusifer.weaviate.store import WeaviateStore, _storable, object_id  # noqa: E402

ASK = "explorer: get class: vectorize search vector: vectorize keywords: remote client vectorize: "
MESSAGES = [
    (
        f"{ASK}fail with status 504: upstream timed out",
        StoreUnavailableError,
        "lusifer serve and its log",
    ),
    (
        f"{ASK}fail with status 503: failed with status: 503 error: busy",
        StoreBusyError,
        "Send less",
    ),
    (f"{ASK}fail with status 422: ", InvalidInputError, "Look at the text"),
    (f"{ASK}fail with status 401: The API key is missing.", UnauthorizedError, "COHERE_APIKEY"),
    (
        f"{ASK}failed to parse vectorization response (status 200): invalid character '<' looking for "
        "beginning of value",
        CollectionMismatchError,
        "is no lusifer serve",
    ),
    (
        f'{ASK}send POST request: Post "http://127.0.0.1:9/vectors": dial tcp 127.0.0.1:9: connect: '
        "connection refused",
        StoreUnavailableError,
        "nothing is lost",
    ),
    (
        f"{ASK}connection to Cohere failed with status: 504 error: x",
        StoreUnavailableError,
        "lusifer serve",
    ),
    ("connection to Cohere failed with status: 503 error: busy", StoreBusyError, "Send less"),
    (
        "connection to Cohere failed with status: 400 error: bad",
        InvalidInputError,
        "Look at the text",
    ),
    (
        f"{ASK}Cohere API Key: no api key found neither in request header: X-Cohere-Api-Key nor in "
        "environment variable under COHERE_APIKEY",
        UnauthorizedError,
        "COHERE_APIKEY",
    ),
    (
        f'{ASK}send POST request: Post "http://127.0.0.1:1/vectors": dial tcp 127.0.0.1:1: refusing to dial '
        'internal address "127.0.0.1:1"',
        CollectionMismatchError,
        "MODULES_VALIDATE_BASE_URL",
    ),
    (
        "module 'text2vec-cohere': baseURL must use HTTPS",
        CollectionMismatchError,
        "MODULES_VALIDATE_BASE_URL",
    ),
    (
        'target vector "lusifer": vectorizer: no module with name "text2vec-transformers" present',
        CollectionMismatchError,
        "ENABLE_MODULES=text2vec-transformers",
    ),
    (
        "the Japanese tokenizer is not enabled; set 'ENABLE_TOKENIZER_KAGOME_JA' to 'true' to enable",
        CollectionMismatchError,
        "ENABLE_TOKENIZER_KAGOME_JA=true",
    ),
    ("tenant not active: 'a'", StoreError, "collection.tenants.activate('a')"),
    ("could not find class Tr in schema", IndexNotFoundError, "lusifer weaviate setup"),
    (
        "store is read-only due to: disk usage too high",
        StorageFullError,
        "DISK_USE_READONLY_PERCENTAGE",
    ),
    (
        "knn search: distance between entrypoint and query node: 16 vs 8: vector lengths don't match",
        CollectionMismatchError,
        "lusifer doctor weaviate",
    ),
    ("leader not found", StoreUnavailableError, "run again"),
    (
        "invalid date property 'when' on class 'A': requires a string with a RFC3339 formatted date, but the "
        "given value is 'no date'",
        InvalidInputError,
        "shows what it takes",
    ),
]


@pytest.mark.parametrize(
    ("message", "kind", "step"), MESSAGES, ids=[each[0][-40:] for each in MESSAGES]
)
def test_every_sentence_of_the_server_becomes_an_error_with_a_next_step(
    message: str, kind: type[LusiferError], step: str
) -> None:
    error = refused(message, "Articles")
    assert type(error) is kind
    assert step in error.next_step
    assert error.retryable == issubclass(kind, StoreBusyError | StoreUnavailableError)


def test_errors_of_the_client_become_ours() -> None:
    import grpc
    import httpx
    from weaviate.exceptions import (
        UnexpectedStatusCodeError,
        WeaviateBatchError,
        WeaviateConnectionError,
        WeaviateInsertManyAllFailedError,
    )

    def answer(status: int, message: str) -> Exception:
        body = {"error": [{"message": message}]}
        return UnexpectedStatusCodeError("It failed.", httpx.Response(status, json=body))

    for raised, kind, said in (
        (
            answer(401, "anonymous access not enabled"),
            UnauthorizedError,
            "anonymous access not enabled",
        ),
        (answer(404, "?"), IndexNotFoundError, "no collection 'A'"),
        (answer(422, 'module "x" is "off"'), InvalidInputError, "Weaviate refused: "),
        (answer(500, "boom"), StoreUnavailableError, "Weaviate did not do it: boom"),
        (
            WeaviateConnectionError("Connection to Weaviate failed."),
            StoreUnavailableError,
            "failed",
        ),
        (httpx.ConnectError("refused"), StoreUnavailableError, "connection: refused"),
        (grpc.RpcError("gone"), StoreUnavailableError, "gone"),
        (
            WeaviateBatchError(
                "<_InactiveRpcError of RPC that terminated with:\n\tstatus = StatusCode.UNAVAILABLE\n"
                '\tdetails = "Socket closed"\n>'
            ),
            StoreUnavailableError,
            "Weaviate did not do it: Socket closed (UNAVAILABLE)",
        ),
        (
            WeaviateInsertManyAllFailedError(
                "Here is the set of all errors: tenant not active: 'a'"
            ),
            StoreError,
            "tenant a",
        ),
    ):
        with pytest.raises(kind) as caught, weaviate_errors("A"):
            raise raised
        assert said in caught.value.message
        assert "Here is the set" not in caught.value.message
    with pytest.raises(ZeroDivisionError), weaviate_errors("A"):
        _ = 1 / 0


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "http://x:port", "http://", ""])
def test_addresses_that_can_not_be_used(url: str) -> None:
    with pytest.raises(InvalidInputError, match="can't be used"):
        connect(url)


def test_versions_and_what_they_lack() -> None:
    assert version_warnings("1.39.0") == version_warnings("1.38.8") == []
    lacking = {
        version: len(version_warnings(version))
        for version in ("1.38.7", "1.35.9", "1.31.4", "1.30.2")
    }
    assert lacking == {"1.38.7": 1, "1.35.9": 2, "1.31.4": 3, "1.30.2": 4}
    assert "task_type" in version_warnings("1.30.2")[0]
    assert "server-side batching" in version_warnings("1.35.9")[0]
    assert "pooled connection" in version_warnings("v1.38.7-rc.1")[0]


CARD = CollectionMetadata(fingerprint="sha256:" + "a" * 64, model="m", dimension=16)


def config(
    description: str, *, module: str = "text2vec-transformers", sources: Any = ("text",)
) -> Any:
    vectorizer = SimpleNamespace(vectorizer=module, model={}, source_properties=sources)
    vector = SimpleNamespace(
        vectorizer=vectorizer, vector_index_config=SimpleNamespace(distance_metric="cosine")
    )
    return SimpleNamespace(
        name="A", description=description, vector_config={"lusifer": vector}, properties=[]
    )


@given(
    st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: "lusifer:" not in text)
)
def test_a_card_is_found_under_any_description(text: str) -> None:
    assert parse_metadata("A", config(CARD.in_description(text))) == CARD


def test_cards_that_can_not_be_used() -> None:
    for wrong, said in (
        (config("mine"), "says nothing of LUSIFER"),
        (config("lusifer: {}"), "can't be read"),
        (config(CARD.in_description(), sources=None), "names no source properties"),
        (
            config(CARD.model_copy(update={"vector_name": "x"}).in_description()),
            "no vector named 'x'",
        ),
    ):
        with pytest.raises(CollectionMismatchError, match=said):
            parse_metadata("A", wrong)
    parse_metadata("A", config(CARD.in_description(), module="none", sources=None))
    with pytest.raises(FingerprintMismatchError, match="the model in use is other"):
        CARD.check("A", fingerprint="sha256:b", model="other")


def test_the_vector_of_a_collection_is_set_up_for_any_language() -> None:
    made = vectors(
        "http://h:8000/", source_properties=["Title", "body"], dimensions=64, quantizer="rq"
    )
    fields = made.vectorizer.model_dump(exclude_none=True)
    assert fields["vectorizeClassName"] is False
    assert fields["inferenceUrl"] == "http://h:8000"
    assert made._to_dict()["vectorizer"]["text2vec-transformers"]["properties"] == ["title", "body"]
    cohere = vectors(
        "http://h:8000", source_properties=["text"], route="cohere", model="m"
    )._to_dict()
    module = cohere["vectorizer"]["text2vec-cohere"]
    assert (module["baseURL"], module["truncate"]) == ("http://h:8000/cohere", "END")
    for options, said in (
        ({"source_properties": []}, "No source properties"),
        ({"source_properties": ["a"], "route": "openai"}, "route is 'openai'"),
        ({"source_properties": ["a"], "quantizer": "x"}, "quantizer is 'x'"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            vectors("http://h:8000", **options)


ENGLISH = "The cat sits on the mat."
TEXTS = {
    "word": [
        "Die Katze sitzt auf der Matte.",
        "Кошка сидит на коврике.",
        "القطة تجلس على السجادة.",
        "",
        "123",
    ],
    "kagome_ja": ["猫はマットの上に座っています。", "カタカナ", "写真を編集する"],
    "kagome_kr": ["고양이가 매트 위에 앉아 있습니다.", "사진 편집"],
    "gse": ["猫坐在垫子上。", "编辑照片"],
    "trigram": ["แมวนั่งบนเสื่อ", "ແມວ", "ឆ្មា"],
}


@pytest.mark.parametrize("advised", TEXTS)
def test_the_tokenization_follows_the_scripts(advised: str) -> None:
    assert advise_tokenization(TEXTS[advised]) == advised
    assert fits(advised, TEXTS[advised])
    assert fits("trigram", TEXTS[advised])
    assert fits("word", TEXTS[advised]) == (advised == "word")
    assert not fits("field", TEXTS[advised])


def test_mixtures_of_scripts() -> None:
    assert advise_tokenization([]) == "word"
    assert advise_tokenization([*TEXTS["gse"] * 10, *TEXTS["kagome_kr"] * 10]) == "trigram"
    assert advise_tokenization([ENGLISH] * 10 + TEXTS["gse"]) == "trigram"
    # A few foreign texts are no reason to cut all others worse.
    assert advise_tokenization([ENGLISH] * 99 + TEXTS["gse"][:1]) == "word"
    assert advise_tokenization(["Python 3.11 のための LUSIFER は埋め込みモデルです"]) == "kagome_ja"


@given(st.lists(st.text()), st.sampled_from(["word", "trigram", "gse", "field"]))
def test_any_text_can_be_looked_at(texts: list[str], tokenization: str) -> None:
    assert fits(advise_tokenization(texts), texts)
    assert isinstance(fits(tokenization, texts), bool)


JSON = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_a_value_is_stored_as_it_is_or_refused(value: Any) -> None:
    try:
        stored = _storable(Document("a", "b"), "field", value)
    except InvalidInputError as error:
        # A name with a quote in it is shown between the other kind.
        assert re.search(r"the field ['\"]field", error.message)
    else:
        assert stored == value
        assert _plain(stored) == value


class Away:
    """A server of which only /v1/meta is there."""

    def __init__(self, meta: dict[str, Any]) -> None:
        self.meta = meta

    def get_meta(self) -> dict[str, Any]:
        return self.meta


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        (
            {"version": "1.30.1", "modules": {"text2vec-cohere": {}}},
            {"version": "warning", "modules": "ok"},
        ),
        ({"version": "1.39.0", "modules": {}}, {"version": "ok", "modules": "error"}),
        ({"version": "1.39.0"}, {"version": "ok", "modules": "error"}),
        (
            {"version": "1.39.0", "modules": {"text2vec-transformers": {"error": "dial"}}},
            {"reached": "warning"},
        ),
        (
            {"version": "1.39.0", "modules": {"text2vec-transformers": {"model": "t5"}}},
            {"reached": "note"},
        ),
        (
            {
                "version": "1.39.0",
                "modules": {"text2vec-transformers": {"name": "lusifer", "model": "m"}},
            },
            {"reached": "ok"},
        ),
    ],
)
def test_the_doctor_reads_what_the_server_says_of_itself(
    meta: dict[str, Any], expected: dict[str, str]
) -> None:
    found = {each.subject: each.severity for each in examine(Away(meta))}
    assert expected.items() <= found.items()


class Flaky:
    """A collection that loses, refuses and delays, as a server under stress does; keeps what it takes."""

    name = "A"

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.script: list[Any] = []
        self.calls = 0
        self.data = self.query = self.config = self
        self.references: list[Any] = []
        self.unfindable: set[str] = set()

    def get(self) -> Any:
        return SimpleNamespace(properties=[], references=[])

    def add_property(self, _: Any) -> None: ...

    def insert_many(self, batch: list[Any]) -> Any:
        self.calls += 1
        keep, outcome = self.script.pop(0) if self.script else (len(batch), None)
        for each in batch[:keep]:
            self.objects[str(each.uuid)] = SimpleNamespace(
                uuid=each.uuid, properties=each.properties, vector=each.vector
            )
        if isinstance(outcome, Exception):
            raise outcome
        errors = {0: SimpleNamespace(message=outcome)} if outcome else {}
        return SimpleNamespace(errors=errors)

    def fetch_objects_by_ids(self, keys: list[str], **_: Any) -> Any:
        found = [
            self.objects[key] for key in keys if key in self.objects and key not in self.unfindable
        ]
        return SimpleNamespace(objects=found)

    def exists(self, key: str) -> bool:
        return key in self.objects

    def delete_by_id(self, key: str) -> bool:
        self.unfindable.discard(key)
        return self.objects.pop(key, None) is not None


def flaky_store(flaky: Flaky, retry_for_s: float = 60) -> WeaviateStore:
    client = SimpleNamespace(
        collections=SimpleNamespace(get=lambda name: flaky), close=lambda: None
    )
    made = config(CARD.in_description())
    made.references = []
    return WeaviateStore(client, flaky, CARD, made, retry_for_s=retry_for_s)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)


@pytest.mark.usefixtures("no_waiting")
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([None, "shutting down", "timeout"])),
        max_size=6,
    )
)
def test_whatever_a_batch_loses_is_written_in_the_end(script: list[Any]) -> None:
    """Error lists that lie in either direction, batches cut anywhere: what is read back decides."""
    import numpy as np

    flaky = Flaky()
    flaky.script = list(script)
    documents = [Document(f"d{n}", f"text {n}", {"n": n}) for n in range(5)]
    flaky_store(flaky).upsert(documents, np.eye(16, dtype=np.float32)[:5])
    assert len(flaky.objects) == 5
    store = flaky_store(flaky)
    assert store.unchanged(documents) == {each.id for each in documents}


@pytest.mark.usefixtures("no_waiting")
def test_what_a_crash_left_without_index_is_written_anew(caplog: pytest.LogCaptureFixture) -> None:
    """A real Weaviate 1.39 killed in a batch of 16 had 10 of it that no writing made findable again."""
    import numpy as np

    flaky = Flaky()
    documents = [Document(f"d{n}", f"text {n}") for n in range(5)]
    flaky.unfindable = {object_id("d1"), object_id("d3")}
    flaky_store(flaky).upsert(documents, np.eye(16, dtype=np.float32)[:5])
    assert not flaky.unfindable
    assert len(flaky.objects) == 5
    assert caplog.text.count("it is written anew") == 2
    assert flaky_store(flaky).unchanged(documents) == {each.id for each in documents}


@pytest.mark.usefixtures("no_waiting")
def test_what_a_replica_has_late_is_not_deleted(caplog: pytest.LogCaptureFixture) -> None:
    import numpy as np

    class Late(Flaky):
        """A filter finds what was written from the second reading on."""

        readings = 0

        def fetch_objects_by_ids(self, keys: list[str], **options: Any) -> Any:
            self.readings += 1
            return super().fetch_objects_by_ids(keys if self.readings > 1 else [], **options)

        def delete_by_id(self, key: str) -> bool:
            raise AssertionError(f"{key} was only late")

    late = Late()
    flaky_store(late).upsert([Document("a", "b")], np.eye(16, dtype=np.float32)[:1])
    assert set(late.objects) == {object_id("a")}
    assert "written anew" not in caplog.text


@pytest.mark.usefixtures("no_waiting")
def test_other_vectors_read_before_a_crash_are_written_after_it() -> None:
    import numpy as np

    flaky = Flaky()
    store = flaky_store(flaky)
    document = Document("a", "old")
    store.upsert([document], np.eye(16, dtype=np.float32)[:1])
    key = object_id("a")
    flaky.objects[key].vector["own"] = [1.0, 2.0]
    flaky.objects[key].references = None
    store._other_vectors = ["own"]
    store._marks = []
    written = flaky.insert_many

    def crash(batch: list[Any]) -> Any:
        flaky.insert_many = written  # type: ignore[method-assign]
        flaky.unfindable = {key}
        raise StoreUnavailableError("Weaviate is gone.", next_step="Start it.")

    flaky.insert_many = crash  # type: ignore[method-assign]
    store.upsert([Document("a", "new")], np.eye(16, dtype=np.float32)[:1])
    assert flaky.objects[key].properties["text"] == "new"
    assert flaky.objects[key].vector["own"] == [1.0, 2.0]


@pytest.mark.usefixtures("no_waiting")
def test_what_the_server_refuses_for_ever_is_told_at_once() -> None:
    import numpy as np

    flaky = Flaky()
    flaky.script = [
        (
            1,
            "new node has a vector with length 8. Existing nodes have vectors with length 16: vector lengths",
        )
    ]
    with pytest.raises(CollectionMismatchError):
        flaky_store(flaky).upsert(
            [Document("a", "b"), Document("c", "d")], np.eye(16, dtype=np.float32)[:2]
        )
    assert flaky.calls == 1
    assert len(flaky.objects) == 1


@pytest.mark.usefixtures("no_waiting")
def test_a_server_that_stays_away_is_given_up_in_the_end() -> None:
    import httpx
    import numpy as np

    flaky = Flaky()
    flaky.script = [(0, httpx.ConnectError("refused"))] * 3
    with pytest.raises(StoreUnavailableError, match="refused"):
        flaky_store(flaky, retry_for_s=0).upsert(
            [Document("a", "b")], np.eye(16, dtype=np.float32)[:1]
        )
    assert flaky.calls == 1
