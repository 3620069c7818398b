"""The program on the box: serves the model, measures itself, reports.

It needs the standard library, numpy, one inference runtime, psutil, prometheus_client and
httptools, and imports neither the build side nor the hub.
"""
