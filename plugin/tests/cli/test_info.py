from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from plugin.tests.cli.commands import run, run_json

from lusifer.cli.info import _fastest, _readable
from lusifer.engines.selection import Choice, Trial

if TYPE_CHECKING:
    from pathlib import Path


def test_info(tiny_bundle: Path) -> None:
    code, (info,) = run_json("info", "--bundle", tiny_bundle)
    assert code == 0
    assert info["model"] == "lusifer-tiny-test"
    assert (info["dimension"], info["matryoshka_dimensions"]) == (16, [16, 8, 4])
    assert info["fingerprint"].startswith("sha256:")
    assert info["bundle"] == str(tiny_bundle.resolve())
    assert {"lusifer", "python", "onnxruntime", "tokenizers", "qdrant-edge-py"} <= set(
        info["versions"]
    )
    code, text, _ = run("info", "--bundle", tiny_bundle)
    assert code == 0
    assert info["fingerprint"] in re.sub(r"\s", "", text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"query": "query: ", "document": "d"}, "query 'query: ', document d"),
        (["en", "de"], "en, de"),
        ([], ""),
        (None, "None"),
        (16, "16"),
    ],
)
def test_a_value_for_people(value: object, text: str) -> None:
    assert _readable(value) == text


def test_the_fastest_engine() -> None:
    assert _fastest(None) == "not measured; run LUSIFER_ENGINE=auto lusifer info"
    choice = Choice(
        engine="onnx",
        cpu="a processor",
        threads=2,
        trials=(
            Trial("onnx", query_ms=5.5, tokens_per_s=1200),
            Trial("openvino", problem="it is not installed"),
            Trial("openvino-bf16", skipped=True),
        ),
    )
    assert _fastest(choice) == (
        "onnx (onnx 5.5 ms a query, 1,200 tokens/s; openvino can't be used: it is not installed; "
        "openvino-bf16 not measured; 2 threads, a processor)"
    )
