"""The recommender on an NVIDIA card, beside what people run there today; see docs/gpu.md."""
