"""Compiles a LUSIFER checkpoint into a bundle: one ONNX graph, behind a parity gate."""
