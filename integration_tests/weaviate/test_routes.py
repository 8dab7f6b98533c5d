"""The real model behind both modules and with vectors made here, in eight languages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integration_tests.noise import FLIPPED, assert_same_vectors
from integration_tests.qdrant_server import InferenceGate
from integration_tests.weaviate.support import ROOT, Borrowed, make_metadata
from integration_tests.weaviate_server import RunningWeaviate
from plugin.tests.store_contract import LIBRARY

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.errors import (
    IndexNotFoundError,
    InvalidInputError,
    InvalidTextError,
    LusiferError,
    StoreBusyError,
    StoreUnavailableError,
    UnauthorizedError,
)
from lusifer.ingest.indexer import index_documents
from lusifer.types import Document, Hit, SearchOptions
from lusifer.weaviate.metadata import metadata_for
from lusifer.weaviate.objects import object_id
from lusifer.weaviate.schema import create_collection
from lusifer.weaviate.search import ask_server, search
from lusifer.weaviate.store import WeaviateStore

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
    "ru": {
        "music": "слушать музыку",
        "weather": "прогноз погоды",
        "mail": "читать электронную почту",
    },
    "ja": {"photo": "写真を編集する", "chess": "チェスをする", "weather": "天気予報"},
    "zh": {"music": "播放音乐", "mail": "收发电子邮件", "chess": "下国际象棋"},
    "ar": {"weather": "توقعات الطقس", "photo": "تعديل الصور", "mail": "قراءة البريد الإلكتروني"},
    "tr": {
        "archive": "arşiv dosyasını açmak",
        "music": "müzik dinlemek",
        "chess": "satranç oynamak",
    },
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
        made = metadata_for(collection, vectorizer)
        create_collection(
            client,
            made,
            service_url=gate.url,
            route="transformers" if route == "precomputed" else route,  # type: ignore[arg-type]
        )
        gate.requests.clear()
        handle = client.collections.get(collection)
        if route == "precomputed":
            store = WeaviateStore.open(
                client, collection, fingerprint=made.fingerprint, model=made.model
            )
            index_documents(
                [Document(f"d{n}", text) for n, text in enumerate(texts)],
                Borrowed(vectorizer),
                store,
            )
            assert gate.requests == []
        else:
            with handle.batch.fixed_size(batch_size=96) as batch:
                for n, text in enumerate(texts):
                    batch.add_object(
                        {"text": text, "document_id": f"d{n}"}, uuid=object_id(f"d{n}")
                    )
            assert handle.batch.failed_objects == []
            paths = [request.path for request in gate.requests]
            assert paths == (
                ["/vectors"] * len(texts) if route == "transformers" else ["/cohere/v2/embed"]
            )
        stored = handle.query.fetch_objects(limit=100, include_vector=True).objects
        by_id = {
            each.properties["document_id"]: np.float32(each.vector["lusifer"]) for each in stored
        }
        assert len(by_id) == len(texts)
        assert_same_vectors([by_id[f"d{n}"] for n in range(len(texts))], expected, f"{route}:")
        found[route] = collection
    names = list(ENGLISH)
    right = dict.fromkeys(("engine", "near_vector", *found), 0)
    asked = 0
    for questions in QUESTIONS.values():
        for wanted, question in questions.items():
            asked += 1
            scores = expected @ vectorizer.embed_query(question).vector
            order = [f"d{n}" for n in np.argsort(-scores)]
            answers = {
                "engine": order,
                "near_vector": ids(
                    search(client, found["precomputed"], question, vectorizer, limit=99)
                ),
            }
            for route, collection in found.items():
                answers[route] = ids(ask_server(client, collection, question, limit=99))
            for way, answer in answers.items():
                found_scores = scores[[int(each[1:]) for each in answer]]
                assert sorted(answer) == sorted(order)
                assert np.diff(found_scores).max() < 10 * FLIPPED, (way, question)
                best = next(each for each in answer if int(each[1:]) >= len(EIGHT_LANGUAGES))
                right[way] += names[int(best[1:]) - len(EIGHT_LANGUAGES)] == wanted
    assert asked == 24
    assert set(right.values()) == {right["engine"]}
    assert right["engine"] >= 20, right
    hits = ask_server(client, found["transformers"], "Schach", limit=3, hybrid=True)
    assert len(hits) == 3
    for collection in found.values():
        client.collections.delete(collection)


def ids(hits: list[Hit]) -> list[str]:
    return [hit.id for hit in hits]


def test_the_server_takes_the_same_options_as_the_client(
    client: Any, gate: InferenceGate, serve: Any, name: str, tiny: Vectorizer
) -> None:
    """A search by the module finds what a search with a vector made here finds."""
    create_collection(
        client,
        metadata_for(name, tiny),
        service_url=gate.url,
        tokenization="trigram",
        filter_fields=("lang", "book"),
    )
    store = WeaviateStore.open(client, name, fingerprint=tiny.fingerprint, model=tiny.model_name)
    index_documents(LIBRARY, tiny, store)
    serve()
    for options in (
        SearchOptions(),
        SearchOptions(languages=("en",)),
        SearchOptions(languages=("fr", "ja"), language_boost=0.4),
        SearchOptions(where={"year": [2001, 2003], "book": "y"}),
        SearchOptions(group_by="book"),
        SearchOptions(keywords="voiture", where={"year": 2003}),
    ):
        here = search(client, name, "a red house", tiny, limit=5, options=options)
        there = ask_server(client, name, "a red house", limit=5, options=options)
        assert ids(there) == ids(here), options
        assert [hit.score for hit in there] == pytest.approx([hit.score for hit in here], abs=1e-5)
    assert sorted(
        ids(search(client, name, "x", tiny, options=SearchOptions(languages=("en",))))
    ) == [
        "en-1",
        "en-2",
    ]
    assert ids(ask_server(client, name, "voiture", limit=1, hybrid=True)) == ["fr-1"]
    with pytest.raises(InvalidInputError, match="limit is 0"):
        ask_server(client, name, "x", limit=0)
    with pytest.raises(InvalidTextError):
        ask_server(client, name, " ")
    with pytest.raises(IndexNotFoundError, match="ENABLE_MODULES"):
        ask_server(client, f"{name}Absent", "x")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (504, StoreUnavailableError),
        (500, StoreUnavailableError),
        (503, StoreBusyError),
        (429, StoreBusyError),
        (401, UnauthorizedError),
        (422, InvalidInputError),
    ],
)
def test_a_question_whose_service_fails(
    client: Any, gate: InferenceGate, name: str, status: int, kind: type[LusiferError]
) -> None:
    for route, field in (("transformers", "error"), ("cohere", "message")):
        create_collection(client, make_metadata(name, model="m"), service_url=gate.url, route=route)  # type: ignore[arg-type]
        gate.answer(status, {field: "said so"})
        for hybrid in (False, True):
            with pytest.raises(kind, match=f"module did not embed.*{status}.*said so") as caught:
                ask_server(client, name, "a question", hybrid=hybrid)
            assert caught.value.retryable == (status in {429, 500, 503, 504})
        client.collections.delete(name)


def test_the_example_of_the_readme(
    weaviate_server: RunningWeaviate,
    client: Any,
    gate: InferenceGate,
    vectorizer: Vectorizer,
    start_service: Any,
    tmp_path: Path,
) -> None:
    service = start_service(Borrowed(vectorizer)).ready()
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    (code,) = (block for block in blocks if "import weaviate" in block)
    assert (
        len([line for line in code.splitlines() if line.strip() and not line.startswith("#")]) == 10
    )
    ports = f"port={weaviate_server.port}, grpc_port={weaviate_server.grpc_port}"
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
