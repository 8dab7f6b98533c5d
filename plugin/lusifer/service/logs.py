"""Structured logs on standard error: one JSON object a line, or columns for people.

No log contains a text of a user.
"""

from __future__ import annotations

import logging
import re
import sys
import uuid
from typing import TYPE_CHECKING, Literal

import structlog

from lusifer.common.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["configure", "request_id_from"]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def configure(log_format: Literal["json", "console"], level: str) -> None:
    """Send the logs of LUSIFER, uvicorn and all libraries through one formatter."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _printable,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("lusifer").setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(level.upper())


def _printable(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Escape what would act on the terminal that shows the log, such as in a request's path."""
    return {
        name: printable(value, lines=name == "exception") if isinstance(value, str) else value
        for name, value in event.items()
    }


def request_id_from(headers: Mapping[str, str]) -> str:
    """Return the client's ``X-Request-Id``, or a new one.

    Only a word of at most 64 letters, digits, '.', '_' and '-' is taken from the client.
    """
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
