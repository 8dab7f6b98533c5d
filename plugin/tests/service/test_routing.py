"""Keys, bodies and clients of all protocols, over a real uvicorn."""

from __future__ import annotations

import json
import random
import socket
from typing import TYPE_CHECKING, Any

import pytest
from plugin.tests.service.protocol_cases import PROTOCOLS, body_of, every_protocol

from lusifer.service.auth import add_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import httpx
    from plugin.tests.service.conftest import GatedEngine


BAD: dict[str, bytes | Callable[[str], bytes]] = {
    "nothing": b"",
    "broken JSON": b'{"text": "a',
    "not JSON": b"text=a",
    "a list": b"[1, 2]",
    "null": b"null",
    "an empty object": b"{}",
    "invalid UTF-8": b'{"text": "\xff\xfe"}',
    "deep nesting": b'{"text": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "a huge number": b'{"text": 1e999999}',
    "NUL": lambda protocol: body_of(protocol, "a\x00b"),
    "empty text": lambda protocol: body_of(protocol, ""),
    "blank text": lambda protocol: body_of(protocol, " \n\t "),
    "a number for a text": lambda protocol: body_of(protocol, "TEXT").replace(b'"TEXT"', b"7"),
    "null for a text": lambda protocol: body_of(protocol, "TEXT").replace(b'"TEXT"', b"null"),
    "an object for a text": lambda protocol: body_of(protocol, "TEXT").replace(
        b'"TEXT"', b'{"a": 1}'
    ),
    "a lone surrogate": lambda protocol: body_of(protocol, "TEXT").replace(b"TEXT", rb"a\ud800b"),
}


@every_protocol
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_the_protocols_own_form(
    http: httpx.Client, protocol: str, case: str
) -> None:
    bad = BAD[case]
    path, _, message_of = PROTOCOLS[protocol]
    answer = http.post(path, content=bad(protocol) if callable(bad) else bad)
    assert answer.status_code == 400, answer.text
    assert len(message_of(answer.json())) > 20
    # Later requests are served.
    assert http.post(path, content=body_of(protocol, "fine")).status_code == 200


@every_protocol
def test_a_body_over_the_limit_is_refused_while_the_client_still_sends(
    serve: Callable[..., Any], protocol: str
) -> None:
    service = serve(maximum_body_bytes=2**20)
    path, _, message_of = PROTOCOLS[protocol]
    for size in (2 * 2**20, 30 * 2**20):
        answer = service.http.post(path, content=body_of(protocol, "x" * size))
        assert answer.status_code == 413
        assert "1048576 bytes" in message_of(answer.json())


@every_protocol
def test_every_route_but_health_needs_a_key(
    serve: Callable[..., Any], tmp_path: Path, protocol: str
) -> None:
    key = add_key(tmp_path / "keys.toml", "indexer")
    service = serve(api_keys_file=tmp_path / "keys.toml")
    path, _, message_of = PROTOCOLS[protocol]
    body = body_of(protocol, "a text")
    http = service.http
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"x-api-key": ""},
        {"api-key": key[:-1]},
    ):
        answer = http.post(path, content=body, headers=headers)
        assert answer.status_code == 401
        assert "key" in message_of(answer.json()).lower()
        assert key not in answer.text
    for headers in (
        {"authorization": f"Bearer {key}"},
        {"x-api-key": key},
        {"lusifer-api-key": key},
    ):
        assert http.post(path, content=body, headers=headers).status_code == 200
    assert http.post(path, content=body, auth=("any", key)).status_code == 200
    if protocol == "qdrant":
        with_token = body.replace(b'"token": null', f'"token": "{key}"'.encode())
        assert http.post(path, content=with_token).status_code == 200
    public = {"/.well-known/live", "/.well-known/ready", "/status", "/", "/health", "/ping"}
    for route in service.app.routes:
        if "GET" in route.methods and not route.path.startswith("/page"):
            expected = {200, 204} if route.path in public else {401}
            assert http.get(route.path).status_code in expected, route.path


@pytest.mark.parametrize(
    "name", ["authorization", "x-api-key", "lusifer-api-key", "api-key", "traceparent", "cookie"]
)
def test_any_bytes_in_a_header_are_401(
    serve: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    add_key(tmp_path / "keys.toml", "indexer")
    service = serve(api_keys_file=tmp_path / "keys.toml")
    draw = random.Random(name)
    values = [
        b"Basic \xe9",
        b"Bearer \xff",
        b"Basic w6k=",
        b"Basic //8=",
        b"Basic",
        b"\xf0\x9f",
        b"",
    ]
    values += [bytes(draw.choices(range(0x80, 0x100), k=9)) for _ in range(20)]
    values += [b"Basic " + bytes(draw.choices(range(0x20, 0x7F), k=9)) for _ in range(20)]
    values += [b"\t" * 9, b"a" * 9000, b"00-" + b"0" * 32 + b"-0-1", b"%00", b"\"\\'{}"]
    for value in values:
        for path in (b"POST /vectors", b"GET /meta"):
            head = path + b" HTTP/1.1\r\nHost: localhost\r\n" + name.encode() + b": " + value
            status, _, _ = service.exchange(head + b"\r\nContent-Length: 2\r\n\r\n{}")
            assert status == 401, (path, value)


@pytest.mark.parametrize("name", ["host", "origin", "content-type", "expect", "x-request-id"])
def test_no_bytes_in_a_header_are_500(service: Any, name: str) -> None:
    draw = random.Random(name)
    for value in [b"[", b"]", b"a:b:c", b"\xe9", b"//", b"@", b"a:99999999", b"%", b"\xff:1"] + [
        bytes(draw.choices([*range(0x20, 0x7F), *range(0x80, 0x100)], k=7)) for _ in range(50)
    ]:
        for path in (b"POST /vectors", b"GET /nothing"):
            head = path + b" HTTP/1.1\r\n" + name.encode() + b": " + value
            status, _, _ = service.exchange(head + b"\r\nContent-Length: 2\r\n\r\n{}")
            assert status in {400, 403, 404}, (path, value)


@every_protocol
def test_a_key_is_asked_for_before_the_body_is_looked_at(
    serve: Callable[..., Any], tmp_path: Path, protocol: str
) -> None:
    key = add_key(tmp_path / "keys.toml", "indexer")
    service = serve(api_keys_file=tmp_path / "keys.toml")
    path = PROTOCOLS[protocol][0]
    for body in (b"", b"{", b"[1]", b'{"inputs": 7}', b'{"token": 7}', b'{"token": "wrong"}'):
        assert service.http.post(path, content=body).status_code == 401, body
        answer = service.http.post(path, content=body, headers={"x-api-key": key})
        assert answer.status_code == 400, body
    # A key in a header comes first, so nothing of the body is read for a wrong one.
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nx-api-key: wrong\r\nContent-Length: 9\r\n\r\n"
    )
    assert service.exchange(head.encode())[0] == 401


def test_a_client_that_leaves_takes_its_texts_out_of_the_queue(
    gated_engine: GatedEngine, serve_gated: Callable[..., Any]
) -> None:
    service = serve_gated(batch_tokens=64)
    before = len(gated_engine.sizes)
    body = json.dumps(
        {"inputs": [f"text {n} " + "x" * 40 for n in range(50)], "truncate": True}
    ).encode()
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(
            b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )
        assert gated_engine.entered.wait(120)
    service.wait_until(lambda: service.service.in_flight_requests == 0)
    assert service.service.status().queued_tokens == 0
    gated_engine.gate.set()
    assert service.http.post("/embed", json={"inputs": "short"}).status_code == 200
    # One batch had begun; the other forty-odd texts were never computed.
    assert len(gated_engine.sizes) - before == 2
    assert b'reason="disconnected"} 1.0' in service.http.get("/metrics").content


@every_protocol
@pytest.mark.parametrize("how", ["silent", "drop by drop"])
def test_a_client_that_does_not_finish_its_body_gets_an_error(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, protocol: str, how: str
) -> None:
    silent = how == "silent"
    monkeypatch.setattr("lusifer.service.bodies._BODY_TIMEOUT_S", 0.3 if silent else 30)
    service = serve(deadline_s=30 if silent else 0.3)
    path, _, message_of = PROTOCOLS[protocol]
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{{"
    status, _, body = service.exchange(head.encode(), drops=0 if silent else 20)
    assert status == 400
    assert "The body stopped after" in message_of(json.loads(body))


def test_a_client_that_stops_in_its_body_delays_no_other(http: httpx.Client, service: Any) -> None:
    with socket.create_connection(("127.0.0.1", service.port)) as hanging:
        hanging.sendall(
            b"POST /vectors HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
        )
        for n in range(5):
            assert http.post("/vectors", json={"text": f"text {n}"}).status_code == 200
    service.wait_until(lambda: service.service.in_flight_requests == 0)
