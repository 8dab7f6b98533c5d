"""How much work the service takes on: a bound in tokens, checked before a text is tokenised.

A queue without a bound turns overload into timeouts for everybody; with one, most are served and
the rest are told when to come back.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lusifer.errors import KeyLimitError, OverloadedError, RequestTooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Admission", "Hold", "estimate_tokens"]

_BYTES_PER_TOKEN = 4
"""UTF-8 bytes of a token: 4.0 to 5.5 in the languages of Tatoeba under the XLM-R vocabulary."""

_ASSUMED_TOKENS_PER_S = 1000.0
"""Until the first batch was measured."""


def estimate_tokens(text_bytes: int, maximum_tokens: int, *, truncates: bool) -> int:
    """Tokens of a text from its UTF-8 length; at most ``maximum_tokens`` where longer ones are cut."""
    tokens = 8 + text_bytes // _BYTES_PER_TOKEN  # 8: prompt and special tokens
    return min(tokens, maximum_tokens) if truncates else tokens


@dataclass
class Hold:
    """The tokens that one request holds of the bound."""

    tokens: int


class Admission:
    """Counts the tokens of all requests between their arrival and their answer.

    Used from the event loop only, so it needs no lock.

    Args:
        capacity_tokens: The bound. A request larger than it alone never fits.
        key_share: Share of the bound that the requests of one API key may hold, above 0 to 1.
        tokens_per_s: Measured speed, 0 if not known yet.
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
        """Hold the tokens of a request for as long as it is being served.

        Args:
            key: Name of the caller's API key, None where keys are off.
            tokens: Estimated from bytes; :meth:`correct` replaces it by the true number.

        Raises:
            RequestTooLargeError: It would not fit into an empty queue.
            KeyLimitError: The share of this key is full.
            OverloadedError: The queue is full.
        """
        limit = self.capacity_tokens if key is None else self._key_tokens
        if tokens > limit:
            raise RequestTooLargeError(
                f"The request has about {tokens} tokens, at most {limit} fit into the queue at once.",
                next_step="Split it into smaller requests, or raise queue_tokens.",
            )
        if key is not None and self._by_key[key] + tokens > limit:
            raise self._overloaded(
                KeyLimitError,
                f"The key {key!r} has {self._by_key[key]} of its {limit} tokens in the queue",
                self._by_key[key] + tokens - limit,
            )
        if self.held_tokens + tokens > self.capacity_tokens:
            raise self._overloaded(
                OverloadedError,
                f"The queue holds {self.held_tokens} of at most {self.capacity_tokens} tokens",
                self.held_tokens + tokens - self.capacity_tokens,
            )
        hold = Hold(0)
        self.correct(key, hold, tokens)
        try:
            yield hold
        finally:
            self.correct(key, hold, 0)

    def correct(self, key: str | None, hold: Hold, tokens: int) -> None:
        """Replace the estimate of a request that was let in; it may go over the bound by the difference."""
        self.held_tokens += tokens - hold.tokens
        if key is not None:
            self._by_key[key] += tokens - hold.tokens
            if not self._by_key[key]:
                del self._by_key[key]
        hold.tokens = tokens

    def wait_s(self, tokens: int) -> float:
        """Seconds in which the service computes this many tokens."""
        return tokens / (self._tokens_per_s() or _ASSUMED_TOKENS_PER_S)

    def _overloaded(
        self, kind: type[OverloadedError], what: str, tokens_over: int
    ) -> OverloadedError:
        wait_s = max(1.0, self.wait_s(tokens_over))
        return kind(
            f"{what}; this request needs {tokens_over} more than are free.",
            next_step=f"Send it again in {wait_s:.0f} s.",
            retry_after_s=wait_s,
        )
