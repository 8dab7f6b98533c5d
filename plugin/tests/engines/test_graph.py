from __future__ import annotations

import pytest

from lusifer.engines.graph import RuntimeErrors, check_signature, closed_error, is_out_of_memory
from lusifer.errors import BundleCorruptError, EngineBusyError, EngineError, LusiferError


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


ERRORS = RuntimeErrors("A Runtime", lambda error: isinstance(error, LookupError))


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (LookupError("no graph"), BundleCorruptError, "A Runtime can't load m.onnx: no graph"),
        (MemoryError("4 GB"), EngineBusyError, "No memory to load m.onnx: 4 GB"),
    ],
)
def test_errors_of_loading(raised: Exception, kind: type[LusiferError], message: str) -> None:
    with pytest.raises(kind) as caught, ERRORS.loading("m.onnx"):
        raise raised
    assert type(caught.value) is kind
    assert caught.value.message == message
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (
            LookupError("bad index"),
            EngineError,
            "The graph failed on a batch of 3 rows x 5 tokens: bad index",
        ),
        (
            RuntimeError("std::bad_alloc"),
            EngineBusyError,
            "No memory for a batch of 3 rows x 5 tokens: std::bad_alloc",
        ),
    ],
)
def test_errors_of_running(raised: Exception, kind: type[LusiferError], message: str) -> None:
    with pytest.raises(kind) as caught, ERRORS.running((3, 5)):
        raise raised
    assert type(caught.value) is kind
    assert caught.value.message == message


def test_errors_of_others_pass() -> None:
    with pytest.raises(ZeroDivisionError), ERRORS.running((3, 5)):
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), ERRORS.loading("m.onnx"):
        raise ZeroDivisionError


def test_a_closed_engine() -> None:
    assert str(closed_error("triton")) == "The engine triton is closed. Load the vectorizer again."
