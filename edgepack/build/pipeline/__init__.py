"""The road from a model to one verified bundle per target: who is asked what, in which order."""
