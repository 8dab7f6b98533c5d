"""Inspects a collection of the embedded store before it is re-embedded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer.embedded.collections import EmbeddedCollections
from lusifer.embedded.layout import read_index
from lusifer.reindex.inspection import Inspection
from lusifer.reindex.plan import Model
from lusifer.stores import diagnostics

if TYPE_CHECKING:
    from lusifer.reindex.inspection import PlanRequest

__all__ = ["inspect_collection"]


def inspect_collection(request: PlanRequest) -> Inspection | None:
    """Read what a collection or alias of a folder holds; None without one, for a file's documents.

    Raises:
        IndexNotFoundError: There is none, and the documents do not come from a file.
        StoreError: It can't be read.
    """
    collections = EmbeddedCollections(request.address)
    if request.file and not collections.exists(
        collections.aliases().get(request.name, request.name)
    ):
        return None
    name = collections.resolve(request.name)
    index = read_index(collections.folder(name))
    return Inspection(
        collection=name,
        # The folder's own index gives way to a collection as an alias does.
        is_alias=name != request.name or not name,
        vector_name=index.vector_name,
        old_model=Model(name=index.model, fingerprint=index.fingerprint, dimension=index.dimension),
        vectors=(index.vector_name,),
        diagnostics=(
            diagnostics.ok("aliases", "The cutover replaces one small file, atomically."),
        ),
    )
