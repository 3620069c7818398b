"""The program inside a bundle: checks it, installs it, takes it away again.

It runs on a bare box, so it imports the standard library and `edgepack.formats` only, and
nothing of the runner it installs. The host's command line uses `archive` to verify and inspect.
"""
