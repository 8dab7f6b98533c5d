"""Structured logs on standard error: one JSON object a line, or columns for people.

No log contains a text of a user, and no client can fill the disk: of a warning or error that comes
again and again, only some lines and their number are written.
"""

from __future__ import annotations

import logging
import re
import sys
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import structlog

from lusifer.common.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TextIO

__all__ = ["SummarizingHandler", "configure", "request_id_from"]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_WINDOW_S = 10.0
_LINES_PER_WINDOW = 20


@dataclass
class _Line:
    """One line of the program's code that logs, in the current window of time."""

    began_s: float
    count: int = 0


class SummarizingHandler(logging.StreamHandler["TextIO"]):
    """Writes at most 20 equal warnings or errors in 10 s, then how many more there were.

    Lines are equal if one place in the code writes them. Lines below a warning are all written.

    Args:
        stream: Where the lines go.
        clock: Returns monotonic seconds.
    """

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._lines: dict[tuple[str, int, str, int], _Line] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, unless it is one of too many."""
        now_s = self._clock()
        self._summarize(now_s - _WINDOW_S)
        if record.levelno >= logging.WARNING:
            place = (record.name, record.levelno, record.pathname, record.lineno)
            line = self._lines.setdefault(place, _Line(now_s))
            line.count += 1
            if line.count > _LINES_PER_WINDOW:
                return
        super().emit(record)

    def close(self) -> None:
        """Write the last summaries."""
        self._summarize(float("inf"))
        super().close()

    def _summarize(self, before_s: float) -> None:
        for place, line in list(self._lines.items()):
            if line.began_s > before_s:
                continue
            del self._lines[place]
            if (more := line.count - _LINES_PER_WINDOW) > 0:
                name, level, path, number = place
                message = "%d more lines like the last ones of %s:%d"
                arguments = (more, path.rpartition("/")[2], number)
                super().emit(logging.LogRecord(name, level, path, number, message, arguments, None))


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
    handler = SummarizingHandler(sys.stderr)
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
