"""Waiting out what passes by itself: a database that is busy, away for a moment, or starting."""

from __future__ import annotations

import logging
import random
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from lusifer.errors import StoreBusyError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

__all__ = ["RETRY_FOR_S", "call_with_retry", "retry_after_s"]

logger = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

RETRY_FOR_S = 300.0

_FIRST_DELAY_S = 0.25
_LONGEST_DELAY_S = 15.0


def call_with_retry(
    call: Callable[[], _Answer],
    errors: Callable[[], AbstractContextManager[None]],
    *,
    retry_for_s: float = RETRY_FOR_S,
) -> _Answer:
    """Call, and call again while the database is busy or away.

    Args:
        call: Safe to repeat.
        errors: Makes what it raises errors of our tree, such as ``lambda:
            qdrant_errors(collection)``.
        retry_for_s: Seconds after which the last error is raised. Waits that the server itself asks
            for (``Retry-After``) count too.

    Raises:
        LusiferError: What the call raised last.
    """
    end_s = time.monotonic() + retry_for_s
    delay_s = _FIRST_DELAY_S
    while True:
        try:
            with errors():
                return call()
        except (StoreBusyError, StoreUnavailableError) as error:
            if isinstance(error, StoreBusyError):
                wait_s = max(error.retry_after_s, 0.1)
            else:
                wait_s, delay_s = delay_s, min(2 * delay_s, _LONGEST_DELAY_S)
            # Spread, so that many clients do not come back at the same moment.
            wait_s *= random.uniform(1.0, 1.25)  # noqa: S311
            if time.monotonic() + wait_s > end_s:
                raise
            logger.warning("%s Trying again in %.1f s.", error.message, wait_s)
            time.sleep(wait_s)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds in a ``Retry-After`` header, given as a number or as a date; None without one."""
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
