"""Reads the store: plain rows out, one module for each kind of question.

    devices    the fleet, page by page, and its counts
    history    one box: reports, runs, days, the document that was sent
    contexts   contexts with their counts, and the newest runs in one
    releases   releases and setups, and which boxes have two of them

Every statement runs on SQLite and PostgreSQL. Only `history` touches the tables that grow with
every report, and there only the rows of one box.
"""
