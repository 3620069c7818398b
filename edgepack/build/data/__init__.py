"""Interaction logs: reading, splitting, baselines and ranking metrics.

Not aware of TensorFlow, of model projects on disk or of the cache. May be imported by
`edgepack.build` and `edgepack.cli`. Import the modules; nothing is re-exported here.
"""
