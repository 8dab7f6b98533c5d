"""Opens the migration of a plan whose target is the embedded store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer.embedded.collections import EmbeddedCollections
from lusifer.embedded.layout import read_index
from lusifer.reindex.endpoints.base import Migration
from lusifer.reindex.endpoints.embedded.alias import EmbeddedAliasCutover
from lusifer.reindex.endpoints.embedded.collection import EmbeddedEndpoint
from lusifer.reindex.endpoints.file import open_file

if TYPE_CHECKING:
    from lusifer.reindex.plan import Plan
    from lusifer.types import Document

__all__ = ["open_migration"]


def open_migration(plan: Plan, *, exclusive: bool = False) -> Migration[Document]:
    """Open source and target of a plan; nothing is created or changed.

    Args:
        plan: The plan.
        exclusive: Keep the target open between calls: applications can't open it, which before the
            cutover they don't.
    """
    collections = EmbeddedCollections(plan.target.address)
    target = EmbeddedEndpoint(
        collections, plan.target.collection, language_field=plan.language_field, keep_open=exclusive
    )
    from_file = plan.source.kind == "file"
    keywords = None
    # A clean that was killed may have deleted the source.
    if not from_file and collections.exists(plan.source.collection):
        keywords = read_index(collections.folder(plan.source.collection)).keywords
    source = EmbeddedEndpoint(
        collections, plan.source.collection, language_field=plan.language_field
    )
    cutover = EmbeddedAliasCutover(
        collections,
        alias=plan.alias,
        source=plan.shown_before,
        target=plan.target.collection,
        model=plan.model,
        keywords=keywords,
        endpoints=(target,) if from_file else (source, target),
    )
    if from_file:
        return Migration(
            open_file(plan), target, cutover, searchable=False, target_hold=target.frozen
        )
    return Migration(
        source,
        target,
        cutover,
        write_freeze=source.frozen,
        source_hold=source.frozen,
        target_hold=target.frozen,
    )
