"""Collections and aliases for the embedded engine, which has neither.

::

    my-database/
      collections/articles-v1/   an index folder, see lusifer.embedded.layout
      collections/articles-v2/
      aliases.json               {"articles": "articles-v2"}; replaced whole: a switch is atomic

The folder may be an index itself, which ``lusifer index`` makes without ``--collection``. Its name
is empty; an alias with the empty name is a collection that took its place.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from lusifer.common.files import remove_partials, write_atomic
from lusifer.embedded.engine import unreadable
from lusifer.embedded.layout import lock_index, no_index, remove_index
from lusifer.embedded.store import EmbeddedStore
from lusifer.errors import IndexNotFoundError, InvalidInputError, StoreError

if TYPE_CHECKING:
    from filelock import FileLock

    from lusifer.qdrant.keywords import KeywordOptions
    from lusifer.types import Quantization

__all__ = ["EmbeddedCollections"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


class EmbeddedCollections:
    """A folder of named indexes, and names that point at one of them.

    The index that the folder itself may be has the empty name.

    Args:
        root: The folder; created with the first collection.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def names(self) -> list[str]:
        """Return the names of all collections, sorted."""
        folder = self.root / "collections"
        found = (path.parent.name for path in folder.glob("*/index.json"))
        return sorted(name for name in found if _NAME.fullmatch(name))

    def aliases(self) -> dict[str, str]:
        """Return all aliases, alias to collection.

        Raises:
            IndexCorruptError: The file of aliases is damaged.
        """
        try:
            found = json.loads((self.root / "aliases.json").read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise unreadable(
                self.root / "aliases.json",
                error,
                next_step="Restore it, or remove it and set the aliases again.",
            ) from error
        return {str(alias): str(name) for alias, name in found.items()}

    def folder(self, name: str) -> Path:
        """Return the index folder of a collection, which may not exist; aliases are not read."""
        return self.root / "collections" / name if name else self.root

    def exists(self, name: str) -> bool:
        """Return whether there is a collection of this name; an alias is none."""
        return (self.folder(name) / "index.json").exists()

    def resolve(self, name: str) -> str:
        """Return the collection that a name or alias points to now.

        Raises:
            IndexNotFoundError: There is no such collection or alias.
            InvalidInputError: It can't be a name.
        """
        if name:
            _check_name(name)
        meant = self.aliases().get(name, name)
        if not self.exists(meant):
            if not name:
                raise no_index(self.root)
            raise IndexNotFoundError(
                f"{self.root} has no collection {name!r}; it has "
                f"{', '.join(self.names()) or 'none'}.",
                next_step=f"Fill it with: lusifer index FILE --index {self.root} --collection "
                f"{name}",
            )
        return meant

    def path(self, name: str) -> Path:
        """Return the index folder of a collection, whether it exists or not.

        Raises:
            IndexCorruptError: The file of aliases is damaged.
            InvalidInputError: It can't be a name.
        """
        meant = self.aliases().get(name, name)
        # The file of aliases may come from elsewhere, and must not lead out of the folder.
        for each in {name, meant} - {""}:
            _check_name(each)
        return self.folder(meant)

    def open(self, name: str, fingerprint: str | None = None) -> EmbeddedStore:
        """Open a collection by name or alias.

        Raises as :meth:`resolve` and :meth:`EmbeddedStore.open`.
        """
        return EmbeddedStore.open(self.folder(self.resolve(name)), fingerprint)

    def create(
        self,
        name: str,
        *,
        fingerprint: str,
        model: str,
        dimension: int,
        keywords: KeywordOptions | None = None,
        quantization: Quantization = "none",
    ) -> EmbeddedStore:
        """Create a collection; raises as :meth:`EmbeddedStore.create`.

        Raises:
            StoreError: An alias has this name.
        """
        _check_name(name)
        if name in self.aliases():
            raise StoreError(
                f"{name!r} is an alias.", next_step="Choose another name for the collection."
            )
        shutil.rmtree(self._deleted(name), ignore_errors=True)
        return EmbeddedStore.create(
            self.root / "collections" / name,
            fingerprint=fingerprint,
            model=model,
            dimension=dimension,
            keywords=keywords,
            quantization=quantization,
        )

    def set_alias(self, alias: str, name: str) -> None:
        """Set an alias to a collection, atomically: a search sees the old one or the new one.

        Raises:
            IndexNotFoundError: There is no such collection.
            StoreError: A collection has the alias' name.
        """
        if alias:
            _check_name(alias)
            if self.exists(alias):
                raise StoreError(
                    f"A collection is named {alias!r}.", next_step="Choose another alias."
                )
        if not self.exists(name):
            self.resolve(name)
        self._change({alias: name})

    def delete_alias(self, alias: str) -> None:
        """Delete an alias.

        Raises:
            IndexNotFoundError: There is no such alias.
        """
        if alias not in self.aliases():
            raise IndexNotFoundError(
                f"{self.root} has no alias {alias!r}.", next_step="Check its name."
            )
        self._change({alias: None})

    def delete(self, name: str, held: FileLock | None = None) -> None:
        """Delete a collection and all it holds.

        Args:
            name: Name of the collection, not an alias.
            held: Its lock, if the caller holds it; it is released.

        Raises:
            IndexNotFoundError: There is no such collection.
            StoreError: An alias still points at it.
            IndexLockedError: A process has it open.
        """
        try:
            self._check_deletion(name)
            folder = self.folder(name)
            held = held or lock_index(folder)
            if not name:
                # The folder stays, for its collections.
                remove_index(folder)
                return
            # Moved aside in one step: a deletion that is cut short leaves no half collection.
            shutil.rmtree(self._deleted(name), ignore_errors=True)
            folder.rename(self._deleted(name))
            shutil.rmtree(self._deleted(name))
        finally:
            if held is not None:
                held.release()

    def _check_deletion(self, name: str) -> None:
        if not self.exists(name):
            raise IndexNotFoundError(
                f"{self.root} has no collection {name!r}.", next_step="Check its name."
            )
        pointing = [alias for alias, meant in self.aliases().items() if meant == name]
        if pointing:
            raise StoreError(
                f"The alias {pointing[0]!r} already points to {name!r}.",
                next_step="Point it at another collection first.",
            )

    def _deleted(self, name: str) -> Path:
        return self.root / "collections" / f".{name}.deleted"

    def _change(self, changes: dict[str, str | None]) -> None:
        # Read and replaced under a lock, so that of two concurrent switches neither is lost.
        # It is not the lock of the index that the folder may be: applications hold that.
        lock = lock_index(self.root, "aliases.lock")
        try:
            merged = {**self.aliases(), **changes}
            kept = {alias: name for alias, name in sorted(merged.items()) if name is not None}
            remove_partials(self.root / "aliases.json")
            write_atomic(self.root / "aliases.json", json.dumps(kept, indent=2) + "\n", mode=0o600)
        finally:
            lock.release()


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name in {os.curdir, os.pardir}:
        raise InvalidInputError(
            f"{name[:200]!r} can't be the name of a collection.",
            next_step="Use letters, digits, _, - and dots, at most 200, and begin with a letter, a "
            "digit or _.",
        )
