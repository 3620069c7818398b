"""Serving, side by side: the runner, FastAPI with ONNX Runtime, and the loop without HTTP."""
