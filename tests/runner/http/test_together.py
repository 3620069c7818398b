"""Any mix of requests that share calls is answered as each of them is alone."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepack.runner.http.app import App
from edgepack.runner.http.jobs import Job
from edgepack.runner.http.serving import make_app
from edgepack.runner.http.wire import Request
from edgepack.runner.live.models import LiveModels
from edgepack.runner.live.opening import open_live_model
from edgepack.runner.log import Log
from edgepack.runner.rows import CallSizes, powers_of_two
from tests.runner.simulators import ITEMS, HandClock, SimulatedEngine, simulated_release

_HISTORY = st.lists(st.sampled_from([*ITEMS, "gone"]), max_size=8)
_INDICES = st.lists(st.integers(0, len(ITEMS)), min_size=5, max_size=5)


def _recommend(histories: list[list[str]], k: int, exclude_seen: bool) -> tuple[str, Any]:
    return "/recommend", {"histories": histories, "k": k, "exclude_seen": exclude_seen}


def _infer(rows: list[list[int]]) -> tuple[str, Any]:
    tensor = {"name": "history", "datatype": "INT32", "shape": [len(rows), 5], "data": rows}
    return "/v2/models/session/infer", {"inputs": [tensor]}


def _predict(rows: list[list[str]]) -> tuple[str, Any]:
    return "/v1/models/session:predict", {"instances": rows}


_ASKED = st.one_of(
    st.builds(
        _recommend, st.lists(_HISTORY, min_size=1, max_size=5), st.integers(1, 10), st.booleans()
    ),
    st.builds(_infer, st.lists(_INDICES, min_size=1, max_size=5)),
    st.builds(_predict, st.lists(_HISTORY.filter(bool), min_size=1, max_size=5)),
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    clock = HandClock()
    log = Log(io.StringIO(), clock)
    release = simulated_release(tmp_path_factory.mktemp("release"), max_batch=8)
    live = open_live_model(release, lambda _: SimulatedEngine(batched=True), clock, log)
    return make_app(LiveModels(live), clock, log)


def _jobs(app: App, asked: list[tuple[str, Any]]) -> list[Job]:
    found = []
    for path, document in asked:
        body = json.dumps(document).encode()
        headers = {"content-type": "application/json"}
        request = Request("POST", path, headers, body, keep_alive=True, http_1_0=False)
        job = app.answer(request)
        # A request of which no history needs the model is answered at once.
        if isinstance(job, Job):
            found.append(job)
    return found


@settings(deadline=None, max_examples=60)
@given(
    asked=st.lists(_ASKED, min_size=1, max_size=6),
    most=st.integers(2, 8),
    padded=st.booleans(),
)
def test_a_shared_call_answers_each_request_as_a_call_of_its_own(
    app: App, asked: list[tuple[str, Any]], most: int, padded: bool
) -> None:
    app.models.stable.sizes = CallSizes(most, powers_of_two(most) if padded else None)
    together = _jobs(app, asked)
    if not together:
        return
    answers = app.run_together(together, [0] * len(together))
    alone = [job.run(0) for job in _jobs(app, asked)]
    assert [each.status for each in answers] == [200] * len(together)
    assert [each.body for each in answers] == [each.body for each in alone]
