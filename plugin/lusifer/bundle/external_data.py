"""Names of the files that an ONNX graph reads its weights from, found without the package onnx.

An engine loads whatever file a graph names in its folder. The manifest must list each, or a file
that nobody compared with its hash would decide the vectors.

The graph is a protocol buffer: fields of a number, a wire type and a value. Messages that can hold
a tensor are walked, everything else is jumped over.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["external_files"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_TENSOR, _ENTRY = "TensorProto", "StringStringEntryProto"
_NESTED = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: _TENSOR, 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: _TENSOR,
        6: "GraphProto",
        10: _TENSOR,
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: _TENSOR, 2: _TENSOR},
    _TENSOR: {13: _ENTRY},
}
"""Kind of the message in each field, by the kind that it is in; onnx.proto numbers them."""


def external_files(model: Path) -> set[str]:
    """Return the locations of external data that an ONNX graph names, as they stand there.

    Args:
        model: The file ``model.onnx``, which is not loaded into memory.

    Raises:
        ValueError: It is no protocol buffer, or nested too deeply.
        OSError: It can't be read.
    """
    if model.stat().st_size == 0:
        raise ValueError("it is empty")
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        found: set[str] = set()
        # Not by recursion: a graph may be nested as deeply as its author likes.
        open_messages = [("ModelProto", 0, len(raw))]
        while open_messages:
            kind, start, end = open_messages.pop()
            for number, at, stop in _fields(raw, start, end):
                inner = _NESTED[kind].get(number)
                if inner == _ENTRY:
                    found |= _location(raw, at, stop)
                elif inner is not None:
                    open_messages.append((inner, at, stop))
        return found


def _location(raw: mmap.mmap, start: int, end: int) -> set[str]:
    entry = {number: raw[at:stop] for number, at, stop in _fields(raw, start, end)}
    if entry.get(1) != b"location":
        return set()
    return {entry.get(2, b"").decode("utf-8", "backslashreplace")}


def _fields(raw: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of each field that holds bytes."""
    at = start
    while at < end:
        key, at = _varint(raw, at, end)
        wire = key & 7
        if wire == _BYTES:
            length, at = _varint(raw, at, end)
            if length > end - at:
                raise ValueError(f"a field at byte {at} is longer than its message")
            yield key >> 3, at, at + length
            at += length
        elif wire == _VARINT:
            _, at = _varint(raw, at, end)
        elif wire in (_FIXED32, _FIXED64):
            at += 4 if wire == _FIXED32 else 8
            if at > end:
                raise ValueError(f"a field ends at byte {at}, its message at {end}")
        else:
            raise ValueError(f"a field at byte {at} has the wire type {wire}")


def _varint(raw: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= end or shift > 63:
            raise ValueError(f"a number at byte {at} does not end")
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
