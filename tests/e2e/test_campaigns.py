"""The campaigns of `tests/campaigns` in short; docs/reliability.md has them in full.

Their length is a knob in the environment, so that a person can run them as long as they like.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.campaigns.boxes import Box, make_box
from tests.campaigns.kills import describe as describe_kills
from tests.campaigns.kills import kills
from tests.campaigns.load import Load, Tally, ask
from tests.campaigns.restarts import HOWS, restarts
from tests.campaigns.restarts import describe as describe_restarts
from tests.campaigns.soak import GROWTH_LIMIT, Soak, soak
from tests.campaigns.soak import describe as describe_soak

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def _knob(name: str, usual: int) -> int:
    return int(os.environ.get(name, usual))


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    return make_box(tmp_path_factory.mktemp("campaigns") / "box")


def test_memory_stays_and_no_answer_is_lost_over_many_requests(box: Box, tmp_path: Path) -> None:
    result = soak(box, tmp_path, _knob("EDGEPACK_SOAK_REQUESTS", 100_000), connections=8)
    assert result.ok, describe_soak(result)


def test_kills_at_random_points_lose_nothing_that_was_accepted(box: Box, tmp_path: Path) -> None:
    result = kills(box, tmp_path, _knob("EDGEPACK_KILLS", 10))
    assert not result.problems, describe_kills(result)
    assert result.kills["serve"]
    assert result.accepted
    assert result.answered


@pytest.mark.parametrize("how", HOWS)
def test_stops_and_reloads_under_load_lose_no_request(box: Box, tmp_path: Path, how: str) -> None:
    result = restarts(box, tmp_path, _knob("EDGEPACK_RESTARTS", 10), how)
    assert result.ok, describe_restarts(result, how)
    assert result.tally.answered > 100
    # A reload is nothing that a client could notice.
    assert (result.tally.reopened == 0) == (how == "reload")


def test_memory_that_grows_fails_a_soak() -> None:
    tally = Tally(sent=100, answered=100, by_name=Counter(health=100))
    rss = {50: 10_000_000, 100: int(10_000_000 * (1 + GROWTH_LIMIT)) + 1}
    assert not Soak(100, tally, rss).ok
    assert Soak(100, tally, {50: 10_000_000, 100: 10_000_000}).ok
    assert not Soak(101, tally, {50: 10_000_000, 101: 10_000_000}).ok


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ([_OK, _OK], ({}, {})),
        ([_OK, b""], ({}, {"x: closed without a word": 1})),
        ([_OK, _OK[:-1]], ({}, {"x: closed in the answer": 1})),
        ([_OK, _OK.replace(b"hi", b"ho")], ({"x: another body than before": 1}, {})),
        ([_OK, _OK.replace(b"200", b"503")], ({"x: 503 b'hi'": 1}, {})),
    ],
)
def test_the_clients_notice_what_a_bad_server_does(
    answers: list[bytes], found: tuple[dict[str, int], dict[str, int]]
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while answers and (await reader.readuntil(b"\r\n\r\n")):
            writer.write(answer := answers.pop(0))
            if answer != _OK and len(answer) < len(_OK):
                break
        writer.close()

    async def run(handle: Callable[..., object]) -> Tally:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await Load(port, [ask("x", 1, "GET", "/")]).run(1, len(answers))

    tally = asyncio.run(run(serve))
    assert (dict(tally.wrong), dict(tally.lost)) == found
