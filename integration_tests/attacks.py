"""A real ``lusifer serve`` under attack, beside honest traffic that is measured.

::

    with unharmed(serving, honest) as outcome:
        ...  # the attack, from serving.connect() or serving.http
    # asserted by now: latency, memory, answers; and that memory and connections are back

The attacker's connections come from another loopback address than the honest ones, so that limits
by address can tell them apart.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
from integration_tests import honest_traffic
from integration_tests.ports import free_port, wait_until_ready

from lusifer.bundle.format import (
    Bundle,
    ManifestFields,
    RolePrompts,
    compute_fingerprint,
    file_record,
    finish_bundle,
)
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.service.canary import SENTENCES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Honest", "Outcome", "Serving", "make_bundle", "unharmed"]

ATTACKER = "127.0.0.2"
"""Address that attacks come from. Honest clients come from 127.0.0.1."""

SLOWEST_S = 0.5
"""Bar for the 95th percentile of honest latency on an idle machine, unless three times its value
without an attack is more."""

ACCOUNT_BYTES = 128 * 2**20
"""Bytes that the service may hold for requests in flight (``in_flight_bytes``)."""

DIMENSION = 384
MAXIMUM_TOKENS = 512


class Serving:
    """One process of ``lusifer serve`` on a bundle, ready when made.

    Args:
        folder: Where its log goes.
        bundle: The bundle to serve.
        open_files: Limit of the process's file descriptors, by default this process's own.
        settings: Settings of the service, by name.
    """

    def __init__(
        self, folder: Path, bundle: Path, *, open_files: int | None = None, **settings: object
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.bundle = bundle
        self.log = folder / f"serve-{self.port}.log"
        flags = [
            part
            for name, value in {"port": self.port, "bundle": bundle, **settings}.items()
            for part in (f"--{name.replace('_', '-')}", str(value))
        ]
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("LUSIFER_")
        }
        command = [
            sys.executable,
            "-c",
            "from lusifer.cli.app import main; main()",
            "serve",
            *flags,
        ]
        if open_files is not None:
            command = ["sh", "-c", f'ulimit -n {open_files} && exec "$0" "$@"', *command]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env=environment,
            )
        self.http = httpx.Client(
            base_url=self.url,
            timeout=60,
            trust_env=False,
            transport=httpx.HTTPTransport(local_address=ATTACKER),
        )
        try:
            wait_until_ready(
                f"{self.url}/.well-known/ready", timeout_s=120, check_alive=self._check_alive
            )
        except BaseException:
            self.stop()
            raise

    def connect(self, *, receive_bytes: int | None = None) -> socket.socket:
        """Open a connection as an attacker, with a small receive buffer on request."""
        connection = socket.socket()
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(60)
        connection.bind((ATTACKER, 0))
        connection.connect(("127.0.0.1", self.port))
        return connection

    def post(self, path: str, body: bytes, **headers: str) -> bytes:
        """Return the bytes of a POST request."""
        head = {"host": f"127.0.0.1:{self.port}", "content-length": str(len(body)), **headers}
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in head.items())
        return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body

    def memory_bytes(self) -> int:
        """Return the resident memory."""
        return self._memory("VmRSS")

    def peak_bytes(self) -> int:
        """Return the highest resident memory since :meth:`reset_peak`."""
        return self._memory("VmHWM")

    def reset_peak(self) -> None:
        """Start to measure the highest resident memory again."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def connections(self) -> int:
        """Return the number of open sockets."""
        found = 0
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                found += str(entry.readlink()).startswith("socket:")
            except FileNotFoundError:
                continue
        return found

    def log_text(self) -> str:
        """Return what the service has logged."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """Stop the process, as an operator would."""
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1]) * 1024

    def _check_alive(self) -> None:
        if self.process.poll() is not None:
            raise RuntimeError(f"the service ended: {self.log_text()[-2000:]}")


@dataclass
class Outcome:
    """Figures of the honest traffic and of the service, filled when the traffic has ended."""

    latencies_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    """How late the clients themselves woke up: the machine's share in a latency."""
    wrong: int = 0
    unanswered: list[str] = field(default_factory=list)
    idle_p95_s: float = 0.0
    idle_bytes: int = 0
    peak_bytes: int = 0

    @property
    def p95_s(self) -> float:
        """95th percentile of the latencies, less that of the machine's own delay."""
        return max(0.0, _p95(self.latencies_s) - _p95(self.late_s))


class Honest:
    """Honest clients of one service, in a process of their own.

    Args:
        serving: The service.
        folder: Where the known texts and vectors are written.
        key: API key of the clients, empty where keys are off.
    """

    def __init__(self, serving: Serving, folder: Path, *, key: str = "") -> None:
        texts = [
            f"{sentence} {number}"
            for number, sentence in enumerate(
                sentence for sentences in SENTENCES.values() for sentence in sentences
            )
        ]
        known: dict[str, object] = {"texts": texts}
        with Vectorizer.load(serving.bundle) as vectorizer:
            known |= {
                "query": vectorizer.embed_queries(texts).vectors.tolist(),
                "document": vectorizer.embed_documents(texts).vectors.tolist(),
            }
        file = folder / f"honest-{serving.port}.json"
        file.write_text(json.dumps(known), encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, honest_traffic.__file__, serving.url, key, str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with self.sending():
            time.sleep(1)

    @contextmanager
    def sending(self) -> Iterator[Outcome]:
        """Send honest requests meanwhile; the outcome is filled at the end."""
        outcome = Outcome()
        self._say("begin")
        try:
            yield outcome
        finally:
            self._say("end")
            assert self._process.stdout is not None
            vars(outcome).update(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End the clients."""
        self._process.kill()
        self._process.communicate()

    def _say(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()


@contextmanager
def unharmed(
    serving: Serving, honest: Honest, *, after_s: float = 1.0, allowed_bytes: int = ACCOUNT_BYTES
) -> Iterator[Outcome]:
    """Assert that honest traffic is served well during an attack, and that nothing remains of it.

    Args:
        serving: The service under attack.
        honest: Its honest clients.
        after_s: Seconds that honest traffic goes on after the attack.
        allowed_bytes: Memory above one and a half times its idle value that the attack may take.
    """
    serving.http.get("/.well-known/live")
    with honest.sending() as idle:
        time.sleep(1.5)
    connections, idle_bytes = serving.connections(), serving.memory_bytes()
    serving.reset_peak()
    with honest.sending() as outcome:
        yield outcome
        time.sleep(after_s)
    outcome.idle_p95_s, outcome.idle_bytes = idle.p95_s, idle_bytes
    outcome.peak_bytes = serving.peak_bytes()
    # Other work on the machine makes every answer later, by as much as the processors are short.
    waiting = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    limit_s = max(SLOWEST_S * waiting, 3 * idle.p95_s)
    assert serving.process.poll() is None, serving.log_text()[-2000:]
    assert outcome.wrong == 0, f"{outcome.wrong} honest answers are wrong"
    assert not outcome.unanswered, outcome.unanswered
    assert outcome.p95_s <= limit_s, (
        f"honest p95 {outcome.p95_s:.2f} s, idle {idle.p95_s:.3f} s, limit {limit_s:.2f} s, "
        f"slowest {max(outcome.latencies_s):.2f} s"
    )
    limit_bytes = 1.5 * idle_bytes + allowed_bytes
    assert outcome.peak_bytes <= limit_bytes, (
        f"{outcome.peak_bytes >> 20} MB at the peak, idle {idle_bytes >> 20}, "
        f"limit {int(limit_bytes) >> 20}"
    )
    _settles("connections", serving.connections, connections + 8)
    _settles("memory", serving.memory_bytes, int(1.5 * idle_bytes))


def _settles(what: str, measure: Any, limit: int, timeout_s: float = 20) -> None:
    end_s = time.monotonic() + timeout_s
    while (value := measure()) > limit:
        assert time.monotonic() < end_s, f"{what} stayed at {value}, at most {limit} are expected"
        time.sleep(0.1)


def _p95(values: list[float]) -> float:
    return float(np.quantile(values, 0.95)) if values else 0.0


def make_bundle(folder: Path, *, work: int = 0) -> Path:
    """Write a model of a few megabytes that passes the canary.

    Its tokenizer is a unigram model with whole words of the canary's sentences. A word's vector is
    the direction of its sentence, so translations are neighbours.

    Args:
        folder: A new folder beside the bundle, which is ``folder / "bundle"``.
        work: Matrix products over all tokens whose result does not count: they make it slow.
    """
    staging = folder / "staging"
    staging.mkdir(parents=True)
    pieces = _write_tokenizer(staging / "tokenizer.json")
    _write_graph(staging / "model.onnx", _table(pieces), work)
    (staging / "parity_report.json").write_text(json.dumps({"mean_cosine": 1.0}))
    prompts = RolePrompts(query="query: ", document="passage: ")
    fields = ManifestFields(
        name="lusifer-attacked",
        fingerprint=compute_fingerprint(
            {
                "weights": file_record(staging / "model.onnx.data").sha256,
                "tokenizer": file_record(staging / "tokenizer.json").sha256,
                "role_prompts": prompts.model_dump(),
                "pooling": "mean",
                "dimension": DIMENSION,
                "precision": "fp32",
            }
        ),
        dimension=DIMENSION,
        matryoshka_dimensions=(DIMENSION,),
        role_prompts=prompts,
        maximum_tokens=MAXIMUM_TOKENS,
        pad_token_id=1,
        precision="fp32",
        languages_evaluated=tuple(SENTENCES),
        created_with={"lusifer": "test"},
    )
    finish_bundle(staging, folder / "bundle", fields)
    return Bundle.open(folder / "bundle").path


def _write_tokenizer(path: Path) -> list[str]:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    sentences = [sentence for four in SENTENCES.values() for sentence in four]
    words = {f"▁{word}" for sentence in sentences for word in sentence.split()}
    characters = {"▁", *"".join(words), *map(chr, range(33, 127))}
    words |= {"!!", "!!!", "...", "▁a", "▁query:", "▁passage:"}
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *sorted(words), *sorted(characters)]
    scores = [0.0 if piece[0] == "<" else -(len(piece) ** 0.5) - 2 for piece in pieces]
    tokenizer = Tokenizer(models.Unigram(list(zip(pieces, scores, strict=True)), unk_id=3))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(path))
    return pieces


def _table(pieces: list[str]) -> Any:
    """Return vectors ``(V, D)`` of the pieces."""
    draw = np.random.default_rng(0)
    directions = draw.normal(size=(4, DIMENSION))
    table = 0.3 * draw.normal(size=(len(pieces), DIMENSION))
    topics: dict[str, set[int]] = {}
    for four in SENTENCES.values():
        for topic, sentence in enumerate(four):
            for word in sentence.split():
                topics.setdefault(f"▁{word}", set()).add(topic)
    for index, piece in enumerate(pieces):
        if len(found := topics.get(piece, set())) == 1:
            table[index] += directions[found.pop()]
    return table.astype(np.float32)


def _write_graph(path: Path, table: Any, work: int) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(1)
    constants = {
        "table": table,
        "token_axis": np.array([1], dtype=np.int64),
        "last_axis": np.array([2], dtype=np.int64),
        "vector_axis": np.array([1], dtype=np.int64),
        "nothing": np.array(0, dtype=np.float32),
        "mixing": (draw.normal(size=(DIMENSION, DIMENSION)) / DIMENSION**0.5).astype(np.float32),
    }
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["tokens"])]
    for step in range(work):
        before = f"mixed{step - 1}" if step else "tokens"
        nodes.append(helper.make_node("MatMul", [before, "mixing"], [f"mixed{step}"]))
    if work:
        nodes += [
            helper.make_node("Mul", [f"mixed{work - 1}", "nothing"], ["silent"]),
            helper.make_node("Add", ["tokens", "silent"], ["worked"]),
        ]
    nodes += [
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last_axis"], ["mask3"]),
        helper.make_node("Mul", ["worked" if work else "tokens", "mask3"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "token_axis"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "vector_axis"], ["count"], keepdims=1),
        helper.make_node("Div", ["total", "count"], ["mean"]),
        helper.make_node("ReduceL2", ["mean", "vector_axis"], ["norm"], keepdims=1),
        helper.make_node("Div", ["mean", "norm"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "attacked",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["B", "T"]),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["B", "T"]),
        ],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["B", DIMENSION])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(
        model,
        str(path),
        save_as_external_data=True,
        location=f"{path.name}.data",
        size_threshold=1024,
    )
