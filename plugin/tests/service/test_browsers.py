"""Web pages of others, names of others, and CORS, over a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from plugin.tests.service.protocol_cases import PROTOCOLS, body_of, every_protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

JSON = {"content-type": "application/json"}


def embed(http: httpx.Client, **headers: str) -> int:
    """Post a text with header fields, and return the status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.post("/embed", content=b'{"inputs": "a"}', headers=named).status_code


FOREIGN: list[dict[str, str]] = [
    {"origin": "https://evil.example", "content-type": "text/plain"},
    {"origin": "https://evil.example", **JSON},
    {"origin": "null", **JSON},
    {"origin": "http://localhost:1", **JSON},
    {"sec-fetch-site": "cross-site", **JSON},
    {"host": "evil.example", **JSON},
    {"host": "evil.example:8000", "origin": "http://evil.example:8000", **JSON},
    {"host": "localhost.evil.example"},
    {"host": "localhost@evil.example"},
    {"host": "["},
]


@every_protocol
def test_pages_and_names_of_others_are_refused_in_the_protocols_form(
    http: httpx.Client, protocol: str
) -> None:
    path, _, message_of = PROTOCOLS[protocol]
    for headers in FOREIGN:
        answer = http.post(path, content=body_of(protocol, "a"), headers=headers)
        assert answer.status_code == 403, headers
        message = message_of(answer.json())
        assert any(word in message for word in ("may not use", "not known as")), headers
        assert "access-control-allow-origin" not in answer.headers
    assert f'reason="browser"}} {len(FOREIGN)}.0' in http.get("/metrics").text


def test_names_of_this_machine_are_served(http: httpx.Client) -> None:
    for host in ("localhost", "LOCALHOST:1", "app.localhost", "127.0.0.1:8000", "192.0.2.1"):
        assert embed(http, host=host) == 200, host
    for host in ("[::1]:8000", "host.docker.internal:8000", "localhost.", ""):
        assert embed(http, host=host) == 200, host


def test_clients_that_are_no_browsers_need_no_content_type(http: httpx.Client) -> None:
    assert embed(http) == 200
    assert embed(http, content_type="text/plain") == 200
    # What Node's fetch sends.
    assert embed(http, content_type="text/plain;charset=UTF-8", sec_fetch_mode="cors") == 200


def test_a_browser_must_send_json(http: httpx.Client) -> None:
    own = f"http://{http.base_url.host}:{http.base_url.port}"
    assert embed(http, origin=own, content_type="application/json; charset=utf-8") == 200
    assert embed(http, origin=own, content_type="text/plain") == 400
    assert embed(http, sec_fetch_site="same-origin") == 400


def test_links_from_other_pages_open_the_page_and_nothing_else(http: httpx.Client) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert http.get("/", headers=link).status_code == 200
    assert http.post("/embed", content=b"{}", headers={**link, **JSON}).status_code == 403
    assert http.get("/status", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert http.get("/status", headers={"sec-fetch-site": "same-origin"}).status_code == 200


def test_a_proxy_with_another_name_is_allowed_by_a_setting(serve: Callable[..., Any]) -> None:
    http = serve(allowed_hosts=("Search.example", "other.example:8443")).http
    for host, origin, status in (
        # The proxy passes the name on, or writes its own.
        ("search.example", "https://search.example", 200),
        ("localhost", "https://search.example", 200),
        ("localhost", "https://search.example:444", 403),
        ("localhost", "https://other.example:8443", 200),
        ("localhost", "https://other.example", 403),
        ("evil.example", "https://search.example", 403),
    ):
        assert embed(http, host=host, origin=origin, **{"content-type": "application/json"}) == (
            status
        ), (host, origin)


def test_elsewhere_the_service_has_any_name(serve: Callable[..., Any]) -> None:
    http = serve(host="0.0.0.0").http  # noqa: S104
    assert embed(http, host="lusifer:8000") == 200
    own = {"host": "lusifer:8000", "origin": "http://lusifer:8000", **JSON}
    assert http.post("/embed", content=b'{"inputs": "a"}', headers=own).status_code == 200
    foreign = {**own, "origin": "https://evil.example"}
    assert http.post("/embed", content=b'{"inputs": "a"}', headers=foreign).status_code == 403
    # A host that is none harms no more than any other.
    assert http.get("/nothing", headers={"host": "["}).status_code == 404


@pytest.mark.parametrize("origins", [("https://app.example", "null"), ("*",)])
def test_pages_of_the_setting_may_use_the_service(
    serve: Callable[..., Any], origins: tuple[str, ...]
) -> None:
    http = serve(cors_origins=origins).http
    from_page = {"origin": "https://app.example", "sec-fetch-site": "cross-site"}
    preflight = http.options(
        "/v1/embeddings",
        headers={
            **from_page,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization, content-type, lusifer-api-key,"
            " x-api-key, x-stainless-os",
        },
    )
    assert preflight.status_code == 200
    allowed = origins[0] if len(origins) > 1 else "*"
    assert preflight.headers["access-control-allow-origin"] == allowed
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in preflight.headers
    refused = http.options(
        "/v1/embeddings",
        headers={
            **from_page,
            "access-control-request-method": "POST",
            "access-control-request-headers": "x-other",
        },
    )
    assert refused.status_code == 400
    answer = http.post("/embed", content=b'{"inputs": "a"}', headers={**from_page, **JSON})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == allowed
    assert "x-request-id" in answer.headers["access-control-expose-headers"].lower()
    # Errors too, or the page could not show them.
    wrong = http.post("/embed", content=b"{", headers={**from_page, **JSON})
    assert (wrong.status_code, wrong.headers["access-control-allow-origin"]) == (400, allowed)
    assert embed(http, content_type="text/plain", origin="https://app.example") == 400
    other = {**from_page, "origin": "https://evil.example", **JSON}
    status = http.post("/embed", content=b'{"inputs": "a"}', headers=other).status_code
    assert status == (200 if allowed == "*" else 403)
    plain = http.get("/status", headers={"sec-fetch-site": "cross-site"})
    assert plain.status_code == (200 if allowed == "*" else 403)


def test_no_page_is_allowed_by_default(http: httpx.Client) -> None:
    preflight = http.options(
        "/embed",
        headers={"origin": "https://app.example", "access-control-request-method": "POST"},
    )
    assert preflight.status_code == 403
    assert "access-control-allow-origin" not in preflight.headers
