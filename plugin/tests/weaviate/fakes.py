"""Stand-ins for a Weaviate collection and its configuration."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from lusifer.weaviate.metadata import CollectionMetadata

METADATA = CollectionMetadata(
    collection="A", fingerprint="sha256:" + "a" * 64, model="m", dimension=16
)


def make_property(name: str, data_type: str = "text", **more: Any) -> Any:
    """Return a property as the client's ``config.get()`` has it."""
    return SimpleNamespace(
        **{"name": name, "data_type": data_type, "nested_properties": None, **more}
    )


def make_config(
    description: str | None,
    *,
    module: str = "text2vec-transformers",
    sources: Any = ("text",),
    distance: str = "cosine",
    settings: Any = None,
    properties: Any = (),
) -> Any:
    """Return the configuration of the collection ``A`` with the vector ``lusifer``."""
    vectorizer = SimpleNamespace(vectorizer=module, model=settings or {}, source_properties=sources)
    vector = SimpleNamespace(
        vectorizer=vectorizer, vector_index_config=SimpleNamespace(distance_metric=distance)
    )
    return SimpleNamespace(
        name="A",
        description=description,
        vector_config={"lusifer": vector},
        properties=list(properties),
        references=[],
    )


class FlakyCollection:
    """A collection that loses, refuses and delays objects, as a server under stress does.

    ``script`` holds, for each request, how many of its objects are kept and what the server
    answers: nothing, a message or an exception.
    """

    name = "A"

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.script: list[tuple[int, Any]] = []
        self.calls = 0
        self.data = self.query = self.config = self
        self.references: list[Any] = []
        self.unindexed: set[str] = set()
        """UUIDs of stored objects that no filter finds."""

    def get(self) -> Any:
        """Return a configuration without properties."""
        return SimpleNamespace(properties=[], references=[])

    def add_property(self, _: Any) -> None:
        """Do nothing."""

    def insert_many(self, batch: list[Any]) -> Any:
        """Keep some of the objects and answer as scripted."""
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
        """Return the stored objects that filters find."""
        found = [
            self.objects[key] for key in keys if key in self.objects and key not in self.unindexed
        ]
        return SimpleNamespace(objects=found)

    def exists(self, key: str) -> bool:
        """Return whether an object is stored."""
        return key in self.objects

    def delete_by_id(self, key: str) -> bool:
        """Delete an object; the next write indexes it."""
        self.unindexed.discard(key)
        return self.objects.pop(key, None) is not None
