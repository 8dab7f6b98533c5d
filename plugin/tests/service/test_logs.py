from __future__ import annotations

import io
import json
import logging
from typing import Literal

import pytest

from lusifer.service.logs import SummarizingHandler, configure, request_id_from


def test_json_lines_hold_what_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    logging.getLogger("lusifer.service").info("request", extra={"request_id": "r1", "status": 200})
    logging.getLogger("lusifer.service").debug("not shown")
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("failed")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["event"], first["request_id"], first["status"]) == ("request", "r1", 200)
    assert "ValueError: why" in second["exception"]


def test_console(capsys: pytest.CaptureFixture[str]) -> None:
    configure("console", "info")
    logging.getLogger("lusifer.service").info("request", extra={"status": 200})
    assert "status=200" in capsys.readouterr().err


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_what_acts_on_a_terminal_is_escaped(
    log_format: Literal["json", "console"], capsys: pytest.CaptureFixture[str]
) -> None:
    configure(log_format, "info")
    hostile = "/\x1b]0;owned\x07\x9b2J\u202e\nforged"
    try:
        raise ValueError(hostile)
    except ValueError:
        logging.getLogger("lusifer.service").exception("at %s", hostile, extra={"path": hostile})
    written = capsys.readouterr().err
    assert not set("\x1b\x07\x9b\u202e") & set(written)
    if log_format == "json":
        (line,) = map(json.loads, written.splitlines())
        assert line["path"] == r"/\x1b]0;owned\x07\x9b2J\u202e\nforged"
        assert line["event"].startswith(r"at /\x1b]0;")
        assert "ValueError: /" in line["exception"]


def test_request_ids_are_plain_words() -> None:
    assert request_id_from({"x-request-id": "abc-1"}) == "abc-1"
    for bad in ("", "a b", "x" * 65, "é", "a\n"):
        assert len(request_id_from({"x-request-id": bad})) == 32


def test_a_flood_of_one_line_is_summarized() -> None:
    now_s, stream = [0.0], io.StringIO()
    handler = SummarizingHandler(stream, clock=lambda: now_s[0])
    log = logging.getLogger("flooded")
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    log.propagate = False
    for number in range(1_000):
        log.warning("invalid request %d", number)
        log.info("request %d", number)
    log.warning("another line")
    lines = stream.getvalue().splitlines()
    assert lines.count("another line") == 1
    assert sum(line.startswith("invalid request") for line in lines) == 20
    assert sum(line.startswith("request") for line in lines) == 1_000
    now_s[0] = 10.0
    log.info("later")
    first, second = stream.getvalue().splitlines()[-2:]
    assert first.startswith("980 more lines like the last ones of test_logs.py:")
    assert second == "later"
    for _ in range(21):
        log.error("invalid again")
    handler.close()
    assert stream.getvalue().splitlines()[-1].startswith("1 more lines like")
    handler.close()
    log.removeHandler(handler)
    assert stream.getvalue().count("more lines like") == 2
