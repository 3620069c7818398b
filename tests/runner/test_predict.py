from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepack.formats.errors import ConfigError, DeviceError
from edgepack.formats.tensors import TensorSpec
from edgepack.runner.predict import main, match_inputs, predict_rows
from tests.runner.simulators import GRAPH_TOP_K, SimulatedEngine

_SPECS = (TensorSpec("user", "int32", (1,)), TensorSpec("item", "int32", (1,)))


def test_arrays_are_matched_by_name_whatever_their_order() -> None:
    arrays = {"item": np.zeros(2, np.int32), "user": np.ones(2, np.int32)}
    assert [int(each[0]) for each in match_inputs(_SPECS, arrays)] == [1, 0]


def test_arrays_are_matched_by_position_for_files_with_mangled_names() -> None:
    arrays = {"arg1": np.zeros(2, np.int32), "arg0": np.ones(2, np.int32)}
    assert [int(each[0]) for each in match_inputs(_SPECS, arrays)] == [1, 0]


def test_a_missing_array_is_named_with_what_the_model_takes() -> None:
    with pytest.raises(ConfigError, match="the model takes user, item"):
        match_inputs(_SPECS, {"user": np.zeros(2, np.int32)})


@pytest.mark.parametrize("rows", [(2, 3), (0, 0)])
def test_arrays_without_the_same_rows_are_refused(rows: tuple[int, int]) -> None:
    arrays = {"user": np.zeros(rows[0], np.int32), "item": np.zeros(rows[1], np.int32)}
    with pytest.raises(ConfigError, match="same rows"):
        match_inputs(_SPECS, arrays)


def test_a_row_of_another_shape_is_refused() -> None:
    with pytest.raises(DeviceError, match="shape"):
        predict_rows(SimulatedEngine(), [np.zeros((4, 9), np.int32)])


def test_a_row_of_another_type_is_refused() -> None:
    with pytest.raises(DeviceError, match="dtype int64, expected int32"):
        predict_rows(SimulatedEngine(), [np.zeros((4, 5), np.int64)])


def test_rows_are_run_one_by_one_and_stacked() -> None:
    engine = SimulatedEngine()
    outputs = predict_rows(engine, [np.array([[0, 0, 0, 0, 3], [0, 0, 0, 0, 20]], np.int32)])
    assert engine.calls == 2
    assert outputs["out0"].shape == outputs["out1"].shape == (2, GRAPH_TOP_K)
    assert outputs["out0"][:, 0].tolist() == [3, 20]


def test_an_inputs_file_that_is_not_one_is_an_error_and_not_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.npz").write_bytes(b"not an archive")
    code = main(
        [
            "--runtime",
            "litert",
            "--model",
            "m",
            "--inputs",
            str(tmp_path / "in.npz"),
            "--outputs",
            str(tmp_path / "out.npz"),
        ]
    )
    assert code == 3
    assert "not a readable .npz file" in capsys.readouterr().err


def test_a_missing_model_is_a_device_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "in.npz", x=np.zeros(2))
    code = main(
        [
            "--runtime",
            "litert",
            "--model",
            str(tmp_path / "none.tflite"),
            "--inputs",
            str(tmp_path / "in.npz"),
            "--outputs",
            str(tmp_path / "out.npz"),
        ]
    )
    assert code == 8
    assert "no such model file" in capsys.readouterr().err
