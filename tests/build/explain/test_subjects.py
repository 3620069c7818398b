"""A variant taken apart and put together again, in both formats, with one layer made bad."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepack.build.convert.tflite_file import parse_tflite
from edgepack.build.explain.damage import damage
from edgepack.build.explain.onnx_subject import OnnxSubject
from edgepack.build.explain.subject import Rows
from edgepack.build.explain.tflite_subject import TfliteSubject
from edgepack.build.explain.tflite_timing import prefix
from tests.build.explain import tiny_onnx, tiny_tflite

Subject = TfliteSubject | OnnxSubject


def _rows(count: int = 40) -> Rows:
    given = np.random.default_rng(0).normal(size=(count, 1, tiny_tflite.WIDTH)).astype(np.float32)
    return [[row] for row in given]


@pytest.fixture(params=["tflite", "onnx", "onnx-weights-only"])
def paths(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, tuple[Path, Path, Path]]:
    if request.param == "tflite":
        return "tflite", tiny_tflite.write_pair(tmp_path)
    return "onnx", tiny_onnx.write_pair(tmp_path, rounded=request.param == "onnx")


def _subject(paths: tuple[str, tuple[Path, Path, Path]], *, by_operator: bool = False) -> Subject:
    kind = TfliteSubject if paths[0] == "tflite" else OnnxSubject
    return kind(*paths[1], by_operator=by_operator)


def test_the_layer_that_was_made_bad_costs_most_alone_and_gives_most_back(
    paths: tuple[str, tuple[Path, Path, Path]],
) -> None:
    subject, rows = _subject(paths), _rows()
    expected = subject.run(subject.mixed(()), rows)
    alone = {
        name: damage(expected, subject.run(subject.mixed({name}), rows), ranks=False)
        for name in ("good", "bad")
    }
    without = {
        name: damage(expected, subject.run(subject.mixed({other}), rows), ranks=False)
        for name, other in (("good", "bad"), ("bad", "good"))
    }
    # The bad layer cuts its weights to a sixth of their range; 8 bits cost under a percent.
    assert alone["bad"].lost > 10 * alone["good"].lost > 0
    assert without["bad"].lost < 0.02 < without["good"].lost


def test_with_nothing_quantised_it_is_fp32_and_with_all_it_is_the_variant(
    paths: tuple[str, tuple[Path, Path, Path]],
) -> None:
    subject, rows = _subject(paths), _rows()
    twin, _, variant = paths[1]
    for names, file in (((), twin), (("good", "bad"), variant)):
        mixed = subject.run(subject.mixed(names), rows)
        whole = subject.run(file.read_bytes(), rows)
        assert all(np.array_equal(a, b) for a, b in zip(mixed, whole, strict=True))


def test_a_layer_kept_in_float_makes_the_file_bigger(
    paths: tuple[str, tuple[Path, Path, Path]],
) -> None:
    subject = _subject(paths)
    every = len(subject.mixed({"good", "bad"}))
    # A matrix in float takes three bytes more an element.
    assert len(subject.mixed({"good"})) - every > 2 * tiny_tflite.WIDTH**2


def test_layers_are_named_after_what_the_exporter_called_them(
    paths: tuple[str, tuple[Path, Path, Path]],
) -> None:
    layers = {each.name: each for each in _subject(paths).layers()}
    assert list(layers) == ["good", "bad"]
    assert all(each.quantised and each.unmatched == 0 for each in layers.values())


def test_the_bad_layers_weights_are_seen_to_be_cut_off(
    paths: tuple[str, tuple[Path, Path, Path]],
) -> None:
    tensors = _subject(paths).tensors(_rows(5))
    weights = {each.layer: each.figures for each in tensors if each.role == "weights"}
    good, bad = weights["good"], weights["bad"]
    assert good.own_sqnr_db is not None
    assert bad.own_sqnr_db is not None
    assert good.own_sqnr_db > 35
    assert bad.own_sqnr_db < 15
    assert good.saturated == 0
    assert bad.saturated is not None
    assert bad.saturated > 0.3
    answers = [each for each in tensors if each.layer == "bad" and each.role == "activation"]
    assert answers[-1].figures.sqnr_db is not None
    assert answers[-1].figures.sqnr_db < 15


def test_every_operator_can_be_a_layer_of_its_own(tmp_path: Path) -> None:
    subject = OnnxSubject(*tiny_onnx.write_pair(tmp_path), by_operator=True)
    assert [each.name for each in subject.layers()] == ["good [1]", "good [2]", "bad"]


def test_a_rounding_belongs_to_its_reader_where_its_maker_is_float(tmp_path: Path) -> None:
    subject = OnnxSubject(*tiny_onnx.write_pair(tmp_path), by_operator=True)
    rows = _rows()
    both = subject.run(subject.mixed({"bad"}), rows)
    data = subject.mixed({"bad"})
    # Relu is float in the variant: its output is put on a grid for the product behind it.
    assert b"QuantizeLinear" in data
    expected = subject.run(subject.mixed(()), rows)
    assert not np.array_equal(both[0], expected[0])


def test_the_beginning_of_a_graph_is_a_graph() -> None:
    from ai_edge_litert.interpreter import Interpreter

    model = tiny_tflite.dense_model(quantised=True)
    cut = parse_tflite(prefix(model, 1))
    assert len(cut.subgraphs[0].operators) == 1
    interpreter = Interpreter(model_content=prefix(model, 1))
    interpreter.allocate_tensors()
    (row,) = _rows(1)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row[0])
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    # 8-bit weights and inputs of a sum of 32.
    np.testing.assert_allclose(found, row[0] @ tiny_tflite.weights(1).T, atol=0.4)
