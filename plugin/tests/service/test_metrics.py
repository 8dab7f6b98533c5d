from __future__ import annotations

import pytest

from lusifer.service.metrics import Metrics


def test_no_request_can_make_a_label() -> None:
    metrics = Metrics()
    for n in range(1000):
        metrics.request(f"protocol{n}", 1000 + n, 0.1)
        metrics.texts(f"protocol{n}", "query", [chr(0x1000 + 7 * n)], 1, 0)
    lines = metrics.render()[0].decode().splitlines()
    assert len(lines) < 400
    assert "protocol7" not in "".join(lines)


def test_the_last_minute() -> None:
    metrics = Metrics()
    assert metrics.last_minute()["p95_s"] == 0
    for n in range(100):
        metrics.request("tei", 200, n / 100)
        metrics.request("service", 200, 50.0)
    assert metrics.last_minute()["p50_s"] == pytest.approx(0.5, abs=0.02)
    assert metrics.last_minute()["p95_s"] == pytest.approx(0.94, abs=0.02)
