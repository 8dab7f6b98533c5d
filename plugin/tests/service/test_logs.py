from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from lusifer.service.logs import configure, request_id_from

if TYPE_CHECKING:
    import pytest


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


def test_request_ids_are_plain_words() -> None:
    assert request_id_from({"x-request-id": "abc-1"}) == "abc-1"
    for bad in ("", "a b", "x" * 65, "é", "a\n"):
        assert len(request_id_from({"x-request-id": bad})) == 32
