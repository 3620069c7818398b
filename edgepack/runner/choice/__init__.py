"""The choice on the box: which candidate of the bundle, opened how, is measured and not guessed.

It is not aware of HTTP or of how reports travel. Used by `bench`, which makes the choice, and by
`serve`, which follows it.
"""
