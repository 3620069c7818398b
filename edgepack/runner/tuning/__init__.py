"""Measures cells for `edgepack tune`: one block of each in a lap, on whatever box it runs.

It travels in the releases that tuning tries and in no bundle. Nothing else of the runner imports
it.
"""
