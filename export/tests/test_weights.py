from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from export.tests.helpers import batch, names
from onnx import numpy_helper
from transformers import AutoModelForCausalLM

from lusifer_export.graph import trace_graph
from lusifer_export.weights import WeightStore, fp32_arithmetic, merged_weights, read_beside
from lusifer_training.checkpoint import load_checkpoint

if TYPE_CHECKING:
    import onnx


def test_lora_is_merged_as_the_model_does(tiny: Any) -> None:
    weights = merged_weights(tiny.model())
    merged = tiny.model()
    merged.merge_lora()
    expected = dict(merged.named_parameters()) | dict(merged.named_buffers())
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(weights[name](), value.detach())


def test_the_model_itself_stays_as_it_is(tiny: Any) -> None:
    model = tiny.model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trace_graph(model)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_an_llm_stored_in_half_precision(checkpoint: Path, tiny: Any, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    llm = Path(shutil.copytree(tiny.llm_folder("llama"), tmp_path / "llm"))
    AutoModelForCausalLM.from_pretrained(llm, dtype=torch.bfloat16).save_pretrained(llm)
    values = json.loads((copy / "config.json").read_text())
    values["llm"]["location"] = f"folder:{llm}"
    (copy / "config.json").write_text(json.dumps(values))
    wide, stored = load_checkpoint(copy), load_checkpoint(copy, llm_dtype="auto")
    kinds = {value.dtype for value in stored.parameters()}
    assert kinds == {torch.float32, torch.bfloat16}
    ids, mask = (torch.from_numpy(each) for each in batch(5, 11))
    with torch.inference_mode():
        expected = wide(ids, mask)
        with fp32_arithmetic(stored):
            found = stored(ids, mask)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    # Nothing stays wide.
    assert {value.dtype for value in stored.parameters()} == kinds
    wide.merge_lora()
    widened = dict(wide.named_parameters()) | dict(wide.named_buffers())
    for name, read in merged_weights(stored).items():
        torch.testing.assert_close(read(), widened[name].detach(), atol=1e-6, rtol=1e-5)


def tensor(name: str, numbers: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.arange(numbers, dtype=np.float32), name)


def place(written: onnx.TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in written.external_data}


def test_small_weights_stay_in_the_graph_and_others_go_to_shards(tmp_path: Path) -> None:
    store = WeightStore(read_beside(tmp_path), tmp_path / "m.onnx", shard_bytes=3000)
    assert store.put(tensor("small", 255)).raw_data == tensor("small", 255).raw_data
    assert not names(tmp_path)
    places = [place(store.put(tensor(name, 256))) for name in "abc"]
    assert places == [
        {"location": "m.onnx.data", "offset": "0", "length": "1024"},
        {"location": "m.onnx.data", "offset": "1024", "length": "1024"},
        {"location": "m.onnx.data.1", "offset": "0", "length": "1024"},
    ]
    # Larger than a shard: a file of its own.
    assert place(store.put(tensor("d", 1000)))["location"] == "m.onnx.data.2"
    sizes = {name: (tmp_path / name).stat().st_size for name in names(tmp_path)}
    assert sizes == {"m.onnx.data": 2048, "m.onnx.data.1": 1024, "m.onnx.data.2": 4000}


def test_what_was_written_is_read_from_beside_the_graph(tmp_path: Path) -> None:
    store = WeightStore(read_beside(tmp_path), tmp_path / "m.onnx")
    written = store.put(tensor("a", 300))
    assert not written.raw_data
    assert store.array(written).tolist() == list(range(300))
    assert store.array(tensor("inside", 2)).tolist() == [0.0, 1.0]
