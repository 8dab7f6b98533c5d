"""The one way to retry: with growing pauses, or after the time that the other side asks for."""

from __future__ import annotations

import itertools
import logging
import math
import random
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from lusifer.errors import LusiferError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["RETRY_FOR_S", "call_with_retry", "retry_after_s"]

logger = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

RETRY_FOR_S = 300.0
"""Default time for which a busy or absent database is retried."""

FIRST_DELAY_S = 0.25
LONGEST_DELAY_S = 15.0
_LEAST_PAUSE_S = 0.1
"""A server that asks for 0 seconds would otherwise be called without a pause."""


def call_with_retry(
    call: Callable[[], _Answer],
    *,
    retry_for_s: float | None = RETRY_FOR_S,
    attempts: int | None = None,
    first_delay_s: float = FIRST_DELAY_S,
    longest_delay_s: float = LONGEST_DELAY_S,
    should_retry: Callable[[LusiferError], bool] = lambda error: error.retryable,
    log_level: int = logging.WARNING,
) -> _Answer:
    """Call, and call again while the error says that a retry can help.

    An error with ``retry_after_s`` sets the pause before the next call. The other pauses double,
    from ``first_delay_s`` to ``longest_delay_s``. Each pause is up to a quarter longer, so that
    many clients do not come back at the same moment.

    Args:
        call: Must be safe to repeat.
        retry_for_s: Seconds after which no further call begins; None is no limit.
        attempts: Largest number of calls; None is no limit.
        first_delay_s: Length of the first doubling pause.
        longest_delay_s: Length at which the pauses stop to double.
        should_retry: Decides whether an error is retried; by default its ``retryable`` does.
        log_level: Level at which each retry is logged.

    Raises:
        LusiferError: The error of the last call.
    """
    end_s = math.inf if retry_for_s is None else time.monotonic() + retry_for_s
    delay_s = first_delay_s
    for attempt in itertools.count(1):
        try:
            return call()
        except LusiferError as error:
            asked_s = getattr(error, "retry_after_s", None)
            if asked_s is None:
                pause_s, delay_s = delay_s, min(2 * delay_s, longest_delay_s)
            else:
                pause_s = max(float(asked_s), _LEAST_PAUSE_S)
            pause_s *= random.uniform(1.0, 1.25)  # noqa: S311
            late = time.monotonic() + pause_s > end_s
            if attempt == attempts or late or not should_retry(error):
                raise
            logger.log(log_level, "%s Trying again in %.1f s.", error.message, pause_s)
            time.sleep(pause_s)
    raise AssertionError("unreachable")


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a ``Retry-After`` header, a number or a date; None without one."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
