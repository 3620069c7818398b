from __future__ import annotations

from edgepack.runner.http.limits import Limits
from edgepack.runner.http.protocol import Connection
from tests.runner.http.wires import Hall, Wire, talk


def test_a_client_that_has_gone_before_its_answer_ends_its_own_connection_only() -> None:
    def script(connection: Connection, wire: Wire, hall: Hall) -> None:
        connection.data_received(b"GET /slow HTTP/1.1\r\nHost: box\r\n\r\n")
        connection.eof_received()
        wire.gone = True
        hall.answer_next()

    wire, _ = talk(script, Hall(Limits(), later=True))
    assert wire.aborted
