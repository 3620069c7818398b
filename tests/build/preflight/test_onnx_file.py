"""The verdict on ONNX files: opsets, IR version, operators, external data."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.build.artifacts import ConvertedVariant
from edgepack.build.preflight import preflight, preflight_record
from edgepack.build.preflight.check import check_onnx
from edgepack.build.preflight.onnx_file import OnnxModel, read_onnx
from edgepack.build.targets.find import load_target
from edgepack.build.targets.target import Runtime
from edgepack.formats.errors import ConversionError
from edgepack.formats.variants import RuntimeName, parse_variant_name

onnx = pytest.importorskip("onnx")

OLD = Runtime(RuntimeName.ONNXRUNTIME, "1.21.0")
NEW = Runtime(RuntimeName.ONNXRUNTIME, "1.32.0")


def write(path: Path, *, op: str = "Add", domain: str = "", opset: int = 13, ir: int = 8) -> Path:
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    node = helper.make_node(op, ["x", "x"], ["y"], domain=domain)
    graph = helper.make_graph([node], "g", [value], [result])
    imports = [helper.make_opsetid("", opset)]
    if domain:
        imports.append(helper.make_opsetid(domain, 1))
    onnx.save(helper.make_model(graph, ir_version=ir, opset_imports=imports), str(path))
    return path


def test_an_opset_too_new_is_refused_with_the_version_that_has_it(tmp_path: Path) -> None:
    model = read_onnx(write(tmp_path / "m.onnx", opset=23, ir=11))
    texts = [str(each) for each in check_onnx(model, OLD)]
    assert texts == [
        "ONNX IR version 11: onnxruntime 1.21.0 knows versions up to 10 "
        "(use onnxruntime 1.23.2 or newer)",
        "opset 23 of ai.onnx: onnxruntime 1.21.0 knows opsets up to 22 "
        "(use onnxruntime 1.23.2 or newer)",
    ]
    assert check_onnx(model, NEW) == []


def test_an_operator_of_an_unknown_domain_is_refused(tmp_path: Path) -> None:
    model = read_onnx(write(tmp_path / "m.onnx", op="Sparkle", domain="com.example"))
    assert "com.example.Sparkle" in str(check_onnx(model, NEW)[0])


def test_the_runtimes_own_operators_are_checked_against_its_version(tmp_path: Path) -> None:
    def complaints(op: str, runtime: Runtime) -> list[str]:
        path = write(tmp_path / "m.onnx", op=op, domain="com.microsoft")
        return [str(each) for each in check_onnx(read_onnx(path), runtime)]

    assert complaints("FusedGemm", OLD) == []
    assert complaints("LinearAttention", NEW) == []
    assert complaints("LinearAttention", OLD) == [
        "operator com.microsoft.LinearAttention: onnxruntime 1.21.0 has no such operator "
        "(use onnxruntime 1.25.1 or newer)"
    ]
    assert complaints("Sparkle", NEW) == [
        "operator com.microsoft.Sparkle: onnxruntime 1.32.0 has no such operator"
    ]
    nearest = Runtime(RuntimeName.ONNXRUNTIME, "1.21.9")
    assert "(measured: 1.21.0)" in complaints("Sparkle", nearest)[0]


def test_an_operator_that_its_opset_does_not_define_is_refused(tmp_path: Path) -> None:
    model = read_onnx(write(tmp_path / "m.onnx", op="Gelu", opset=13))
    assert "operator Gelu: opset 13 of ai.onnx does not define it" in str(check_onnx(model, NEW)[0])
    assert check_onnx(read_onnx(write(tmp_path / "n.onnx", op="Gelu", opset=20)), NEW) == []


def test_weights_in_other_files_are_refused() -> None:
    model = OnnxModel(8, {"": 13}, frozenset(), frozenset(), external_data=True)
    assert "save the model as one file" in str(check_onnx(model, NEW)[0])


@pytest.mark.parametrize("data", [b"", b"not a model at all", b"\x00" * 100])
def test_a_file_that_is_not_onnx_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with pytest.raises(ConversionError, match=r"m\.onnx: not an ONNX file"):
        read_onnx(path)


def test_what_was_checked_is_recorded(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx")
    spec = parse_variant_name("onnx-fp32")
    variant = ConvertedVariant(spec, path, path.stat().st_size, "0" * 64)
    target = load_target("arm64")
    assert preflight(target, NEW, variant) == ()
    record = preflight_record(target, NEW, variant)
    assert record["opsets"] == {"ai.onnx": 13}
    assert (record["ir"], record["operators"]) == (8, ["Add"])
