"""Messages of a Weaviate server as errors of ours, each with what to do next."""

from __future__ import annotations

import re

from lusifer import errors
from lusifer.stores.server_errors import ServerErrors

__all__ = ["ERRORS", "not_found", "refused"]

ERRORS = ServerErrors("Weaviate", command="weaviate", key_variable="WEAVIATE_API_KEY")

_AWAY = (
    "unavailable",
    "connection",
    "timeout",
    "deadline",
    "leader not found",
    "socket closed",
    "shutting down",
    "eof",
    "reset",
    # The index of coordinates, after its last entry was replaced (1.39); the next try goes through.
    "no valid entrypoint",
)
_FULL = ("read-only", "read only", "no space left", "disk usage")
_SCHEMA = ("vector length", "vector dimensions", "dimensions", "invalid vector", "no vectorizer")
_VALIDATED = (
    "refusing to dial internal address",
    "baseurl must use https",
    "baseurl cannot target internal",
)
_EMBEDDING = (
    "remote client vectorize",
    "connection to cohere failed",
    "fail with status",
    "send post request",
    "failed to parse vectorization",
    "no api key found",
)
"""Words of Weaviate's messages when the service behind its module failed, not Weaviate."""


def refused(message: str, collection: str, *, server: bool = False) -> errors.LusiferError:
    """Return the :class:`LusiferError` for a message of the server.

    Args:
        message: The server's message.
        collection: Collection of the request.
        server: Whether the HTTP status says that the fault is the server's.
    """
    lower = message.lower()
    look = ERRORS.doctor(collection)
    if "could not find class" in lower or ("collection" in lower and "not found" in lower):
        return not_found(collection)
    if found := re.search(r'no module with name "([^"]+)"', message):
        return errors.CollectionMismatchError(
            f"Weaviate's module {found[1]} is off: {message}",
            next_step=f"Start the server with ENABLE_MODULES={found[1]} in its environment.",
        )
    if found := re.search(r"set '(ENABLE_TOKENIZER_\w+)'", message):
        return errors.CollectionMismatchError(
            f"Weaviate refused: {message}",
            next_step=f"Start the server with {found[1]}=true in its environment, or choose "
            "trigram.",
        )
    if found := re.search(r"tenant not active: '([^']*)'", message):
        return errors.StoreError(
            f"The tenant {found[1]} of the collection {collection} is not active.",
            next_step="Activate it with Weaviate's client: "
            f"collection.tenants.activate({found[1]!r}).",
        )
    if any(word in lower for word in _VALIDATED):
        return errors.CollectionMismatchError(
            f"Weaviate may not reach the service: {message}",
            next_step="Start Weaviate without MODULES_VALIDATE_BASE_URL: it refuses private hosts.",
        )
    if any(word in lower for word in _EMBEDDING):
        return _not_embedded(message, look)
    if "manually set" in lower:
        return errors.StoreBusyError(
            f"Weaviate refuses writes to {collection}: {message}",
            next_step="Write again when its shards are READY: lusifer reindex switch --hold-writes "
            "sets them to READONLY for a while.",
            retry_after_s=1.0,
        )
    if any(word in lower for word in _FULL):
        return errors.StorageFullError(
            f"Weaviate takes no writes: {message}",
            next_step="Free space there (DISK_USE_READONLY_PERCENTAGE) and run again: nothing is "
            "lost.",
        )
    if any(word in lower for word in _SCHEMA):
        return ERRORS.wrong_vectors(collection, message)
    if server or any(word in lower for word in _AWAY):
        return ERRORS.unavailable(message)
    return errors.InvalidInputError(
        f"Weaviate refused: {message}", next_step=f"See what the collection takes with: {look}"
    )


def _not_embedded(message: str, look: str) -> errors.LusiferError:
    failure = f"The service behind Weaviate's module did not embed: {message}"
    found = re.search(r"\bstatus:? (\d{3})", message)
    status = int(found[1]) if found else 0
    if status == 401 or "no api key found" in message.lower():
        return errors.UnauthorizedError(
            failure,
            next_step="Give the server a key in COHERE_APIKEY (any, where the service asks for "
            "none), or in the address: http://any:KEY@HOST:8000.",
        )
    if status in {429, 503}:
        return errors.StoreBusyError(
            failure, next_step="Send less at once, then run again.", retry_after_s=1.0
        )
    if 400 <= status < 500:
        return errors.InvalidInputError(
            failure, next_step=f"Look at the text, and at the service with: {look}"
        )
    if status == 200:
        return errors.CollectionMismatchError(
            failure, next_step=f"Start lusifer serve at that address, then check with: {look}"
        )
    return errors.StoreUnavailableError(
        failure,
        next_step=f"Look at lusifer serve and its log ({look}), then run again: nothing is lost.",
    )


def not_found(collection: str) -> errors.StoreError:
    """Return the error for a collection that the server does not have."""
    return ERRORS.not_found(
        collection,
        hint=". If it is missing after a restart, add its module to ENABLE_MODULES again: Weaviate "
        "does not load a collection without its module.",
    )
