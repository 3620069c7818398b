"""Reports on their way: kept on disk until somebody has taken them.

It is not aware of what a report says, only of its id and bytes. Used by the runner's programs.
"""
