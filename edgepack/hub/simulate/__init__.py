"""A made-up fleet: boxes that age, heat up, lose their network and lie, with a seed.

It makes reports as boxes would and sends them as boxes do; nothing else of the hub imports it.
"""
