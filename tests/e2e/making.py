"""A process that makes a target's root or site, to be stopped or run beside another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_MAKE = """
import sys
from pathlib import Path
from edgepack.build.cache import Cache
from edgepack.build.emulate import make_root
from edgepack.build.targets import load_target, make_site

target = load_target("arm64-tiny")
cache = Cache(Path(sys.argv[2]))
if sys.argv[1] == "root":
    print(make_root(target, cache).path)
else:
    print(make_site(target, target.runtimes[0], cache).path)
"""


def start_making(what: str, cache: Path, repository: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _MAKE, what, str(cache)],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
