"""Turns a model into verified bundles, on the host.

The only place that knows TensorFlow, the ONNX tools, uv and emulators; it imports neither the
runner nor the hub. The command line and the tests import it.
"""
