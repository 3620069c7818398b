from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgepack.runner.http.recommend.answer import answer_body, batch_body
from edgepack.runner.live.model import LiveModel
from edgepack.runner.recommender import Answer, Fallback
from tests.runner.simulators import SimulatedEngine, simulated_release


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> LiveModel:
    release = simulated_release(tmp_path_factory.mktemp("release"))
    return LiveModel(release, SimulatedEngine(), None, 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ranked=st.lists(
        st.tuples(st.text(), st.floats(width=32, allow_nan=False, allow_infinity=False))
    ),
    unknown=st.integers(0, 10**6),
    fallback=st.none() | st.sampled_from(Fallback),
)
def test_every_answer_is_json_that_keeps_its_ids_and_its_float32_scores(
    live: LiveModel, ranked: list[tuple[str, float]], unknown: int, fallback: Fallback | None
) -> None:
    answer = Answer([i for i, _ in ranked], [s for _, s in ranked], unknown, fallback, None)
    body = json.loads(answer_body(answer, live))
    assert [(each["id"], np.float32(each["score"])) for each in body["items"]] == [
        (item, np.float32(score)) for item, score in ranked
    ]
    assert all(isinstance(each["score"], float) for each in body["items"])
    assert (body["unknown"], body["fallback"]) == (unknown, fallback)
    assert body["model"]["version"] == "1.2.0"
    assert json.loads(batch_body([answer, answer], live))["answers"][1]["items"] == body["items"]


def test_percent_signs_in_ids_are_only_ids(live: LiveModel) -> None:
    answer = Answer(["50%s off", "%"], [0.5, 0.25], 0, None, None)
    assert json.loads(answer_body(answer, live))["items"][0]["id"] == "50%s off"
