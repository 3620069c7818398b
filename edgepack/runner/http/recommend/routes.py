"""Answers `POST /recommend`, for one history or a batch of them.

It is not aware of connections or threads. Used by `serving`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from http import HTTPStatus

from edgepack.runner.engines.contract import Array
from edgepack.runner.http.app import App
from edgepack.runner.http.jobs import Job, Part
from edgepack.runner.http.messages import RefusalError, Response
from edgepack.runner.http.recommend.answer import answer_body, batch_body
from edgepack.runner.http.recommend.request import (
    RecommendRequest,
    check_json_headers,
    parse_recommend_request,
)
from edgepack.runner.http.wire import Request
from edgepack.runner.live.model import LiveModel
from edgepack.runner.recommender import Answer, Fallback, Recommender

_NS_PER_MS = 1_000_000


def add_recommend_routes(app: App) -> None:
    """Adds `POST /recommend` to an app's routes."""
    app.routes.add("POST", "/recommend", functools.partial(_recommend, app))


def _recommend(app: App, request: Request, _parameters: Sequence[str]) -> Response | Job:
    live = app.models.stable
    recommender = live.recommender
    if recommender is None:
        raise RefusalError(
            HTTPStatus.NOT_FOUND,
            f"the model {live.name} {live.version} is a tensor model: it has no vocabulary and "
            "ranks no items, so there is no /recommend",
        )
    start_ns = app.clock.monotonic_ns()
    check_json_headers(request.headers)
    asked = parse_recommend_request(request.body, recommender.top_k)
    turn = _Turn(app, live, recommender, asked, start_ns)
    calls = len(asked.histories)
    for each in asked.histories:
        calls -= recommender.without_model(each) is not None
    if not calls:
        return turn.run(0)
    deadline_ns = app.default_deadline_ns
    if asked.deadline_ms is not None:
        deadline_ns = int(asked.deadline_ms * _NS_PER_MS)
    due_ns = None if deadline_ns is None else start_ns + deadline_ns
    job = Job(live, calls, turn.run, turn.late, due_ns, request)
    if live.sizes.most > 1:
        # Now and not when it runs: the model may have been taken out of service by then, and a
        # job keeps the engine it began with.
        turn.whys = [recommender.without_model(each) for each in asked.histories]
        job.part = Part(calls, _row_shapes(recommender), turn.inputs, turn.finish)
    return job


def _row_shapes(recommender: Recommender) -> tuple[tuple[int, ...], ...]:
    return ((recommender.sequence_length,),)


class _Turn:
    """One request on its way to its answer.

    Attributes:
        whys: Why a history's answer does not need the model, None when it does; only of a
            request that may share a call.
    """

    __slots__ = ("_app", "_asked", "_live", "_recommender", "_start_ns", "_unknown", "whys")
    whys: list[Fallback | None]
    #: Set by `inputs`.
    _unknown: list[int]

    def __init__(
        self,
        app: App,
        live: LiveModel,
        recommender: Recommender,
        asked: RecommendRequest,
        start_ns: int,
    ) -> None:
        self._app = app
        self._live = live
        self._recommender = recommender
        self._asked = asked
        self._start_ns = start_ns

    def inputs(self) -> list[Array]:
        """Returns the rows of the histories that need the model."""
        pairs = zip(self._asked.histories, self.whys, strict=True)
        indices, self._unknown = self._recommender.encode([each for each, why in pairs if not why])
        return [indices]

    def finish(self, outputs: Sequence[Array], waited_ns: int, _spent_ns: int) -> Response:
        """Answers with the rows that `inputs` asked for."""
        asked, recommender = self._asked, self._recommender
        answers, row = [], 0
        for history, why in zip(asked.histories, self.whys, strict=True):
            leave_out = asked.leave_out(history)
            if why is not None:
                answers.append(recommender.popular(history, asked.k, leave_out, why))
                continue
            unknown = self._unknown[row]
            answers.append(recommender.answer(outputs, row, unknown, history, asked.k, leave_out))
            row += 1
        return self._respond(answers, waited_ns)

    def run(self, waited_ns: int) -> Response:
        asked = self._asked
        recommend = self._recommender.recommend
        answers = [recommend(each, asked.k, asked.leave_out(each)) for each in asked.histories]
        return self._respond(answers, waited_ns)

    def late(self) -> Response:
        asked, popular = self._asked, self._recommender.popular
        return self._respond(
            [
                popular(each, asked.k, asked.leave_out(each), Fallback.DEADLINE)
                for each in asked.histories
            ],
            None,
        )

    def _respond(self, answers: Sequence[Answer], waited_ns: int | None) -> Response:
        app, live = self._app, self._live
        if self._asked.batch:
            response = Response(HTTPStatus.OK, batch_body(answers, live))
        else:
            response = Response(HTTPStatus.OK, answer_body(answers[0], live))
        duration_ns = app.clock.monotonic_ns() - self._start_ns
        metrics = app.metrics.of(live)
        metrics.observe_request(duration_ns, waited_ns)
        drift = app.drift
        for history, answer in zip(self._asked.histories, answers, strict=True):
            metrics.observe_answer(answer, len(history))
            if drift is not None:
                drift.observe(len(history), answer.unknown, answer.ranked_scores)
            if answer.failure is not None:
                app.log.write_rarely("error", "inference failed", error=answer.failure)
        return response
