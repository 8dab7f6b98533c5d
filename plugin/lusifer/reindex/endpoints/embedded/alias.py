"""Cutover of the embedded store: an alias of our own in the same folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lusifer.reindex.endpoints.alias import AliasCutover

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lusifer.embedded.collections import EmbeddedCollections
    from lusifer.qdrant.keywords import KeywordOptions
    from lusifer.reindex.endpoints.embedded.collection import EmbeddedEndpoint
    from lusifer.reindex.plan import Model

__all__ = ["EmbeddedAliasCutover"]


@dataclass(eq=False)
class EmbeddedAliasCutover(AliasCutover):
    """An alias of a folder.

    Attributes:
        collections: The folder.
        model: The new model.
        keywords: Keyword options of the target collection.
        endpoints: Source and target, which may hold their collections open.
    """

    collections: EmbeddedCollections
    model: Model
    keywords: KeywordOptions | None = None
    endpoints: Sequence[EmbeddedEndpoint] = ()

    def prepare(self) -> bool:
        """Create the target collection, unless it is there; return whether it was created."""
        from lusifer.embedded.store import EmbeddedStore

        created = not self.collections.exists(self.target)
        EmbeddedStore.open_or_create(
            self.collections.folder(self.target),
            fingerprint=self.model.fingerprint,
            model=self.model.name,
            dimension=self.model.dimension,
            keywords=self.keywords,
        ).close()
        return created

    def _find_alias(self) -> str | None:
        return self.collections.aliases().get(self._name)

    def _set_alias(self, collection: str) -> None:
        self.collections.set_alias(self._name, collection)

    def _delete_alias(self) -> None:
        self.collections.delete_alias(self._name)

    def _delete_collection(self, collection: str) -> str:
        if not self.collections.exists(collection):
            return "nothing"
        held = [each.detach() for each in self.endpoints if each.name == collection]
        self.collections.delete(collection, next(iter(held), None))
        return f"the collection {collection}" if collection else "the index without a name"
