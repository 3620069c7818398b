"""The HTTP server: one port, small answers, hard limits.

`app` answers a parsed request and needs no socket; `protocol` speaks HTTP on a connection and
knows no route; `serving` starts and stops the whole. Used by `edgepack-runner serve`.
"""
