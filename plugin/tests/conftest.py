"""A complete bundle of a few kilobytes: the plugin's tests run real files and real inference."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lusifer.bundle.format import (
    Bundle,
    ManifestFields,
    RolePrompts,
    compute_fingerprint,
    file_record,
    finish_bundle,
)

if TYPE_CHECKING:
    from pathlib import Path

DIMENSION = 16
MAXIMUM_TOKENS = 32
_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
_SENTENCES = [
    "query: document: the cat sits on the mat and the dog runs in the park",
    "Wie packe ich ein Archiv aus? Die Katze sitzt auf der Matte.",
    "猫はマットの上に座っています。 Кошка сидит на коврике. القطة على السجادة",
]


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a bundle: byte-level tokenizer, table in external data, mean, unit norm; D = 16, T = 32."""
    pytest.importorskip("onnx")
    base = tmp_path_factory.mktemp("bundles")
    target = base / "tiny"
    make_bundle(base / "staging", target)
    return target


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    """Open the tiny bundle."""
    return Bundle.open(tiny_bundle)


def make_bundle(staging: Path, target: Path, *, seed: int = 0) -> Bundle:
    """Write the tiny model and finish it as export does; another seed is another model."""
    staging.mkdir(parents=True)
    vocabulary_size = _write_tokenizer(staging / "tokenizer.json")
    _write_graph(staging / "model.onnx", vocabulary_size, seed)
    (staging / "parity_report.json").write_text(json.dumps({"mean_cosine": 1.0}))
    prompts = RolePrompts(query="query: ", document="document: ")
    weights = {
        path.name: file_record(path).sha256
        for path in (staging / "model.onnx", staging / "model.onnx.data")
    }
    fields = ManifestFields(
        name="lusifer-tiny-test",
        fingerprint=compute_fingerprint(
            {
                "weights": weights,
                "tokenizer": file_record(staging / "tokenizer.json").sha256,
                "role_prompts": prompts.model_dump(),
                "pooling": "mean",
                "dimension": DIMENSION,
                "precision": "fp32",
            }
        ),
        dimension=DIMENSION,
        matryoshka_dimensions=(DIMENSION, 8, 4),
        role_prompts=prompts,
        maximum_tokens=MAXIMUM_TOKENS,
        pad_token_id=_SPECIAL.index("<pad>"),
        precision="fp32",
        languages_evaluated=("en", "de", "ja"),
        created_with={"lusifer": "test"},
    )
    return finish_bundle(staging, target, fields)


def _write_tokenizer(path: Path) -> int:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(path))
    return int(tokenizer.get_vocab_size())


def _write_graph(path: Path, vocabulary_size: int, seed: int) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    table = np.random.default_rng(seed).normal(size=(vocabulary_size, DIMENSION)).astype(np.float32)
    constants = {
        "table": table,
        "token_axis": np.array([1], dtype=np.int64),
        "last_axis": np.array([2], dtype=np.int64),
        "vector_axis": np.array([1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last_axis"], ["mask3"]),
        helper.make_node("Mul", ["tokens", "mask3"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "token_axis"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "vector_axis"], ["count"], keepdims=1),
        helper.make_node("Div", ["total", "count"], ["mean"]),
        helper.make_node("ReduceL2", ["mean", "vector_axis"], ["norm"], keepdims=1),
        helper.make_node("Div", ["mean", "norm"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["B", "T"]),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["B", "T"]),
        ],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["B", DIMENSION])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(
        model,
        str(path),
        save_as_external_data=True,
        location=f"{path.name}.data",
        size_threshold=1024,
    )
