"""Releases that are loaded, proven and ready to answer: the one in service and one on trial.

`model` is one of them, `opening` makes it out of a release on disk, `timing` measures
its calls, `models` holds both. It is
not aware of HTTP. Used by the server.
"""
