"""Cutover of a Weaviate server: another collection behind an alias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lusifer.errors import PlanError
from lusifer.reindex.endpoints.alias import AliasCutover
from lusifer.reindex.endpoints.weaviate.schema_copy import (
    Replacement,
    add_missing_properties,
    copied_schema,
    schema_differences,
    source_uses,
)
from lusifer.reindex.endpoints.weaviate.shards import release_writes
from lusifer.reindex.endpoints.weaviate.tenants import (
    ACTIVE,
    INACTIVE,
    create_tenants,
    set_status,
    tenant_statuses,
)
from lusifer.weaviate.connection import client_errors
from lusifer.weaviate.metadata import parse_metadata, without_metadata
from lusifer.weaviate.schema import create_collection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weaviate import WeaviateClient

    from lusifer.reindex.endpoints.weaviate.schema_copy import Schema
    from lusifer.reindex.endpoints.weaviate.tenants import Tenants
    from lusifer.weaviate.metadata import CollectionMetadata
    from lusifer.weaviate.rest import RestApi

__all__ = ["WeaviateAliasCutover"]

_DEFAULT_SERVICE = "http://localhost:8000"


@dataclass(eq=False)
class WeaviateAliasCutover(AliasCutover):
    """An alias of a Weaviate server."""

    client: WeaviateClient
    """Connected client; its owner closes it."""
    rest: RestApi
    """REST API of the same server; its owner closes it."""
    metadata: CollectionMetadata
    """Metadata of the target collection."""
    template: Tenants | None
    """Tenants of the collection whose schema the target gets; None where the documents come from
    elsewhere."""
    replacement: Replacement
    """The vector of the template that the new one replaces."""

    def prepare(self) -> bool:
        """Create the target with the template's schema, settings and tenants, unless it is there.

        Returns:
            Whether it was created.

        Raises:
            PlanError: The server created it with other settings; it was deleted again.
        """
        with client_errors(self.target):
            created = not self.client.collections.exists(self.target)
            if not created:
                config = self.client.collections.get(self.target).config.get()
                found = parse_metadata(self.target, config)
                found.check(fingerprint=self.metadata.fingerprint, model=self.metadata.model)
            elif self.template is None:
                create_collection(
                    self.client,
                    self.metadata,
                    service_url=self.replacement.service.address or _DEFAULT_SERVICE,
                    dimensions=self.replacement.service.dimension,
                )
            else:
                self._create(self.template.collection)
        if self.template is not None:
            add_missing_properties(self.rest, self.template.collection, self.target)
            self._copy_tenants(self.template)
        return created

    def activate(self) -> None:
        """Point the alias at the target, which has the tenants of the source and their states."""
        if self.template is not None and not self.is_live():
            self._copy_tenants(self.template)
        super().activate()

    def source_uses(self) -> list[str]:
        """Return what names the source, and which of its tenants were left out."""
        if self.source is None:
            return []
        found = source_uses(self.rest, self.source, self.alias)
        skipped = () if self.template is None else sorted(self.template.skipped)
        if skipped and self.template is not None and self.source == self.template.collection:
            left = [name for name in skipped if name in tenant_statuses(self.rest, self.source)]
            if left:
                found.append(
                    f"{len(left):,} of its tenants were left out of the copy: {_few(left)}."
                )
        return found

    def deactivate(self) -> None:
        """Point the alias at the source collection, or delete it if it did not exist before.

        The source takes writes again, if a cutover that was killed had held them.
        """
        if self.source is not None:
            release_writes(self.rest, self.source)
        super().deactivate()

    def _find_alias(self) -> str | None:
        with client_errors(self.target):
            found = self.client.alias.get(alias_name=self._name)
        return None if found is None else found.collection

    def _set_alias(self, collection: str) -> None:
        with client_errors(collection):
            if self.client.alias.get(alias_name=self._name) is None:
                self.client.alias.create(alias_name=self._name, target_collection=collection)
            else:
                self.client.alias.update(alias_name=self._name, new_target_collection=collection)

    def _delete_alias(self) -> None:
        with client_errors(self.target):
            self.client.alias.delete(alias_name=self._name)

    def _delete_collection(self, collection: str) -> str:
        with client_errors(collection):
            self.client.collections.delete(collection)
        return f"the collection {collection}"

    def _create(self, source: str) -> None:
        wanted = self._schema(self.rest.get(f"/schema/{source}", source))
        self.rest.send("POST", "/schema", wanted, self.target)
        got = self.rest.get(f"/schema/{self.target}", self.target)
        if changed := list(schema_differences(wanted, got)):
            self.rest.send("DELETE", f"/schema/{self.target}", None, self.target)
            raise PlanError(
                f"Weaviate creates the copy of {source} with other settings: {', '.join(changed)}.",
                next_step="Change them in the source, or report the setting and your version of "
                "Weaviate to LUSIFER.",
            )

    def _schema(self, source: Schema) -> Schema:
        description = self.metadata.in_description(without_metadata(source.get("description")))
        return copied_schema(source, self.target, description, self.replacement)

    def _copy_tenants(self, template: Tenants) -> None:
        """Give the target the tenants of the source with their states."""
        if template.names(refresh=True) == [""]:
            return
        wanted = template.statuses()
        known = tenant_statuses(self.rest, self.target)
        create_tenants(
            self.rest, self.target, {n: each for n, each in wanted.items() if n not in known}
        )
        changed = {
            name: each
            for name, each in wanted.items()
            if known.get(name, each) != each and {each, known[name]} <= {ACTIVE, INACTIVE}
        }
        set_status(self.rest, self.target, changed)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
