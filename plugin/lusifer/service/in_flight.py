"""The account of bytes in flight: bodies, texts and answers of all requests together.

Every byte that a request takes is entered here when it is taken, and stays until the last byte of
the answer is sent or the work has really ended. So the memory of the service above its idle value
has a bound, whatever clients send, how slowly they send it and whether they read the answers.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lusifer.errors import KeyLimitError, OverloadedError, RequestTooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BytesInFlight", "RequestBytes"]

_SMALL_BYTES = 256 * 2**10
"""Largest request that may use the reserve."""

_RESERVE = 1 / 8
"""Share of the capacity that only small requests may use, so that large ones leave them room."""

_QUESTION_BYTES = 16 * 2**10
"""Largest request that is served although requests without a known key hold their whole share: a
question through Qdrant, whose key is in the body. Without it whoever has no key could stop them
all. The limit of connections bounds what such requests hold together."""

_RETRY_AFTER_S = 1.0


class BytesInFlight:
    """Counts the bytes of all requests.

    Only the event loop uses it, so it needs no lock.

    Args:
        capacity_bytes: Maximum bytes of all requests.
        key_share: Share of the capacity that the requests of one API key may hold, above 0 and at
            most 1. Requests whose key is not yet known share one such part where keys are on.
    """

    def __init__(self, capacity_bytes: int, *, key_share: float) -> None:
        self.capacity_bytes = capacity_bytes
        self.held_bytes = 0
        self.entered_bytes = 0
        """All bytes that were ever entered."""
        self.key_bytes = max(1, int(capacity_bytes * key_share))
        self.large_bytes = int(capacity_bytes * (1 - _RESERVE))
        self._by_key: Counter[str] = Counter()

    @contextmanager
    def request(self) -> Iterator[RequestBytes]:
        """Open the part of one request; all its bytes are given back at the end."""
        part = RequestBytes(self)
        try:
            yield part
        finally:
            part.replace(0)

    def _check(self, key: str | None, held_by_request: int, added: int) -> None:
        total = held_by_request + added
        large = self.capacity_bytes if total <= _SMALL_BYTES else self.large_bytes
        limit = large if key is None else min(large, self.key_bytes)
        if total > limit:
            raise RequestTooLargeError(
                f"The request and its answer need {total} bytes, at most {limit} are held at once.",
                next_step="Split it into smaller requests, or raise in_flight_bytes.",
            )
        is_question = key == "" and total <= _QUESTION_BYTES
        if key is not None and not is_question and self._by_key[key] + added > self.key_bytes:
            whose = f"The key {key!r} has" if key else "Requests without a known key have"
            raise KeyLimitError(
                f"{whose} {self._by_key[key]} of at most {self.key_bytes} bytes in flight.",
                next_step=f"Send the request again in {_RETRY_AFTER_S:.0f} s.",
                retry_after_s=_RETRY_AFTER_S,
            )
        if self.held_bytes + added > large:
            raise OverloadedError(
                f"Requests hold {self.held_bytes} of at most {large} bytes in flight; this one "
                f"needs {added} more.",
                next_step=f"Send it again in {_RETRY_AFTER_S:.0f} s.",
                retry_after_s=_RETRY_AFTER_S,
            )

    def _enter(self, key: str | None, change: int) -> None:
        self.held_bytes += change
        if key is not None:
            self._by_key[key] += change
            if not self._by_key[key]:
                del self._by_key[key]


class RequestBytes:
    """The part of the account that one request holds."""

    def __init__(self, account: BytesInFlight) -> None:
        self.held_bytes = 0
        self._account = account
        self._key: str | None = None

    def assign(self, key: str | None) -> None:
        """Count the bytes for an API key from now on.

        Args:
            key: Name of the key, ``""`` while it is not known, None where keys are off.
        """
        self._account._enter(self._key, -self.held_bytes)
        self._key = key
        self._account._enter(key, self.held_bytes)

    def take(self, added_bytes: int) -> None:
        """Hold more bytes.

        Raises:
            RequestTooLargeError: The request would not fit if it were the only one.
            KeyLimitError: The share of its key is full.
            OverloadedError: The account is full.
        """
        self._account._check(self._key, self.held_bytes, added_bytes)
        self.replace(self.held_bytes + added_bytes)

    def replace(self, held_bytes: int) -> None:
        """Hold exactly this many bytes, which are known to be in memory or to be free."""
        change = held_bytes - self.held_bytes
        self._account._enter(self._key, change)
        self._account.entered_bytes += max(0, change)
        self.held_bytes = held_bytes
