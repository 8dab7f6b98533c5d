"""Cutover between two collections behind an alias that applications ask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lusifer.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AliasCutover"]


@dataclass(eq=False, kw_only=True)
class AliasCutover(ABC):
    """An alias that points to the source collection or the target collection."""

    alias: str | None
    """Name that applications ask; None where the plan has none."""
    source: str | None
    """Collection that the alias meant before; None where it meant nothing."""
    target: str
    """Collection with the new vectors."""

    @abstractmethod
    def prepare(self) -> bool:
        """Create the target collection, unless it is there; return whether it was created."""

    def is_live(self) -> bool:
        """Return whether the alias points to the target collection."""
        return self.alias is not None and self._find_alias() == self.target

    def activate(self) -> None:
        """Point the alias at the target collection."""
        self._set_alias(self.target)

    def deactivate(self) -> None:
        """Point the alias at the source collection, or delete it if it did not exist before."""
        if self.source is not None:
            self._set_alias(self.source)
        elif self.is_live():
            self._delete_alias()

    def source_uses(self) -> Sequence[str]:
        """Return what would break or be lost if the source was deleted, one sentence each."""
        return ()

    def remove_source(self) -> str:
        """Delete the source collection, where there is one; return what was deleted."""
        return "nothing" if self.source is None else self._delete_collection(self.source)

    def remove_target(self) -> str:
        """Delete the target collection; return what was deleted."""
        return self._delete_collection(self.target)

    @property
    def _name(self) -> str:
        """Name of the alias.

        Raises:
            PlanError: The plan has none.
        """
        if self.alias is None:
            raise PlanError(
                "The plan names no alias to switch.", next_step="Make a new plan with --alias NAME."
            )
        return self.alias

    @abstractmethod
    def _find_alias(self) -> str | None:
        """Return the collection that the alias points to now; None without the alias."""

    @abstractmethod
    def _set_alias(self, collection: str) -> None:
        """Point the alias at a collection, atomically."""

    @abstractmethod
    def _delete_alias(self) -> None:
        """Delete the alias."""

    @abstractmethod
    def _delete_collection(self, collection: str) -> str:
        """Delete a collection; return what was deleted, as text."""
