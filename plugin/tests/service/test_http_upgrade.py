from __future__ import annotations

from lusifer.service.http_upgrade import head_without_upgrade


def test_only_what_asks_for_an_upgrade_is_left_out() -> None:
    headers = [
        (b"host", b"a"),
        (b"connection", b"keep-alive, Upgrade, HTTP2-Settings"),
        (b"upgrade", b"h2c"),
        (b"http2-settings", b"AAM"),
        (b"x-empty", b""),
        (b"content-length", b"3"),
    ]
    assert head_without_upgrade(b"POST", b"/a?b=1", "1.1", headers) == (
        b"POST /a?b=1 HTTP/1.1\r\nhost: a\r\nconnection: keep-alive\r\nx-empty: \r\n"
        b"content-length: 3\r\n\r\n"
    )
    alone = head_without_upgrade(b"GET", b"/", "1.1", [(b"connection", b"upgrade")])
    assert alone == b"GET / HTTP/1.1\r\n\r\n"
