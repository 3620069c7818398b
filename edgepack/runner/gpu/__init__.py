"""The graphics card of a box: what it is, and whether the runtime can use it.

`driver` and `libraries` look at files only, `nvml` asks NVIDIA's own library, `needs` is what the
runtime wants, `fit` judges, `looking` puts them together. Nothing here is imported where the
bundle's runtime is not onnxruntime-gpu.
"""
