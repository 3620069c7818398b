"""`POST /recommend`: a shop's item ids in, ranked item ids out.

`request` parses what was asked, `routes` answers it. Used by `serving`.
"""
