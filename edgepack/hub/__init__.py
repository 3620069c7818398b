"""Takes the reports of a fleet, keeps them, shows them and answers questions about them.

    store     the tables, and everything that reads or writes them
    access    who may send and who may read: tokens, roles, enrolment
    intake    from a request's body to rows on disk
    answers   what a person asks of the rows: health, comparisons, releases, the next choice
    asking    one function for each question: reads the rows and hands them to `answers`
    sources   where answers come from: a hub over HTTP, a store, a file of reports
    web       the HTTP interface and the pages
    simulate  a made-up fleet that sends real reports

Imports neither the build side nor the runner; it meets them in `edgepack.formats`.
"""
