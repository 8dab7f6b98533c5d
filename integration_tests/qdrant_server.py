"""Qdrant's REST API on a loopback port, with server-side inference as Qdrant 1.19 does it.

``LoopbackQdrant`` answers what qdrant-client 1.20 asks; the engine below it is the client's own
local mode. ``InferenceGate`` stands at the inference address: it records what Qdrant sends and
passes it on to the service under test, or answers what a test chooses. With ``QDRANT_URL`` set the
same tests run on that real server, and the end of the run says which did. Where it shall embed, it
must have been started with ``QDRANT__INFERENCE__ADDRESS`` equal to ``LUSIFER_TEST_SERVICE_URL``; a
free port alone stands for ``http://127.0.0.1:PORT/qdrant``::

    QDRANT__INFERENCE__ADDRESS=http://127.0.0.1:18000/qdrant ./qdrant
    QDRANT_URL=http://127.0.0.1:6333 LUSIFER_TEST_SERVICE_URL=18000 pytest integration_tests -k
    qdrant

Texts and statuses are those of Qdrant's sources, ``src/common/inference`` and
``src/actix/helpers.rs``."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import functools
import http
import json
import math
import os
import random
import re
import socket
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest
import uvicorn
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

qdrant_client = pytest.importorskip("qdrant_client")
from qdrant_client import QdrantClient, models  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from starlette.requests import Request

VERSION = "1.19.0"
MAXIMUM_BODY_BYTES = 32 * 2**20
CHUNK_POINTS = 32
"""Points that update_vectors writes before it looks whether one was missing."""

_INFERABLE = (models.Document, models.Image, models.InferenceObject)
_DATA_TYPES = {models.Document: "text", models.Image: "image", models.InferenceObject: "object"}
_LOCAL_MODELS = {"bm25", "qdrant/bm25"}
# Rust's names where Python's differ.
_REASONS = {413: "Payload Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable"}


@dataclass(frozen=True)
class Recorded:
    """A request as it arrived; names of headers are lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the parsed body."""
        return json.loads(self.body)


class QdrantError(Exception):
    """Error that Qdrant answers instead of a result."""

    def __init__(self, status: int, text: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after_s = retry_after_s


class ConnectionDroppedError(Exception):
    """The connection ends without an answer."""


def _bad_input(text: str) -> QdrantError:
    return QdrantError(400, f"Wrong input: {text}")


def _bad_request(text: str) -> QdrantError:
    return QdrantError(400, f"Bad request: {text}")


def _not_found(text: str) -> QdrantError:
    return QdrantError(404, f"Not found: {text}")


def _service_error(text: str) -> QdrantError:
    return QdrantError(500, f"Service internal error: {text}")


class _OnePiece:
    """A transport that joins what is written in one step of the event loop: head and body leave together."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(bytes(data))

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        data, self._waiting = b"".join(self._waiting), []
        if data and not self._transport.is_closing():
            self._transport.write(data)


class _Protocol(HttpToolsProtocol):
    """Gives the application its transport, which a fault cuts."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(_OnePiece(transport))  # type: ignore[arg-type]

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["transport"] = self.transport


class LoopbackServer:
    """An application behind a real uvicorn, in a thread of this process.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one, which is kept when the server is started again.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self.port = port
        self.requests: list[Recorded] = []
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def app(self) -> Starlette:
        raise NotImplementedError

    def start(self) -> None:
        """Start to listen; a stopped server comes back on its port."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.host, self.port))
        # Before the thread runs: the first request may come at once.
        listener.listen(128)
        self.port = int(listener.getsockname()[1])
        config = uvicorn.Config(
            self.app(), log_config=None, access_log=False, http=_Protocol, loop="asyncio"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]})
        self._thread.start()

    def stop(self) -> None:
        """Stop as SIGTERM would; the port refuses connections afterwards."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()
            self._server = self._thread = None

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Refuse connections for a while."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    async def record(self, request: Request) -> Recorded:
        """Read and keep a request."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        recorded = Recorded(
            request.method,
            request.url.path,
            dict(request.query_params),
            headers,
            await request.body(),
        )
        self.requests.append(recorded)
        return recorded


class InferenceGate(LoopbackServer):
    """Service at Qdrant's inference address.

    ``requests`` holds what Qdrant sent. By default it is passed on to ``forward_to``; ``answer``
    and ``answer_with`` put a test in the service's place until ``reset``."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, path: str = "/qdrant") -> None:
        self.path = path
        self.forward_to: str | None = None
        self.delay_s = 0.0
        self._answering: Callable[[Recorded], tuple[int, Mapping[str, str], bytes]] | None = None
        self._http = httpx.Client(trust_env=False, timeout=60)
        super().__init__(host, port)

    @property
    def address(self) -> str:
        """Value for ``QDRANT__INFERENCE__ADDRESS``."""
        return self.url + self.path

    def answer(
        self, status: int, body: object = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer every request so; a body that is not bytes is written as JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._answering = lambda _: (status, headers or {}, raw)

    def answer_with(
        self, answering: Callable[[Recorded], tuple[int, Mapping[str, str], bytes] | None]
    ) -> None:
        """Let a function answer; where it returns None the service does."""

        def answer(recorded: Recorded) -> tuple[int, Mapping[str, str], bytes]:
            return answering(recorded) or self._forward(recorded)

        self._answering = answer

    def reset(self) -> None:
        """Forget what was recorded, and answer for nobody."""
        self.requests.clear()
        self._answering = self.forward_to = None
        self.delay_s = 0.0

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._endpoint, methods=["GET", "POST"])])

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        self._http.close()

    async def _endpoint(self, request: Request) -> Response:
        recorded = await self.record(request)
        await asyncio.sleep(self.delay_s)
        status, headers, body = await run_in_threadpool(self._answering or self._forward, recorded)
        return Response(body, status, {"content-type": "application/json", **headers})

    def _forward(self, recorded: Recorded) -> tuple[int, Mapping[str, str], bytes]:
        if self.forward_to is None:
            return 503, {}, b'{"error":"the test started no service"}'
        kept = {
            name: value
            for name, value in recorded.headers.items()
            if name not in ("host", "connection")
        }
        # Whatever the path of the inference address, the service knows this one.
        path = "/qdrant" if recorded.path == self.path else recorded.path
        answer = self._http.request(
            recorded.method, self.forward_to + path, headers=kept, content=recorded.body
        )
        kept = {
            name: answer.headers[name]
            for name in ("content-type", "retry-after")
            if name in answer.headers
        }
        return answer.status_code, kept, answer.content


class _InferenceAnswer(BaseModel):
    """Other fields are ignored, as Qdrant does."""

    embeddings: list[models.VectorOutput]
    usage: models.InferenceUsage | None = None


@dataclass
class _Usage:
    """Tokens by model, over all inference of one call."""

    tokens: dict[str, int] = field(default_factory=dict)

    def add(self, usage: models.InferenceUsage | None) -> None:
        for model, of_model in (usage.models or {}).items() if usage else ():
            self.tokens[model] = self.tokens.get(model, 0) + of_model.tokens

    def as_json(self) -> dict[str, Any] | None:
        if not self.tokens:
            return None
        return {
            "inference": {
                "models": {model: {"tokens": count} for model, count in self.tokens.items()}
            }
        }


@dataclass(frozen=True)
class _Call:
    """One request, with what its inference needs."""

    name: str
    """Name of the collection."""
    detail: str
    """Second parameter of the path: a point, a vector's name, a field."""
    recorded: Recorded
    usage: _Usage = field(default_factory=_Usage)

    def parse(self, kind: Any) -> Any:
        """Parse the body as one of the client's models."""
        try:
            return _adapter(kind).validate_python(orjson.loads(self.recorded.body))
        except (orjson.JSONDecodeError, ValidationError) as error:
            raise QdrantError(400, f"Format error in JSON body: {error}") from error

    @property
    def wait(self) -> bool:
        return self.recorded.query.get("wait", "false") == "true"


@dataclass
class _Fault:
    """Fault for the next matching requests."""

    left: int
    status: int
    headers: Mapping[str, str]
    error: str
    drop: bool
    after: bool
    method: str | None
    path: str

    def meets(self, recorded: Recorded) -> bool:
        # The client's look at the version, in a thread of its own, is never what a test means.
        return (
            recorded.path != "/"
            and (self.method is None or recorded.method == self.method)
            and self.path in recorded.path
        )


class LoopbackQdrant(LoopbackServer):
    """The subset of Qdrant's REST API that qdrant-client uses for collections, points and queries.

    Args:
        inference_address: Full URL of the inference service, None for a server without one.
        inference_token: What stands in ``token`` of every inference request.
        inference_timeout_s: Seconds an inference request may take; ``?timeout=`` of a call replaces
            it.
        port: Port to listen on; 0 takes a free one.
        seed: Of the order in which documents are sent and points are written.
    """

    def __init__(
        self,
        inference_address: str | None = None,
        *,
        inference_token: str | None = None,
        inference_timeout_s: float = 600.0,
        port: int = 0,
        seed: int = 0,
    ) -> None:
        self.inference_address = inference_address
        self.inference_token = inference_token
        self.inference_timeout_s = inference_timeout_s
        self.engine = QdrantClient(":memory:")
        self._http = httpx.Client(trust_env=False, follow_redirects=True)
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._faults: list[_Fault] = []
        self._configs: dict[str, dict[str, Any]] = {}
        self._indexes: dict[str, dict[str, Any]] = {}
        self._operations = 0
        super().__init__(port=port)

    def fail_next(
        self,
        n: int = 1,
        *,
        status: int = 500,
        headers: Mapping[str, str] | None = None,
        error: str = "Service internal error: injected",
        drop: bool = False,
        after: bool = False,
        method: str | None = None,
        path: str = "",
    ) -> None:
        """Let the next requests fail; the look at the version (``GET /``) never does.

        Args:
            n: How many.
            status: What they are answered.
            headers: Of that answer, such as Retry-After.
            error: Its text.
            drop: Close the connection instead, without an answer.
            after: Do what was asked first, so that only the answer is lost.
            method: Only requests of this method.
            path: Only requests with this in their path.
        """
        self._faults.append(_Fault(n, status, headers or {}, error, drop, after, method, path))

    def clear_faults(self) -> None:
        """Let nothing fail any more."""
        self._faults.clear()

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        self._http.close()
        self.engine.close()

    def app(self) -> Starlette:
        collection, points = "/collections/{name}", "/collections/{name}/points"
        table: list[tuple[str, str, Callable[[_Call], Any]]] = [
            ("GET", "/collections", self._collections),
            ("POST", "/collections/aliases", self._change_aliases),
            ("GET", "/aliases", self._aliases),
            ("GET", f"{collection}/aliases", self._aliases_of),
            ("GET", f"{collection}/exists", lambda call: {"exists": self._exists(call.name)}),
            ("PUT", collection, self._create),
            ("GET", collection, self._info),
            ("PATCH", collection, self._change),
            ("DELETE", collection, self._delete),
            ("PUT", f"{collection}/index", self._create_index),
            ("DELETE", f"{collection}/index/{{detail:path}}", self._delete_index),
            ("PUT", f"{collection}/vectors/{{detail}}", self._create_vector),
            ("DELETE", f"{collection}/vectors/{{detail}}", self._delete_vector),
            ("POST", points, self._retrieve),
            ("POST", f"{points}/batch", self._batch),
            ("POST", f"{points}/scroll", self._scroll),
            ("POST", f"{points}/count", self._count),
            ("POST", f"{points}/query", self._query),
            ("POST", f"{points}/query/batch", self._query_batch),
            ("POST", f"{points}/query/groups", self._query_groups),
            ("GET", f"{points}/{{detail}}", self._point),
        ]
        updates: list[tuple[str, str, str, Any, type[BaseModel]]] = [
            ("PUT", "", "upsert", models.PointInsertOperations, models.UpsertOperation),
            (
                "PUT",
                "/vectors",
                "update_vectors",
                models.UpdateVectors,
                models.UpdateVectorsOperation,
            ),
            (
                "POST",
                "/vectors/delete",
                "delete_vectors",
                models.DeleteVectors,
                models.DeleteVectorsOperation,
            ),
            ("POST", "/delete", "delete", models.PointsSelector, models.DeleteOperation),
            ("POST", "/payload", "set_payload", models.SetPayload, models.SetPayloadOperation),
            (
                "PUT",
                "/payload",
                "overwrite_payload",
                models.SetPayload,
                models.OverwritePayloadOperation,
            ),
            (
                "POST",
                "/payload/delete",
                "delete_payload",
                models.DeletePayload,
                models.DeletePayloadOperation,
            ),
            (
                "POST",
                "/payload/clear",
                "clear_payload",
                models.PointsSelector,
                models.ClearPayloadOperation,
            ),
        ]
        table += [
            (method, points + path, self._update(name, body, operation))
            for method, path, name, body, operation in updates
        ]
        routes = [
            Route("/", self._welcome),
            *(Route(path, self._endpoint(work), methods=[method]) for method, path, work in table),
            # Qdrant answers a path it doesn't know with an empty 404.
            Route("/{rest:path}", self._unknown, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ]
        return Starlette(routes=routes)

    async def _welcome(self, request: Request) -> Response:
        await self.record(request)
        return _json(
            {"title": "qdrant - vector search engine", "version": VERSION, "commit": "loopback"}
        )

    async def _unknown(self, request: Request) -> Response:
        await self.record(request)
        return Response(status_code=404)

    def _endpoint(self, work: Callable[[_Call], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            recorded = await self.record(request)
            fault = next((each for each in self._faults if each.meets(recorded)), None)
            if fault is not None:
                fault.left -= 1
                if fault.left <= 0:
                    self._faults.remove(fault)
            path = request.path_params
            call = _Call(path.get("name", ""), path.get("detail", ""), recorded)
            start_s = time.perf_counter()
            if fault is None or fault.after:
                try:
                    response = await run_in_threadpool(self._answer, work, call, start_s)
                except ConnectionDroppedError:
                    return _cut(request)
            if fault is None:
                return response
            if fault.drop:
                return _cut(request)
            return _failure(fault.error, fault.status, start_s, fault.headers)

        return endpoint

    def _answer(self, work: Callable[[_Call], Any], call: _Call, start_s: float) -> Response:
        size = len(call.recorded.body)
        try:
            if size > MAXIMUM_BODY_BYTES:
                raise QdrantError(
                    400,
                    f"JSON payload ({size} bytes) is larger than allowed "
                    f"(limit: {MAXIMUM_BODY_BYTES} bytes).",
                )
            result = work(call)
        except QdrantError as error:
            headers = {}
            if error.retry_after_s is not None:
                headers["retry-after"] = str(math.ceil(error.retry_after_s))
            return _failure(str(error), error.status, start_s, headers)
        answer = {"result": result, "status": "ok", "time": time.perf_counter() - start_s}
        usage = call.usage.as_json()
        return _json(answer if usage is None else {"usage": usage, **answer})

    def _exists(self, name: str) -> bool:
        with self._lock:
            return bool(self.engine.collection_exists(name))

    def _require(self, name: str) -> None:
        if not self._exists(name):
            raise _not_found(f"Collection `{name}` doesn't exist!")

    @contextlib.contextmanager
    def _engine(self, name: str) -> Iterator[QdrantClient]:
        """Hold the engine for one operation on an existing collection; its exceptions become Qdrant's answers."""
        self._require(name)
        with self._lock:
            try:
                yield self.engine
            except KeyError as error:
                raise _not_found(f"No point with id {error.args[0]} found") from error
            # What local mode raises for bad input; NotImplementedError for what it can't do.
            except (ValueError, TypeError, NotImplementedError) as error:
                raise _bad_input(_engine_text(str(error))) from error

    def _resolved(self, name: str) -> str:
        """Return the collection behind a name that may be an alias."""
        with self._lock:
            aliases = self.engine.get_aliases().aliases
        return next((each.collection_name for each in aliases if each.alias_name == name), name)

    def _create(self, call: _Call) -> bool:
        body: models.CreateCollection = call.parse(models.CreateCollection)
        if self._exists(call.name):
            raise QdrantError(409, f"Wrong input: Collection `{call.name}` already exists!")
        with self._lock:
            try:
                self.engine.create_collection(
                    call.name,
                    vectors_config=body.vectors or {},
                    sparse_vectors_config=body.sparse_vectors,
                    metadata=body.metadata,
                )
            except ValueError as error:
                raise _bad_input(str(error)) from error
        self._configs[call.name] = _settings_of(orjson.loads(call.recorded.body))
        self._indexes[call.name] = {}
        return True

    def _info(self, call: _Call) -> dict[str, Any]:
        with self._engine(call.name) as engine:
            info = _plain(engine.get_collection(call.name))
        name = self._resolved(call.name)
        config = info["config"]
        for section, values in self._configs[name].items():
            kept = config.get(section)
            config[section] = {**kept, **values} if isinstance(kept, dict) else values
        info["payload_schema"] = {
            key: {**schema, "points": info["points_count"]}
            for key, schema in self._indexes[name].items()
        }
        return info

    def _change(self, call: _Call) -> bool:
        body: models.UpdateCollection = call.parse(models.UpdateCollection)
        with self._engine(call.name) as engine:
            engine.update_collection(
                call.name,
                metadata=body.metadata,
                sparse_vectors_config=body.sparse_vectors,
                vectors_config=body.vectors,
            )
        kept = self._configs[self._resolved(call.name)]
        for section, values in _settings_of(orjson.loads(call.recorded.body)).items():
            # A new quantization replaces the old one, the other sections are merged.
            kept[section] = (
                values if section == "quantization_config" else {**kept.get(section, {}), **values}
            )
        return True

    def _delete(self, call: _Call) -> bool:
        with self._lock:
            existed = bool(self.engine.delete_collection(call.name))
        self._configs.pop(call.name, None)
        self._indexes.pop(call.name, None)
        return existed

    def _create_index(self, call: _Call) -> dict[str, Any]:
        body: models.CreateFieldIndex = call.parse(models.CreateFieldIndex)
        self._require(call.name)
        schema = body.field_schema
        if isinstance(schema, BaseModel):
            described = {"data_type": schema.type.value, "params": _plain(schema)}
        else:
            described = {"data_type": schema.value if schema is not None else "keyword"}
        # Local mode has no payload indexes, and warns at the attempt.
        self._indexes[self._resolved(call.name)][body.field_name] = described
        return self._done(call)

    def _delete_index(self, call: _Call) -> dict[str, Any]:
        self._require(call.name)
        self._indexes[self._resolved(call.name)].pop(call.detail, None)
        return self._done(call)

    def _create_vector(self, call: _Call) -> dict[str, Any]:
        body = call.parse(models.VectorNameConfig)
        with self._engine(call.name) as engine:
            engine.create_vector_name(call.name, call.detail, body)
        return self._done(call)

    def _delete_vector(self, call: _Call) -> dict[str, Any]:
        with self._engine(call.name) as engine:
            engine.delete_vector_name(call.name, call.detail)
        return self._done(call)

    def _collections(self, call: _Call) -> Any:
        with self._lock:
            return _plain(self.engine.get_collections())

    def _aliases(self, call: _Call) -> Any:
        with self._lock:
            return _plain(self.engine.get_aliases())

    def _aliases_of(self, call: _Call) -> Any:
        with self._engine(call.name) as engine:
            return _plain(engine.get_collection_aliases(call.name))

    def _change_aliases(self, call: _Call) -> bool:
        body: models.ChangeAliasesOperation = call.parse(models.ChangeAliasesOperation)
        for action in body.actions:
            # One by one: what a failing action left behind stays changed.
            with self._lock:
                try:
                    self.engine.update_collection_aliases([action])
                except ValueError as error:
                    raise _alias_error(action, str(error)) from error
        return True

    def _update(
        self, name: str, body: Any, operation: type[BaseModel]
    ) -> Callable[[_Call], dict[str, Any]]:
        def work(call: _Call) -> dict[str, Any]:
            parsed = call.parse(body)
            return self._apply(call, operation.model_construct(**{name: parsed}))

        return work

    def _batch(self, call: _Call) -> list[dict[str, Any]]:
        body: models.UpdateOperations = call.parse(models.UpdateOperations)
        self._require(call.name)
        # Each with its own inference; the first that fails stops the rest, and the ones before it
        # stay.
        return [self._apply(call, operation) for operation in body.operations]

    def _apply(self, call: _Call, operation: Any) -> dict[str, Any]:
        self._require(call.name)
        ordering = call.recorded.query.get("ordering", "weak")
        if ordering not in {each.value for each in models.WriteOrdering}:
            raise QdrantError(
                400, f"Deserialize error in query parameters: unknown variant `{ordering}`"
            )
        if isinstance(operation, models.UpsertOperation):
            operation = operation.model_copy(
                update={"upsert": self._embedded(call, operation.upsert)}
            )
        parts = [operation]
        if isinstance(operation, models.UpdateVectorsOperation):
            update = self._embedded_vectors(call, operation.update_vectors)
            self._check_sizes(call.name, update.points)
            parts = [
                operation.model_copy(
                    update={"update_vectors": update.model_copy(update={"points": points})}
                )
                for points in self._chunks(update.points)
            ]
        try:
            for part in parts:
                with self._engine(call.name) as engine:
                    engine.batch_update_points(call.name, [part])
        except QdrantError as error:
            # Without wait the operation is only in the log when it is answered.
            if error.status != 404 or call.wait:
                raise
        return self._done(call)

    def _chunks(self, points: list[models.PointVectors]) -> Iterator[list[models.PointVectors]]:
        """Yield parts of a request in random order: the engine stops after the one in which a point is missing."""
        mixed = self._random.sample(points, len(points))
        return iter(
            [mixed[n : n + CHUNK_POINTS] for n in range(0, len(mixed), CHUNK_POINTS)] or [[]]
        )

    def _check_sizes(self, name: str, points: list[models.PointVectors]) -> None:
        """Refuse a wrong dimension before any part is written, as Qdrant does before its log."""
        with self._engine(name) as engine:
            vectors = engine.get_collection(name).config.params.vectors
        sizes = {
            key: each.size for key, each in (vectors if isinstance(vectors, dict) else {}).items()
        }
        for point in points:
            named = point.vector if isinstance(point.vector, dict) else {}
            for key, vector in named.items():
                dense = isinstance(vector, list) and bool(vector) and isinstance(vector[0], float)
                if dense and key in sizes and len(vector) != sizes[key]:
                    raise _bad_input(
                        f"Vector dimension error: expected dim: {sizes[key]}, got {len(vector)}"
                    )

    def _done(self, call: _Call) -> dict[str, Any]:
        with self._lock:
            self._operations += 1
            return {
                "operation_id": self._operations,
                "status": "completed" if call.wait else "acknowledged",
            }

    def _retrieve(self, call: _Call) -> list[Any]:
        body: models.PointRequest = call.parse(models.PointRequest)
        with self._engine(call.name) as engine:
            found = engine.retrieve(
                call.name,
                body.ids,
                with_payload=True if body.with_payload is None else body.with_payload,
                with_vectors=body.with_vector or False,
            )
        return [_plain(each) for each in found]

    def _point(self, call: _Call) -> Any:
        document_uuid = int(call.detail) if call.detail.isdecimal() else call.detail
        with self._engine(call.name) as engine:
            found = engine.retrieve(
                call.name, [document_uuid], with_payload=True, with_vectors=True
            )
        if not found:
            raise _not_found(f"Point with id {call.detail} does not exists!")
        return _plain(found[0])

    def _scroll(self, call: _Call) -> dict[str, Any]:
        body: models.ScrollRequest = call.parse(models.ScrollRequest)
        with self._engine(call.name) as engine:
            found, offset = engine.scroll(
                call.name,
                scroll_filter=body.filter,
                limit=body.limit if body.limit is not None else 10,
                order_by=body.order_by,
                offset=body.offset,
                with_payload=True if body.with_payload is None else body.with_payload,
                with_vectors=body.with_vector or False,
            )
        return {"points": [_plain(each) for each in found], "next_page_offset": offset}

    def _count(self, call: _Call) -> Any:
        body: models.CountRequest = call.parse(models.CountRequest)
        with self._engine(call.name) as engine:
            return _plain(engine.count(call.name, count_filter=body.filter))

    def _query(self, call: _Call) -> Any:
        body = self._with_vectors(call, call.parse(models.QueryRequest))
        return self._run_query(call, body)

    def _query_batch(self, call: _Call) -> list[Any]:
        body: models.QueryRequestBatch = call.parse(models.QueryRequestBatch)
        # One POST a query, in turn; and all of them before the first search.
        return [
            self._run_query(call, query)
            for query in [self._with_vectors(call, search) for search in body.searches]
        ]

    def _run_query(self, call: _Call, body: models.QueryRequest) -> Any:
        with self._engine(call.name) as engine:
            found = engine.query_points(
                call.name,
                query=body.query,
                using=body.using,
                prefetch=body.prefetch,
                query_filter=body.filter,
                offset=body.offset,
                lookup_from=body.lookup_from,
                **_shown(body),
            )
        return _plain(found)

    def _query_groups(self, call: _Call) -> Any:
        body: models.QueryGroupsRequest = self._with_vectors(
            call, call.parse(models.QueryGroupsRequest)
        )
        with self._engine(call.name) as engine:
            found = engine.query_points_groups(
                call.name,
                group_by=body.group_by,
                query=body.query,
                using=body.using,
                prefetch=body.prefetch,
                query_filter=body.filter,
                group_size=body.group_size if body.group_size is not None else 3,
                **_shown(body),
                with_lookup=body.with_lookup,
                lookup_from=body.lookup_from,
            )
        return _plain(found)

    def _with_vectors(self, call: _Call, body: Any) -> Any:
        """Return a query in which vectors stand for the documents."""
        return _replaced(body, self._infer(call, _documents(body), "search"))

    def _embedded(self, call: _Call, upsert: Any) -> Any:
        if isinstance(upsert, models.PointsBatch):
            vectors = upsert.batch.vectors
            if isinstance(vectors, list):
                if vectors and isinstance(vectors[0], _INFERABLE):
                    kind = _kind_of(vectors[0]).capitalize()
                    raise QdrantError(
                        400,
                        f"Direct {kind} processing is not supported in top-level batch vectors. "
                        "Use named vectors.",
                    )
                return upsert
            embedded = {
                name: _replaced(column, self._infer(call, _documents(column), "update"))
                for name, column in vectors.items()
            }
            return upsert.model_copy(
                update={"batch": upsert.batch.model_copy(update={"vectors": embedded})}
            )
        found = self._infer(call, _documents([point.vector for point in upsert.points]), "update")
        points = []
        for point in upsert.points:
            vector = _replaced(point.vector, found)
            if isinstance(point.vector, _INFERABLE) and isinstance(vector, models.SparseVector):
                kind = _kind_of(point.vector)
                raise _bad_request(f"Sparse vector from {kind} inference should be named")
            points.append(point.model_copy(update={"vector": vector}))
        return upsert.model_copy(update={"points": points})

    def _embedded_vectors(self, call: _Call, update: models.UpdateVectors) -> models.UpdateVectors:
        named = [point.vector for point in update.points if isinstance(point.vector, dict)]
        found = self._infer(call, _documents(named), "update")
        points = []
        for point in update.points:
            if isinstance(point.vector, _INFERABLE):
                kind = _kind_of(point.vector).capitalize()
                raise QdrantError(
                    400,
                    f"Direct {kind} processing not supported for PointVectors. Use named vectors.",
                )
            points.append(point.model_copy(update={"vector": _replaced(point.vector, found)}))
        return update.model_copy(update={"points": points})

    def _infer(self, call: _Call, documents: list[Any], inference: str) -> dict[str, Any]:
        """Return the vectors of distinct documents, by their keys: one POST, in random order, without BM25's."""
        distinct = list({_key(document): document for document in documents}.items())
        if not distinct:
            return {}
        self._random.shuffle(distinct)
        local: dict[int, Any] = {}
        remote: list[tuple[int, dict[str, Any]]] = []
        for position, (_, document) in enumerate(distinct):
            inputs = _input(document)
            if inputs["model"].lower() in _LOCAL_MODELS:
                local[position] = _bm25(inputs, inference)
            else:
                remote.append((position, inputs))
        merged = dict(local)
        if remote:
            answer = self._post(call, [inputs for _, inputs in remote], inference)
            merged.update(
                {
                    position: vector
                    for (position, _), vector in zip(remote, answer.embeddings, strict=False)
                }
            )
            if local and sorted(merged) != list(range(len(merged))):
                # merge_local_and_remote_result panics at a gap, which ends the connection.
                raise ConnectionDroppedError
            call.usage.add(answer.usage)
        if not merged:
            raise _service_error(
                "Inference service returned no vectors. Check if models are properly loaded."
            )
        return {distinct[position][0]: vector for position, vector in merged.items()}

    def _post(self, call: _Call, inputs: list[dict[str, Any]], inference: str) -> _InferenceAnswer:
        address = self.inference_address
        if address is None:
            raise _service_error(
                "InferenceService URL not configured - please provide valid address in config"
            )
        forwarded = {k: v for k, v in call.recorded.headers.items() if k.endswith("-api-key")}
        request = httpx.Request(
            "POST",
            address,
            headers={
                "content-type": "application/json",
                "accept": "*/*",
                "user-agent": f"Qdrant/{VERSION}",
                **forwarded,
            },
            content=orjson.dumps(
                {"inputs": inputs, "inference": inference, "token": self.inference_token}
            ),
            extensions={
                "timeout": httpx.Timeout(
                    float(call.recorded.query.get("timeout", self.inference_timeout_s))
                ).as_dict()
            },
        )
        try:
            answer = self._http.send(request)
        except httpx.TransportError as error:
            raise _service_error(
                f"Failed to send inference request: error sending request for url ({address})"
            ) from error
        return _read_answer(answer)


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    # Building one for a union of models takes longer than a request.
    return TypeAdapter(kind)


def _read_answer(answer: httpx.Response) -> _InferenceAnswer:
    """Return what Qdrant makes of the inference service's answer."""
    status, body = answer.status_code, answer.text
    if status == 200:
        try:
            return _InferenceAnswer.model_validate(orjson.loads(answer.content))
        except (orjson.JSONDecodeError, ValidationError) as error:
            raise _service_error(
                f"Failed to parse successful inference response: {error}. Response body: {body}"
            ) from error
    reason = _REASONS.get(status) or http.HTTPStatus(status).phrase
    described = f"({status} {reason}): {body}"
    if status == 400:
        try:
            message = orjson.loads(answer.content)["error"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            message = None
        if isinstance(message, str):
            raise _bad_request(f"Inference request validation failed: {message}")
        raise _bad_request(f"Invalid inference request: {body}")
    if status in (401, 403):
        raise _service_error(f"Authentication failed for inference service {described}")
    if status == 429:
        raise QdrantError(
            429,
            f"Rate limiting exceeded: Too many requests for inference service {described}",
            retry_after_s=_retry_after_s(answer.headers.get("retry-after")),
        )
    if status >= 500:
        raise _service_error(f"Inference service error {described}")
    if status >= 400:
        raise _bad_request(f"Inference can't process request {described}")
    raise _service_error(f"Unexpected inference error {described}")


def _retry_after_s(value: str | None) -> float | None:
    if value is None:
        return None
    if value.isdecimal():
        return float(value)
    try:
        wait_s = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except ValueError:
        return None
    return wait_s if wait_s >= 0 else None


def _kind_of(document: Any) -> str:
    """Return what Qdrant's messages call it."""
    kind = _DATA_TYPES[type(document)]
    return "document" if kind == "text" else kind


def _input(document: Any) -> dict[str, Any]:
    """Return one of ``inputs``, as Qdrant writes it."""
    kind = _DATA_TYPES[type(document)]
    options = document.options
    if isinstance(options, BaseModel):
        options = _plain(options)
    return {
        "data": getattr(document, kind),  # the field is named as the type is
        "data_type": kind,
        "model": document.model,
        "options": options,
    }


def _key(document: Any) -> str:
    return orjson.dumps(_input(document), option=orjson.OPT_SORT_KEYS).decode()


def _documents(value: Any) -> list[Any]:
    """Yield everything in a request that has to be embedded."""
    if isinstance(value, _INFERABLE):
        return [value]
    if isinstance(value, BaseModel):
        fields = [
            getattr(value, name)
            for name in type(value).model_fields
            if name not in ("payload", "filter")
        ]
        return [document for each in fields for document in _documents(each)]
    if isinstance(value, dict):
        return [document for each in value.values() for document in _documents(each)]
    if isinstance(value, list) and not (value and isinstance(value[0], float)):
        return [document for each in value for document in _documents(each)]
    return []


def _replaced(value: Any, vectors: Mapping[str, Any]) -> Any:
    """Return the request with vectors in the place of documents."""
    if isinstance(value, _INFERABLE):
        try:
            return vectors[_key(value)]
        except KeyError:
            raise QdrantError(400, f"Missing inferred vector for {_kind_of(value)}") from None
    if isinstance(value, BaseModel):
        changed = {
            name: _replaced(getattr(value, name), vectors)
            for name in type(value).model_fields
            if name not in ("payload", "filter")
        }
        return value.model_copy(update=changed)
    if isinstance(value, dict):
        return {name: _replaced(each, vectors) for name, each in value.items()}
    if isinstance(value, list) and not (value and isinstance(value[0], float)):
        return [_replaced(each, vectors) for each in value]
    return value


def _bm25(inputs: dict[str, Any], inference: str) -> models.SparseVector:
    """Return what Qdrant's own BM25 makes of a text: the same code, through Qdrant Edge."""
    import qdrant_edge

    if not isinstance(inputs["data"], str):
        raise _service_error("Only strings supported for local models!")
    try:
        options = models.Bm25Config(**(inputs["options"] or {})).model_dump(
            mode="json", exclude_none=True
        )
        tokenizer, stopwords, stemmer = (
            options.pop(n, None) for n in ("tokenizer", "stopwords", "stemmer")
        )
        if tokenizer is not None:
            options["tokenizer"] = getattr(qdrant_edge.TokenizerType, tokenizer.capitalize())
        if isinstance(stopwords, str):
            options["stopwords"] = getattr(qdrant_edge.Language, stopwords.capitalize())
        elif stopwords is not None:
            options["stopwords"] = qdrant_edge.StopwordsSet(
                {
                    getattr(qdrant_edge.Language, each.capitalize())
                    for each in stopwords.get("languages", ())
                },
                set(stopwords.get("custom", ())),
            )
        if stemmer is not None and stemmer["type"] == "none":
            options["stemmer"] = qdrant_edge.DisabledStemmer()
        elif stemmer is not None:
            language = getattr(qdrant_edge.SnowballLanguage, stemmer["language"].capitalize())
            options["stemmer"] = qdrant_edge.SnowballParams(language)
        model = qdrant_edge.Bm25(qdrant_edge.Bm25Config(**options))
    except (ValidationError, ValueError, AttributeError) as error:
        raise _bad_input(f"Invalid BM25 config: {error}") from error
    embed = model.embed_document if inference == "update" else model.embed_query
    vector = embed(inputs["data"])
    return models.SparseVector(indices=vector.indices, values=vector.values)


def _settings_of(body: dict[str, Any]) -> dict[str, Any]:
    """Return what local mode forgets of a collection's settings, as ``config`` shows it."""
    shown = {"optimizers_config": "optimizer_config"}
    sections = (
        "hnsw_config",
        "optimizers_config",
        "wal_config",
        "quantization_config",
        "strict_mode_config",
    )
    kept = {shown.get(name, name): body[name] for name in sections if body.get(name) is not None}
    names = (
        "shard_number",
        "sharding_method",
        "replication_factor",
        "write_consistency_factor",
        "on_disk_payload",
        "payload",
        "id_tracker",
    )
    params = {name: body[name] for name in names if body.get(name) is not None} | (
        body.get("params") or {}
    )
    return {**kept, "params": params} if params else kept


def _alias_error(action: Any, text: str) -> QdrantError:
    if isinstance(action, models.CreateAliasOperation):
        if "already exists" in text:
            name = action.create_alias.alias_name
            return QdrantError(409, f"Wrong input: Collection `{name}` already exists!")
        return _not_found(f"Collection `{action.create_alias.collection_name}` doesn't exist!")
    if isinstance(action, models.RenameAliasOperation) and "does not exist" in text:
        return _not_found(f"Alias {action.rename_alias.old_alias_name} does not exists!")
    return _bad_input(text)


def _engine_text(text: str) -> str:
    """Return local mode's words for bad input, as the server says them after ``Wrong input: ``."""
    if sizes := re.search(r"not aligned: (\d+) \(dim \d\) != (\d+)", text):
        return f"Vector dimension error: expected dim: {sizes[1]}, got {sizes[2]}"
    if name := re.search(r"vector (\S+) is not found in the collection", text):
        return f"Not existing vector name error: {name[1]}"
    text = text.removeprefix("Wrong input: ")
    return (
        "Not existing vector name error: "
        if text.startswith("Unnamed vectors are not allowed")
        else text
    )


def _shown(body: models.QueryRequest | models.QueryGroupsRequest) -> dict[str, Any]:
    """Return how many hits a query answers, and what each of them shows."""
    return {
        "limit": body.limit if body.limit is not None else 10,
        "with_payload": body.with_payload or False,
        "with_vectors": body.with_vector or False,
        "score_threshold": body.score_threshold,
    }


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json", exclude_none=True)


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, "application/json")


def _failure(text: str, status: int, start_s: float, headers: Mapping[str, str]) -> Response:
    return _json(
        {"status": {"error": text}, "time": time.perf_counter() - start_s}, status, headers
    )


def _cut(request: Request) -> Response:
    """Close the connection; what is returned is never sent."""
    request.state.transport.abort()
    return Response(status_code=500)


@dataclass(frozen=True)
class QdrantUnderTest:
    """The server that the tests run on."""

    url: str
    real: bool
    version: str
    server: LoopbackQdrant | None
    """Server that injects faults and records requests; None for a real server."""

    @property
    def name(self) -> str:
        """Description for the summary of the tests."""
        kind = "a real server" if self.real else "LoopbackQdrant over qdrant-client's local mode"
        return f"{kind}, version {self.version}"

    def client(self, **options: Any) -> QdrantClient:
        """Make a client that leaves embedding to the server."""
        settings: dict[str, Any] = {
            "cloud_inference": True,
            "timeout": 30,
            "check_compatibility": False,
        }
        return QdrantClient(url=self.url, **{**settings, **options})


@pytest.fixture(scope="module", name="qdrant")
def qdrant_under_test() -> Iterator[QdrantUnderTest]:
    """Return the real server at ``QDRANT_URL``, else one on a loopback port."""
    url = os.environ.get("QDRANT_URL", "").rstrip("/")
    if url:
        found = httpx.get(url, trust_env=False, timeout=10).json()["version"]
        under_test = QdrantUnderTest(url, True, found, None)
    else:
        server = LoopbackQdrant()
        under_test = QdrantUnderTest(server.url, False, VERSION, server)
    try:
        yield under_test
    finally:
        if under_test.server is not None:
            under_test.server.close()


@pytest.fixture(scope="module", name="gate")
def inference_gate(qdrant: QdrantUnderTest) -> Iterator[InferenceGate]:
    """Return what listens at the server's inference address; a real server's is in ``LUSIFER_TEST_SERVICE_URL``."""
    if qdrant.server is not None:
        gate = InferenceGate()
        qdrant.server.inference_address = gate.address
    else:
        address = os.environ.get("LUSIFER_TEST_SERVICE_URL")
        if not address:
            pytest.skip(
                "LUSIFER_TEST_SERVICE_URL is missing: it must be what the real server has in "
                "QDRANT__INFERENCE__ADDRESS, or its port on this machine"
            )
        if address.isdecimal():
            address = f"http://127.0.0.1:{address}/qdrant"
        parts = urllib.parse.urlsplit(address)
        # A server in a container reaches us over another address than loopback.
        host = "127.0.0.1" if parts.hostname in ("127.0.0.1", "localhost") else ""
        gate = InferenceGate(host, parts.port or 80, parts.path or "/")
    try:
        yield gate
    finally:
        gate.close()
