"""Compiles a LUSIFER checkpoint into a bundle: one ONNX graph that has passed a quality gate."""
