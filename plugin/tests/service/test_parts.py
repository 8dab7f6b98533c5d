"""The small parts of the service, each by itself."""

from __future__ import annotations

import json
import logging
import stat
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine
from lusifer.errors import OverloadedError, RequestTooLargeError, SettingsError, UnauthorizedError
from lusifer.service.admission import Admission, estimate_tokens
from lusifer.service.auth import ApiKeys, add_key, presented_key, read_keys, revoke_key
from lusifer.service.logs import configure, request_id_from
from lusifer.service.metrics import Metrics
from lusifer.service.server import server_config
from lusifer.service.settings import Settings, load_settings
from lusifer.service.tracing import Tracer

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer.bundle.format import Bundle


class TestSettings:
    def test_flags_before_environment_before_file_before_defaults(self, tmp_path: Path) -> None:
        config = tmp_path / "serve.toml"
        config.write_text(
            'port = 1\nqueue_tokens = 9000\nlong_text = "error"\nmodel_aliases = ["a"]\n'
        )
        environment = {"LUSIFER_SERVE_PORT": "2", "LUSIFER_SERVE_QUEUE_TOKENS": "8000", "HOME": "/"}
        settings = load_settings({"port": 3, "bundle": None}, environment, config)
        assert (settings.port, settings.queue_tokens, settings.long_text) == (3, 8000, "error")
        assert settings.model_aliases == ("a",)
        assert server_config(Starlette(), settings).timeout_keep_alive >= 95
        named = load_settings({}, {"LUSIFER_SERVE_CONFIG": str(config)})
        assert named.port == 1
        assert load_settings({}, {"LUSIFER_SERVE_MODEL_ALIASES": "x, y"}).model_aliases == (
            "x",
            "y",
        )

    def test_everything_wrong_is_told_at_once_with_its_source_and_the_right_name(
        self, tmp_path: Path
    ) -> None:
        config = tmp_path / "serve.toml"
        config.write_text("prot = 1\ncache_bytes = -5\n")
        with pytest.raises(SettingsError) as caught:
            load_settings({"engine": "tensorrt"}, {"LUSIFER_SERVE_LONGTEXT": "x"}, config)
        told = str(caught.value)
        for part in (
            "prot",
            "mean port",
            "longtext",
            "mean long_text",
            "cache_bytes is -5",
            str(config),
        ):
            assert part in told
        assert "engine is 'tensorrt' in the command line" in told

    @pytest.mark.parametrize(
        ("flags", "word"),
        [
            ({"engine": "triton"}, "triton_url"),
            ({"batch_tokens": 100, "queue_tokens": 50}, "queue_tokens 50"),
            # Weaviate would write into connections that we close.
            ({"keep_alive_s": 60}, "keep_alive_s is 60"),
        ],
    )
    def test_settings_that_contradict_each_other(self, flags: dict[str, Any], word: str) -> None:
        with pytest.raises(SettingsError, match=word):
            load_settings(flags, {})

    def test_a_file_that_is_missing_or_not_toml(self, tmp_path: Path) -> None:
        (tmp_path / "bad.toml").write_text("port 1")
        for name in ("none.toml", "bad.toml"):
            with pytest.raises(SettingsError, match=name):
                load_settings({}, {}, tmp_path / name)

    def test_every_setting_is_described(self) -> None:
        for name, field in Settings.model_fields.items():
            assert field.description, name


@pytest.fixture(scope="module")
def right_and_keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ApiKeys]:
    """A key, and the keys that it is one of."""
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    add_key(path, "other")
    return add_key(path, "mine"), ApiKeys(path)


class TestKeys:
    def test_only_a_salted_hash_is_stored_and_only_the_owner_may_read(self, tmp_path: Path) -> None:
        path = tmp_path / "keys.toml"
        first, second = add_key(path, "a", tokens_per_minute=60), add_key(path, "b")
        assert first not in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        keys = ApiKeys(path)
        assert keys.identify(first).tokens_per_minute == 60
        assert keys.identify(second).name == "b"
        with pytest.raises(SettingsError, match="already"):
            add_key(path, "a")
        with pytest.raises(SettingsError, match="can't be stored"):
            add_key(path, "a b")

    @given(st.data())
    def test_nothing_else_is_a_key(
        self, right_and_keys: tuple[str, ApiKeys], data: st.DataObject
    ) -> None:
        right, keys = right_and_keys
        at = data.draw(st.integers(0, len(right)))
        changed = (
            right[:at] + data.draw(st.text(max_size=2)) + right[at + data.draw(st.integers(0, 2)) :]
        )
        for presented in (changed, data.draw(st.text(max_size=60))):
            if presented == right:
                assert keys.identify(presented).name == "mine"
            else:
                with pytest.raises(UnauthorizedError):
                    keys.identify(presented)

    def test_a_revoked_key_ends_while_the_service_runs_and_a_broken_file_changes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr("lusifer.service.auth._RELOAD_S", 0.0)
        path = tmp_path / "keys.toml"
        key, other = add_key(path, "a"), add_key(path, "b")
        keys = ApiKeys(path)
        revoke_key(path, "a")
        with pytest.raises(UnauthorizedError):
            keys.identify(key)
        path.write_text("[keys.b]\nsha256 = 'short'\n")
        assert keys.identify(other).name == "b"
        assert "keys in use stay" in caplog.text
        path.unlink()
        assert keys.identify(other).name == "b"
        with pytest.raises(SettingsError, match="no keys file"):
            read_keys(path)

    def test_a_disabled_key_is_no_key(self, tmp_path: Path) -> None:
        path = tmp_path / "keys.toml"
        key = add_key(path, "a")
        path.write_text(path.read_text() + "disabled = true\n")
        with pytest.raises(UnauthorizedError):
            ApiKeys(path).identify(key)

    @pytest.mark.parametrize(
        ("headers", "expected"),
        [
            ({}, None),
            ({"authorization": "Bearer  k "}, "k"),
            ({"authorization": "bearer k"}, "k"),
            ({"authorization": "Basic YTpr"}, "k"),
            ({"authorization": "Basic %%%"}, None),
            ({"authorization": "Basic /w=="}, None),
            ({"authorization": "Bearer "}, None),
            ({"x-api-key": "k"}, "k"),
            ({"lusifer-api-key": "k"}, "k"),
            ({"api-key": "k"}, "k"),
        ],
    )
    def test_where_a_key_may_stand(self, headers: dict[str, str], expected: str | None) -> None:
        assert presented_key(headers) == expected


class TestAdmission:
    def test_the_wait_follows_from_the_measured_speed(self) -> None:
        admission = Admission(1000, key_share=0.5, tokens_per_s=lambda: 100.0)
        with admission.hold(None, 900):
            with pytest.raises(OverloadedError) as caught, admission.hold(None, 500):
                pass
            assert caught.value.retry_after_s == pytest.approx(4)
        assert admission.held_tokens == 0
        with pytest.raises(RequestTooLargeError), admission.hold(None, 1001):
            pass

    def test_one_key_cannot_take_the_whole_queue(self) -> None:
        admission = Admission(1000, key_share=0.5, tokens_per_s=lambda: 0.0)
        with admission.hold("a", 400):
            with pytest.raises(OverloadedError, match="'a'"), admission.hold("a", 200):
                pass
            with admission.hold("b", 400):
                assert admission.held_tokens == 800

    @given(st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 600)), max_size=30))
    def test_what_is_held_is_given_back_whatever_happens(
        self, requests: list[tuple[str | None, int]]
    ) -> None:
        admission = Admission(1000, key_share=0.7, tokens_per_s=lambda: 50.0)
        for key, tokens in requests:
            try:
                with admission.hold(key, tokens) as hold:
                    assert admission.held_tokens <= 1000
                    admission.correct(key, hold, tokens // 2)
                    if tokens % 3 == 0:
                        raise ValueError
            except (OverloadedError, RequestTooLargeError, ValueError):
                pass
        assert admission.held_tokens == 0
        assert not admission._by_key

    def test_the_estimate_is_bounded_where_texts_are_cut(self) -> None:
        assert estimate_tokens(10**9, 512, truncates=True) == 512
        assert estimate_tokens(4000, 512, truncates=False) > 900


class TestMetrics:
    def test_no_request_can_make_a_label(self) -> None:
        metrics = Metrics()
        for n in range(1000):
            metrics.request(f"protocol{n}", 1000 + n, 0.1)
            metrics.texts(f"protocol{n}", "query", [chr(0x1000 + 7 * n)], 1, 0)
        lines = metrics.render()[0].decode().splitlines()
        assert len(lines) < 400
        assert "protocol7" not in "".join(lines)

    def test_the_last_minute(self) -> None:
        metrics = Metrics()
        assert metrics.last_minute()["p95_s"] == 0
        for n in range(100):
            metrics.request("tei", 200, n / 100)
            metrics.request("service", 200, 50.0)
        assert metrics.last_minute()["p50_s"] == pytest.approx(0.5, abs=0.02)
        assert metrics.last_minute()["p95_s"] == pytest.approx(0.94, abs=0.02)


class TestLogs:
    def test_json_lines_hold_what_was_given(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure("json", "info")
        logging.getLogger("lusifer.service").info(
            "request", extra={"request_id": "r1", "status": 200}
        )
        logging.getLogger("lusifer.service").debug("not shown")
        try:
            raise ValueError("why")
        except ValueError:
            logging.getLogger("uvicorn.error").exception("failed")
        first, second = map(json.loads, capsys.readouterr().err.splitlines())
        assert (first["event"], first["request_id"], first["status"]) == ("request", "r1", 200)
        assert "ValueError: why" in second["exception"]

    def test_console(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure("console", "info")
        logging.getLogger("lusifer.service").info("request", extra={"status": 200})
        assert "status=200" in capsys.readouterr().err

    def test_request_ids_are_plain_words(self) -> None:
        assert request_id_from({"x-request-id": "abc-1"}) == "abc-1"
        for bad in ("", "a b", "x" * 65, "é", "a\n"):
            assert len(request_id_from({"x-request-id": bad})) == 32


class TestTracing:
    def test_nothing_is_made_without_an_endpoint(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
        tracer = Tracer.start(None, "1")
        with tracer.request("x", {}) as span:
            assert span is None
        tracer.close()

    def test_a_request_is_a_span_at_the_collector_and_a_child_of_the_callers(
        self, bundle: Bundle, start_service: Any
    ) -> None:
        received: list[bytes] = []

        class Collector(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Collector)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        endpoint = f"http://127.0.0.1:{server.server_port}/v1/traces"
        service = start_service(Vectorizer(bundle, FakeEngine(16)), otlp_endpoint=endpoint).ready()
        trace = "0af7651916cd43dd8448eb211c80319c"
        headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "x-request-id": "traced-1"}
        assert (
            service.http.post("/vectors", json={"text": "secret"}, headers=headers).status_code
            == 200
        )
        service.stop()  # sends what is left
        server.shutdown()
        thread.join()
        server.server_close()
        sent = b"".join(received)
        for part in (
            bytes.fromhex(trace),
            b"weaviate POST /vectors",
            b"traced-1",
            b"http.response.status_code",
        ):
            assert part in sent, part
        assert b"secret" not in sent
