"""The Open Inference Protocol V2 over REST, with the extensions of Triton that a box can fill.

`routes` is the table; `request` and `response` are the two halves of `infer`. A client written
for KServe, MLServer or Triton works unchanged. Used by `serving`.
"""
