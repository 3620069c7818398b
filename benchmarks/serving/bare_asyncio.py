"""The least an HTTP server in Python can be: asyncio, a reader of ten lines, the raw loop's body.

No limits, no time-outs, no chunked bodies, no errors, no metrics: nothing to put on a box. It
shows what the sockets cost, so that the price of a hardened server can be told from theirs.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import cast

from benchmarks.serving.raw_loop import open_body

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


class Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self, release: Path) -> None:
        self._answer, _, _ = open_body(release)
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answers every whole request."""
        self._received += data
        while (end := self._received.find(_END)) >= 0:
            head = self._received[:end].lower()
            value = head[head.index(_LENGTH) + len(_LENGTH) :].partition(b"\r\n")[0]
            last = end + len(_END) + int(value)
            if len(self._received) < last:
                return
            body = self._answer(self._received[end + len(_END) : last])
            self._received = self._received[last:]
            self._transport.write(_HEAD % len(body) + body)


async def serve(release: Path, port: int) -> None:
    """Serves until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(release), "127.0.0.1", port)
    await server.serve_forever()


def main() -> int:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("release", type=Path)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    release = options.release
    sys.path[:0] = [str(release / "runner"), str(release / "site")]
    open_body(release)
    asyncio.run(serve(release, options.port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
