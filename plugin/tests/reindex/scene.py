"""Twelve documents that were re-embedded and are ready for the cutover, in dictionaries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plugin.tests.reindex.memory import MemoryCollection, MemoryCutover, memory_migration
from plugin.tests.reindex.support import NEW, make_plan

from lusifer.reindex.job import Job
from lusifer.reindex.runner import run
from lusifer.types import Document

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer.reindex.endpoints.base import Migration

KEYS = [f"d{number:02}" for number in range(12)]


class Scene:
    """Twelve documents that were re-embedded and are ready for the cutover."""

    def __init__(self, folder: Path, **plan: Any) -> None:
        self.job = Job.create(folder / "job", make_plan(**plan))
        self.source, self.target, self.migration = memory_migration()
        self._collection: MemoryCollection | None = None
        for key in KEYS:
            document = Document(key, f"text {key}", {"lang": "en", "title": f"text {key}"})
            self.source.put(document, NEW.vector(document.text))
        run(self.job, self.migration, NEW)

    @property
    def cutover(self) -> MemoryCutover:
        assert isinstance(self.migration.cutover, MemoryCutover)
        return self.migration.cutover

    @property
    def collection(self) -> MemoryCollection:
        """The one collection of :meth:`use_one_collection`."""
        assert self._collection is not None
        return self._collection

    def use_one_collection(self) -> None:
        """Re-embed in place: one collection with the same documents and two vectors."""
        self._collection = MemoryCollection()
        for key, document in self.source.documents.items():
            self.collection.put(key, document.text, "old", NEW.vector(document.text))
        self.job = Job.create(
            self.job.path.parent / "job in place",
            make_plan(
                in_place=True,
                alias=None,
                target=make_plan().source.model_copy(update={"vector_name": "second"}),
            ),
        )
        self.migration = self.collection.migration("old", "new")
        run(self.job, self.migration, NEW)

    def backwards(self) -> Migration[Document]:
        """Return the migration from the new vector to the old one."""
        return self.collection.migration("new", "old")

    def write_target(self, key: str, text: str) -> None:
        """Write to the target as an application."""
        self.target.put(Document(key, text, {"lang": "en", "title": text}), NEW.vector(text))

    def edit(self, key: str, text: str) -> None:
        """Write to the source as an application."""
        self.source.put(Document(key, text, {"lang": "en", "title": text}), NEW.vector(text))
