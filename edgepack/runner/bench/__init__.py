"""The self-benchmark: how fast this box really is, and how far that can be trusted.

It is not aware of HTTP or of how reports travel. Used by the runner's `bench` and `check`.
"""
