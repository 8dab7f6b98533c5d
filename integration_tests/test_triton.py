"""The engine triton against NVIDIA's own server, as its Python package carries it.

That package has no ONNX backend, so a Python backend of a few lines stands in for it under the real one's
name. The repository, the protocol, the scheduling and the errors are the real server's.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lusifer.defaults import cache_directory
from lusifer.engines.triton import TritonEngine
from lusifer.errors import EngineError, EngineUnavailableError
from lusifer.service.canary import canary_texts
from lusifer.vectorizer import Vectorizer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACKAGE = "nvidia-pytriton==0.7.0"
BACKEND = """
import os, sys

# The server starts Python without this environment's packages, and is older than numpy 2.
sys.path[:0] = {packages}
import onnxruntime
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, args):
        folder = os.path.join(args["model_repository"], args["model_version"])
        self.session = onnxruntime.InferenceSession(os.path.join(folder, "model.onnx"))

    def execute(self, requests):
        answers = []
        for request in requests:
            inputs = {
                name: pb.get_input_tensor_by_name(request, name).as_numpy()
                for name in ("input_ids", "attention_mask")
            }
            (vectors,) = self.session.run(["embedding"], inputs)
            answers.append(pb.InferenceResponse([pb.Tensor("embedding", vectors)]))
        return answers
"""
CONFIG = """
name: "{name}"
backend: "onnxruntime"
max_batch_size: {rows}
input [
  {{ name: "input_ids" data_type: TYPE_INT64 dims: [ -1 ] }},
  {{ name: "attention_mask" data_type: TYPE_INT64 dims: [ -1 ] }}
]
output [ {{ name: "embedding" data_type: TYPE_FP32 dims: [ {dimension} ] }} ]
instance_group [ {{ kind: KIND_CPU }} ]
"""


@pytest.fixture(scope="module")
def tritonserver() -> Path:
    """Folder of the unpacked package; downloaded once for a machine."""
    folder = cache_directory() / "tritonserver" / PACKAGE.replace("==", "-")
    # The second for its Python backend, which reads arrays of numpy 2 as empty.
    for part, package in ((folder, PACKAGE), (folder / "numpy1", "numpy==1.26.4")):
        if (part / package.partition("==")[0].removeprefix("nvidia-")).is_dir():
            continue
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(part)]
        done = subprocess.run([*pip, package], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"{package} can't be installed: {done.stderr.strip()[-300:]}")
    return folder


@pytest.fixture(scope="module")
def url(
    tritonserver: Path, vectorizer: Vectorizer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Address of a running server with the default model, at most 16 rows a call."""
    root = tmp_path_factory.mktemp("triton")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = tritonserver / "pytriton" / "tritonserver" / "python_backend_stubs" / version
    if not stub.is_dir():
        pytest.skip(f"{PACKAGE} has no backend for Python {version}")
    backends = root / "backends"
    shutil.copytree(tritonserver / "pytriton" / "tritonserver" / "backends" / "python", backends / "python")
    shutil.copy(stub / "triton_python_backend_stub", backends / "python")
    (backends / "python" / "triton_python_backend_stub").chmod(0o755)
    (backends / "onnxruntime").mkdir()
    packages = [str(tritonserver / "numpy1"), *(p for p in sys.path if p.endswith("site-packages"))]
    backend = BACKEND.replace("{packages}", repr(packages))
    (backends / "onnxruntime" / "model.py").write_text(backend)
    for name, rows in (("lusifer", 16), ("other", 0)):
        model = root / "models" / name / "1"
        model.mkdir(parents=True)
        for file in vectorizer.bundle.path.glob("model.onnx*"):
            (model / file.name).symlink_to(file)
        config = CONFIG.format(name=name, rows=rows, dimension=vectorizer.dimension)
        if name == "other":
            config = config.replace('"embedding"', '"sentence"').replace("[ -1 ]", "[ -1, -1 ]")
        (model.parent / "config.pbtxt").write_text(config)
    binary = tritonserver / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    binary.chmod(0o755)
    ports = [_free_port() for _ in range(3)]
    libraries = [str(tritonserver / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR") or ""]
    with (root / "log").open("w") as log:
        process = subprocess.Popen(
            [
                str(binary),
                f"--model-repository={root / 'models'}",
                f"--backend-directory={backends}",
                *(
                    f"--{kind}-port={port}"
                    for kind, port in zip(("http", "grpc", "metrics"), ports, strict=True)
                ),
            ],
            env={**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        address = f"127.0.0.1:{ports[0]}"
        try:
            _wait(process, address, root / "log")
            yield address
        finally:
            process.terminate()
            process.wait(60)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if process.poll() is not None:
            if "failed to load" in log.read_text():
                pytest.fail(log.read_text()[-4000:])
            pytest.skip(f"tritonserver can't run here: {log.read_text()[:8000]}")
        try:
            TritonEngine(address).close()
        except EngineUnavailableError:
            time.sleep(0.3)
        else:
            return
    pytest.fail(f"tritonserver was not ready in time: {log.read_text()[-2000:]}")


def test_vectors_are_those_of_the_engine_in_this_process(url: str, vectorizer: Vectorizer) -> None:
    texts = canary_texts()
    with Vectorizer(vectorizer.bundle, TritonEngine(url)) as remote:
        # 48 rows and 16 a call: the engine splits them.
        found = remote.embed_documents(texts)
    assert np.abs(found.vectors - vectorizer.embed_documents(texts).vectors).max() < 2e-6


def test_a_service_runs_on_it(url: str, vectorizer: Vectorizer, start_service: object) -> None:
    service = start_service(Vectorizer(vectorizer.bundle, TritonEngine(url)), canary=True)  # type: ignore[operator]
    service.ready()
    answer = service.http.post("/vectors", json={"text": "Guten Tag", "config": {"task_type": "query"}})
    expected = vectorizer.embed_query("Guten Tag").vector
    assert np.abs(np.float32(answer.json()["vector"]) - expected).max() < 2e-6
    assert service.http.get("/meta").json()["engine"] == "triton"


def test_models_that_are_missing_or_of_another_shape_are_told(url: str) -> None:
    with pytest.raises(EngineError, match="no model 'nothing'; it has"):
        TritonEngine(url, "nothing")
    with pytest.raises(EngineError, match="sentence"):
        TritonEngine(url, "other")


def test_a_server_that_is_gone_is_a_reason_to_come_back() -> None:
    with pytest.raises(EngineUnavailableError, match="can't compute now"):
        TritonEngine(f"127.0.0.1:{_free_port()}")
