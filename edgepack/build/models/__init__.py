"""The recommenders edgepack can train, as Keras 3 functional models.

Not aware of data files, projects or training. Importing this package does not import Keras;
`build_ranker` and `edgepack.build.models.layers` do. May be imported by `edgepack.build`.
"""
