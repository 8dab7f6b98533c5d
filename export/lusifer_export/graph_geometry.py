"""The geometry of an exported graph: read it, replace its centre, and run the graph without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lusifer.engines.graph import OUTPUT
from lusifer_export.errors import ExportError
from lusifer_export.graph import load_graph
from lusifer_export.weights import read_beside
from lusifer_training.geometry import Geometry

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["GraphGeometry"]

_CENTRE, _BASIS = "centre", "language_basis"


class GraphGeometry:
    """The graph of a bundle whose model has a centre.

    Args:
        path: The graph; its weights lie beside it.

    Raises:
        ExportError: The graph has no centre that could be replaced.
    """

    def __init__(self, path: Path) -> None:
        self._graph = load_graph(path)
        self._read = read_beside(path.parent)
        self._tensors = {each.name: each for each in self._graph.graph.initializer}
        if _CENTRE not in self._tensors:
            raise ExportError(
                f"{path} has no centre.",
                next_step="Fit one to its checkpoint with lusifer train subspace, and export that.",
            )
        nodes = self._graph.graph.node
        scaled = next(node for node in nodes if node.op_type == "Mul" and _CENTRE in node.input)
        (factor,) = [name for name in scaled.input if name != _CENTRE]
        self._share = float(self._number(factor))
        self._plain = next(
            node.input[0]
            for node in nodes
            if node.op_type == "Sub" and node.input[1] == scaled.output[0]
        )

    @property
    def geometry(self) -> Geometry:
        """Centre, share and language basis."""
        centre = self._array(_CENTRE)
        basis = self._array(_BASIS) if _BASIS in self._tensors else np.zeros((len(centre), 0))
        return Geometry(centre, self._share, basis.astype(np.float32))

    def without(self) -> onnx.ModelProto:
        """Return the graph whose output is the plain unit vectors ``(B, D)``."""
        plain = onnx.ModelProto()
        plain.CopyFrom(self._graph)
        nodes = [node for node in plain.graph.node if OUTPUT not in node.output]
        del plain.graph.node[:]
        # The nodes of the geometry are left over; a runtime removes what leads to no output.
        plain.graph.node.extend([*nodes, helper.make_node("Identity", [self._plain], [OUTPUT])])
        return plain

    def with_centre(self, geometry: Geometry) -> onnx.ModelProto:
        """Return the graph with another centre and share; its language basis stays."""
        changed = onnx.ModelProto()
        changed.CopyFrom(self._graph)
        # The graph multiplies by the share that it was exported with.
        centre = geometry.centre * np.float32(geometry.share / self._share)
        tensor = next(each for each in changed.graph.initializer if each.name == _CENTRE)
        tensor.CopyFrom(numpy_helper.from_array(centre, _CENTRE))
        return changed

    def _array(self, name: str) -> NDArray[np.float32]:
        tensor = self._tensors[name]
        external = tensor.data_location == TensorProto.EXTERNAL
        array = self._read(tensor) if external else numpy_helper.to_array(tensor)
        return np.asarray(array, dtype=np.float32)

    def _number(self, name: str) -> NDArray[np.float32]:
        """Return a scalar that is a weight or a constant of the graph."""
        if name in self._tensors:
            return self._array(name)
        constant = next(node for node in self._graph.graph.node if name in node.output)
        found: NDArray[np.float32] = numpy_helper.to_array(constant.attribute[0].t)
        return found
