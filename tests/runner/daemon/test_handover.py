from __future__ import annotations

import pytest

from edgepack.formats.errors import ConfigError
from edgepack.runner.daemon.handover import inherited_socket


@pytest.mark.parametrize(
    "environment", [{}, {"LISTEN_FDS": "1"}, {"LISTEN_PID": "8", "LISTEN_FDS": "1"}]
)
def test_a_socket_that_was_passed_to_nobody_here_is_left_alone(
    environment: dict[str, str],
) -> None:
    assert inherited_socket(environment, 7) is None


def test_several_sockets_are_refused() -> None:
    with pytest.raises(ConfigError, match="LISTEN_FDS is 2, expected 1"):
        inherited_socket({"LISTEN_PID": "7", "LISTEN_FDS": "2"}, 7)
