from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plugin.tests.service.protocol_cases import MODEL

from lusifer._version import __version__
from lusifer.service.auth import add_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import httpx


def test_the_page_loads_nothing_from_elsewhere(http: httpx.Client) -> None:
    for path, kind in (
        ("/", "text/html; charset=utf-8"),
        ("/page/page.js", "text/javascript; charset=utf-8"),
        ("/page/page.css", "text/css; charset=utf-8"),
    ):
        answer = http.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert policy.endswith("form-action 'none'; frame-ancestors 'none'")
        assert "http://" not in answer.text.replace("http://localhost", "")


def test_the_page_can_be_switched_off(serve: Callable[..., Any]) -> None:
    service = serve(page=False)
    # Qdrant's protocol has a POST at this path.
    assert service.http.get("/").status_code == 405
    assert service.http.get("/status").status_code == 404


def test_status_has_the_model_the_load_and_the_last_minute(http: httpx.Client) -> None:
    http.post("/vectors", json={"text": "a"})
    http.post("/vectors", json={"text": "a"})
    status = http.get("/status").json()
    assert (status["ready"], status["reason"], status["keys"]) == (True, None, False)
    assert status["version"] == __version__
    assert status["model"]["name"] == MODEL
    assert status["model"]["dimensions"] == [16, 8, 4]
    assert status["model"]["maximum_tokens"] == 32
    assert status["model"]["languages_evaluated"] == ["en", "de", "ja"]
    assert (status["cache"]["hits"], status["cache"]["misses"]) == (1, 1)
    assert status["load"]["queued_tokens"] == 0
    assert status["last_minute"]["requests_per_s"] > 0


def test_without_a_key_status_has_neither_model_nor_load(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    key = add_key(tmp_path / "keys.toml", "page")
    http = serve(api_keys_file=tmp_path / "keys.toml").http
    assert http.get("/status").json() == {"ready": True, "keys": True, "version": __version__}
    assert "model" in http.get("/status", headers={"x-api-key": key}).json()
