"""Limits on the work the service accepts: tokens in the queue, and tokens a minute of each API key.

A queue without a bound turns overload into timeouts for everybody. With a bound most requests are
served, and the others learn when to come back. The bound is checked before a text is tokenised.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lusifer.common.rate_limit import RateLimit
from lusifer.errors import KeyLimitError, OverloadedError, RequestTooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["TOKENS_PER_TEXT", "Admission", "Hold", "KeyRateLimits", "estimate_tokens"]

_BYTES_PER_TOKEN = 4
"""UTF-8 bytes of a token: 4.0 to 5.5 in the languages of Tatoeba with the XLM-R vocabulary."""

TOKENS_PER_TEXT = 8
"""Tokens that any text counts for: prompt, special tokens and its part of the answer."""

_ASSUMED_TOKENS_PER_S = 1000.0
"""Speed assumed until the first batch was measured."""

_ESTIMATE_FACTOR = 4
"""How far an estimate may be over the true number: 2.4 for Hindi, whose letters have 3 bytes."""

_SMALL = 1 / 64
"""Largest share of the capacity of a request that may use the reserve."""
_RESERVE = 1 / 8
"""Share of the capacity that only small requests may use, so that large ones leave them room."""

_MAXIMUM_WAIT_S = 60.0
"""Longest time after which a client is asked to try again: some give up at a longer one."""


def estimate_tokens(text_bytes: int, maximum_tokens: int, *, truncates: bool) -> int:
    """Estimate the tokens of a text from its UTF-8 length.

    The result is at most ``maximum_tokens`` where longer texts are cut.
    """
    tokens = TOKENS_PER_TEXT + text_bytes // _BYTES_PER_TOKEN
    return min(tokens, maximum_tokens) if truncates else tokens


@dataclass
class Hold:
    """The part of the bound that one request holds."""

    tokens: int
    is_clipped: bool = False
    """Whether the estimate was over the limit, so that only the true number can decide."""


class Admission:
    """Counts the tokens of all requests between their arrival and their answer.

    Only the event loop uses it, so it needs no lock.

    Args:
        capacity_tokens: Maximum tokens of all requests. A request with more never fits.
        key_share: Share of the capacity that the requests of one API key may hold, above 0 and at
            most 1.
        tokens_per_s: Returns the measured speed, 0 before the first batch.
    """

    def __init__(
        self, capacity_tokens: int, *, key_share: float, tokens_per_s: Callable[[], float]
    ) -> None:
        self.capacity_tokens = capacity_tokens
        self.held_tokens = 0
        self._key_tokens = max(1, int(capacity_tokens * key_share))
        self._tokens_per_s = tokens_per_s
        self._by_key: Counter[str] = Counter()

    @contextmanager
    def hold(self, key: str | None, tokens: int) -> Iterator[Hold]:
        """Hold the tokens of a request while it is being served.

        Args:
            key: Name of the caller's API key, None where keys are off.
            tokens: Estimate from bytes. :meth:`settle` replaces it by the true number. Where it is
                over the limit, the request needs the whole of it until then.

        Raises:
            RequestTooLargeError: The request would not fit into an empty queue, even if the
                estimate is far too high.
            KeyLimitError: The share of this key is full.
            OverloadedError: The queue is full.
        """
        limit = self._limit(key)
        if tokens > _ESTIMATE_FACTOR * limit:
            raise _too_large(f"about {tokens}", limit)
        is_clipped = tokens > limit
        tokens = min(tokens, limit)
        if key is not None and self._by_key[key] + tokens > limit:
            raise self._overloaded(
                KeyLimitError,
                f"The key {key!r} has {self._by_key[key]} of its {limit} tokens in the queue",
                self._by_key[key] + tokens - limit,
            )
        small = tokens <= _SMALL * self.capacity_tokens
        room = self.capacity_tokens
        # Keys have shares that do the same.
        if key is None and self.held_tokens and not small:
            room -= int(_RESERVE * self.capacity_tokens)
        if self.held_tokens + tokens > room:
            raise self._overloaded(
                OverloadedError,
                f"The queue holds {self.held_tokens} of at most {room} tokens",
                self.held_tokens + tokens - room,
            )
        hold = Hold(0, is_clipped)
        self._set(key, hold, tokens)
        try:
            yield hold
        finally:
            self._set(key, hold, 0)

    def settle(self, key: str | None, hold: Hold, tokens: int) -> None:
        """Replace the estimate of an admitted request by its true number of tokens.

        Raises:
            RequestTooLargeError: The request would not fit into an empty queue.
        """
        if hold.is_clipped and tokens > (limit := self._limit(key)):
            raise _too_large(str(tokens), limit)
        self._set(key, hold, tokens)

    def _limit(self, key: str | None) -> int:
        return self.capacity_tokens if key is None else self._key_tokens

    def _set(self, key: str | None, hold: Hold, tokens: int) -> None:
        # The bound may be exceeded by the difference.
        self.held_tokens += tokens - hold.tokens
        if key is not None:
            self._by_key[key] += tokens - hold.tokens
            if not self._by_key[key]:
                del self._by_key[key]
        hold.tokens = tokens

    def wait_s(self, tokens: int) -> float:
        """Estimate the seconds in which the service computes ``tokens``, 60 at most."""
        return min(_MAXIMUM_WAIT_S, tokens / (self._tokens_per_s() or _ASSUMED_TOKENS_PER_S))

    def _overloaded(
        self, kind: type[OverloadedError], what: str, tokens_over: int
    ) -> OverloadedError:
        wait_s = max(1.0, self.wait_s(tokens_over))
        return kind(
            f"{what}; this request needs {tokens_over} more than are free.",
            next_step=f"Send it again in {wait_s:.0f} s.",
            retry_after_s=wait_s,
        )


def _too_large(tokens: str, limit: int) -> RequestTooLargeError:
    return RequestTooLargeError(
        f"The request has {tokens} tokens, at most {limit} fit into the queue at once.",
        next_step="Split it into smaller requests, or raise queue_tokens.",
    )


class KeyRateLimits:
    """Holds the rate limit of each API key that has ``tokens_per_minute``.

    A key may save up one minute of tokens. Only the event loop uses it, so it needs no lock.

    Args:
        clock: Returns monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limits: dict[str, RateLimit] = {}

    def take(self, key: str | None, tokens_per_minute: int | None, tokens: int) -> None:
        """Take the tokens of a request from its key's minute.

        Args:
            key: Name of the caller's API key, None where keys are off.
            tokens_per_minute: Limit of the key as the keys file has it now, None without a limit.
            tokens: Estimate from bytes. :meth:`give_back` corrects it.

        Raises:
            KeyLimitError: The key has used up its minute.
        """
        if key is None:
            return
        if tokens_per_minute is None:
            self._limits.pop(key, None)
            return
        per_s = tokens_per_minute / 60
        limit = self._limits.get(key)
        if limit is None:
            limit = RateLimit(per_s, burst=tokens_per_minute, clock=self._clock)
            self._limits[key] = limit
        elif limit.per_s != per_s:  # changed in the keys file
            limit.change(per_s, burst=tokens_per_minute)
        wait_s = min(_MAXIMUM_WAIT_S, limit.take(tokens))
        if wait_s:
            raise KeyLimitError(
                f"The key {key!r} has used its {tokens_per_minute} tokens a minute.",
                next_step=f"Send the request again in {wait_s:.0f} s.",
                retry_after_s=wait_s,
            )

    def give_back(self, key: str | None, tokens: int) -> None:
        """Return tokens that a request did not need; a number below 0 takes more."""
        if key is not None and key in self._limits:
            self._limits[key].give_back(tokens)
