"""The daemon: everything that runs while a model is served, put together.

`serve` starts and stops it, `models` opens what is served, `reload` changes it while requests
run, `handover` passes the port on to a new process, `background` does what is done beside
serving. Only `edgepack-runner serve` uses it.
"""
