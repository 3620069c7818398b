"""Trains a model project on an interaction log.

Importing this package does not import TensorFlow; training does. May be imported by
`edgepack.build` and `edgepack.cli`.
"""
