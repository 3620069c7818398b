"""Notices on the box that its shop is no longer what the model was made with; no data leaves it.

`bins` reads the bundle's reference, `counters` counts on the hot path, `keeping` brings the
counts over a restart and into the report. Used by the server and by `bench`.
"""
