"""The verdict on TFLite files: read without TensorFlow, compared with measured tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.build.artifacts import ConvertedVariant
from edgepack.build.preflight import preflight, preflight_record, tables
from edgepack.build.preflight.check import check_bundle_size, check_tflite
from edgepack.build.preflight.measure import one_operator_model
from edgepack.build.preflight.tflite import TfliteModel, TfliteOperator, read_tflite
from edgepack.build.targets.find import load_target
from edgepack.build.targets.target import Runtime, Target
from edgepack.formats.errors import ConversionError
from edgepack.formats.variants import RuntimeName, parse_variant_name

FULLY_CONNECTED = 9
OLD = Runtime(RuntimeName.TFLITE_RUNTIME, "2.14.0")
NEW = Runtime(RuntimeName.LITERT, "2.3.0")
SPEC = parse_variant_name("tflite-dynamic-int8")


def model(code: int, version: int, custom: str | None = None) -> TfliteModel:
    return TfliteModel((TfliteOperator(code, version, custom),), "")


def variant(path: Path, data: bytes, size: int | None = None) -> ConvertedVariant:
    path.write_bytes(data)
    return ConvertedVariant(SPEC, path, len(data) if size is None else size, "0" * 64)


def tiny() -> Target:
    return load_target("arm64-tiny")


@pytest.mark.parametrize(("code", "version"), [(9, 12), (0, 1), (130, 2), (206, 3)])
def test_an_operator_is_read_with_its_number_and_version(code: int, version: int) -> None:
    read = read_tflite(one_operator_model(code, version))
    assert read.operators == (TfliteOperator(code, version),)
    assert read.min_runtime_version == ""


@given(st.data())
def test_a_damaged_file_is_an_error_and_never_a_crash(data: st.DataObject) -> None:
    whole = one_operator_model(FULLY_CONNECTED, 12)
    cut = data.draw(st.integers(0, len(whole)))
    position = data.draw(st.integers(8, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[position] ^= data.draw(st.integers(1, 255))
    flipped[0:4] = data.draw(st.one_of(st.just(whole[0:4]), st.binary(min_size=4, max_size=4)))
    for damaged in (whole[:cut], bytes(flipped)):
        try:
            found = read_tflite(damaged)
        except ConversionError:
            continue
        assert isinstance(found, TfliteModel)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="not a TFLite file"):
        read_tflite(b"\x08\x07onnx model")
    problems = preflight(tiny(), OLD, variant(tmp_path / "x.tflite", b"PK\x03\x04 not a model"))
    assert "not a TFLite file" in str(problems[0])


def test_an_operator_too_new_is_refused_with_its_version_and_the_runtime_that_has_it() -> None:
    problems = check_tflite(model(FULLY_CONNECTED, 12), OLD)
    assert str(problems[0]) == (
        "FULLY_CONNECTED version 12: tflite-runtime 2.14.0 knows versions up to 10 "
        "(needs TensorFlow Lite 2.17 or newer: use litert 2.3.0)"
    )
    assert check_tflite(model(FULLY_CONNECTED, 10), OLD) == []
    assert check_tflite(model(FULLY_CONNECTED, 14), NEW) == []


def test_an_operator_that_a_runtime_lacks_is_refused_by_name() -> None:
    dilate = next(code for code in range(300) if tables.operator_name(code) == "DILATE")
    problems = check_tflite(model(dilate, 1), OLD)
    assert "DILATE version 1: tflite-runtime 2.14.0 has no such operator" in str(problems[0])
    assert "use litert" in str(problems[0])
    broadcast = next(code for code in range(300) if tables.operator_name(code) == "BROADCAST_TO")
    assert "knows versions from 2" in str(check_tflite(model(broadcast, 1), NEW)[0])


def test_flex_and_custom_operators_are_refused_by_name() -> None:
    flex = str(check_tflite(model(32, 1, "FlexErf"), NEW)[0])
    assert "FlexErf" in flex
    assert "SELECT_TF_OPS" in flex
    assert "MyOp: a custom operator" in str(check_tflite(model(32, 1, "MyOp"), NEW)[0])
    assert check_tflite(model(32, 1, "TFLite_Detection_PostProcess"), NEW) == []
    assert "not in the TFLite schema" in str(check_tflite(model(4000, 1), NEW)[0])


def test_a_version_that_was_not_measured_is_judged_by_the_nearest_older_one() -> None:
    between = Runtime(RuntimeName.LITERT, "1.3.0")
    found = tables.kernels(RuntimeName.LITERT, "1.3.0")
    assert (found.measured, found.exact) == ("1.2.0", False)
    text = str(check_tflite(model(FULLY_CONNECTED, 14), between)[0])
    assert "litert 1.3.0 knows versions up to 13 (measured: 1.2.0)" in text
    assert "use litert 2.3.0" in text
    assert tables.kernels(RuntimeName.TFLITE_RUNTIME, "2.5.0").measured == "2.14.0"


def test_newer_runtimes_keep_every_kernel_of_older_ones() -> None:
    chain = ["1.0.1", "1.2.0", "1.4.0", "2.0.2", "2.1.0", "2.2.0", "2.3.0"]
    older = tables.kernels(RuntimeName.TFLITE_RUNTIME, "2.14.0").versions
    for version in chain:
        newer = tables.kernels(RuntimeName.LITERT, version).versions
        for name, (low, high) in older.items():
            assert newer[name][0] <= low, (version, name)
            assert newer[name][1] >= high, (version, name)
        older = newer


def test_a_variant_must_be_of_the_runtimes_format_and_allowed(tmp_path: Path) -> None:
    gpu = load_target("gpu")
    file = variant(tmp_path / "x.tflite", one_operator_model(0, 1))
    assert "loads onnx files" in str(preflight(gpu, gpu.runtimes[0], file)[0])
    target = load_target("arm64-tiny")
    narrowed = Target(
        **{
            **{name: getattr(target, name) for name in Target.__dataclass_fields__},
            "variants": (parse_variant_name("tflite-fp32"),),
        }
    )
    assert "does not allow it" in str(preflight(narrowed, OLD, file)[0])


def test_a_model_too_big_for_the_boxs_memory_is_refused(tmp_path: Path) -> None:
    file = variant(tmp_path / "x.tflite", one_operator_model(0, 1), size=400_000_000)
    problems = preflight(tiny(), OLD, file)
    assert "needs about 860 MB of memory, the box has 512" in str(problems[0])


def test_a_variant_that_was_not_converted_has_no_problems_of_its_own() -> None:
    assert preflight(tiny(), OLD, ConvertedVariant(SPEC, None, failure="crashed")) == ()


def test_what_was_checked_is_recorded(tmp_path: Path) -> None:
    file = variant(tmp_path / "x.tflite", one_operator_model(FULLY_CONNECTED, 12))
    record = preflight_record(tiny(), OLD, file)
    assert record["operators"] == {"FULLY_CONNECTED": 12}
    assert record["table"] == "2.14.0"
    assert len(record["problems"]) == 1
    broken = preflight_record(tiny(), OLD, variant(tmp_path / "y.tflite", b"nothing"))
    assert "operators" not in broken
    assert broken["problems"]


def test_a_bundle_over_the_limit_is_refused_with_both_sizes() -> None:
    assert check_bundle_size(tiny(), 9_000_000) == ()
    (problem,) = check_bundle_size(tiny(), 9_000_001)
    assert "9.00 MB" in problem.message
    assert "arm64-tiny allows 9" in problem.message
