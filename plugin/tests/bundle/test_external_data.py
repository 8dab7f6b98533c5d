from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lusifer.bundle.external_data import external_files

if TYPE_CHECKING:
    from pathlib import Path

onnx = pytest.importorskip("onnx")


def _external(location: str) -> Any:
    tensor = onnx.TensorProto(data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def test_every_place_of_a_tensor_is_found(tmp_path: Path) -> None:
    inner = onnx.GraphProto(initializer=[_external("subgraph")])
    sparse = onnx.SparseTensorProto(values=_external("values"), indices=_external("indices"))
    node = onnx.NodeProto(
        attribute=[
            onnx.AttributeProto(t=_external("t"), g=inner, sparse_tensor=sparse),
            onnx.AttributeProto(
                tensors=[_external("tensors")],
                graphs=[onnx.GraphProto(initializer=[_external("graphs")])],
                sparse_tensors=[onnx.SparseTensorProto(values=_external("sparse"))],
            ),
        ]
    )
    model = onnx.ModelProto(
        graph=onnx.GraphProto(
            node=[node],
            initializer=[_external("a"), _external("../b"), onnx.TensorProto(raw_data=b"c" * 99)],
            sparse_initializer=[onnx.SparseTensorProto(values=_external("initial"))],
        ),
        functions=[onnx.FunctionProto(node=[onnx.NodeProto(attribute=[onnx.AttributeProto(t=_external("f"))])])],
        training_info=[onnx.TrainingInfoProto(initialization=onnx.GraphProto(initializer=[_external("train")]))],
    )  # fmt: skip
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    assert external_files(tmp_path / "model.onnx") == {
        "subgraph", "values", "indices", "t", "tensors", "graphs", "sparse", "a", "../b", "initial",
        "f", "train",
    }  # fmt: skip


def test_graphs_in_graphs_take_no_stack(tmp_path: Path) -> None:
    def field(number: int, content: bytes) -> bytes:
        length, head = len(content), bytearray([number << 3 | 2])
        while length >= 128:
            head.append(length & 127 | 128)
            length >>= 7
        return bytes([*head, length]) + content

    graph = b""
    for _ in range(3000):
        graph = field(1, field(5, field(6, graph)))
    (tmp_path / "model.onnx").write_bytes(field(7, graph))
    assert external_files(tmp_path / "model.onnx") == set()


@given(raw=st.binary(min_size=1, max_size=200))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(raw)
    with suppress(ValueError):
        assert all(isinstance(each, str) for each in external_files(path))
