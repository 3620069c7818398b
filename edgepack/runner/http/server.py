"""What all connections share: the app, the model's thread, limits, time-outs, the way out.

It is not aware of HTTP's syntax (`protocol`) or of routes (`app`). Used by the daemon.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

from edgepack.runner.http.app import App
from edgepack.runner.http.jobs import INLINE_LIMIT_NS, Later
from edgepack.runner.http.limits import Limits
from edgepack.runner.http.messages import Response
from edgepack.runner.http.model_thread import ModelThread
from edgepack.runner.http.protocol import Connection
from edgepack.runner.http.wire import Request
from edgepack.runner.live.model import LiveModel

if TYPE_CHECKING:
    import ssl

#: How often time-outs are looked at; they are in seconds, so this is fine enough.
_TICK_S = 0.5
_BACKLOG = 128
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
#: How often it is looked whether everybody has gone.
_STOP_LOOK_S = 0.01


class Server:
    """A listening socket and its connections (an `Owner`).

    Attributes:
        limits: The limits that hold for every connection.
        date: The present `Date` header line.
        model_thread: Runs the jobs that are too long for the event loop.
        stopping: Whether connections close after the answer they are at.
    """

    def __init__(self, app: App, limits: Limits, batch_delay_ns: int = 0) -> None:
        """Makes a server that does not listen yet.

        Args:
            app: Answers requests.
            limits: The limits that hold for every connection.
            batch_delay_ns: How long a job may be held back for others to share its call.
        """
        self.limits = limits
        self.date = b""
        self.stopping = False
        self._app = app
        self._loop = asyncio.get_running_loop()
        self._connections: set[Connection] = set()
        self._listener: asyncio.Server | None = None
        self._ticker: asyncio.TimerHandle | None = None
        #: Its executor starts a thread only when there is a job for it.
        self.model_thread = ModelThread(app, limits.pending, batch_delay_ns)
        self._waiting: set[asyncio.Task[None]] = set()
        app.body_bytes = limits.body_bytes
        app.retire = self.model_thread.retire

    async def listen(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Starts to answer.

        Args:
            listener: A bound socket; see `bind`.
            tls: Speaks TLS with this; plain by default.
        """
        self._listener = await self._loop.create_server(
            lambda: Connection(self), sock=listener, backlog=_BACKLOG, ssl=tls
        )
        self._tick()

    async def stop(self) -> None:
        """Takes no more connections, finishes what is being answered, then closes.

        A client that keeps its connection may be sending at this very moment, so an open
        connection closes after its next answer; one that stays silent closes after `drain_s`.
        """
        # Whoever has connected already is let in before the door closes.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.stopping = True
        self._app.stopping = True
        self._app.metrics.ready = False
        if self._listener is not None:
            self._listener.close()
        deadline = self.now() + self.limits.grace_s
        silent = min(self.now() + self.limits.drain_s, deadline)
        while self._connections and self.now() < silent:
            await asyncio.sleep(_STOP_LOOK_S)
        for connection in tuple(self._connections):
            connection.stop()
        while self._connections and self.now() < deadline:
            await asyncio.sleep(_STOP_LOOK_S)
        for connection in tuple(self._connections):
            connection.abort()
        if self._ticker is not None:
            self._ticker.cancel()
        self.model_thread.close()

    def now(self) -> float:
        """The event loop's time in seconds."""
        return self._loop.time()

    def opened(self, connection: Connection) -> bool:
        """Takes a connection in; False when there are too many."""
        self._connections.add(connection)
        count = len(self._connections)
        self._app.metrics.connections = count
        if count > 2 * self.limits.connections:
            # A flood: not even a sentence for these.
            connection.abort()
        return count <= self.limits.connections

    def closed(self, connection: Connection) -> None:
        """Forgets a connection."""
        self._connections.discard(connection)
        self._app.metrics.connections = len(self._connections)

    def answer(self, connection: Connection, request: Request) -> Response | None:
        """Answers now, or hands the request to the model's thread.

        A job that is measured to be short runs here: handing it over costs more than it. While
        the model's thread is at that engine, every job for it goes there. A job that may share a
        call is the thread's to place, which runs short ones here too, with what came beside them.
        """
        app = self._app
        answer = app.answer(request)
        if isinstance(answer, Response):
            return answer
        if isinstance(answer, Later):
            task = self._loop.create_task(self._finish(answer, connection))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)
            return None
        if (
            answer.part is None
            and answer.live.inline
            and answer.expected_ns <= INLINE_LIMIT_NS
            and not answer.live.pending
        ):
            response = app.run(answer)
        else:
            refusal = self.model_thread.submit(answer, connection.respond)
            if refusal is None:
                return None
            response = refusal
        app.count(answer, response)
        return response

    async def try_model(self, live: LiveModel) -> bool:
        """Runs a model once where requests run it, behind those that wait: is it alive?

        Args:
            live: The model.

        Returns:
            Whether it answered; one that hangs does not return.
        """
        if live.inline and live.median_ns <= INLINE_LIMIT_NS and not live.pending:
            return live.answers()
        return await self.model_thread.try_model(live)

    async def _finish(self, later: Later, connection: Connection) -> None:
        connection.respond(await self._app.finish(later))

    def _tick(self) -> None:
        now = self.now()
        self.date = date_line(time.time())
        for connection in tuple(self._connections):
            connection.check_deadline(now)
        self._ticker = self._loop.call_later(_TICK_S, self._tick)


def date_line(moment_s: float) -> bytes:
    """Writes the `Date` header line; `email.utils` would bring the whole package along.

    Args:
        moment_s: Seconds since 1970, UTC.

    Source: RFC 9110, section 5.6.7, IMF-fixdate.
    """
    at = time.gmtime(moment_s)
    day, month = _DAYS[at.tm_wday], _MONTHS[at.tm_mon - 1]
    clock = f"{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}"
    return f"Date: {day}, {at.tm_mday:02d} {month} {at.tm_year:04d} {clock} GMT\r\n".encode()


def bind(host: str, port: int) -> socket.socket:
    """Binds a TCP socket.

    Args:
        host: Address or name to bind; of a name with several addresses one, of IPv4 where it has
            one, as clients on a box type 127.0.0.1.
        port: Port; 0 takes a free one.

    Returns:
        The socket, listening: connections wait in its queue until it is served.

    Raises:
        OSError: The address is not this box's, is taken, or is not allowed.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
