"""Cutover of the embedded store: an alias of our own in the same folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer.reindex.endpoints.alias import AliasCutover

if TYPE_CHECKING:
    from lusifer.embedded.collections import EmbeddedCollections
    from lusifer.qdrant.keywords import KeywordOptions
    from lusifer.reindex.plan import Model

__all__ = ["EmbeddedAliasCutover"]


class EmbeddedAliasCutover(AliasCutover):
    """An alias of a folder.

    Args:
        collections: The folder.
        alias: Name that applications ask.
        source: Collection that the alias meant before; None where it meant nothing.
        target: Collection with the new vectors.
        model: The new model.
        keywords: Keyword options of the target collection.
    """

    def __init__(
        self,
        collections: EmbeddedCollections,
        *,
        alias: str,
        source: str | None,
        target: str,
        model: Model,
        keywords: KeywordOptions | None,
    ) -> None:
        super().__init__(alias=alias, source=source, target=target)
        self.collections = collections
        self._alias = alias
        self._model = model
        self._keywords = keywords

    def prepare(self) -> None:
        """Create the target collection."""
        from lusifer.embedded.store import EmbeddedStore

        EmbeddedStore.open_or_create(
            self.collections.root / "collections" / self.target,
            fingerprint=self._model.fingerprint,
            model=self._model.name,
            dimension=self._model.dimension,
            keywords=self._keywords,
        ).close()

    def _find_alias(self) -> str | None:
        return self.collections.aliases().get(self._alias)

    def _set_alias(self, collection: str) -> None:
        self.collections.set_alias(self._alias, collection)

    def _delete_alias(self) -> None:
        self.collections.delete_alias(self._alias)

    def _delete_collection(self, collection: str) -> str:
        if collection not in self.collections.names():
            return "nothing"
        self.collections.delete(collection)
        return f"the collection {collection}"
