from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from edgepack.runner.http.batching import Choice, Rules, choose

#: A call of the simulated engine takes 100 and 10 for each row.
_CALL, _ROW = 100, 10


@dataclass
class Job:
    group: str | None = "a"
    rows: int = 1
    queued_ns: int = 0
    due_ns: int | None = None


def _expected(rows: int) -> float:
    return _CALL + _ROW * rows


def _rules(most: int = 8, delay: int = 0) -> Rules:
    return Rules(most, delay, _expected)


def _choose(*queue: Job, most: int = 8, delay: int = 0, now: int = 0) -> Choice:
    return choose(queue, _rules(most, delay), now)


def test_what_waits_together_goes_together() -> None:
    assert _choose(Job(), Job(), Job()) == Choice((0, 1, 2))


def test_a_job_without_a_group_goes_alone() -> None:
    assert _choose(Job(group=None), Job(group=None)) == Choice((0,))
    assert _choose(Job(), Job(group=None), Job()) == Choice((0, 2))


def test_only_jobs_of_one_group_share_a_call() -> None:
    assert _choose(Job(), Job(group="b"), Job()) == Choice((0, 2))


def test_a_call_takes_no_more_rows_than_it_may() -> None:
    assert _choose(Job(rows=3), Job(rows=3), Job(rows=3), Job(rows=2)) == Choice((0, 1, 3))
    assert _choose(Job(rows=20), Job()) == Choice((0,))
    assert _choose(Job(), Job(), most=1) == Choice((0,))


def test_a_job_whose_time_is_over_takes_no_room() -> None:
    late = Job(due_ns=5)
    assert _choose(Job(), late, Job(), now=5) == Choice((0, 2))
    assert _choose(late, Job(), now=5) == Choice((0,))


def test_nobody_is_made_late_by_who_comes_along() -> None:
    # Alone the first is done at 110, with another at 120.
    assert _choose(Job(due_ns=115), Job()) == Choice((0,))
    assert _choose(Job(due_ns=125), Job(), Job()) == Choice((0, 1))
    # One that is late anyway holds nobody off.
    assert _choose(Job(due_ns=50), Job()) == Choice((0, 1))
    # The second one's deadline counts for the third.
    assert _choose(Job(), Job(due_ns=125), Job()) == Choice((0, 1))


def test_without_a_delay_nothing_waits() -> None:
    assert _choose(Job()).wait_until_ns is None


def test_with_a_delay_the_first_one_waits_from_its_arrival_on() -> None:
    assert _choose(Job(queued_ns=30), delay=50, now=40) == Choice((0,), 80)
    assert _choose(Job(queued_ns=30), delay=50, now=80) == Choice((0,))
    assert _choose(*[Job()] * 8, delay=50) == Choice(tuple(range(8)))


def test_a_deadline_ends_the_wait_while_the_call_still_fits() -> None:
    assert _choose(Job(due_ns=150), delay=1000) == Choice((0,), 40)
    assert _choose(Job(), Job(due_ns=150), delay=1000) == Choice((0, 1), 30)
    assert _choose(Job(due_ns=100), delay=1000) == Choice((0,))


def test_nobody_elses_turn_is_held_up_by_a_delay() -> None:
    assert _choose(Job(), Job(group="b"), delay=50) == Choice((0,))


_jobs = st.builds(
    Job,
    group=st.sampled_from([None, "a", "b"]),
    rows=st.integers(1, 12),
    queued_ns=st.integers(0, 100),
    due_ns=st.none() | st.integers(0, 600),
)


@given(
    queue=st.lists(_jobs, min_size=1, max_size=20),
    most=st.integers(1, 16),
    delay=st.integers(0, 300),
    now=st.integers(100, 400),
)
def test_every_choice_keeps_the_rules(queue: list[Job], most: int, delay: int, now: int) -> None:
    taken, until = choose(queue, _rules(most, delay), now)
    batch = [queue[place] for place in taken]
    rows = sum(job.rows for job in batch)
    assert taken[0] == 0
    assert list(taken) == sorted(set(taken))
    assert len(batch) == 1 or {job.group for job in batch} == {queue[0].group} != {None}
    assert len(batch) == 1 or rows <= most
    assert not [job for job in batch[1:] if job.due_ns is not None and job.due_ns <= now]
    first = queue[0]
    if first.due_ns is not None and now + _expected(first.rows) <= first.due_ns:
        assert now + _expected(rows) <= first.due_ns
    if until is not None:
        assert now < until <= first.queued_ns + delay
        assert rows < most
        dues = [job.due_ns for job in batch if job.due_ns is not None]
        assert all(until + _expected(rows) <= due for due in dues)


@given(queue=st.lists(_jobs, min_size=1, max_size=20), most=st.integers(1, 16))
def test_every_job_gets_its_turn_and_the_oldest_one_the_next(queue: list[Job], most: int) -> None:
    left, calls = list(queue), 0
    while left:
        taken, until = choose(left, _rules(most), 400)
        assert until is None
        left = [job for place, job in enumerate(left) if place not in taken]
        calls += 1
    assert calls <= len(queue)
