"""Random changes of every kind of file that may come from somebody else: no traceback, no hang."""

from __future__ import annotations

import copy
import json
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from integration_tests.attacks import make_bundle
from plugin.tests.reindex.support import make_plan

from lusifer.bundle.external_data import external_files
from lusifer.bundle.format import Bundle
from lusifer.cli.reindex.job_options import open_job
from lusifer.errors import LusiferError
from lusifer.ingest.sources.base import Rejected
from lusifer.ingest.sources.source import DocumentSource
from lusifer.reindex.job import Job
from lusifer.service.auth import add_key, read_keys
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest.importorskip("onnx")
pytestmark = pytest.mark.fuzz

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from([10**12, -1, 2**63, "../../etc/passwd", "/dev/zero", "\x1b[2J", "x" * 5000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
)


@st.composite
def changed_json(draw: st.DrawFn, original: Any) -> bytes:
    """Draw the text of a JSON document with a few values replaced, removed or added."""
    root = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        place = root
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and draw(st.booleans()):
                place = place[key]
                continue
            if draw(st.integers(0, 3)) == 0:
                del place[key]
            else:
                place[key] = draw(values)
            break
    raw = json.dumps(root).encode()
    return raw if draw(st.booleans()) else draw(changed_bytes(raw))


@st.composite
def changed_bytes(draw: st.DrawFn, original: bytes) -> bytes:
    """Draw bytes with a few of them replaced, removed or added."""
    raw = original
    for _ in range(draw(st.integers(1, 3))):
        cut = draw(st.integers(0, len(raw)))
        raw = raw[:cut] + draw(st.binary(max_size=9)) + raw[cut + draw(st.integers(0, 9)) :]
    return raw


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("fuzz") / "model")


def test_bundles(bundle: Path, tmp_path: Path, fuzz: Callable[..., None]) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(bundle, folder)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    graph = (folder / "model.onnx").read_bytes()[:4000]

    def check(content: tuple[bytes, bytes]) -> None:
        (folder / "manifest.json").write_bytes(content[0])
        with suppress(LusiferError):
            assert Bundle.open(folder, verify=False).manifest.dimension <= 65_536
        (tmp_path / "any.onnx").write_bytes(content[1] or b"x")
        with suppress(ValueError):
            external_files(tmp_path / "any.onnx")

    fuzz(st.tuples(changed_json(manifest), changed_bytes(graph)), check)


def test_plans_and_states(
    tmp_path: Path, fuzz: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUSIFER_CACHE", str(tmp_path / "cache"))
    job = Job.create(tmp_path / "job", make_plan())
    job.save(job.state())
    plan, state = (
        json.loads((job.path / name).read_bytes()) for name in ("plan.json", "state.json")
    )

    def check(content: tuple[bytes, bytes]) -> None:
        for name, raw in zip(("plan.json", "state.json"), content, strict=True):
            (job.path / name).write_bytes(raw)
        with suppress(LusiferError):
            # Nobody is asked: what was changed names its servers and folders in an error.
            open_job(job.path)
        with suppress(LusiferError):
            Job(job.path).state().open_ranges()

    fuzz(st.tuples(changed_json(plan), changed_json({**state, "finished": [[0, 2]]})), check)


def test_keys(tmp_path: Path, fuzz: Callable[..., None]) -> None:
    path = tmp_path / "keys.toml"
    add_key(path, "a", tokens_per_minute=60)

    def check(raw: bytes) -> None:
        path.write_bytes(raw)
        with suppress(LusiferError):
            read_keys(path)

    fuzz(changed_bytes(path.read_bytes()), check)


LINES = b'{"id": "a", "text": "one", "n": [1, {"x": null}]}\n{"text": "two"}\n'
TABLE = b'id,text,lang\r\na,"one, ""two""\nthree",en\r\n,zwei,de\r\n'


@pytest.mark.parametrize("name", ["d.jsonl", "d.csv", "d.tsv", "d.jsonl.gz", "d.parquet"])
def test_documents(name: str, tmp_path: Path, fuzz: Callable[..., None]) -> None:
    path = tmp_path / name

    def check(raw: bytes) -> None:
        path.write_bytes(raw)
        with suppress(LusiferError):
            for each in DocumentSource(path):
                assert isinstance(each, Document | Rejected)

    fuzz(changed_bytes(_content(name, tmp_path)), check)


def _content(name: str, folder: Path) -> bytes:
    if name == "d.parquet":
        arrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        table = arrow.table({"id": ["a", None], "text": ["one", "two"], "tags": [["x"], []]})
        parquet.write_table(table, folder / "original.parquet")
        return (folder / "original.parquet").read_bytes()
    if name.endswith(".gz"):
        import gzip

        return gzip.compress(LINES)
    return LINES if "json" in name else TABLE
