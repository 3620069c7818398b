"""Makes a choice on this box and keeps it.

It is not aware of how trials are measured, nor of when a choice is followed (`settling`). Used by
`bench`.
"""

from __future__ import annotations

from pathlib import Path

from edgepack.formats.choice import Choice
from edgepack.runner.choice.deciding import decide
from edgepack.runner.choice.process import Launch, measure_in_processes
from edgepack.runner.choice.settling import (
    CHOICE_FILE,
    Box,
    choice_key,
    judge_card,
    read_choices,
)
from edgepack.runner.choice.trials import plan_trials
from edgepack.runner.clock import Clock, rfc3339
from edgepack.runner.durable import write_durably
from edgepack.runner.release import Release


def why_not_now(release: Release, box: Box) -> str | None:
    """Says why a choice made now would not be one for this box's card; None: it would.

    What is measured while others fill the card is the CPU, and would be kept as the card's choice.

    Args:
        release: The release with any of its candidates.
        box: What box this is.
    """
    verdict = judge_card(release, box)
    if verdict is None or not verdict.busy:
        return None
    return f"nothing is chosen while the card is not free: {verdict.fallback}"


def choose(release: Release, box: Box, clock: Clock, launch: Launch) -> Choice | None:
    """Measures what the bundle offers and decides.

    Args:
        release: The release with any of its candidates.
        box: What box this is; its card is free, see `why_not_now`.
        clock: Dates the choice.
        launch: Starts a measuring process.

    Returns:
        The choice; None where there is nothing to choose between.

    Raises:
        DeviceError: No candidate runs on this box.
    """
    runtime = release.manifest.runtime.name
    variants = [each.variant for each in release.manifest.candidates]
    key = choice_key(release, box)
    trials = plan_trials(runtime, variants, box.here.cores_allowed, on_gpu=key.gpu is not None)
    if len(trials) == 1:
        return None
    rows = measure_in_processes(release.directory, trials, launch)
    decision = decide(rows)
    return Choice(
        created=rfc3339(clock.utc_now()),
        key=key,
        variant=decision.row.variant,
        options=decision.row.options,
        reason=decision.reason,
        rows=rows,
    )


def keep_choice(state: Path | None, choice: Choice) -> str | None:
    """Writes a choice durably, beside those of other releases.

    Args:
        state: The state folder, made if needed; or None.
        choice: The choice.

    Returns:
        Why it could not be kept, or None.
    """
    if state is None:
        return "the choice is not kept: no state folder is known"
    try:
        state.mkdir(parents=True, exist_ok=True)
        kept, _ = read_choices(state)
        write_durably(state / CHOICE_FILE, kept.with_choice(choice).to_bytes())
    except OSError as error:
        return f"the choice is not kept: {error.strerror or error}"
    return None
