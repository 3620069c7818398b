"""The parsers of bytes from the network: the HTTP connection with every route behind it.

The property, beside "no exception": no answer is a 5xx other than the documented ones, and the
same bytes are answered alike however the network cuts them up.
"""

from __future__ import annotations

import asyncio
import functools
import io
import json
from collections.abc import Sequence
from pathlib import Path

from edgepack.runner.http.app import App
from edgepack.runner.http.jobs import Job
from edgepack.runner.http.limits import Limits
from edgepack.runner.http.messages import Response
from edgepack.runner.http.protocol import Connection
from edgepack.runner.http.serving import make_app
from edgepack.runner.http.wire import Request
from edgepack.runner.live.models import LiveModels
from edgepack.runner.live.opening import open_live_model
from edgepack.runner.log import Log
from tests.fuzz.target import Target
from tests.runner.http.wires import Hall, Wire
from tests.runner.simulators import HandClock, SimulatedEngine, simulated_release

#: 501 and 505 say that a method, a coding or a version is not spoken here; 503 that a model was
#: unloaded, 504 that a request's own deadline passed.
_DOCUMENTED = frozenset((501, 503, 504, 505))
_MOST_CUTS = 12

_POST = b"POST /recommend HTTP/1.1\r\nHost: box\r\nContent-Type: application/json\r\n"
_BODY = b'{"history": ["sku-1", "sku-2"], "k": 3}'
_LENGTH = b"Content-Length: %d\r\n\r\n" % len(_BODY)
_GET = b"GET /healthz HTTP/1.1\r\nHost: box\r\n\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
_CHUNKS = b'5;name=x\r\n{"his\r\n22\r\ntory": ["sku-1", "sku-2"], "k": 3}\r\n0\r\nT: 1\r\n\r\n'

CONNECTION_SEEDS = (
    _POST + _LENGTH + _BODY,
    _GET * 3,
    _POST + _CHUNKED + _CHUNKS + _GET,
    # Two readings of one request: whoever takes the other one lets a second request in.
    _POST + b"Content-Length: 5\r\n" + _CHUNKED + b"0\r\n\r\n" + _GET,
    _POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello " + _GET,
    _POST + b"Content-Length: 5, 5\r\n\r\nhello" + _GET,
    _POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + _GET,
    _POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + _GET,
    _POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + _GET,
    _POST + b"X: a\r\n b\r\n" + _LENGTH + _BODY,
    _GET.replace(b"\r\n", b"\n"),
    _GET.replace(b"\r\n", b"\r"),
    _POST + _CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    _POST + _CHUNKED + b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    _POST + _CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n",
    _POST + _CHUNKED + b"5\nhello\n0\n\n",
    _POST + b"Content-Length: +5\r\n\r\nhello" + _GET,
    _POST + b"Content-Length: 1048577\r\n\r\n",
    _POST + b"Expect: 100-continue\r\n" + _LENGTH + _BODY,
    _POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + _LENGTH + _BODY + _GET,
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n" + _GET,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET http://box/healthz?x HTTP/1.1\r\nHost: box\r\n\r\n",
    b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + _GET,
    b"HEAD /metrics HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n" + _GET,
    b"GET /healthz HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\r\n\r\n" + _GET,
)

_BATCH = {"histories": [["sku-1"], []], "k": 2, "exclude": ["sku-9"], "deadline_ms": 5}
_TENSOR = {"name": "history", "shape": [1, 5], "datatype": "INT32", "data": [[0, 0, 1, 2, 3]]}
_NAMES = {"name": "history", "shape": [1, 2], "datatype": "BYTES", "data": ["sku-1", "sku-2"]}
_SIZED = {"name": "history", "shape": [1, 5], "datatype": "INT32"}
_BINARY = json.dumps({"inputs": [{**_SIZED, "parameters": {"binary_data_size": 20}}]}).encode()
_V2, _TFS = "/v2/models/session", "/v1/models/session"

#: Route, headers, body; the first byte of an example says which, the rest is the body.
ROUTES: Sequence[tuple[str, dict[str, str], bytes]] = (
    ("/recommend", {}, _BODY),
    ("/recommend", {}, json.dumps(_BATCH).encode()),
    (f"{_V2}/infer", {}, json.dumps({"id": "1", "inputs": [_TENSOR]}).encode()),
    (f"{_V2}/infer", {}, json.dumps({"inputs": [_NAMES], "outputs": [{"name": "x"}]}).encode()),
    (
        f"{_V2}/infer",
        {"inference-header-content-length": str(len(_BINARY))},
        _BINARY + bytes(20),
    ),
    (f"{_V2}/infer", {"inference-header-content-length": "0"}, bytes(20)),
    ("/v2/repository/index", {}, b'{"ready": true}'),
    (f"{_TFS}:predict", {}, b'{"instances": [[0, 0, 1, 2, 3]]}'),
    (f"{_TFS}:predict", {}, b'{"instances": [{"history": ["sku-1"]}]}'),
    (f"{_TFS}:predict", {}, b'{"signature_name": "serving_default", "inputs": [[0,0,1,2,3]]}'),
    ("/recommend", {"content-encoding": "gzip"}, _BODY),
    (f"{_V2}/infer", {"content-encoding": "deflate"}, b"x\x9c\x03\x00\x00\x00\x00\x01"),
)


def make_fuzzed_app(folder: Path) -> App:
    """An app over a simulated engine, with every route there is."""
    clock = HandClock(1000)
    log = Log(io.StringIO(), clock)
    release = simulated_release(folder)
    live = open_live_model(release, lambda _: SimulatedEngine(), clock, log)
    return make_app(LiveModels(live), clock, log)


def _answer(app: App, request: Request) -> Response:
    found = app.answer(request)
    if isinstance(found, Response):
        return found
    if isinstance(found, Job):
        return app.run(found)
    return asyncio.run(app.finish(found))


def _check_status(status: int, what: object) -> None:
    if status >= 500 and status not in _DOCUMENTED:
        raise AssertionError(f"status {status}: {what!r}")


def eat_route(app: App, data: bytes) -> None:
    """Feeds one route with a body."""
    number, body = (data[0] if data else 0), data[1:]
    path, headers, _ = ROUTES[number % len(ROUTES)]
    sent = {"host": "box", "content-type": "application/json", **headers}
    response = _answer(app, Request("POST", path, sent, body, True, False))
    _check_status(response.status, response.body[:300])


class _Room(Hall):
    """The server's stand-in with a real app behind it."""

    def __init__(self, app: App) -> None:
        super().__init__(Limits())
        self._app = app

    def answer(self, connection: Connection, request: Request) -> Response | None:
        self.requests.append(request)
        return _answer_now(self._app, request)


def _answer_now(app: App, request: Request) -> Response:
    found = app.answer(request)
    if isinstance(found, Job):
        return app.run(found)
    # What waits for a reload is the routes' own affair.
    return found if isinstance(found, Response) else Response(200, b"{}")


def _talk(app: App, chunks: Sequence[bytes]) -> tuple[list[int], list[tuple[str, str, bytes]]]:
    """The statuses and the requests of one connection that is fed these chunks."""
    room, wire = _Room(app), Wire()

    async def run() -> None:
        connection = Connection(room)
        connection.connection_made(wire)
        for chunk in chunks:
            connection.data_received(chunk)
            await asyncio.sleep(0)
        for _ in range(40):
            await asyncio.sleep(0)

    with asyncio.Runner() as runner:
        runner.run(run())
    statuses = []
    for written in wire.written:
        if not written.startswith(b"HTTP/1.1 "):
            raise AssertionError(f"no answer: {written[:80]!r}")
        status = int(written[9:12])
        _check_status(status, written[:300])
        if status >= 200:
            statuses.append(status)
    return statuses, [(each.method, each.path, each.body) for each in room.requests]


def eat_connection(app: App, data: bytes) -> None:
    """Feeds a connection the same bytes in one piece and in several."""
    cuts = sorted({each * 7 % max(len(data), 1) for each in data[:_MOST_CUTS]})
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    whole = _talk(app, [data])
    if whole != (parts := _talk(app, [each for each in pieces if each])):
        raise AssertionError(f"in one piece {whole}, in {len(pieces)} {parts}")


def wire_targets(folder: Path) -> list[Target]:
    """The targets of this module.

    Args:
        folder: Where their release lies.
    """
    app = make_fuzzed_app(folder)
    routes = [bytes([number]) + body for number, (_, _, body) in enumerate(ROUTES)]
    return [
        Target("connection", functools.partial(eat_connection, app), CONNECTION_SEEDS, (), 8),
        Target("routes", functools.partial(eat_route, app), routes, (), 2),
    ]
