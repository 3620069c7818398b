"""Where answers come from: a hub's address, a hub's store, or a file of reports.

    opening    finds out which of the three was named
    store      asks a store in this process
    remote     asks a hub over HTTP
    reports    puts a file of reports into a store of its own

Used by the command line.
"""
