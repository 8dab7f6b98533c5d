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
KUSTOMIZATION = DEPLOY / "kubernetes" / "kustomization.yaml"
MANIFESTS = sorted(set((DEPLOY / "kubernetes").glob("*.yaml")) - {KUSTOMIZATION})


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


def pods() -> list[dict[str, Any]]:
    kinds = ("Deployment", "StatefulSet")
    return [each["spec"]["template"] for each in documents() if each["kind"] in kinds]


def policies() -> dict[str, dict[str, Any]]:
    found = [each for each in documents() if each["kind"] == "NetworkPolicy"]
    return {each["metadata"]["name"]: each["spec"] for each in found}


def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return read


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
    assert set(services) == {"triton", "lusifer", "qdrant", "weaviate", "weaviate-volume"}
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
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in container:
                assert container[probe]["httpGet"]["port"] in ports


def test_triton_asks_for_a_gpu_and_only_the_service_reaches_it() -> None:
    (triton,) = [each for each in containers() if each["name"] == "triton"]
    assert triton["resources"]["limits"]["nvidia.com/gpu"] == "1"
    policy = policies()["triton"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy
    (rule,) = policy["ingress"]
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
        assert len(set(re.findall(rf"{database}:([\w.-]+)", text))) == 1


def test_no_container_of_compose_has_a_capability_or_writes_its_files() -> None:
    for name, service in compose()["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        # One that ends at once and has no network gives a new volume to its user.
        helper = name == "weaviate-volume"
        assert service.get("cap_add", []) == (["CHOWN"] if helper else []), name
        assert (service["user"] == "0:0") == helper, name
        assert (service.get("network_mode") == "none") == helper, name


def test_no_pod_runs_as_root() -> None:
    assert len(pods()) == 4
    for pod in pods():
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["spec"]["automountServiceAccountToken"] is False


def test_only_the_service_reaches_triton_and_only_clients_the_service() -> None:
    services, networks = compose()["services"], compose()["networks"]
    on = {
        network: {name for name, each in services.items() if network in each.get("networks", [])}
        for network in networks
    }
    assert on["engine"] == {"triton", "lusifer"}
    assert on["vectorizer"] == {"lusifer", "qdrant", "weaviate"}
    assert "triton" not in on["clients"]
    assert networks["engine"]["internal"] is networks["vectorizer"]["internal"] is True
    assert set(policies()) == {"lusifer", "triton", "databases"}
    (rule,) = policies()["lusifer"]["ingress"]
    assert [port["port"] for port in rule["ports"]] == [8000]
    assert all(each["podSelector"] for each in rule["from"])


def test_nobody_can_send_triton_a_model() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert '"--model-control-mode=none"' in text
    for path in (DEPLOY / "compose.yaml", *MANIFESTS):
        assert "model-control-mode" not in path.read_text(encoding="utf-8")


def test_the_service_asks_for_keys_and_the_databases_have_one() -> None:
    from lusifer.errors import SettingsError
    from lusifer.service.settings import load_settings

    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    environment = dict(re.findall(r"(LUSIFER_SERVE_[A-Z_]+)=(\S+)", text))
    with pytest.raises(SettingsError, match="no API key is asked for"):
        load_settings({}, environment)
    services = compose()["services"]
    (manifest,) = [each for each in containers() if each["name"] == "lusifer"]
    in_kubernetes = {each["name"]: each["value"] for each in manifest["env"]}
    for more in (services["lusifer"]["environment"], in_kubernetes):
        settings = load_settings({}, environment | more)
        assert str(settings.api_keys_file) == "/keys/lusifer-keys.toml"
        assert (settings.host, settings.live_port) == ("0.0.0.0", 8002)  # noqa: S104 - in a container
    assert {"name": "keys", "mountPath": "/keys", "readOnly": True} in manifest["volumeMounts"]
    assert any(each.endswith(":/keys:ro") for each in services["lusifer"]["volumes"])
    assert "LUSIFER_KEY" in services["qdrant"]["environment"]["QDRANT__INFERENCE__TOKEN"]
    assert "LUSIFER_KEY" in services["weaviate"]["environment"]["TRANSFORMERS_INFERENCE_API"]


def test_liveness_does_not_ask_the_event_loop() -> None:
    (service,) = [each for each in containers() if each["name"] == "lusifer"]
    assert service["livenessProbe"]["httpGet"]["port"] == "live"
    assert {each["name"]: each["containerPort"] for each in service["ports"]}["live"] == 8002
    assert service["readinessProbe"]["httpGet"]["port"] == "http"


def test_every_image_has_a_version_and_can_be_pinned() -> None:
    kustomization = yaml.safe_load(KUSTOMIZATION.read_text(encoding="utf-8"))
    assert sorted(kustomization["resources"]) == [path.name for path in MANIFESTS]
    pinned = {f"{each['name']}:{each['newTag']}" for each in kustomization["images"]}
    assert pinned == {container["image"] for container in containers()}
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    for image in re.findall(r"image: (\S+)", text):
        variable, default = re.fullmatch(r"\$\{(\w+):-(.+)\}", image).groups()  # type: ignore[union-attr]
        assert variable.endswith("_IMAGE")
        assert default in pinned


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-triton.txt"])
def test_every_package_of_an_image_has_hashes_and_the_tested_version(name: str) -> None:
    text = (DEPLOY / name).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = dict(line.split("==") for line in constraints if "==" in line)
    assert len(lines) > 10
    for line in lines:
        package, version = re.match(r"([\w.-]+)==(\S+)", line).groups()  # type: ignore[union-attr]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", line), package
        assert tested.get(package, version).split(" ")[0] == version, package
