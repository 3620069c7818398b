"""Asks the store and hands on the answers: what pages, the API and the command line call.

    fleet(connection, FleetQuery, now_ms=…)                     → FleetAnswer
    device(connection, name, now_ms=…, days=…)                  → DeviceAnswer | None
    document(connection, name, report_id)                       → bytes | None
    compare(connection, CompareQuery)                           → CompareAnswer
    releases(connection, model=…, target=…)                     → ReleasesAnswer
    release(connection, bundle_id, before=…)                    → ReleaseAnswer | None
    select(connection, SelectQuery, now_ms=…, source=…)         → SelectAnswer

Each reads in the transaction of the connection it is given and writes nothing. None: there is no
such device, report or release.
"""
