"""The deploy files are what Docker, Compose and Kubernetes read, and say what the code says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import lusifer

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def tool(name: str) -> str:
    """Return the path of a command of this environment."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def documents() -> list[dict[str, Any]]:
    return [
        each for path in MANIFESTS for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]


def containers() -> list[dict[str, Any]]:
    kinds = ("Deployment", "StatefulSet")
    found = [each["spec"]["template"]["spec"] for each in documents() if each["kind"] in kinds]
    return [container for spec in found for container in spec["containers"]]


def test_the_dockerfile() -> None:
    # DL3006: the image's tag is the builder's choice. DL3007 and others stay on.
    command = [tool("hadolint"), "--ignore", "DL3006", str(DEPLOY / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_dockerfile_copies_is_there() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for line in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE):
        for source in line.split():
            assert (ROOT / source).exists()
            assert f"!{source}" in kept


def test_the_compose_file() -> None:
    command = [
        tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert set(services) == {"triton", "lusifer", "qdrant", "weaviate"}
    assert "ports" not in services["triton"]
    # Published on this machine only.
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifests_follow_kubernetes_schemas(path: Path) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        kubernetes_validate.validate(document, "1.30", strict=True)


def test_every_container_has_probes_and_bounds() -> None:
    for container in containers():
        assert {"readinessProbe", "livenessProbe"} <= set(container), container["name"]
        assert "memory" in container["resources"]["limits"]
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        ports = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in container:
                assert container[probe]["httpGet"]["port"] in ports


def test_triton_asks_for_a_gpu_and_only_the_service_reaches_it() -> None:
    (triton,) = [each for each in containers() if each["name"] == "triton"]
    assert triton["resources"]["limits"]["nvidia.com/gpu"] == "1"
    (policy,) = [each for each in documents() if each["kind"] == "NetworkPolicy"]
    (rule,) = policy["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app": "lusifer"}}}]
    assert [port["port"] for port in rule["ports"]] == [8001]


def test_selectors_and_claims_meet() -> None:
    everything = documents()
    templates = [each["spec"]["template"] for each in everything if "template" in each["spec"]]
    labels = {template["metadata"]["labels"]["app"] for template in templates}
    for each in everything:
        if each["kind"] == "Service":
            assert each["spec"]["selector"]["app"] in labels
    claims = {
        each["metadata"]["name"] for each in everything if each["kind"] == "PersistentVolumeClaim"
    }
    for each in everything:
        for volume in each["spec"].get("template", {}).get("spec", {}).get("volumes", []):
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims


def test_settings_and_versions_are_those_of_the_code() -> None:
    from lusifer.service.settings import ENVIRONMENT_PREFIX, Settings

    paths = (DEPLOY / "Dockerfile", DEPLOY / "compose.yaml", *MANIFESTS)
    text = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    named = set(re.findall(rf"\b{ENVIRONMENT_PREFIX}([A-Z_]+)", text))
    assert named
    assert {name.lower() for name in named} <= set(Settings.model_fields)
    images = re.findall(r"image: (lusifer\S*):(\S+)", text)
    assert {version for _, version in images} == {lusifer.__version__}
    # The same databases everywhere.
    for database in ("qdrant/qdrant", "semitechnologies/weaviate"):
        assert len(set(re.findall(rf"image: {database}:(\S+)", text))) == 1
