from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.formats.errors import DeviceError
from edgepack.formats.tensors import TensorSpec
from edgepack.runner.engines.contract import Array
from edgepack.runner.rows import CallSizes, join_rows, powers_of_two, run_rows, sizes_of
from tests.runner.http.apps import EchoEngine
from tests.runner.simulators import SimulatedEngine


class Doubler(EchoEngine):
    """Doubles its rows, and remembers how many each call had."""

    def __init__(self) -> None:
        super().__init__(TensorSpec("x", "float32", (-1, 2)))
        self.called: list[int] = []

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        self.called.append(len(inputs[0]))
        return [np.multiply(inputs[0], 2, dtype=np.float32)]


def _rows(count: int) -> Array:
    return np.arange(2 * count, dtype=np.float32).reshape(count, 2)


@given(rows=st.integers(1, 70), most=st.integers(1, 33), padded=st.booleans())
def test_rows_come_back_as_they_went_in_however_they_are_cut_and_filled(
    rows: int, most: int, padded: bool
) -> None:
    engine = Doubler()
    sizes = CallSizes(most, powers_of_two(most) if padded else None)
    (found,), calls = run_rows(engine, [_rows(rows)], sizes, lambda: 0)
    np.testing.assert_array_equal(found, 2 * _rows(rows))
    assert sum(call.rows for call in calls) == rows
    assert len(calls) == -(-rows // most)
    assert max(engine.called) <= most
    if sizes.only is not None:
        assert set(engine.called) <= set(sizes.only)


def test_a_call_is_filled_up_with_rows_that_are_real() -> None:
    engine = Doubler()
    seen: list[Array] = []

    class Watched(Doubler):
        def run(self, inputs: Sequence[Array]) -> list[Array]:
            seen.append(inputs[0])
            return engine.run(inputs)

    (found,), calls = run_rows(Watched(), [_rows(3) + 1], CallSizes(4, (1, 2, 4)), lambda: 0)
    assert len(found) == 3
    assert [call.rows for call in calls] == [3]
    np.testing.assert_array_equal(seen[0][3], _rows(1)[0] + 1)


@pytest.mark.parametrize(
    ("most", "sizes"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (64, (1, 2, 4, 8, 16, 32, 64))]
)
def test_powers_of_two_end_with_the_most(most: int, sizes: tuple[int, ...]) -> None:
    assert powers_of_two(most) == sizes


@pytest.mark.parametrize(
    ("asked", "most", "sizes"),
    [
        (None, 8, CallSizes(8)),
        ((1, 2, 4, 8, 16), 8, CallSizes(8, (1, 2, 4, 8))),
        ((4, 16), 8, CallSizes(4, (1, 4))),
        ((1, 2), 1, CallSizes(1)),
    ],
)
def test_an_engine_may_ask_for_a_few_sizes_only(
    asked: tuple[int, ...] | None, most: int, sizes: CallSizes
) -> None:
    engine = SimulatedEngine(batched=True)
    engine.batch_sizes = asked
    assert sizes_of(engine, most) == sizes


def test_a_model_that_loses_rows_is_at_fault() -> None:
    class Loses(Doubler):
        def run(self, inputs: Sequence[Array]) -> list[Array]:
            return [inputs[0][:1]]

    with pytest.raises(DeviceError, match=r"the shape \[1, 2\] for 3 rows"):
        run_rows(Loses(), [_rows(3)], CallSizes(8), lambda: 0)


def test_rows_of_several_askers_are_joined_input_by_input() -> None:
    first, second = [_rows(1), _rows(1) + 5], [_rows(2) + 1, _rows(2) + 6]
    one, other = join_rows([first, second])
    np.testing.assert_array_equal(one, np.concatenate([first[0], second[0]]))
    np.testing.assert_array_equal(other, np.concatenate([first[1], second[1]]))
