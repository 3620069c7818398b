"""Charts as SVG, drawn here: no script and no inline style, a text beside each.

Nothing here knows pages, HTTP or the store; charts take the values of `edgepack.hub.answers`.
"""
