"""NVIDIA's own Triton server as its Python package carries it, on the CPU.

The package has no ONNX Runtime backend, so a Python backend of a few lines stands in for it under
the real one's name: a repository that says ``backend: "onnxruntime"`` is served unchanged.
Scheduling, batching, ensembles, protocols and errors are the real server's.

``python integration_tests/triton_server.py`` starts one with the default model and prints a line to
try."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from integration_tests.ports import free_port, wait_until_ready

from lusifer.common.paths import cache_directory

PACKAGE = "nvidia-pytriton==0.7.0"
NUMPY = "numpy==1.26.4"
"""For Triton's Python backend, which reads arrays of numpy 2 as empty."""
BACKEND = """
import os

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb

NAMES = ("input_ids", "attention_mask")


class TritonPythonModel:
    def initialize(self, args):
        folder = os.path.join(args["model_repository"], args["model_version"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        # As in the plugin's engine; spinning threads would take the cores from the server's own.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(os.path.join(folder, "model.onnx"), options)

    def execute(self, requests):
        # Requests that the server put together have one shape; one run for all, as the real backend
        # does.
        inputs = [[pb.get_input_tensor_by_name(each, name).as_numpy() for name in NAMES] for each in requests]
        merged = {name: np.concatenate(parts) for name, parts in zip(NAMES, zip(*inputs))}
        (vectors,) = self.session.run(["embedding"], merged)
        ends = np.cumsum([len(ids) for ids, _ in inputs])[:-1]
        return [pb.InferenceResponse([pb.Tensor("embedding", part)]) for part in np.split(vectors, ends)]
"""


class CannotRunError(Exception):
    """The server can't run on this machine; the message says why."""


class TritonServer:
    """A server on free ports with its own process and log.

    Args:
        repository: The model repository.
        scratch: Folder for backends and log.
        ports: HTTP, gRPC and metrics; by default free ones.
    """

    def __init__(
        self, repository: Path, scratch: Path, *, ports: tuple[int, int, int] | None = None
    ) -> None:
        self.repository = repository.resolve()
        self.http_port, self.grpc_port, self.metrics_port = ports or (
            free_port(),
            free_port(),
            free_port(),
        )
        self.log = scratch / "tritonserver.log"
        self._package = unpacked()
        self._backends = _backends(self._package, scratch / "backends")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def grpc(self) -> str:
        """Address of the gRPC endpoint."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def http(self) -> str:
        """Address of the HTTP endpoint."""
        return f"127.0.0.1:{self.http_port}"

    def start(self) -> TritonServer:
        """Start and wait until all models are loaded."""
        self.start_soon()
        self.wait()
        return self

    def start_soon(self) -> None:
        """Start and return at once."""
        binary = self._package / "pytriton" / "tritonserver" / "bin" / "tritonserver"
        binary.chmod(0o755)
        libraries = [
            str(self._package / "nvidia_pytriton.libs"),
            sysconfig.get_config_var("LIBDIR") or "",
        ]
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [
                    str(binary),
                    f"--model-repository={self.repository}",
                    f"--backend-directory={self._backends}",
                    "--model-control-mode=explicit",
                    "--load-model=*",
                    # Python models answer a question and are idle; waiting 30 s for them helps
                    # nobody.
                    "--exit-timeout-secs=5",
                    f"--http-port={self.http_port}",
                    f"--grpc-port={self.grpc_port}",
                    f"--metrics-port={self.metrics_port}",
                ],
                env={
                    **os.environ,
                    "LD_LIBRARY_PATH": ":".join(libraries),
                    # Its embedded Python takes this environment's packages from the python it finds
                    # first,
                    "PATH": os.pathsep.join(
                        [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
                    ),
                },
                # and before them whatever lies in the folder it was started in.
                cwd=self._package / "numpy1",
                stdout=log,
                stderr=subprocess.STDOUT,
                # With the processes of its Python models, which would outlive a crash of the
                # server.
                start_new_session=True,
            )

    def wait(self, timeout_s: float = 240) -> None:
        """Wait until the server says that it is ready."""

        def check_alive() -> None:
            if self._process is not None and self._process.poll() is not None:
                text = self.log.read_text(errors="replace")
                if "failed to load" in text:
                    raise AssertionError(text[-6000:])
                raise CannotRunError(f"tritonserver can't run here: {text[-2000:]}")

        url = f"http://{self.http}/v2/health/ready"
        try:
            wait_until_ready(url, timeout_s=timeout_s, check_alive=check_alive)
        except TimeoutError as error:
            log = self.log.read_text(errors="replace")[-4000:]
            raise AssertionError(f"{error}: {log}") from error

    def kill(self) -> None:
        """End at once, as a crash would."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(60)

    def stop(self) -> None:
        """End as an operator would."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(60)
        self.kill()


def unpacked() -> Path:
    """Return the folder of the unpacked package; download it once for a machine.

    Raises:
        CannotRunError: It can't be had, or has no backend for this Python.
    """
    folder = cache_directory() / "tritonserver" / PACKAGE.replace("==", "-")
    for part, package, sign in ((folder, PACKAGE, "pytriton"), (folder / "numpy1", NUMPY, "numpy")):
        if (part / sign).is_dir():
            continue
        part.parent.mkdir(parents=True, exist_ok=True)
        # Aside first: an install that was cut off must not be taken for a whole one.
        with tempfile.TemporaryDirectory(dir=part.parent) as aside:
            pip = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "-q",
                "--no-deps",
                "--target",
                f"{aside}/new",
            ]
            done = subprocess.run([*pip, package], capture_output=True, text=True, check=False)
            if done.returncode:
                raise CannotRunError(f"{package} can't be installed: {done.stderr.strip()[-300:]}")
            if not part.exists():
                Path(aside, "new").rename(part)
    if not _stub(folder).is_file():
        raise CannotRunError(
            f"{PACKAGE} has no backend for Python {sys.version_info.major}.{sys.version_info.minor}"
        )
    return folder


def _stub(package: Path) -> Path:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stubs = package / "pytriton" / "tritonserver" / "python_backend_stubs"
    return stubs / version / "triton_python_backend_stub"


def _backends(package: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copytree(
        package / "pytriton" / "tritonserver" / "backends" / "python", target / "python"
    )
    shutil.copy(_stub(package), target / "python")
    (target / "python" / "triton_python_backend_stub").chmod(0o755)
    (target / "onnxruntime").mkdir()
    (target / "onnxruntime" / "model.py").write_text(BACKEND)
    return target


def main() -> None:
    """Serve the default model until Ctrl-C or SIGTERM; either ends the server, too."""
    from lusifer.bundle.default import default_bundle
    from lusifer.bundle.format import Bundle
    from lusifer_export.triton.repository import write_repository

    # Also where the shell that started it in the background has switched Ctrl-C off.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="lusifer-triton-") as folder:
        root = Path(folder)
        try:
            server = TritonServer(root / "repository", root, ports=(8000, 8001, 8002))
        except CannotRunError as error:
            raise SystemExit(str(error)) from None
        write_repository(Bundle.open(default_bundle()), root / "repository")
        try:
            server.start()
            body = (
                '{"inputs": [{"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": ["Guten Tag"]}, '
                '{"name": "role", "shape": [1, 1], "datatype": "BYTES", "data": ["query"]}]}'
            )
            sys.stdout.write(
                f"Triton serves lusifer on {server.http} (HTTP) and {server.grpc} (gRPC). Try:\n\n"
                f"curl -s http://{server.http}/v2/models/lusifer/infer -d '{body}'\n\n"
                f"lusifer serve --engine triton --triton-url {server.grpc} --port 9000\n\nCtrl-C ends it.\n"
            )
            sys.stdout.flush()
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass
        finally:
            server.stop()


if __name__ == "__main__":
    main()
