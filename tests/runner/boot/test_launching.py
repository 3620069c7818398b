from __future__ import annotations

import pytest

from edgepack.runner.boot.launching import launcher_text, shebang


@pytest.mark.parametrize("python", ["", "python3", "/opt/my python/bin/python3", "/x" * 70])
def test_an_interpreter_the_kernel_cannot_take_is_looked_up(python: str) -> None:
    assert shebang("/usr/bin/python3") == "#!/usr/bin/python3 -IS\n"
    assert shebang(python) == "#!/usr/bin/env python3\n"


def test_the_launcher_is_a_whole_program() -> None:
    text = launcher_text("/usr/bin/python3")
    assert text.startswith(b"#!/usr/bin/python3 -IS\n")
    compile(text, "edgepack-runner", "exec")
