from __future__ import annotations

import pytest

from lusifer.engines.graph import (
    check_signature,
    closed_error,
    is_out_of_memory,
    load_error,
    run_error,
)
from lusifer.errors import BundleCorruptError, EngineBusyError, EngineError


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        (["input_ids"], ["embedding"]),
        (["input_ids", "attention_mask", "token_type_ids"], ["embedding"]),
        (["input_ids", "attention_mask"], ["last_hidden_state"]),
    ],
)
def test_other_signatures_are_refused(inputs: list[str], outputs: list[str]) -> None:
    with pytest.raises(BundleCorruptError) as caught:
        check_signature("m.onnx", inputs, outputs)
    assert caught.value.message == (
        f"The graph m.onnx maps {sorted(inputs)} to {outputs}, a bundle's graph maps "
        "['attention_mask', 'input_ids'] to ['embedding']."
    )


def test_the_order_of_inputs_and_other_outputs_do_not_matter() -> None:
    check_signature("m.onnx", ["attention_mask", "input_ids"], ["pooled", "embedding"])


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("Failed to allocate 3 GB"), True),
        ("CUDA out of memory", True),
        (RuntimeError("index 7 is out of bounds"), False),
    ],
)
def test_lack_of_memory_is_found_in_the_message(error: object, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_errors_name_the_batch_and_what_to_do() -> None:
    failed = run_error((3, 5), ValueError("bad index"))
    assert type(failed) is EngineError
    assert failed.message == "The graph failed on a batch of 3 rows x 5 tokens: bad index"
    busy = run_error((3, 5), MemoryError("out of memory"))
    assert isinstance(busy, EngineBusyError)
    assert busy.message == "No memory for a batch of 3 rows x 5 tokens: out of memory"
    assert isinstance(load_error("ONNX Runtime", "m.onnx", MemoryError()), EngineBusyError)
    broken = load_error("ONNX Runtime", "m.onnx", ValueError("no graph"))
    assert isinstance(broken, BundleCorruptError)
    assert broken.message == "ONNX Runtime can't load m.onnx: no graph"
    assert str(closed_error("triton")) == (
        "The engine triton is closed. Load the vectorizer again."
    )
