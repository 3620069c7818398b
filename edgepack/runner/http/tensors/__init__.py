"""Tensors on their way between bytes and arrays, and their way through the model.

It is not aware of routes. Used by `v2` and `tfs`, which give them their wire forms.
"""
