"""Sample and search a Weaviate collection or tenant for its doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lusifer.stores.hub_diagnosis import SAMPLED, StoredText, uuid_places
from lusifer.weaviate.connection import client_errors
from lusifer.weaviate.metadata import rules_of
from lusifer.weaviate.schema import ID_PROPERTY
from lusifer.weaviate.text_composition import compose_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from weaviate.collections import Collection
    from weaviate.collections.classes.types import WeaviateProperties
    from weaviate.outputs.config import CollectionConfig
    from weaviate.outputs.query import Object

    from lusifer.weaviate.metadata import CollectionMetadata

__all__ = ["WeaviateHubSearch"]


class WeaviateHubSearch:
    """Searches by stored vectors, which needs no module."""

    def __init__(
        self, handle: Collection, metadata: CollectionMetadata, config: CollectionConfig
    ) -> None:
        self._handle = handle
        self._metadata = metadata
        self._rules = rules_of(metadata, config)

    def sample(self) -> list[StoredText]:
        """Return objects from random places that have a vector, each once."""
        name = self._metadata.vector_name
        found: dict[str, StoredText] = {}
        places = uuid_places()
        for place in places:
            with client_errors(self._handle.name):
                objects = self._handle.query.fetch_objects(
                    limit=SAMPLED // len(places), after=place, include_vector=[name]
                ).objects
            for each in objects:
                if vector := each.vector.get(name):
                    stored = np.asarray(vector, dtype=np.float32)
                    found[str(each.uuid)] = self._stored_text(each, stored)
        return list(found.values())

    def nearest(self, vectors: Sequence[NDArray[np.float32]], limit: int) -> list[list[StoredText]]:
        """Return the nearest objects for each vector ``(D,)``, best first."""
        answers = []
        for vector in vectors:
            with client_errors(self._handle.name):
                found = self._handle.query.near_vector(
                    vector[: self._metadata.dimension].tolist(),
                    limit=limit,
                    target_vector=self._metadata.vector_name,
                ).objects
            answers.append([self._stored_text(each) for each in found])
        return answers

    def _stored_text(
        self,
        found: Object[WeaviateProperties, None],
        vector: NDArray[np.float32] | None = None,
    ) -> StoredText:
        properties = {key: value for key, value in found.properties.items() if value is not None}
        key = str(properties.get(ID_PROPERTY) or found.uuid)
        return StoredText(key, compose_text(properties, self._rules), vector)
