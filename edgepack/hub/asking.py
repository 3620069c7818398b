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

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sqlalchemy import Connection

from edgepack.hub.answers.compare import CompareAnswer, CompareQuery, refused
from edgepack.hub.answers.compare import compare as compare_rows
from edgepack.hub.answers.device import DeviceAnswer, DeviceRows, device_answer
from edgepack.hub.answers.fleet import FleetAnswer, FleetQuery, fleet_answer
from edgepack.hub.answers.refusing import has_facts, refuse_nothing, refuse_several
from edgepack.hub.answers.releases import (
    ReleaseAnswer,
    ReleaseRows,
    ReleasesAnswer,
    release_answer,
    releases_answer,
)
from edgepack.hub.answers.rows import ContextRow, SetupRow
from edgepack.hub.answers.selecting import (
    SelectAnswer,
    SelectQuery,
    SelectRows,
    main_contexts,
    select_answer,
)
from edgepack.hub.answers.trust import Standing
from edgepack.hub.store.reading import contexts as read_contexts
from edgepack.hub.store.reading import devices as read_devices
from edgepack.hub.store.reading import history as read_history
from edgepack.hub.store.reading import releases as read_releases

DAY_MS: Final = 86_400_000
#: Three years of one report a day; a chart needs no more.
MAX_REPORTS: Final = 1100
#: SQLite takes 32,766 values in one statement.
_FEW: Final = 1000


def fleet(connection: Connection, query: FleetQuery, *, now_ms: int) -> FleetAnswer:
    """Answers with a page of the fleet.

    Args:
        connection: The store.
        query: Which devices.
        now_ms: The moment by which silence is judged.

    Returns:
        The answer.
    """
    counts = read_devices.count_devices(connection, text=query.text, now_ms=now_ms)
    ids = {each.release_id for each in counts if each.release_id is not None}
    return fleet_answer(
        query,
        counts,
        read_devices.read_devices(connection, query, now_ms=now_ms),
        read_releases.releases_by_id(connection, ids),
        now_ms=now_ms,
    )


def device(
    connection: Connection,
    name: str,
    *,
    now_ms: int,
    days: int | None = None,
    limit: int = MAX_REPORTS,
) -> DeviceAnswer | None:
    """Answers with one box over time.

    Args:
        connection: The store.
        name: The box's name.
        now_ms: The moment by which silence is judged.
        days: How far back; None: everything.
        limit: The most reports, the newest ones.

    Returns:
        The answer, or None for an unknown box.
    """
    found = read_devices.find_device(connection, name, now_ms=now_ms)
    if found is None:
        return None
    since_ms = 0 if days is None else now_ms - days * DAY_MS
    reports = read_history.read_reports(connection, found.id, since_ms=since_ms, limit=limit + 1)
    cut = len(reports) > limit
    reports = reports[:limit]
    oldest_ms = reports[-1].created_ms if reports else since_ms
    runs = read_history.read_runs(connection, found.id, since_ms=oldest_ms)
    days_kept = read_history.read_history(connection, found.id, since_day=since_ms // DAY_MS)
    setups = {each.setup_id for each in reports} | {each.setup_id for each in days_kept}
    contexts = {each.context_id for each in runs} | {each.context_id for each in days_kept}
    rows = DeviceRows(
        device=found,
        reports=reports,
        runs=runs,
        history=days_kept,
        setups=read_releases.setups_by_id(connection, setups),
        contexts=read_contexts.contexts_by_id(connection, contexts),
        cut=cut,
    )
    return device_answer(rows, now_ms=now_ms, since_ms=since_ms)


def document(connection: Connection, name: str, report_id: str) -> bytes | None:
    """Returns a report as a box sent it, or None where it is not or no longer there.

    Raises:
        HubError: The document is damaged.
    """
    return read_history.read_document(connection, name, report_id)


def compare(connection: Connection, query: CompareQuery) -> CompareAnswer:
    """Compares setups in one context, or refuses and says why.

    Args:
        connection: The store.
        query: What to compare.

    Returns:
        The answer.
    """
    found = [
        each
        for each in read_contexts.find_contexts(
            connection,
            model=query.model,
            scenario=query.scenario,
            box=query.box,
            digest=query.context,
        )
        if has_facts(each, query.facts)
    ]
    # A few are looked up, many are read with all others: the answer is the same.
    few = [each.id for each in found] if len(found) <= _FEW else None
    counts = read_contexts.count_standing(connection, contexts=few)
    known = read_releases.setups_by_id(connection, {each.setup_id for each in counts})
    setups = {key: each for key, each in known.items() if _is_asked_for(each, query)}
    results: dict[int, int] = {}
    for each in counts:
        if each.setup_id in setups:
            results[each.context_id] = results.get(each.context_id, 0) + each.boxes
    contexts = [replace(each, results=results[each.id]) for each in found if each.id in results]
    if not contexts:
        return refused(query, refuse_nothing(query != CompareQuery(per=query.per)))
    if len(contexts) > 1:
        return refused(query, refuse_several(contexts))
    rows = read_contexts.standing_in(connection, contexts[0].id)
    return compare_rows(query, contexts[0], rows, setups)


def releases(
    connection: Connection, *, model: str | None = None, target: str | None = None
) -> ReleasesAnswer:
    """Lists the releases of a model and for a target, the newest first; None: of all."""
    return releases_answer(read_releases.list_releases(connection, model=model, target=target))


def release(
    connection: Connection, bundle_id: str, *, before: str | None = None
) -> ReleaseAnswer | None:
    """Compares a release with an earlier one on the same boxes.

    Args:
        connection: The store.
        bundle_id: The release; a unique beginning of at least eight digits will do.
        before: The one it is held against; None: the earlier release of the same model and
            target that most of its boxes had.

    Returns:
        The answer, or None where one of the two is unknown or both are the same.
    """
    after = read_releases.find_release(connection, bundle_id)
    if after is None:
        return None
    shared = read_releases.shared_boxes(connection, after)
    earlier = next((each for each, count in shared if count), None)
    if before is not None:
        earlier = read_releases.find_release(connection, before)
        if earlier is None or earlier.id == after.id:
            return None
    setups = read_releases.setups_of_release(connection, after.id)
    if earlier is not None:
        setups |= read_releases.setups_of_release(connection, earlier.id)
    standing = read_releases.columns_of_setups(connection, list(setups))
    contexts = read_contexts.contexts_by_id(connection, set(standing.context_id.tolist()))
    choices = [each for each, count in shared if count or each == earlier]
    choices.sort(key=lambda each: (each.first_seen_ms, each.id), reverse=True)
    return release_answer(ReleaseRows(after, earlier, choices, setups, standing, contexts))


def select(connection: Connection, query: SelectQuery, *, now_ms: int, source: str) -> SelectAnswer:
    """Ranks the variants for a target by trusted field latency.

    Args:
        connection: The store.
        query: What to choose for.
        now_ms: The moment that is written into the evidence.
        source: The hub's address or the file, for the same.

    Returns:
        The answer; where little is known it says so.
    """
    known = read_releases.list_releases(connection, target=query.target)
    models = sorted({each.model for each in known})
    model = query.model or (models[0] if len(models) == 1 else None)
    if model is None or model not in models:
        return select_answer(query, _nothing(models, model), now_ms=now_ms, source=source)
    setups = read_releases.setups_of(connection, target=query.target, model=model)
    found = read_contexts.find_contexts(
        connection, model=model, scenario=query.scenario, box=query.box
    )
    few = [each.id for each in found] if len(found) <= _FEW else None
    counts: dict[tuple[int, Standing], int] = {}
    for each in read_contexts.count_standing(connection, contexts=few, setups=list(setups)):
        key = (each.context_id, each.trust)
        counts[key] = counts.get(key, 0) + each.boxes
    with_runs = {context_id for context_id, _ in counts}
    contexts = [each for each in found if each.id in with_runs]
    main = main_contexts(contexts, counts)
    rows = SelectRows(
        model=model,
        models=models,
        setups=setups,
        contexts=main,
        standing={
            each.id: read_contexts.columns_in(connection, each.id, list(setups)) for each in main
        },
        left_out=len(contexts) - len(main),
    )
    return select_answer(query, rows, now_ms=now_ms, source=source)


def _is_asked_for(setup: SetupRow, query: CompareQuery) -> bool:
    asked = (
        (query.target, setup.release.target),
        (query.runtime, setup.runtime),
        (query.precision, setup.precision),
        (query.release, setup.release.bundle_id),
    )
    return all(wanted is None or wanted == got for wanted, got in asked)


def _nothing(models: list[str], model: str | None) -> SelectRows:
    none: tuple[ContextRow, ...] = ()
    return SelectRows(
        model=model if model in models else None,
        models=models,
        setups={},
        contexts=none,
        standing={},
    )
