from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from lusifer.bundle.format import (
    Bundle,
    ManifestFields,
    compute_fingerprint,
    file_record,
    finish_bundle,
)
from lusifer.errors import (
    BundleCorruptError,
    BundleError,
    BundleGateError,
    BundleNotFoundError,
    BundleSchemaError,
)


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


def _edit(path: Path, **changes: object) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, **changes}))


def _fields(bundle: Bundle) -> ManifestFields:
    return ManifestFields(**bundle.manifest.model_dump(exclude={"files"}))


def test_opens_and_names_its_files(bundle: Bundle) -> None:
    assert bundle.manifest.dimension == 16
    assert set(bundle.manifest.files) == {
        "model.onnx",
        "model.onnx.data",
        "parity_report.json",
        "tokenizer.json",
    }
    assert bundle.model_path.is_file()
    assert bundle.tokenizer_path.is_file()


def test_missing_folder_and_folder_without_manifest(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="There is no folder"):
        Bundle.open(tmp_path / "nowhere")
    with pytest.raises(BundleNotFoundError, match=r"has no manifest\.json"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize(
    "name", ["model.onnx", "model.onnx.data", "tokenizer.json", "parity_report.json"]
)
def test_damage_names_the_file_and_both_numbers(copy: Path, name: str) -> None:
    file = copy / name
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(
        BundleCorruptError, match=rf"{name} was changed: its sha256 is .{{64}}, .* says .{{64}}"
    ):
        Bundle.open(copy)
    Bundle.open(copy, verify=False)
    file.write_bytes(whole[:-1])
    with pytest.raises(
        BundleCorruptError, match=f"{name} has {len(whole) - 1} bytes, .* {len(whole)}"
    ):
        Bundle.open(copy, verify=False)
    file.unlink()
    with pytest.raises(
        BundleCorruptError, match=f"{name} is missing .*{len(whole)} bytes"
    ) as caught:
        Bundle.open(copy, verify=False)
    assert "Export the bundle again" in caught.value.next_step


def test_newer_schema_is_said_before_unknown_fields(copy: Path) -> None:
    _edit(copy, schema_version=2, something_new=True)
    with pytest.raises(BundleSchemaError, match=r"version 2, .* up to 1") as caught:
        Bundle.open(copy)
    assert "pip install --upgrade lusifer" in caught.value.next_step


@pytest.mark.parametrize(
    "changes",
    [
        {"unknown": 1},
        {"schema_version": 0},
        {"schema_version": "1"},
        {"dimension": "16"},
        {"dimension": 0},
        {"matryoshka_dimensions": [8, 16]},
        {"matryoshka_dimensions": []},
        {"fingerprint": "sha256:abc"},
        {"precision": "fp8"},
        {"files": {}},
        {"files": {"../x": {"bytes": 1, "sha256": "0" * 64}}},
    ],
)
def test_invalid_manifest(copy: Path, changes: dict[str, object]) -> None:
    _edit(copy, **changes)
    with pytest.raises(BundleCorruptError, match="manifest"):
        Bundle.open(copy)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"\xff\xfe"])
def test_manifest_that_is_no_manifest(copy: Path, raw: bytes) -> None:
    (copy / "manifest.json").write_bytes(raw)
    with pytest.raises(BundleCorruptError):
        Bundle.open(copy)


def test_manifest_is_frozen(bundle: Bundle) -> None:
    with pytest.raises(ValidationError):
        bundle.manifest.dimension = 3  # type: ignore[misc]


def test_finish_moves_and_replaces(bundle: Bundle, copy: Path, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    first = finish_bundle(copy, target, _fields(bundle))
    assert not copy.exists()
    assert Bundle.open(target).manifest == first.manifest == bundle.manifest
    again = Path(shutil.copytree(target, tmp_path / "again"))
    (again / "parity_report.json").write_text('{"second": true}')
    finish_bundle(again, target, _fields(bundle))
    assert "second" in (Bundle.open(target).path / "parity_report.json").read_text()
    assert [entry.name for entry in target.parent.iterdir()] == ["target"]


def test_finish_refuses_incomplete_linked_and_foreign(
    bundle: Bundle, copy: Path, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(BundleError, match="no bundle"):
        finish_bundle(copy, foreign, _fields(bundle))
    (copy / "link").symlink_to("tokenizer.json")
    with pytest.raises(BundleCorruptError, match="link"):
        finish_bundle(copy, tmp_path / "target", _fields(bundle))
    (copy / "link").unlink()
    (copy / "tokenizer.json").unlink()
    with pytest.raises(BundleCorruptError, match=r"lacks tokenizer\.json"):
        finish_bundle(copy, tmp_path / "target", _fields(bundle))
    assert not (tmp_path / "target").exists()
    # What a failed finish leaves is no bundle, although the folder once held a manifest.
    with pytest.raises(BundleNotFoundError):
        Bundle.open(copy)


def test_failed_rename_puts_the_old_bundle_back(
    bundle: Bundle, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Path(shutil.copytree(copy, tmp_path / "target"))
    rename = Path.rename

    def fail(self: Path, other: Path) -> Path:
        if self == copy:
            raise OSError("no")
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="no"):
        finish_bundle(copy, target, _fields(bundle))
    Bundle.open(target)


def test_the_fingerprint_of_known_parts() -> None:
    # sha256 of {"dimension":16,"role":"query: "}, computed with sha256sum.
    assert compute_fingerprint({"role": "query: ", "dimension": 16}) == (
        "sha256:8ab1859041c1d112343a6e648d92e871f3771ad31450448fadddc0c9c2b3fb5d"
    )


def test_a_bundle_that_failed_its_gate_is_refused(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LUSIFER_ALLOW_FAILED_GATE", raising=False)
    _edit(copy, gate="failed")
    with pytest.raises(BundleGateError, match=r"its fp32 vectors are not the model's"):
        Bundle.open(copy)
    assert Bundle.open(copy, allow_failed_gate=True).manifest.gate == "failed"
    monkeypatch.setenv("LUSIFER_ALLOW_FAILED_GATE", "1")
    assert Bundle.open(copy).manifest.gate == "failed"


def test_fingerprint_depends_on_values_not_on_order() -> None:
    parts = {"weights": {"a": "1"}, "dimension": 16}
    fingerprint = compute_fingerprint(parts)
    assert fingerprint == compute_fingerprint({"dimension": 16, "weights": {"a": "1"}})
    assert fingerprint != compute_fingerprint({**parts, "dimension": 8})
    assert len(fingerprint) == len("sha256:") + 64
    with pytest.raises(ValueError, match="JSON"):
        compute_fingerprint({"x": float("nan")})


@pytest.mark.parametrize(
    "name", ["manifest.json", "model.onnx", "model.onnx.data", "tokenizer.json"]
)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "link"])
def test_only_regular_files_of_the_folder_are_read(
    copy: Path, tmp_path: Path, name: str, kind: str
) -> None:
    file = copy / name
    outside = tmp_path / "outside"
    file.rename(outside)
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "folder":
        file.mkdir()
    elif name == "manifest.json":
        return  # its content is not trusted, so it may be anywhere
    else:
        file.symlink_to(outside)
    with pytest.raises(BundleCorruptError, match=r"no regular file|not a regular file"):
        Bundle.open(copy, verify=False)


def test_a_link_within_the_folder_is_followed(copy: Path) -> None:
    (copy / "blobs").mkdir()
    (copy / "model.onnx.data").rename(copy / "blobs" / "abc")
    (copy / "model.onnx.data").symlink_to(Path("blobs") / "abc")
    Bundle.open(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"dimension": 10**12, "matryoshka_dimensions": [10**12]},
        {"maximum_tokens": 10**12},
        {"pad_token_id": 10**12},
        {"name": "x" * 10_000},
        {"role_prompts": {"query": "x" * 100_000, "document": ""}},
        {"files": {f"f{n}": {"bytes": 0, "sha256": "0" * 64} for n in range(20_000)}},
        {"files": {"model.onnx": {"bytes": 2**60, "sha256": "0" * 64}}},
    ],
)
def test_numbers_of_a_manifest_have_bounds(copy: Path, changes: dict[str, object]) -> None:
    _edit(copy, **changes)
    with pytest.raises(BundleCorruptError, match="is not valid") as caught:
        Bundle.open(copy, verify=False)
    assert len(caught.value.message) < 5000


def test_a_tokenizer_of_gigabytes_is_refused(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["tokenizer.json"]["bytes"] = 2**31
    _edit(copy, files=manifest["files"])
    with pytest.raises(BundleCorruptError, match="at most 268435456 are read"):
        Bundle.open(copy, verify=False)


def test_a_manifest_of_gigabytes_or_nested_without_end_is_refused(copy: Path) -> None:
    (copy / "manifest.json").write_bytes(b"[" * 100_000)
    with pytest.raises(BundleCorruptError, match="is not JSON"):
        Bundle.open(copy)
    with (copy / "manifest.json").open("wb") as file:
        file.truncate(2**34)
    with pytest.raises(BundleCorruptError, match="at most 16777216 are read"):
        Bundle.open(copy)


def test_weights_that_the_manifest_does_not_list_are_refused(copy: Path) -> None:
    """The graph names a file that verification would not look at."""
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["files"]["model.onnx.data"]
    _edit(copy, files=manifest["files"])
    for verify in (True, False):
        with pytest.raises(BundleCorruptError, match=r"reads 'model\.onnx\.data', which the man"):
            Bundle.open(copy, verify=verify)


@pytest.mark.parametrize("raw", [b"", b"\xff" * 20, b"no graph at all", b"\x3a\xff\x01"])
def test_a_graph_that_is_no_graph(copy: Path, raw: bytes) -> None:
    (copy / "model.onnx").write_bytes(raw)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["model.onnx"] = file_record(copy / "model.onnx").model_dump()
    _edit(copy, files=manifest["files"])
    with pytest.raises(BundleCorruptError, match=r"model\.onnx is no ONNX graph"):
        Bundle.open(copy)
