"""`edgepack tune`: measures variants, runtimes, threads and session options, and chooses.

`measuring` sends laps to executors, `task` is what they run, `ranking` decides from the blocks
that come back, `tuning` puts it all in order. Nothing in here imports the runner: a lap is the
release's own runner in a process of its own.
"""

from __future__ import annotations

from edgepack.build.tune.tuning import TuneRequest, run_tune

__all__ = ["TuneRequest", "run_tune"]
