"""The words and wire formats that the build side, the runner and the hub share.

No module here does I/O, and all of them need only the standard library: the bundle's own
program imports them on a box before anything else is there. Anyone may import them.
"""
