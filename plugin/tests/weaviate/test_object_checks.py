"""Diagnostics on objects, without a server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from plugin.tests.weaviate.fakes import METADATA, make_config, make_property

from lusifer.errors import StoreUnavailableError

pytest.importorskip("weaviate")
import lusifer.weaviate.object_checks as checks

AXES = np.eye(16, dtype=np.float32)


class FilledCollection:
    """A collection with texts, each with a vector or none."""

    def __init__(self, *objects: tuple[str, Any]) -> None:
        self.objects = objects
        self.aggregate = self

    def over_all(self, *, total_count: bool) -> Any:
        return SimpleNamespace(total_count=len(self.objects))

    def iterator(self, **_: Any) -> Any:
        return [
            SimpleNamespace(
                uuid="u",
                properties={"text": text, "lang": None},
                vector={} if vector is None else {"lusifer": list(vector)},
            )
            for text, vector in self.objects
        ]


class Axes:
    """A model that gives each text the axis of its first letter."""

    fingerprint = METADATA.fingerprint
    dimension = 16

    def embed_documents(self, texts: list[str]) -> Any:
        return SimpleNamespace(vectors=AXES[[ord(text[0]) % 16 for text in texts]])


def examine(*objects: tuple[str, Any], **options: Any) -> dict[str, tuple[str, str, str]]:
    """Return severity, message and fix by subject."""
    handle: Any = FilledCollection(*objects)
    embedder = options.pop("embedder", Axes())
    text = make_property("text", tokenization="word", vectorizer_configs=None)
    config = make_config("", properties=[text])
    found = checks.examine_objects(handle, METADATA, config, embedder)
    return {each.subject: (each.severity, each.message, each.fix) for each in found}


def test_objects_in_which_nothing_is_wrong() -> None:
    found = examine(("a", AXES[1]), ("b", AXES[2]))
    assert found["vectors"][:2] == ("ok", "2 objects, all with a vector")
    assert found["keywords"][:2] == ("ok", "text is cut by word")
    assert found["text"][:2] == ("note", "For object u this is embedded: 'a'")
    assert found["sample"][0] == "ok"
    assert "(cosine 1.00000)" in found["sample"][1]


def test_objects_without_a_vector_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = [("a", None), ("b", AXES[2]), ("c", None)]
    found = examine(*objects)
    assert found["vectors"][:2] == ("error", "2 in 3 objects have no vector: no search finds them.")
    assert "'b'" in found["text"][1]
    monkeypatch.setattr(checks, "_SCANNED", 2)
    assert examine(*objects)["vectors"][1].startswith("1 in 2 of 3 objects have no vector")


def test_texts_without_spaces_need_another_tokenization() -> None:
    found = examine(("猫はマットの上に座っています。", None))
    assert found["keywords"][0] == "warning"
    assert "--tokenization kagome_ja" in found["keywords"][2]
    assert set(found) == {"vectors", "keywords"}


@pytest.mark.parametrize(
    ("text", "vector", "subject", "message", "fix"),
    [
        ("a", AXES[1][:8], "dimension", "dimension 8, the metadata says 16", "Serve the model"),
        ("a", AXES[5], "sample", "is not the one made here", "Run lusifer index again"),
        ("b", AXES[2], "sample", "is the one made here", ""),
    ],
)
def test_a_vector_is_compared_with_its_text(
    text: str, vector: Any, subject: str, message: str, fix: str
) -> None:
    _, found, advice = examine((text, vector))[subject]
    assert message in found
    assert advice.startswith(fix)


def test_a_server_that_lowers_the_case_is_recognised() -> None:
    class Cased(Axes):
        """A model that knows capitals apart."""

        def embed_documents(self, texts: list[str]) -> Any:
            return SimpleNamespace(vectors=AXES[[3 if text[0].isupper() else 4 for text in texts]])

    _, message, fix = examine(("Title", AXES[4]), embedder=Cased())["sample"]
    assert "cosine 0.00000" in message
    assert fix.startswith("Make the collection with --lower-case")


def test_another_model_or_dimension_is_not_compared() -> None:
    other = SimpleNamespace(fingerprint="sha256:b", dimension=16)
    assert "sample" not in examine(("a", AXES[1]), embedder=other)
    assert "sample" not in examine(("a", AXES[1]), embedder=None)
    short = SimpleNamespace(fingerprint=METADATA.fingerprint, dimension=8)
    assert examine(("a", AXES[1]), embedder=short)["sample"][:2] == (
        "note",
        "Not compared: vectors made here have dimension 8.",
    )


def test_a_server_that_does_not_answer_ends_the_checks() -> None:
    class Away(FilledCollection):
        """A collection on a server that is gone."""

        def over_all(self, *, total_count: bool) -> Any:
            raise StoreUnavailableError("It is gone.", next_step="Start it.")

    handle: Any = Away()
    (found,) = checks.examine_objects(handle, METADATA, make_config(""), None)
    assert (found.subject, found.severity, found.message) == ("objects", "error", "It is gone.")
