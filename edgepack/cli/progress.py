"""Shows the progress of long work on the terminal; says nothing to a pipe or a log but lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from edgepack.build.artifacts import Progress


class _BarProgress:
    """Progress as bars that redraw themselves on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )
        from rich.progress import Progress as Bars

        self.bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, int] = {}

    def start(self, task: str, total: float | None = None) -> None:
        """Adds a bar."""
        self._tasks[task] = self.bars.add_task(task, total=total, note="")

    def advance(self, task: str, amount: float = 1, note: str = "") -> None:
        """Moves a bar on."""
        if task in self._tasks:
            self.bars.update(self._tasks[task], advance=amount, note=note)  # type: ignore[arg-type]

    def finish(self, task: str) -> None:
        """Fills a bar up."""
        if task in self._tasks:
            number = self._tasks.pop(task)
            bar = next(each for each in self.bars.tasks if each.id == number)
            total = bar.total or bar.completed or 1
            self.bars.update(number, total=total, completed=total)  # type: ignore[arg-type]
            self.bars.stop_task(number)  # type: ignore[arg-type]


class _LineProgress:
    """Progress as a line at each task's start and end, for logs."""

    def start(self, task: str, total: float | None = None) -> None:
        """Says that a task began."""
        print(f"{task} …", file=sys.stderr, flush=True)

    def advance(self, task: str, amount: float = 1, note: str = "") -> None:
        """Says what a step came to, where it came to something worth a line."""
        if note:
            print(f"{task}: {note}", file=sys.stderr, flush=True)

    def finish(self, task: str) -> None:
        """Says nothing: the next task's line does."""


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Gives a `Progress` that fits standard error: bars on a terminal, else lines."""
    if not sys.stderr.isatty():
        yield _LineProgress()
        return
    progress = _BarProgress()
    with progress.bars:
        yield progress
