"""The commands of `edgepack-runner`: their options, and what they print.

What a command does lies elsewhere and is imported when the command runs. Used by
`edgepack.runner.main`.
"""
