"""Errors common to all database servers, worded once."""

from __future__ import annotations

from dataclasses import dataclass

from lusifer.common.urls import has_key, without_key
from lusifer.errors import (
    CollectionMismatchError,
    IndexNotFoundError,
    InvalidInputError,
    MissingExtraError,
    StorageFullError,
    StoreBusyError,
    StoreUnavailableError,
    UnauthorizedError,
)

__all__ = ["ServerErrors", "missing_package"]


def missing_package(
    what: str, package: str, error: ImportError, *, extra: str
) -> MissingExtraError:
    """Return the error for a package that is not installed.

    Args:
        what: What needs it, such as "The embedded store".
        package: Its name at the package index.
        error: What the import raised.
        extra: The extra of LUSIFER that brings it.
    """
    return MissingExtraError(
        f"{what} needs {package}: {error}.", next_step=f"Run pip install 'lusifer[{extra}]'."
    )


@dataclass(frozen=True)
class ServerErrors:
    """The errors of one kind of database."""

    product: str
    """The database's name for people."""
    command: str
    """Its name in our commands, as in ``lusifer COMMAND setup``."""
    key_variable: str
    """Environment variable that holds its key."""

    def unusable_address(self, url: str, *, port: int) -> InvalidInputError:
        """Return the error for an address that is no URL of a server, or has a key in it."""
        advice = f"Write it as http://HOST:{port}."
        if has_key(url):
            advice = f"{advice[:-1]}, and set {self.key_variable} to its key."
        return InvalidInputError(
            f"{self.product}'s address {without_key(url)!r} can't be used.", next_step=advice
        )

    def not_found(self, collection: str, *, hint: str = "") -> IndexNotFoundError:
        """Return the error for a collection that the server does not have.

        Args:
            collection: Its name or alias.
            hint: What else the reader should know.
        """
        return IndexNotFoundError(
            f"{self.product} has no collection {collection!r}.",
            next_step=f"Make it with: lusifer {self.command} setup URL --collection {collection}"
            f"{hint}",
        )

    def unauthorized(self, message: str) -> UnauthorizedError:
        """Return the error for a key that is missing or wrong."""
        return UnauthorizedError(
            f"{self.product} refuses the key: {message}",
            next_step=f"Set {self.key_variable} to a key that may do this.",
        )

    def busy(self, message: str, retry_after_s: float | None) -> StoreBusyError:
        """Return the error for a server that asks to slow down, by default for 1 second."""
        return StoreBusyError(
            f"{self.product} asks to slow down: {message.strip()}",
            next_step="Run again later: what was acknowledged is kept.",
            retry_after_s=1.0 if retry_after_s is None else retry_after_s,
        )

    def full(self, message: str) -> StorageFullError:
        """Return the error for a server without free space."""
        return StorageFullError(
            f"{self.product}'s disk is full: {message}.",
            next_step="Free space there and run again; what was acknowledged is kept.",
        )

    def unavailable(self, reason: str) -> StoreUnavailableError:
        """Return the error for a server that does not answer, or failed by itself."""
        log = f"Look into {self.product}'s log"
        return StoreUnavailableError(
            f"{self.product} request failed ({reason}).",
            next_step=f"{log}, then run again: what was acknowledged is kept.",
        )

    def wrong_vectors(self, collection: str, message: str) -> CollectionMismatchError:
        """Return the error for vectors that the collection's schema refuses."""
        return CollectionMismatchError(
            f"The collection {collection} does not take these vectors: {message}",
            next_step=f"Examine it with: {self.doctor(collection)}",
        )

    def doctor(self, collection: str) -> str:
        """Return the command that examines a collection."""
        return f"lusifer doctor {self.command} URL --collection {collection}"
