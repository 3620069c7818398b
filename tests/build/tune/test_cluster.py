"""A function travels with its code, also where several threads send theirs at once."""

from __future__ import annotations

import pickle
import sys
import threading

from edgepack.build.tune.cluster import ByValue


def _two() -> int:
    return 2


def test_a_function_comes_back_where_its_module_cannot_be_imported() -> None:
    data = pickle.dumps(ByValue(_two))
    module = sys.modules.pop(__name__)
    try:
        assert pickle.loads(data)() == 2  # noqa: S301 - made above
        assert __name__ not in sys.modules
    finally:
        sys.modules[__name__] = module


def test_threads_do_not_take_each_others_module_off_the_register() -> None:
    problems: list[Exception] = []
    start = threading.Barrier(8)

    def send() -> None:
        start.wait()
        try:
            for _ in range(100):
                ByValue(_two)
        except ValueError as error:
            problems.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=send) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    finally:
        sys.setswitchinterval(interval)
    assert problems == []
